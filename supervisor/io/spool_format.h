#ifndef IO_SPOOL_FORMAT_H
#define IO_SPOOL_FORMAT_H

/* The bytes of a spool: headers of segments and records, slots of the cursor file. Bytes to values and back,
 * with no descriptor and no clock. Numbers are little endian; every checksum is CRC32C. supervisor/README.md
 * draws it. */

#include <stddef.h>
#include <stdint.h>

#include "io/spool.h"

enum {
	SPOOL_VERSION = 1,
	SPOOL_SEGMENT_HEADER = 64,
	SPOOL_RECORD_HEADER = 48,
	SPOOL_RECORD_MIN = SPOOL_RECORD_HEADER + 1, /* an empty meta, its newline, no body */
	SPOOL_CURSOR_SLOT = 128,
	SPOOL_DATABASE_MAX = 40, /* with the NUL */
	SPOOL_TIMELINE_MAX = 24, /* with the NUL */
	/* A kind that no caller sees: it takes the place of a record that was acknowledged before it could be
	 * written, so that the numbers stay without a gap. */
	SPOOL_NOTHING = 0,
};

/* No spool lives long enough to come to this number: what says more is damaged. Counting on from it, by as
 * many as a spool can hold, does not overflow. */
#define SPOOL_SEQ_MAX ((uint64_t)1 << 62)

enum spool_found {
	SPOOL_GOOD,
	SPOOL_ZEROS, /* a header of nothing but zeros: not written yet */
	SPOOL_MORE,  /* `len` does not reach to the end of it */
	SPOOL_NEWER, /* a later version of the format */
	SPOOL_BAD,
};

/* CRC32C; at most INT_MAX bytes. */
uint32_t spool_crc(const void *bytes, size_t len);

struct spool_segment_header {
	uint64_t id; /* of the spool, never 0 */
	uint64_t first;
	int64_t created_ms;
};

void spool_encode_segment(const struct spool_segment_header *header,
			  unsigned char bytes[SPOOL_SEGMENT_HEADER]);
/* *ret_version is set for SPOOL_NEWER, *ret for SPOOL_GOOD. */
enum spool_found spool_decode_segment(const void *bytes, size_t len, struct spool_segment_header *ret,
				      uint32_t *ret_version);

/* Bytes of a whole record: header, meta, newline, body. */
size_t spool_record_bytes(const struct spool_record *record);
/* The header; what follows it is meta, a newline, body. */
void spool_encode_record(const struct spool_record *record, uint64_t id,
			 unsigned char header[SPOOL_RECORD_HEADER]);

/* What a record at a place can be. */
struct spool_expect {
	uint64_t id;
	uint64_t seq_min, seq_max; /* both included */
};

/* SPOOL_GOOD: *ret points into `bytes`, *ret_len is the length of all of it. SPOOL_MORE: *ret_len is how many
 * bytes it takes. SPOOL_BAD: *ret_why says why, in static words. */
enum spool_found spool_decode_record(const void *bytes, size_t len, const struct spool_expect *expect,
				     struct spool_record *ret, size_t *ret_len, const char **ret_why);

struct spool_cursor {
	uint64_t id;
	uint64_t generation; /* of two slots, the one with the higher holds */
	uint64_t acked;
	uint64_t floor; /* no rewind goes to what is up to here */
	char database[SPOOL_DATABASE_MAX];
	char timeline[SPOOL_TIMELINE_MAX];
};

void spool_encode_cursor(const struct spool_cursor *cursor, unsigned char bytes[SPOOL_CURSOR_SLOT]);
enum spool_found spool_decode_cursor(const void *bytes, size_t len, struct spool_cursor *ret,
				     uint32_t *ret_version);

#endif
