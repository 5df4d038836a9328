#include "base/log_json.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

struct pair {
	const char *name, *value;
	size_t name_len, value_len;
};

struct out {
	char *bytes;
	size_t len, room;
};

enum { CLOSING = 8 }; /* bytes kept for what ends the object */

static void put(struct out *out, const char *bytes, size_t len)
{
	if (len <= out->room - out->len) {
		memcpy(out->bytes + out->len, bytes, len);
		out->len += len;
	}
}

/* Whole characters only, and those that fit; what is not UTF-8 becomes '?'. */
static void put_string(struct out *out, const char *text, size_t len)
{
	put(out, "\"", 1);
	for (size_t i = 0; i < len && out->room - out->len > 8;) {
		size_t n = utf8_sequence_len(text + i);

		if (n > len - i)
			n = 0;
		if (n == 0)
			put(out, "?", 1);
		else if (text[i] == '"' || text[i] == '\\')
			put(out, text[i] == '"' ? "\\\"" : "\\\\", 2);
		else
			put(out, text + i, n);
		i += n ? n : 1;
	}
	put(out, "\"", 1);
}

static void put_member(struct out *out, const char *before, const char *name, const char *value)
{
	put(out, before, strlen(before));
	put_string(out, name, strlen(name));
	put(out, ":", 1);
	put_string(out, value, strlen(value));
}

static size_t name_len(const char *text)
{
	size_t len = 0;

	while (isalnum((unsigned char)text[len]) || text[len] == '_')
		len++;
	return text[len] == '=' ? len : 0;
}

/* Where a quoted value ends: at a quote with the end, another pair or ` --` behind it, for values may hold
 * quotes. */
static const char *closing_quote(const char *from)
{
	for (const char *at = strchr(from, '"'); at; at = strchr(at + 1, '"')) {
		if (!at[1] || (at[1] == ' ' && (name_len(at + 2) || !strncmp(at + 2, "-- ", 3))))
			return at;
	}
	return NULL;
}

/* Moves *at behind the pair that stands there. */
static bool read_pair(const char **at, struct pair *ret)
{
	const char *text = *at, *end;

	ret->name = text;
	ret->name_len = name_len(text);
	if (ret->name_len == 0)
		return false;
	text += ret->name_len + 1;
	end = *text == '"' ? closing_quote(text + 1) : NULL;
	if (end)
		text++;
	ret->value = text;
	ret->value_len = end ? (size_t)(end - text) : strcspn(text, " ");
	text += ret->value_len + (end ? 1 : 0);
	*at = text + (*text == ' ');
	return true;
}

static bool is_told(const struct pair *pairs, size_t count, const struct pair *pair)
{
	for (size_t i = 0; i < count; i++) {
		if (pairs[i].name_len == pair->name_len && !memcmp(pairs[i].name, pair->name, pair->name_len))
			return true;
	}
	return false;
}

/* Returns what stands behind the pairs. */
static const char *put_pairs(struct out *out, const char *text)
{
	struct pair pairs[LOG_JSON_PAIRS_MAX];
	size_t count = 0;

	while (count < LOG_JSON_PAIRS_MAX && read_pair(&text, &pairs[count])) {
		struct pair *pair = &pairs[count];

		/* Half a member is none: its name, quotes, colon and comma must fit. */
		if (is_told(pairs, count, pair) || out->room - out->len < pair->name_len + 32)
			continue;
		put(out, count ? "," : ",\"data\":{", count ? 1 : 9);
		put_string(out, pair->name, pair->name_len);
		put(out, ":", 1);
		put_string(out, pair->value, pair->value_len);
		count++;
	}
	if (count)
		put(out, "}", 1);
	return text;
}

size_t log_json_write(char *bytes, size_t size, const char *time, const char *level, const char *event,
		      const char *pairs)
{
	struct out out = { .bytes = bytes, .room = size - CLOSING };

	put_member(&out, "{", "time", time);
	put_member(&out, ",", "level", level);
	put_member(&out, ",", "event", event);
	out.room -= CLOSING; /* for the end of the pairs */
	pairs = put_pairs(&out, pairs);
	out.room += CLOSING;
	if (!strncmp(pairs, "-- ", 3))
		pairs += 3;
	if (*pairs && out.room - out.len > 64)
		put_member(&out, ",", "text", pairs);
	out.room = size;
	put(&out, "}", 1);
	return out.len;
}
