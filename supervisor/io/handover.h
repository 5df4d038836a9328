#ifndef IO_HANDOVER_H
#define IO_HANDOVER_H

/* What a daemon leaves to the program that takes its place by execve: one JSON document, the byte strings
 * that it points at, and the descriptors that it names, in a sealed file in memory.
 *
 * One function passes a thing either way: handover_int(h, "fails", 0, 9, &probe->fails) writes the number
 * while the handover is made, and sets it while one is read. So what is written and what is read cannot drift
 * apart.
 *
 * Reading never fails in the middle: what is not as it ought to be leaves its variable as it was and is
 * noted, and handover_error() tells the first note. In a rehearsal each descriptor is one of /dev/null:
 * nothing of the daemon's is touched.
 *
 * A change of what any file passes, or of an enum that it passes as a number, is a new HANDOVER_FORMAT; what
 * is only added, and read by handover_has(), is none. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct handover;

enum { HANDOVER_FORMAT = 1 };

/* One to be written. */
void handover_new(struct handover **ret);

/* One to be read. `fd` (owned from now on) as handover_seal() gave it. -EPROTO, or -errno when it cannot be
 * read, with *ret_error (one fresh line). */
int handover_open(int fd, bool rehearsal, struct handover **ret, char **ret_error)
	__attribute__((warn_unused_result));

/* Also closes what was read and not taken. */
void handover_free(struct handover **h);

bool handover_is_read(const struct handover *h);
bool handover_is_rehearsal(const struct handover *h);

/* The file, sealed against any change, close-on-exec; the caller's. -EPROTO when what was passed cannot be
 * written, else -errno. */
int handover_seal(struct handover *h, int *ret_fd) __attribute__((warn_unused_result));

/* Whether the descriptors named so far live on through an exec. 0 or -errno. */
int handover_keep_open(const struct handover *h, bool keep) __attribute__((warn_unused_result));

/* Between begin and end, names are members of this object. `name` NULL: the next object of the list. */
void handover_begin(struct handover *h, const char *name);
/* A list of objects; returns how many there are. Each is between a begin and an end of its own. */
size_t handover_begin_list(struct handover *h, const char *name, size_t count);
void handover_end(struct handover *h);

/* Whether there is such a member (read), always true (written): for what an earlier version did not pass. */
bool handover_has(const struct handover *h, const char *name);

void handover_bool(struct handover *h, const char *name, bool *value);
void handover_int(struct handover *h, const char *name, int least, int most, int *value);
void handover_unsigned(struct handover *h, const char *name, unsigned *value);
void handover_number(struct handover *h, const char *name, int64_t *value);
/* Monotonic ms, which go on through an exec; >= 0. */
void handover_time(struct handover *h, const char *name, int64_t *value);
void handover_size(struct handover *h, const char *name, size_t *value);
/* Text or NULL; what is not UTF-8 becomes '?'. One that is read is fresh, and what was there is freed. */
void handover_text(struct handover *h, const char *name, char **value);
/* The same into an array of `size` bytes. */
void handover_chars(struct handover *h, const char *name, char *value, size_t size);
/* Any bytes. Those read are fresh and NUL-terminated, and what was there is freed. */
void handover_bytes(struct handover *h, const char *name, char **bytes, size_t *len);
/* What a buffer holds; what is read is put behind what it holds already. */
void handover_buf(struct handover *h, const char *name, struct buf *buf);
/* A list of numbers; fresh as above. */
void handover_numbers(struct handover *h, const char *name, int64_t **values, size_t *count);
/* -1 = none. One that is read is the caller's, and close-on-exec. */
void handover_fd(struct handover *h, const char *name, int *fd);

/* An enum, by its number; `last` is its greatest. */
#define handover_enum(h, name, last, value)                                                                  \
	do {                                                                                                 \
		int number_ = (int)*(value);                                                                 \
		handover_int((h), (name), 0, (int)(last), &number_);                                         \
		*(value) = (__typeof__(*(value)))number_;                                                    \
	} while (0)

/* What was read does not make sense: the first such line is kept, with the place where it was said. */
void handover_fault(struct handover *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line; NULL while all is well. */
const char *handover_error(const struct handover *h);

#endif
