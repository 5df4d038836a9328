#include "io/handover.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "io/jsontext.h"

#define HEAD "proctor-handover"

enum { DEPTH_MAX = 12, HEAD_BYTES = 80 };

/* An object or a list that was begun. `at` is NULL where what is read has no such thing. */
struct frame {
	json_t *at;
	const char *name; /* NULL = of an object in a list */
	size_t next;	  /* of a list that is read: index of the next object */
};

struct handover {
	bool reading, rehearsal;
	struct frame frames[DEPTH_MAX];
	size_t depth;	  /* frames[depth - 1] is where names belong */
	struct buf bytes; /* of a handover that is written */
	json_t *fds;	  /* numbers: named (written), not taken yet (read) */
	char *map;	  /* the file, of a handover that is read */
	size_t map_len;
	const char *stored; /* the bytes in it */
	size_t stored_len;
	char *error;
};

static json_t *here(const struct handover *h)
{
	return h->frames[h->depth - 1].at;
}

/* ---- what is wrong ---- */

static void put_path(const struct handover *h, struct buf *out)
{
	for (size_t i = 1; i < h->depth; i++) {
		const struct frame *frame = &h->frames[i];

		if (frame->name)
			buf_putf(out, "%s%s", buf_len(out) ? "." : "", frame->name);
		else
			buf_putf(out, "[%zu]", h->frames[i - 1].next - 1);
	}
}

void handover_fault(struct handover *h, const char *format, ...)
{
	AUTO(buf_free) struct buf line = BUF_INIT(0);
	char text[256];
	va_list args;
	size_t len;

	if (h->error)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put_path(h, &line);
	buf_putf(&line, "%s%s", buf_len(&line) ? ": " : "", text);
	h->error = buf_take(&line, &len);
}

const char *handover_error(const struct handover *h)
{
	return h->error;
}

/* ---- objects and lists ---- */

static void push(struct handover *h, json_t *at, const char *name)
{
	assert(h->depth < DEPTH_MAX);
	h->frames[h->depth++] = (struct frame){ .at = at, .name = name };
}

/* A member that is written; taken. */
static void put(struct handover *h, const char *name, json_t *value)
{
	if (!value || json_object_set_new(here(h), name, value) < 0)
		handover_fault(h, "%s cannot be written", name);
}

/* A member that is read; NULL after a note. */
static json_t *get(struct handover *h, const char *name, bool (*is_it)(const json_t *value), const char *kind)
{
	json_t *value = json_object_get(here(h), name);

	if (value && is_it(value))
		return value;
	handover_fault(h, "%s is %s", name, value ? kind : "missing");
	return NULL;
}

static bool is_object(const json_t *value)
{
	return json_is_object(value);
}

static bool is_list(const json_t *value)
{
	return json_is_array(value);
}

static json_t *next_of_list(struct handover *h)
{
	struct frame *list = &h->frames[h->depth - 1];
	json_t *fresh;

	if (h->reading)
		return json_array_get(list->at, list->next++);
	fresh = json_object();
	list->next++;
	return json_array_append_new(list->at, fresh) < 0 ? NULL : fresh;
}

void handover_begin(struct handover *h, const char *name)
{
	json_t *at;

	if (!name) {
		at = next_of_list(h);
	} else if (h->reading) {
		at = get(h, name, is_object, "no object");
	} else {
		at = json_object();
		put(h, name, at);
	}
	push(h, at, name);
}

size_t handover_begin_list(struct handover *h, const char *name, size_t count)
{
	json_t *at;

	if (h->reading) {
		at = get(h, name, is_list, "no list");
		count = json_array_size(at);
	} else {
		at = json_array();
		put(h, name, at);
	}
	push(h, at, name);
	return count;
}

void handover_end(struct handover *h)
{
	assert(h->depth > 1);
	h->depth--;
}

bool handover_has(const struct handover *h, const char *name)
{
	return !h->reading || json_object_get(here(h), name);
}

/* ---- values ---- */

static bool is_bool(const json_t *value)
{
	return json_is_boolean(value);
}

static bool is_number(const json_t *value)
{
	return json_is_integer(value);
}

static bool is_text(const json_t *value)
{
	return json_is_string(value) || json_is_null(value);
}

void handover_bool(struct handover *h, const char *name, bool *value)
{
	const json_t *found;

	if (!h->reading)
		put(h, name, json_boolean(*value));
	else if ((found = get(h, name, is_bool, "neither true nor false")))
		*value = json_is_true(found);
}

/* A whole number within the range. */
static void pass_number(struct handover *h, const char *name, int64_t least, int64_t most, int64_t *value)
{
	const json_t *found;
	int64_t number;

	if (!h->reading) {
		put(h, name, json_integer(*value));
		return;
	}
	found = get(h, name, is_number, "no whole number");
	if (!found)
		return;
	number = json_integer_value(found);
	if (number < least || number > most)
		handover_fault(h, "%s is %" PRId64 ", out of range", name, number);
	else
		*value = number;
}

void handover_number(struct handover *h, const char *name, int64_t *value)
{
	pass_number(h, name, INT64_MIN, INT64_MAX, value);
}

void handover_int(struct handover *h, const char *name, int least, int most, int *value)
{
	int64_t number = *value;

	pass_number(h, name, least, most, &number);
	*value = (int)number;
}

void handover_unsigned(struct handover *h, const char *name, unsigned *value)
{
	int64_t number = *value;

	pass_number(h, name, 0, UINT_MAX, &number);
	*value = (unsigned)number;
}

void handover_time(struct handover *h, const char *name, int64_t *value)
{
	pass_number(h, name, 0, INT64_MAX, value);
}

void handover_size(struct handover *h, const char *name, size_t *value)
{
	int64_t number = (int64_t)*value;

	pass_number(h, name, 0, INT64_MAX, &number);
	*value = (size_t)number;
}

/* What people are told may have been cut within a character. */
static json_t *text_of(const char *value)
{
	AUTO(mem_free_str) char *clean = NULL;
	json_t *text = value ? json_string(value) : json_null();

	if (text)
		return text;
	clean = jsontext_clean(mem_strdup(value));
	return json_string(clean);
}

void handover_text(struct handover *h, const char *name, char **value)
{
	const json_t *found;

	if (!h->reading)
		put(h, name, text_of(*value));
	else if ((found = get(h, name, is_text, "no text")))
		mem_set_str(value, mem_strdup(json_string_value(found)));
}

void handover_chars(struct handover *h, const char *name, char *value, size_t size)
{
	const json_t *found;

	if (!h->reading) {
		put(h, name, text_of(value));
		return;
	}
	found = get(h, name, is_text, "no text");
	if (!found)
		return;
	if (json_string_length(found) >= size)
		handover_fault(h, "%s is longer than %zu bytes", name, size - 1);
	else
		memcpy(value, json_is_null(found) ? "" : json_string_value(found),
		       json_string_length(found) + 1);
}

void handover_bytes(struct handover *h, const char *name, char **bytes, size_t *len)
{
	int64_t offset = (int64_t)buf_len(&h->bytes), count = (int64_t)*len;

	handover_begin(h, name);
	handover_time(h, "offset", &offset);
	handover_time(h, "length", &count);
	if (!h->reading) {
		if (*len > 0)
			buf_put(&h->bytes, *bytes, *len);
	} else if ((size_t)offset > h->stored_len || (size_t)count > h->stored_len - (size_t)offset) {
		handover_fault(h, "%zu bytes are there", h->stored_len);
	} else {
		char *fresh = mem_array(1, (size_t)count + 1);

		memcpy(fresh, h->stored + offset, (size_t)count);
		mem_set_str(bytes, fresh);
		*len = (size_t)count;
	}
	handover_end(h);
}

void handover_buf(struct handover *h, const char *name, struct buf *buf)
{
	char *bytes = h->reading || !buf->bytes ? NULL : buf->bytes + buf->start;
	size_t len = h->reading ? 0 : buf_len(buf);

	handover_bytes(h, name, &bytes, &len);
	if (!h->reading)
		return;
	if (len > 0 && buf_add(buf, bytes, len) < 0)
		handover_fault(h, "%s has %zu bytes, more than there may be", name, len);
	mem_free(&bytes);
}

void handover_numbers(struct handover *h, const char *name, int64_t **values, size_t *count)
{
	json_t *list;

	if (!h->reading) {
		list = json_array();
		for (size_t i = 0; i < *count; i++)
			(void)json_array_append_new(list, json_integer((*values)[i]));
		put(h, name, list);
		return;
	}
	list = get(h, name, is_list, "no list");
	mem_free(values);
	*count = json_array_size(list);
	*values = mem_array(*count + 1, sizeof(**values));
	for (size_t i = 0; i < *count; i++)
		(*values)[i] = json_integer_value(json_array_get(list, i));
}

/* ---- descriptors ---- */

/* It is ours to take, once. */
static bool take(struct handover *h, int fd)
{
	for (size_t i = 0; i < json_array_size(h->fds); i++)
		if (json_integer_value(json_array_get(h->fds, i)) == fd) {
			(void)json_array_remove(h->fds, i);
			return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
		}
	return false;
}

void handover_fd(struct handover *h, const char *name, int *fd)
{
	int number = *fd;

	handover_int(h, name, -1, INT_MAX, &number);
	if (number < 0) {
		*fd = -1;
	} else if (!h->reading) {
		(void)json_array_append_new(h->fds, json_integer(number));
	} else if (h->rehearsal) {
		*fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (*fd < 0)
			handover_fault(h, "/dev/null cannot be opened: %s", strerror(errno));
	} else if (take(h, number)) {
		*fd = number;
	} else {
		*fd = -1;
		handover_fault(h, "%s: descriptor %d is not there", name, number);
	}
}

int handover_keep_open(const struct handover *h, bool keep)
{
	for (size_t i = 0; i < json_array_size(h->fds); i++) {
		int fd = (int)json_integer_value(json_array_get(h->fds, i));

		if (fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC) < 0)
			return -errno;
	}
	return 0;
}

/* ---- the file ---- */

static void start(struct handover *h, json_t *root)
{
	push(h, root, NULL);
	buf_init(&h->bytes, 0);
}

void handover_new(struct handover **ret)
{
	struct handover *h = mem_alloc(sizeof(*h));

	h->fds = json_array();
	start(h, json_object());
	*ret = h;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int handover_seal(struct handover *h, int *ret_fd)
{
	static const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	AUTO(fd_close) int fd = memfd_create("proctor-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	AUTO(mem_free_str) char *json = NULL;
	char head[HEAD_BYTES];
	int len, r;

	assert(h->depth == 1);
	if (fd < 0)
		return -errno;
	if (json_object_set(here(h), "descriptors", h->fds) < 0 ||
	    !(json = json_dumps(here(h), JSON_COMPACT)) || h->error)
		return -EPROTO;
	len = snprintf(head, sizeof(head), HEAD " %d %zu %zu\n", HANDOVER_FORMAT, strlen(json),
		       buf_len(&h->bytes));
	r = write_all(fd, head, (size_t)len);
	if (r == 0)
		r = write_all(fd, json, strlen(json));
	if (r == 0)
		r = write_all(fd, buf_bytes(&h->bytes), buf_len(&h->bytes));
	if (r == 0 && fcntl(fd, F_ADD_SEALS, seals) < 0)
		r = -errno;
	if (r == 0)
		*ret_fd = fd_take(&fd);
	return r;
}

static int map_file(struct handover *h, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return -EPROTO;
	h->map_len = (size_t)st.st_size;
	h->map = mmap(NULL, h->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (h->map == MAP_FAILED) {
		h->map = NULL;
		return -errno;
	}
	return 0;
}

/* Finds the parts of the file. `head` is its first line. */
static int find_parts(struct handover *h, const char *head, size_t *ret_json, size_t *ret_json_len,
		      char **ret_error)
{
	size_t json_len, bytes_len, head_len = strlen(head) + 1, room = h->map_len - head_len;
	int format = 0;

	if (sscanf(head, HEAD " %d", &format) == 1 && format != HANDOVER_FORMAT) {
		*ret_error = mem_printf("its state has format %d, this program takes over format %d: restart "
					"instead",
					format, HANDOVER_FORMAT);
		return -EPROTO;
	}
	if (sscanf(head, HEAD " %d %zu %zu", &format, &json_len, &bytes_len) != 3 || json_len > room ||
	    bytes_len != room - json_len) {
		*ret_error = mem_strdup("what was handed over is no state of a daemon");
		return -EPROTO;
	}
	h->stored = h->map + head_len + json_len;
	h->stored_len = bytes_len;
	*ret_json = head_len;
	*ret_json_len = json_len;
	return 0;
}

static int parse(struct handover *h, char **ret_error)
{
	const char *newline = memchr(h->map, '\n', h->map_len < HEAD_BYTES ? h->map_len : HEAD_BYTES);
	AUTO(mem_free_str)
	char *head = mem_strndup(h->map, newline ? (size_t)(newline - h->map) : 0);
	size_t json = 0, json_len = 0;
	json_error_t error;
	json_t *root;
	int r = find_parts(h, head, &json, &json_len, ret_error);

	if (r < 0)
		return r;
	root = json_loadb(h->map + json, json_len, 0, &error);
	if (!json_is_object(root)) {
		json_decref(root);
		*ret_error = mem_printf("what was handed over is no JSON: %s", error.text);
		return -EPROTO;
	}
	h->fds = json_incref(json_object_get(root, "descriptors"));
	start(h, root);
	return 0;
}

int handover_open(int fd, bool rehearsal, struct handover **ret, char **ret_error)
{
	AUTO(handover_free) struct handover *h = mem_alloc(sizeof(*h));
	AUTO(fd_close) int owned = fd;
	char *error = NULL;
	int r = map_file(h, owned);

	h->reading = true;
	h->rehearsal = rehearsal;
	if (r == 0)
		r = parse(h, &error);
	if (r < 0) {
		*ret_error = error ? error
				   : mem_printf("what was handed over cannot be read: %s", strerror(-r));
		return r;
	}
	*ret = h;
	h = NULL;
	return 0;
}

static void close_rest(struct handover *h)
{
	for (size_t i = 0; i < json_array_size(h->fds); i++) {
		int fd = (int)json_integer_value(json_array_get(h->fds, i));

		if (fd > STDERR_FILENO)
			(void)close(fd);
	}
}

void handover_free(struct handover **h)
{
	struct handover *dead = *h;

	if (!dead)
		return;
	if (dead->reading && !dead->rehearsal)
		close_rest(dead);
	if (dead->depth > 0)
		json_decref(dead->frames[0].at);
	json_decref(dead->fds);
	if (dead->map)
		(void)munmap(dead->map, dead->map_len);
	buf_free(&dead->bytes);
	free(dead->error);
	mem_free(h);
}

bool handover_is_read(const struct handover *h)
{
	return h->reading;
}

bool handover_is_rehearsal(const struct handover *h)
{
	return h->rehearsal;
}
