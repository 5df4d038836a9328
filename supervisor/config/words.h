#ifndef CONFIG_WORDS_H
#define CONFIG_WORDS_H

/* Small matters of text: words of a value, names alike, secrets in URLs. */

#include <stddef.h>

struct config_list;

/* Splits at blanks; '…' is taken as it is, in "…" a backslash escapes " and \, elsewhere any character;
 * nothing is expanded. -EINVAL for an open quote; then *ret is untouched. The list is freed by words_free().
 */
int words_split(const char *text, struct config_list *ret) __attribute__((warn_unused_result));
void words_free(struct config_list *list);

/* The names closest to `name`, nearest first: "size, type"; at most three, "" when none is near. Fresh. */
char *words_nearest(const char *name, const char *const *names, size_t len)
	__attribute__((warn_unused_result));

#endif
