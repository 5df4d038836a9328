#ifndef IO_LINECONN_H
#define IO_LINECONN_H

/* Lines over a pair of non-blocking descriptors (a worker's pipes, or one socket twice).
 * One bounded read a wake, so that no peer floods the loop; writes are queued up to a cap and never block. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handover;
struct lineconn;
struct loop;

enum lineconn_end {
	LINECONN_EOF,	   /* the peer closed */
	LINECONN_TOO_LONG, /* a line over max_line */
	LINECONN_ERROR,	   /* read or write failed */
};

struct lineconn_options {
	int read_fd;	   /* owned from now on, made non-blocking; -1 = write only */
	int write_fd;	   /* owned too; may equal read_fd; -1 = read only */
	size_t max_line;   /* bytes without the newline */
	size_t max_queued; /* bytes not written yet */
	/* One line without its newline, NUL-terminated in place; valid during the call. */
	void (*on_line)(void *arg, char *line, size_t len);
	/* No more lines come (called once; error = errno or 0). What was queued may still be written out. */
	void (*on_end)(void *arg, enum lineconn_end end, int error);
	/* All that was queued is written; NULL = not needed. */
	void (*on_drained)(void *arg);
	void *arg;
};

int lineconn_new(struct loop *loop, const struct lineconn_options *options, struct lineconn **ret)
	__attribute__((warn_unused_result));

/* Closes both descriptors. Safe from its own callbacks. */
void lineconn_free(struct lineconn **conn);

/* Queues bytes (whole lines, newline included): all or nothing; -ENOBUFS over the cap, -EPIPE when the
 * write side is gone. Written at the end of this turn of the loop, so that many lines go as one write. */
int lineconn_send(struct lineconn *conn, const void *bytes, size_t len) __attribute__((warn_unused_result));

/* As lineconn_send, of two parts in a row. */
int lineconn_send2(struct lineconn *conn, const void *a, size_t a_len, const void *b, size_t b_len)
	__attribute__((warn_unused_result));

size_t lineconn_queued(const struct lineconn *conn);

/* Stops reading until resumed: backpressure. */
void lineconn_pause(struct lineconn *conn, bool paused);

/* Closes the write side once what is queued is out. */
void lineconn_close_write(struct lineconn *conn);

/* Reads what is left now, at most `max` bytes, delivering whole lines; for a peer that has died. */
void lineconn_drain(struct lineconn *conn, size_t max);

/* For a handover: its descriptors, -1 where it has closed one. */
void lineconn_fds(const struct lineconn *conn, int *ret_read_fd, int *ret_write_fd);

/* The rest of its state, either way. One that is to go on was made with the descriptors handed over; what it
 * holds is delivered and written from the next turn of the loop on. */
void lineconn_pass(struct lineconn *conn, struct handover *h, const char *name);

#endif
