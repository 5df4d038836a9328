#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

/* The one table of configuration keys. A row feeds parsing, range check, default, reload, `config show`, the
 * sample file and the reference page; nothing about a key is said anywhere else. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum key_section {
	KEY_DAEMON,
	KEY_DATABASE,
	KEY_SPOOL,
	KEY_RETENTION,
	KEY_CONTROL,
	KEY_GROUP,
	KEY_POOL,
	KEY_SERVICE,
	KEY_PROVIDER,
	KEY_LIMIT,
	KEY_RETRY,
	KEY_METRICS,
	KEY_ALERT,
	KEY_SECTION_COUNT
};

enum key_type {
	KEY_STRING,	  /* char * */
	KEY_PATH,	  /* char *: absolute, or empty */
	KEY_URL,	  /* char *: http:// or https://, or empty */
	KEY_BOOL,	  /* bool: yes no true false on off 1 0 */
	KEY_INT,	  /* int64_t or int, by `width` */
	KEY_INHERIT,	  /* as KEY_INT, or `inherit`: CONFIG_INHERIT */
	KEY_DURATION,	  /* int64_t ms: 500ms 30s 5m 6h 2d */
	KEY_ENUM,	  /* int: position in `words` */
	KEY_SIZE,	  /* int64_t bytes: 0, or 256M 1G */
	KEY_MONEY,	  /* int64_t in 1e-10 USD: 5, 2.50 */
	KEY_SIGNAL,	  /* int: TERM INT QUIT KILL HUP */
	KEY_READY,	  /* int64_t: fd, command, none or a duration */
	KEY_MODE,	  /* unsigned: octal */
	KEY_WORDS,	  /* struct config_list: words, quotes as in a shell, nothing expanded */
	KEY_NAMES,	  /* struct config_list: none or some of `words` */
	KEY_LIST,	  /* struct config_list: words that check.c knows */
	KEY_ENV,	  /* struct config_list of NAME=value */
	KEY_DATABASE_URL, /* char *, secret: redacted wherever it is shown */
};

struct key_spec {
	enum key_section section;
	const char *name;
	enum key_type type;
	const char *fallback;	  /* default, as one would write it */
	int64_t min, max;	  /* of numbers, durations (ms), money and sizes (bytes; or 0) */
	const char *const *words; /* of KEY_ENUM and KEY_NAMES; ends with NULL */
	size_t offset;		  /* into the section's struct */
	size_t width;		  /* bytes of the field */
	bool live;		  /* a reload applies it */
	const char *help;	  /* one line, no full stop */
};

struct key_section_spec {
	const char *name; /* "pool" */
	const char *form; /* of the name in "pool:NAME"; NULL = it has none */
	const char *help;
};

extern const struct key_spec key_table[];
extern const size_t key_table_len;

const struct key_section_spec *key_section_spec(enum key_section section);

/* The row of a key; NULL when there is none. */
const struct key_spec *key_find(enum key_section section, const char *name);

/* Parses `text` into the field at base + offset, freeing what the field held. On -EINVAL *ret_error is fresh
 * text "what is wrong; what is allowed", and the field is as before. */
int key_parse(const struct key_spec *key, void *base, const char *text, char **ret_error)
	__attribute__((warn_unused_result));

/* The field's value as one would write it, in fresh memory; secrets redacted if `redact`. */
char *key_text(const struct key_spec *key, const void *base, bool redact) __attribute__((warn_unused_result));

/* Frees what the field holds. */
void key_clear(const struct key_spec *key, void *base);

/* What the type allows, for messages and the reference: "a duration from 1s to 1h, such as 30s". Fresh. */
char *key_allowed(const struct key_spec *key) __attribute__((warn_unused_result));

/* Decimal digits and no sign; *ret_rest is what stands behind them. -EINVAL, or -ERANGE for too many. */
int key_parse_number(const char *text, int64_t *ret, const char **ret_rest)
	__attribute__((warn_unused_result));

/* Durations: "500ms", "30s", "5m", "6h", "2d"; "0" alone needs no unit. -EINVAL otherwise. */
int key_parse_duration(const char *text, int64_t *ret_ms) __attribute__((warn_unused_result));

/* The shortest exact way to write it: 90000 → "90s". Fresh. */
char *key_duration_text(int64_t ms) __attribute__((warn_unused_result));

/* Sizes: bytes, or with K, M, G, T in steps of 1024. -EINVAL otherwise. */
int key_parse_size(const char *text, int64_t *ret_bytes) __attribute__((warn_unused_result));

/* US dollars with up to four decimals, at most 1,000,000, as 1e-10 USD. -EINVAL otherwise. */
int key_parse_money(const char *text, int64_t *ret_e10) __attribute__((warn_unused_result));

/* "5", "2.50" or "0.0001"; what is finer than four decimals is cut. Not negative. Fresh. */
char *key_money_text(int64_t e10) __attribute__((warn_unused_result));

/* In the largest unit that divides it: 268435456 → "256M". Fresh. */
char *key_size_text(int64_t bytes) __attribute__((warn_unused_result));

#endif
