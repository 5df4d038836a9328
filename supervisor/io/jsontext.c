#include "io/jsontext.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

char *jsontext_pack(const char *format, ...)
{
	json_error_t why;
	char *text = NULL;
	va_list args;
	json_t *value;

	va_start(args, format);
	value = json_vpack_ex(&why, 0, format, args);
	va_end(args);
	if (value)
		text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	else
		log_error("jsontext.pack", "format=\"%s\" reason=\"%s\"", format, why.text);
	json_decref(value);
	return text ? text : mem_strdup("{}");
}

struct jsontext {
	json_t *root;
};

int jsontext_parse(const char *text, size_t len, struct jsontext **ret)
{
	json_t *root = json_loadb(text, len, 0, NULL);
	struct jsontext *json;

	if (!json_is_object(root)) {
		json_decref(root);
		return -EPROTO;
	}
	json = mem_alloc(sizeof(*json));
	json->root = root;
	*ret = json;
	return 0;
}

void jsontext_free(struct jsontext **json)
{
	if (!*json)
		return;
	json_decref((*json)->root);
	mem_free(json);
}

bool jsontext_is_true(const struct jsontext *json, const char *member)
{
	return json_is_true(json_object_get(json->root, member));
}

const char *jsontext_text(const struct jsontext *json, const char *member)
{
	return json_string_value(json_object_get(json->root, member));
}

int64_t jsontext_number(const struct jsontext *json, const char *member, int64_t fallback)
{
	json_t *value = json_object_get(json->root, member);

	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

const char *jsontext_first(const struct jsontext *json, const char *member)
{
	return json_string_value(json_array_get(json_object_get(json->root, member), 0));
}

/* Length of the valid UTF-8 sequence at `s`, 0 if there is none (RFC 3629: no overlong forms, no surrogates).
 */
static size_t sequence_len(const unsigned char *s)
{
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		len = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4;
	else
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

char *jsontext_clean(char *text)
{
	unsigned char *at = (unsigned char *)text;

	while (*at) {
		size_t len = sequence_len(at);

		if (len == 0) {
			*at = '?';
			len = 1;
		}
		at += len;
	}
	return text;
}
