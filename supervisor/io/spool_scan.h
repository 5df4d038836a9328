#ifndef IO_SPOOL_SCAN_H
#define IO_SPOOL_SCAN_H

/* Walks the records of one segment's file, and finds the next good one behind a damaged part. Blocks: for the
 * offload thread, and before the loop runs. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/spool.h"

enum spool_scanned {
	SCAN_RECORD, /* valid until the next call */
	SCAN_DAMAGE, /* see `why` and `damaged_at`; the next call looks for what is good behind it */
	SCAN_END,    /* nothing more, and nothing but zeros behind `offset` unless damage was told */
	SCAN_FAILED, /* the file cannot be read: see `error` */
};

struct spool_scan {
	int fd; /* borrowed */
	uint64_t id;
	uint64_t seq;	  /* the next one, were there no damage */
	uint64_t seq_end; /* the first that cannot be in here; UINT64_MAX = not known */
	int64_t offset;	  /* behind the last record */
	int64_t end;	  /* of what is looked at in the file */
	const char *why;  /* static */
	int64_t damaged_at;
	int error; /* -errno */
	bool lost; /* damage was told, and no record since */

	char *bytes;	       /* these are private */
	size_t pos, len, room; /* `pos` stands at `offset` */
};

/* Begins at `offset`, where record `seq` is; `end` -1 = the end of the file. 0 or -errno. */
int spool_scan_start(struct spool_scan *scan, int fd, uint64_t id, int64_t offset, uint64_t seq,
		     uint64_t seq_end, int64_t end) __attribute__((warn_unused_result));
enum spool_scanned spool_scan_next(struct spool_scan *scan, struct spool_record *ret);
/* Safe on a zeroed one. */
void spool_scan_free(struct spool_scan *scan);

#endif
