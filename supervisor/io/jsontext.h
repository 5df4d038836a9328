#ifndef IO_JSONTEXT_H
#define IO_JSONTEXT_H

/* Small JSON documents as text, for the layers that know no JSON library. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As json_pack(3) of jansson, e.g. "{s:s, s:I, s:b}"; texts must be UTF-8 (see jsontext_clean). Fresh compact
 * text; "{}" when the format or a text is wrong. */
char *jsontext_pack(const char *format, ...) __attribute__((warn_unused_result));

/* One document that another program wrote. */
struct jsontext;

/* -EPROTO when `text` is not one JSON object. */
int jsontext_parse(const char *text, size_t len, struct jsontext **ret) __attribute__((warn_unused_result));
void jsontext_free(struct jsontext **json);
bool jsontext_is_true(const struct jsontext *json, const char *member);
/* A member's text, NULL when it is none; its whole number, `fallback` when it is none. */
const char *jsontext_text(const struct jsontext *json, const char *member);
int64_t jsontext_number(const struct jsontext *json, const char *member, int64_t fallback);
/* First element of an array of texts; NULL when there is none. Valid as long as `json`. */
const char *jsontext_first(const struct jsontext *json, const char *member);

/* Replaces, in place, every byte that is not part of valid UTF-8 by '?'. Returns `text`. */
char *jsontext_clean(char *text);

#endif
