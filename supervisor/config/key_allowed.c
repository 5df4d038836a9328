/* What each type of configuration key allows, in words. */

#include "base/buf.h"
#include "base/mem.h"
#include "config/keys.h"

static char *allowed_duration(const struct key_spec *key)
{
	AUTO(mem_free_str) char *min = key_duration_text(key->min), *max = key_duration_text(key->max);

	return mem_printf("a duration from %s to %s, as 500ms, 30s, 5m, 6h or 2d", min, max);
}

static char *allowed_size(const struct key_spec *key)
{
	AUTO(mem_free_str) char *min = key_size_text(key->min), *max = key_size_text(key->max);

	return mem_printf("0, or a size from %s to %s, as 256M or 2G", min, max);
}

static char *allowed_money(const struct key_spec *key)
{
	AUTO(mem_free_str) char *min = key_money_text(key->min), *max = key_money_text(key->max);

	return mem_printf("US dollars from %s to %s with up to four decimals, as 25 or 2.50", min, max);
}

static char *allowed_words(const struct key_spec *key, const char *how_many)
{
	struct buf text = BUF_INIT(0);
	size_t len;

	buf_puts(&text, how_many);
	for (int i = 0; key->words[i]; i++)
		buf_putf(&text, "%s%s", i ? ", " : "", key->words[i]);
	return buf_take(&text, &len);
}

char *key_allowed(const struct key_spec *key)
{
	switch (key->type) {
	case KEY_STRING:
		return mem_printf("a text of %lld to %lld bytes", (long long)key->min, (long long)key->max);
	case KEY_PATH:
		return mem_printf("an absolute path of at most %lld bytes%s", (long long)key->max,
				  key->min ? "" : ", or empty");
	case KEY_URL:
		return mem_strdup("http://HOST… or https://HOST… without query, or empty");
	case KEY_BOOL:
		return mem_strdup("yes or no");
	case KEY_INT:
		return mem_printf("a whole number from %lld to %lld", (long long)key->min,
				  (long long)key->max);
	case KEY_INHERIT:
		return mem_printf("inherit, or a whole number from %lld to %lld", (long long)key->min,
				  (long long)key->max);
	case KEY_DURATION:
		return allowed_duration(key);
	case KEY_ENUM:
		return allowed_words(key, "one of ");
	case KEY_SIZE:
		return allowed_size(key);
	case KEY_MONEY:
		return allowed_money(key);
	case KEY_SIGNAL:
		return mem_strdup("one of KILL, TERM, INT, QUIT, HUP");
	case KEY_READY:
		return mem_strdup("fd, command, none, or a duration up to 1h such as 2s");
	case KEY_MODE:
		return mem_strdup("an octal mode such as 0660");
	case KEY_WORDS:
		return mem_strdup("a program and its arguments, with every quote closed");
	case KEY_NAMES:
		return allowed_words(key, "empty, or any of ");
	case KEY_LIST:
		return mem_strdup("empty, or words with blanks between them");
	case KEY_ENV:
		return mem_strdup(
			"NAME=value words, with every quote closed and no API key (those belong into "
			"the environment or key_file)");
	case KEY_DATABASE_URL:
		return mem_strdup("embedded, postgresql://…, or a libpq connection string");
	}
	return mem_strdup("");
}
