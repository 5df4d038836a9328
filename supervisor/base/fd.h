#ifndef BASE_FD_H
#define BASE_FD_H

/* File descriptors and small files. An int fd that owns nothing is -1. */

#include <stddef.h>

/* Closes *fd unless it is -1, and sets it to -1. Keeps errno. Safe as a cleanup. */
void fd_close(int *fd);

/* Returns *fd and sets it to -1: the caller owns it now. */
int fd_take(int *fd);

/* 0 or -errno. */
int fd_set_nonblock(int fd) __attribute__((warn_unused_result));

/* Reads a whole file of at most `cap` bytes into fresh NUL-terminated memory; -EFBIG above. */
int fd_read_file(const char *path, size_t cap, char **ret, size_t *ret_len)
	__attribute__((warn_unused_result));

/* Writes a whole file with `mode` by a temporary name and rename, synced. 0 or -errno. */
int fd_write_file(const char *path, const void *bytes, size_t len, unsigned mode)
	__attribute__((warn_unused_result));

/* mkdir -p; 0 also when it is there. The last part gets `mode`, its parents 0755. */
int fd_make_dirs(const char *path, unsigned mode) __attribute__((warn_unused_result));

#endif
