#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_ROOM = 256 };

void buf_init(struct buf *b, size_t cap)
{
	*b = (struct buf)BUF_INIT(cap);
}

void buf_free(struct buf *b)
{
	free(b->bytes);
	buf_init(b, b->cap);
}

size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

const char *buf_bytes(const struct buf *b)
{
	return b->bytes ? b->bytes + b->start : "";
}

static void compact(struct buf *b)
{
	size_t len = buf_len(b);

	if (b->start == 0)
		return;
	memmove(b->bytes, b->bytes + b->start, len);
	b->start = 0;
	b->end = len;
	b->bytes[len] = '\0';
}

char *buf_reserve(struct buf *b, size_t len)
{
	size_t held = buf_len(b);
	size_t room;

	if (len > SIZE_MAX / 4 - held || (b->cap && held + len > b->cap))
		return NULL;
	if (b->bytes && b->end + len <= b->room)
		return b->bytes + b->end;
	/* Moving is cheaper than growing when half of the room has been dropped. */
	if (b->bytes && held + len <= b->room && b->start >= b->room / 2) {
		compact(b);
		return b->bytes + b->end;
	}
	room = b->room ? b->room : FIRST_ROOM;
	while (room < held + len)
		room *= 2;
	if (b->cap && room > b->cap)
		room = b->cap;
	if (b->bytes)
		compact(b);
	b->bytes = mem_resize(b->bytes, room + 1, 1);
	b->room = room;
	b->bytes[b->end] = '\0';
	return b->bytes + b->end;
}

void buf_commit(struct buf *b, size_t len)
{
	assert(b->end + len <= b->room);
	b->end += len;
	b->bytes[b->end] = '\0';
}

int buf_add(struct buf *b, const void *bytes, size_t len)
{
	char *at = buf_reserve(b, len);

	if (!at)
		return -ENOBUFS;
	if (len)
		memcpy(at, bytes, len);
	buf_commit(b, len);
	return 0;
}

__attribute__((format(printf, 2, 0))) static int add_format(struct buf *b, const char *format, va_list args)
{
	va_list again;
	char *at = buf_reserve(b, 128);
	size_t room = at ? b->room - b->end + 1 : 0;
	int len;

	va_copy(again, args);
	len = vsnprintf(at, room, format, args);
	if (len >= 0 && (size_t)len >= room) {
		at = buf_reserve(b, (size_t)len);
		if (at)
			(void)vsnprintf(at, (size_t)len + 1, format, again);
	}
	va_end(again);
	if (len < 0 || !at) {
		if (b->bytes)
			b->bytes[b->end] = '\0';
		return len < 0 ? -EINVAL : -ENOBUFS;
	}
	buf_commit(b, (size_t)len);
	return 0;
}

int buf_addf(struct buf *b, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = add_format(b, format, args);
	va_end(args);
	return r;
}

void buf_put(struct buf *b, const void *bytes, size_t len)
{
	int r = buf_add(b, bytes, len);

	assert(r == 0);
	(void)r;
}

void buf_puts(struct buf *b, const char *text)
{
	buf_put(b, text, strlen(text));
}

void buf_putf(struct buf *b, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = add_format(b, format, args);
	va_end(args);
	assert(r == 0);
	(void)r;
}

void buf_drop(struct buf *b, size_t len)
{
	if (len >= buf_len(b)) {
		b->start = b->end = 0;
		if (b->bytes)
			b->bytes[0] = '\0';
		return;
	}
	b->start += len;
}

void buf_clear(struct buf *b, size_t keep)
{
	if (b->room > keep) {
		buf_free(b);
		return;
	}
	buf_drop(b, buf_len(b));
}

char *buf_take(struct buf *b, size_t *ret_len)
{
	char *bytes;

	if (!b->bytes) {
		*ret_len = 0;
		return mem_strdup("");
	}
	compact(b);
	bytes = b->bytes;
	*ret_len = b->end;
	buf_init(b, b->cap);
	return bytes;
}
