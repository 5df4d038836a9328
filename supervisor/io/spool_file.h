#ifndef IO_SPOOL_FILE_H
#define IO_SPOOL_FILE_H

/* Segments as files of the spool's folder: their names, how they are made, written and put aside. Names are
 * below `dir_fd`, the folder. Everything returns 0 or -errno. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/spool_format.h"

enum { SPOOL_NAME_MAX = 32 };

/* A segment made ready before its number is known. */
#define SPOOL_SPARE_NAME "next.spool"

void spool_file_name(uint64_t first, char ret[SPOOL_NAME_MAX]);
/* False for the name of anything else. */
bool spool_file_parse(const char *name, uint64_t *ret_first);

/* A new segment with its header written, not allocated. */
int spool_file_create(int dir_fd, const struct spool_segment_header *header, int *ret_fd)
	__attribute__((warn_unused_result));

/* The spare: `size` bytes allocated where the file system can, nothing written. Blocks. */
int spool_file_make_spare(int dir_fd, int64_t size, int *ret_fd) __attribute__((warn_unused_result));
/* Makes it the segment of this header. */
int spool_file_name_spare(int dir_fd, int fd, const struct spool_segment_header *header)
	__attribute__((warn_unused_result));

/* All of it, at `offset`; goes on after a short write. A failure may leave a part written. `iov` is used up.
 */
int spool_file_write(int fd, struct iovec *iov, int count, int64_t offset)
	__attribute__((warn_unused_result));

/* Renames a segment that is not to be touched again and not to be read either, so that its name is free. */
int spool_file_put_aside(int dir_fd, uint64_t first) __attribute__((warn_unused_result));

#endif
