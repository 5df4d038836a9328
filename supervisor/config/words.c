#include "config/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"

/* Adds one word, quotes taken away, and returns what is behind it; NULL for an open quote. */
static const char *take_word(const char *text, struct buf *word)
{
	char quote = '\0';

	for (; *text && (quote || !isspace((unsigned char)*text)); text++) {
		bool escapes = *text == '\\' && quote != '\'' && text[1];

		if (escapes && quote == '"')
			escapes = text[1] == '"' || text[1] == '\\';
		if (escapes)
			buf_put(word, ++text, 1);
		else if (quote && *text == quote)
			quote = '\0';
		else if (!quote && (*text == '"' || *text == '\''))
			quote = *text;
		else
			buf_put(word, text, 1);
	}
	return quote ? NULL : text;
}

static void append(struct config_list *list, char *word)
{
	list->words = mem_resize(list->words, list->len + 2, sizeof(list->words[0]));
	list->words[list->len++] = word;
	list->words[list->len] = NULL;
}

int words_split(const char *text, struct config_list *ret)
{
	struct config_list list = { .text = mem_strdup(text), .words = mem_array(1, sizeof(char *)) };

	for (;;) {
		struct buf word = BUF_INIT(0);
		size_t len;

		while (isspace((unsigned char)*text))
			text++;
		if (!*text)
			break;
		text = take_word(text, &word);
		append(&list, buf_take(&word, &len));
		if (!text) {
			words_free(&list);
			return -EINVAL;
		}
	}
	*ret = list;
	return 0;
}

void words_free(struct config_list *list)
{
	for (size_t i = 0; i < list->len; i++)
		mem_free(&list->words[i]);
	mem_free(&list->words);
	mem_free(&list->text);
	list->len = 0;
}

#define NAME_MAX_LEN 63

/* Edits (a character put in, left out or changed) between two names; names too long to be a slip are far. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_MAX_LEN + 1];
	size_t len = strlen(b);

	if (len > NAME_MAX_LEN || strlen(a) > NAME_MAX_LEN)
		return UINT32_MAX;
	for (unsigned k = 0; k <= len; k++)
		row[k] = k;
	for (unsigned i = 0; a[i]; i++) {
		unsigned corner = row[0];

		row[0] = i + 1;
		for (size_t k = 0; k < len; k++) {
			unsigned change = corner + (a[i] != b[k]);
			unsigned edge = (row[k] < row[k + 1] ? row[k] : row[k + 1]) + 1;

			corner = row[k + 1];
			row[k + 1] = change < edge ? change : edge;
		}
	}
	return row[len];
}

/* A part of the other counts as near too: "timeout" is meant to be one of the *_timeout keys. */
static bool is_near(const char *name, const char *other, unsigned edits)
{
	return edits <= strlen(name) / 3 + 1 || (strlen(name) >= 3 && strstr(other, name)) ||
	       (strlen(other) >= 3 && strstr(name, other));
}

char *words_nearest(const char *name, const char *const *names, size_t len)
{
	struct buf text = BUF_INIT(0);
	unsigned last = 0;
	size_t told = 0, ret_len;

	/* By rising distance, without sorting: names are few. */
	while (told < 3 && last != UINT32_MAX) {
		unsigned next = UINT32_MAX;

		for (size_t i = 0; i < len && told < 3; i++) {
			unsigned edits = distance(name, names[i]);

			if (edits > last && edits < next)
				next = edits;
			if (edits != last || !is_near(name, names[i], edits))
				continue;
			buf_putf(&text, "%s%s", told++ ? ", " : "", names[i]);
		}
		last = next;
	}
	return buf_take(&text, &ret_len);
}
