/* What is passed; handover_file.c has the file that it goes through. */

#include "io/handover.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/handover_private.h"
#include "io/jsontext.h"

json_t *handover_here(const struct handover *h)
{
	return h->frames[h->depth - 1].at;
}

/* ---- what is wrong ---- */

static void put_path(const struct handover *h, struct buf *out)
{
	for (size_t i = 1; i < h->depth; i++) {
		const struct handover_frame *frame = &h->frames[i];

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

void handover_push(struct handover *h, json_t *at, const char *name)
{
	assert(h->depth < HANDOVER_DEPTH);
	h->frames[h->depth++] = (struct handover_frame){ .at = at, .name = name };
}

/* A member that is written; taken. */
static void put(struct handover *h, const char *name, json_t *value)
{
	if (!value || json_object_set_new(handover_here(h), name, value) < 0)
		handover_fault(h, "%s cannot be written", name);
}

/* A member that is read; NULL after a note. */
static json_t *get(struct handover *h, const char *name, bool (*is_it)(const json_t *value), const char *kind)
{
	json_t *value = json_object_get(handover_here(h), name);

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
	struct handover_frame *list = &h->frames[h->depth - 1];
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
	handover_push(h, at, name);
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
	handover_push(h, at, name);
	return count;
}

void handover_end(struct handover *h)
{
	assert(h->depth > 1);
	h->depth--;
}

bool handover_has(const struct handover *h, const char *name)
{
	return !h->reading || json_object_get(handover_here(h), name);
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
	/* What libraries opened without O_CLOEXEC would stay open, and belong to nobody. */
	if (keep)
		(void)close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < json_array_size(h->fds); i++) {
		int fd = (int)json_integer_value(json_array_get(h->fds, i));

		if (fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC) < 0)
			return -errno;
	}
	return 0;
}

bool handover_is_read(const struct handover *h)
{
	return h->reading;
}

bool handover_is_rehearsal(const struct handover *h)
{
	return h->rehearsal;
}
