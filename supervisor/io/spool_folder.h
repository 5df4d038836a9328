#ifndef IO_SPOOL_FOLDER_H
#define IO_SPOOL_FOLDER_H

/* What an earlier process left in the folder: which spool it is, its cursor, and the files that are its
 * segments. For io/spool_open.c alone. */

#include <stddef.h>
#include <stdint.h>

#include "io/spool_format.h"

struct spool;

/* A file with the name of a segment. */
struct spool_found_file {
	uint64_t first; /* as it is called */
	int64_t size;
	enum spool_found state; /* of its header */
	struct spool_segment_header header;
};

struct spool_folder {
	struct spool *spool;
	char **ret_error;
	struct spool_found_file *found; /* by their numbers */
	size_t count, room;
};

/* Opens and locks the folder, reads the cursor, lists the segments; puts aside what cannot be one of this
 * spool. A folder that it fails on is the caller's to free `found` of, too. 0, or -errno with *ret_error set.
 */
int spool_folder_look(struct spool_folder *folder) __attribute__((warn_unused_result));

/* Sets *ret_error and returns `error`, a -errno. `name` of a file, or "". */
int spool_folder_fail(struct spool_folder *folder, const char *name, int error, const char *what);

int spool_folder_put_aside(struct spool_folder *folder, const struct spool_found_file *found,
			   const char *reason) __attribute__((warn_unused_result));

#endif
