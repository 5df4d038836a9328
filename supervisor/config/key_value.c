/* Values of configuration keys: text → field and back, one parser for each type. */

#include "config/keys.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/words.h"

static const struct {
	const char *name;
	int number;
} signals[] = {
	{ "KILL", SIGKILL }, { "TERM", SIGTERM }, { "INT", SIGINT }, { "QUIT", SIGQUIT }, { "HUP", SIGHUP }
};

static void *field_of(const struct key_spec *key, void *base)
{
	return (char *)base + key->offset;
}

static const void *field_in(const struct key_spec *key, const void *base)
{
	return (const char *)base + key->offset;
}

static bool in_range(const struct key_spec *key, int64_t value)
{
	return value >= key->min && value <= key->max;
}

static void set_number(const struct key_spec *key, void *field, int64_t value)
{
	if (key->width == sizeof(int))
		*(int *)field = (int)value;
	else
		*(int64_t *)field = value;
}

static int64_t number_in(const struct key_spec *key, const void *field)
{
	return key->width == sizeof(int) ? *(const int *)field : *(const int64_t *)field;
}

/* The parsers: 0 with the field set, or -EINVAL with nothing changed. */

static int parse_int(const struct key_spec *key, void *field, const char *text)
{
	const char *rest;
	int64_t value;

	if (key_parse_number(text, &value, &rest) < 0 || *rest || !in_range(key, value))
		return -EINVAL;
	set_number(key, field, value);
	return 0;
}

static int parse_inherit(const struct key_spec *key, void *field, const char *text)
{
	if (strcmp(text, "inherit") != 0)
		return parse_int(key, field, text);
	set_number(key, field, CONFIG_INHERIT);
	return 0;
}

static int parse_money(const struct key_spec *key, void *field, const char *text)
{
	int64_t e10;

	if (key_parse_money(text, &e10) < 0 || !in_range(key, e10))
		return -EINVAL;
	*(int64_t *)field = e10;
	return 0;
}

static int parse_duration(const struct key_spec *key, void *field, const char *text)
{
	int64_t ms;

	if (key_parse_duration(text, &ms) < 0 || !in_range(key, ms))
		return -EINVAL;
	*(int64_t *)field = ms;
	return 0;
}

static int parse_size(const struct key_spec *key, void *field, const char *text)
{
	int64_t bytes;

	if (key_parse_size(text, &bytes) < 0 || (bytes && !in_range(key, bytes)))
		return -EINVAL;
	*(int64_t *)field = bytes;
	return 0;
}

static int parse_bool(const struct key_spec *key, void *field, const char *text)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };

	(void)key;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!strcasecmp(text, words[i])) {
			*(bool *)field = i % 2;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_enum(const struct key_spec *key, void *field, const char *text)
{
	for (int i = 0; key->words[i]; i++) {
		if (!strcmp(text, key->words[i])) {
			*(int *)field = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_signal(const struct key_spec *key, void *field, const char *text)
{
	(void)key;
	if (!strncmp(text, "SIG", 3))
		text += 3;
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		if (!strcmp(text, signals[i].name)) {
			*(int *)field = signals[i].number;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_ready(const struct key_spec *key, void *field, const char *text)
{
	int64_t *ready = field;

	if (!strcmp(text, "fd"))
		*ready = CONFIG_READY_FD;
	else if (!strcmp(text, "command"))
		*ready = CONFIG_READY_COMMAND;
	else if (!strcmp(text, "none"))
		*ready = CONFIG_READY_NONE;
	else
		return parse_duration(key, field, text);
	return 0;
}

static int parse_mode(const struct key_spec *key, void *field, const char *text)
{
	size_t len = strspn(text, "01234567");

	if (!len || len > 4 || text[len] || !in_range(key, strtol(text, NULL, 8)))
		return -EINVAL;
	*(unsigned *)field = (unsigned)strtoul(text, NULL, 8);
	return 0;
}

static int parse_string(const struct key_spec *key, void *field, const char *text)
{
	if (!in_range(key, (int64_t)strlen(text)))
		return -EINVAL;
	mem_set_str(field, mem_strdup(text));
	return 0;
}

static int parse_path(const struct key_spec *key, void *field, const char *text)
{
	return *text && *text != '/' ? -EINVAL : parse_string(key, field, text);
}

static int parse_url(const struct key_spec *key, void *field, const char *text)
{
	const char *host = strstr(text, "://");

	if (*text && (!host || (strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0)))
		return -EINVAL;
	if (*text && (!host[3] || host[3] == '/' || strpbrk(text, " \t?#")))
		return -EINVAL;
	return parse_string(key, field, text);
}

static int parse_database_url(const struct key_spec *key, void *field, const char *text)
{
	if (strcmp(text, "embedded") != 0 && strncmp(text, "postgres://", 11) != 0 &&
	    strncmp(text, "postgresql://", 13) != 0 && !strchr(text, '='))
		return -EINVAL;
	return parse_string(key, field, text);
}

static int set_words(const struct key_spec *key, struct config_list *field, struct config_list *list)
{
	if (!in_range(key, (int64_t)strlen(list->text)) || (list->len && !list->words[0][0])) {
		words_free(list);
		return -EINVAL;
	}
	words_free(field);
	*field = *list;
	return 0;
}

static int parse_words(const struct key_spec *key, void *field, const char *text)
{
	struct config_list list;

	return words_split(text, &list) < 0 ? -EINVAL : set_words(key, field, &list);
}

static bool is_one_of(const char *const *words, const char *word)
{
	while (*words && strcmp(*words, word) != 0)
		words++;
	return *words;
}

static int parse_names(const struct key_spec *key, void *field, const char *text)
{
	struct config_list list;

	if (words_split(text, &list) < 0)
		return -EINVAL;
	for (size_t i = 0; i < list.len; i++) {
		if (!is_one_of(key->words, list.words[i])) {
			words_free(&list);
			return -EINVAL;
		}
	}
	return set_words(key, field, &list);
}

static bool is_assignment(const char *word)
{
	size_t len = 0;

	while (isalnum((unsigned char)word[len]) || word[len] == '_')
		len++;
	return len && !isdigit((unsigned char)word[0]) && word[len] == '=';
}

/* API keys come from the environment or the key file: an ini gets copied, mailed and committed. */
static bool is_api_key(const char *word)
{
	static const char tail[] = "_API_KEY";
	size_t len = strcspn(word, "="), tail_len = sizeof(tail) - 1;

	return len > tail_len && !strncmp(word + len - tail_len, tail, tail_len);
}

static int parse_env(const struct key_spec *key, void *field, const char *text)
{
	struct config_list list;

	if (words_split(text, &list) < 0)
		return -EINVAL;
	for (size_t i = 0; i < list.len; i++) {
		if (!is_assignment(list.words[i]) || is_api_key(list.words[i])) {
			words_free(&list);
			return -EINVAL;
		}
	}
	return set_words(key, field, &list);
}

static int (*const parsers[])(const struct key_spec *key, void *field, const char *text) = {
	[KEY_STRING] = parse_string,   [KEY_PATH] = parse_path,	  [KEY_URL] = parse_url,
	[KEY_BOOL] = parse_bool,       [KEY_INT] = parse_int,	  [KEY_DURATION] = parse_duration,
	[KEY_ENUM] = parse_enum,       [KEY_SIZE] = parse_size,	  [KEY_SIGNAL] = parse_signal,
	[KEY_READY] = parse_ready,     [KEY_MODE] = parse_mode,	  [KEY_WORDS] = parse_words,
	[KEY_INHERIT] = parse_inherit, [KEY_MONEY] = parse_money, [KEY_NAMES] = parse_names,
	[KEY_LIST] = parse_words,      [KEY_ENV] = parse_env,	  [KEY_DATABASE_URL] = parse_database_url,
};

/* Values of these types may hold a secret and are never quoted back. */
static bool may_be_secret(const struct key_spec *key)
{
	return key->type == KEY_DATABASE_URL || key->type == KEY_URL || key->type == KEY_ENV ||
	       key->type == KEY_WORDS;
}

int key_parse(const struct key_spec *key, void *base, const char *text, char **ret_error)
{
	AUTO(mem_free_str) char *allowed = NULL;

	if (parsers[key->type](key, field_of(key, base), text) == 0)
		return 0;
	allowed = key_allowed(key);
	if (!*text)
		*ret_error = mem_printf("empty; allowed is %s", allowed);
	else if (may_be_secret(key))
		*ret_error = mem_printf("not usable; allowed is %s", allowed);
	else
		*ret_error = mem_printf("'%.60s' is not %s", text, allowed);
	return -EINVAL;
}

static const char *signal_name(int number)
{
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		if (signals[i].number == number)
			return signals[i].name;
	}
	return "?";
}

static char *shown(const char *text, bool redact)
{
	return redact ? config_redact_url(text) : mem_strdup(text);
}

static char *number_text(int64_t number)
{
	return mem_printf("%lld", (long long)number);
}

static char *ready_text(int64_t ready)
{
	if (ready == CONFIG_READY_FD)
		return mem_strdup("fd");
	if (ready == CONFIG_READY_COMMAND)
		return mem_strdup("command");
	return ready == CONFIG_READY_NONE ? mem_strdup("none") : key_duration_text(ready);
}

char *key_text(const struct key_spec *key, const void *base, bool redact)
{
	const void *field = field_in(key, base);

	switch (key->type) {
	case KEY_STRING:
	case KEY_PATH:
		return mem_strdup(*(char *const *)field);
	case KEY_URL:
	case KEY_DATABASE_URL:
		return shown(*(char *const *)field, redact);
	case KEY_WORDS:
	case KEY_NAMES:
	case KEY_LIST:
	case KEY_ENV:
		return shown(((const struct config_list *)field)->text, redact);
	case KEY_BOOL:
		return mem_strdup(*(const bool *)field ? "yes" : "no");
	case KEY_INT:
		return number_text(number_in(key, field));
	case KEY_INHERIT:
		if (number_in(key, field) == CONFIG_INHERIT)
			return mem_strdup("inherit");
		return number_text(number_in(key, field));
	case KEY_MONEY:
		return key_money_text(*(const int64_t *)field);
	case KEY_DURATION:
		return key_duration_text(*(const int64_t *)field);
	case KEY_ENUM:
		return mem_strdup(key->words[*(const int *)field]);
	case KEY_SIZE:
		return key_size_text(*(const int64_t *)field);
	case KEY_SIGNAL:
		return mem_strdup(signal_name(*(const int *)field));
	case KEY_READY:
		return ready_text(*(const int64_t *)field);
	case KEY_MODE:
		return mem_printf("%04o", *(const unsigned *)field);
	}
	return mem_strdup("");
}

void key_clear(const struct key_spec *key, void *base)
{
	void *field = field_of(key, base);

	switch (key->type) {
	case KEY_STRING:
	case KEY_PATH:
	case KEY_URL:
	case KEY_DATABASE_URL:
		mem_free(field);
		break;
	case KEY_WORDS:
	case KEY_NAMES:
	case KEY_LIST:
	case KEY_ENV:
		words_free(field);
		break;
	default: /* plain values hold nothing */
		break;
	}
}
