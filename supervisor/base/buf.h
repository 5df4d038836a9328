#ifndef BASE_BUF_H
#define BASE_BUF_H

/* Growable byte buffer with a cap.
 * Invariant: start <= end <= room <= cap. Bytes are taken from the front and added at the back; a
 * terminating NUL is kept behind the last byte (not counted), so that text can be read as a string. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct buf {
	char *bytes;  /* NULL while empty and never used */
	size_t start; /* offset of the first byte that is held */
	size_t end;   /* offset behind the last */
	size_t room;  /* bytes allocated, less the one for the NUL */
	size_t cap;   /* most that may be held; 0 = no cap */
};

#define BUF_INIT(max)                                                                                        \
	{                                                                                                    \
		.cap = (max)                                                                                 \
	}

void buf_init(struct buf *b, size_t cap);

/* Frees the memory; the buffer stays usable, with its cap. Safe as a cleanup. */
void buf_free(struct buf *b);

size_t buf_len(const struct buf *b);

/* First byte held; valid until the next change; "" when never used. */
const char *buf_bytes(const struct buf *b);

/* Makes room for `len` more bytes behind the end and returns where they go; NULL if the cap forbids it. */
char *buf_reserve(struct buf *b, size_t len) __attribute__((warn_unused_result));

/* Counts `len` bytes written at buf_reserve()'s place as held. */
void buf_commit(struct buf *b, size_t len);

/* All or nothing: -ENOBUFS when the cap forbids it. */
int buf_add(struct buf *b, const void *bytes, size_t len) __attribute__((warn_unused_result));
int buf_addf(struct buf *b, const char *format, ...)
	__attribute__((format(printf, 2, 3), warn_unused_result));

/* For buffers without a cap, where adding cannot fail. */
void buf_put(struct buf *b, const void *bytes, size_t len);
void buf_puts(struct buf *b, const char *text);
void buf_putf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops `len` bytes from the front (all, if fewer are held). */
void buf_drop(struct buf *b, size_t len);

/* Drops everything; keeps the memory if it is at most `keep` bytes. */
void buf_clear(struct buf *b, size_t keep);

/* Hands the bytes (NUL-terminated) to the caller, who frees them; the buffer is empty after. */
char *buf_take(struct buf *b, size_t *ret_len);

#endif
