#ifndef IO_ERRTAIL_H
#define IO_ERRTAIL_H

/* A child's stderr: always read, its last 64 KiB kept for the crash record, its lines put into our log no
 * faster than a set rate. What is over the rate is counted and said once a while. */

#include <stdbool.h>
#include <stddef.h>

struct errtail;
struct handover;
struct loop;

/* Owns `fd`. `who` names the child in the log ("worker=probe/1"); copied. */
int errtail_new(struct loop *loop, int fd, const char *who, struct errtail **ret)
	__attribute__((warn_unused_result));

/* Reads what is left, then closes. */
void errtail_free(struct errtail **tail);

/* Reads what is there now, at most `max` bytes: for a child that has died. */
void errtail_drain(struct errtail *tail, size_t max);

/* The last bytes, oldest first, in fresh NUL-terminated memory. NULs in them become '?'. */
char *errtail_text(const struct errtail *tail, size_t max) __attribute__((warn_unused_result));

/* Bytes read so far: a mark for errtail_text_since(). */
size_t errtail_total(const struct errtail *tail);

/* What came since the mark, as far as it is still held; fresh. */
char *errtail_text_since(const struct errtail *tail, size_t mark) __attribute__((warn_unused_result));

/* For a handover: its descriptor, and the rest of its state, either way. */
int errtail_fd(const struct errtail *tail);
void errtail_pass(struct errtail *tail, struct handover *h, const char *name);

#endif
