#include "row.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"
#include "config/keys.h"

static void test_durations_are_read_exactly(void **state)
{
	static const struct {
		const char *text;
		int64_t want; /* -1 = refused */
		const char *want_text;
	} rows[] = {
		{ "0", 0, "0s" },
		{ "0s", 0, "0s" },
		{ "1ms", 1, "1ms" },
		{ "500ms", 500, "500ms" },
		{ "1000ms", 1000, "1s" },
		{ "30s", 30000, "30s" },
		{ "60s", 60000, "1m" },
		{ "90s", 90000, "90s" },
		{ "5m", 300000, "5m" },
		{ "6h", 21600000, "6h" },
		{ "2d", 172800000, "2d" },
		{ "24h", 86400000, "1d" },
		{ "36h", 129600000, "36h" },
		{ "1500ms", 1500, "1500ms" },
		{ "", -1, NULL },
		{ "30", -1, NULL },
		{ "30 s", -1, NULL },
		{ "30S", -1, NULL },
		{ "30sec", -1, NULL },
		{ "-1s", -1, NULL },
		{ "+1s", -1, NULL },
		{ "1.5s", -1, NULL },
		{ "1m30s", -1, NULL },
		{ "s", -1, NULL },
		{ " 1s", -1, NULL },
		{ "99999999999999999999s", -1, NULL },
		{ "9223372036854775807d", -1, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *text = NULL;
		int64_t ms = -1;
		int r = key_parse_duration(rows[i].text, &ms);

		expect(r == (rows[i].want < 0 ? -EINVAL : 0) && ms == rows[i].want, "'%s': %d, %" PRId64,
		       rows[i].text, r, ms);
		if (r < 0)
			continue;
		text = key_duration_text(ms);
		expect(!strcmp(text, rows[i].want_text), "'%s' is shown as %s", rows[i].text, text);
	}
}

static void test_sizes_are_read_exactly(void **state)
{
	static const struct {
		const char *text;
		int64_t want; /* -1 = refused */
		const char *want_text;
	} sizes[] = {
		{ "0", 0, "0" },
		{ "1", 1, "1" },
		{ "1023", 1023, "1023" },
		{ "1024", 1024, "1K" },
		{ "1K", 1024, "1K" },
		{ "1536K", 1572864, "1536K" },
		{ "256M", 268435456, "256M" },
		{ "3G", INT64_C(3221225472), "3G" },
		{ "1T", INT64_C(1099511627776), "1T" },
		{ "8388607T", INT64_C(9223370937343148032), "8388607T" },
		{ "8388608T", -1, NULL },
		{ "", -1, NULL },
		{ "M", -1, NULL },
		{ "1 M", -1, NULL },
		{ "1.5G", -1, NULL },
		{ "-1", -1, NULL },
		{ "1MiB", -1, NULL },
		{ "0x10", -1, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		AUTO(mem_free_str) char *text = NULL;
		int64_t bytes = -1;
		int r = key_parse_size(sizes[i].text, &bytes);

		expect(r == (sizes[i].want < 0 ? -EINVAL : 0) && bytes == sizes[i].want, "'%s': %d, %" PRId64,
		       sizes[i].text, r, bytes);
		if (r < 0)
			continue;
		text = key_size_text(bytes);
		expect(!strcmp(text, sizes[i].want_text), "'%s' is shown as %s", sizes[i].text, text);
	}
}

/* One row: a key, a value, and what it reads as when shown, or the error. */
static const struct {
	enum key_section section;
	const char *key;
	const char *text;
	const char *want;	/* shown, not redacted; NULL = refused */
	const char *want_error; /* a part of it */
} rows[] = {
	{ KEY_DAEMON, "state_dir", "/x", "/x", NULL },
	{ KEY_DAEMON, "state_dir", "x", NULL, "'x' is not an absolute path of at most 4000 bytes" },
	{ KEY_DAEMON, "state_dir", "", NULL, "empty; allowed is an absolute path" },
	{ KEY_DAEMON, "key_file", "", "", NULL },
	{ KEY_DAEMON, "user", "", NULL, "a text of 1 to 32 bytes" },
	{ KEY_DAEMON, "user", "a-user-name-that-is-far-too-long-x", NULL, "a text of 1 to 32 bytes" },
	{ KEY_DAEMON, "log_level", "debug", "debug", NULL },
	{ KEY_DAEMON, "log_level", "Debug", NULL, "'Debug' is not one of error, warning, info, debug" },
	{ KEY_DAEMON, "log_level", "", NULL, "empty; allowed is one of error" },
	{ KEY_DAEMON, "drain_timeout", "0", "0s", NULL },
	{ KEY_DAEMON, "drain_timeout", "1h", "1h", NULL },
	{ KEY_DAEMON, "drain_timeout", "61m", NULL, "'61m' is not a duration from 0s to 1h" },
	{ KEY_DAEMON, "drain_timeout", "30", NULL, "'30' is not a duration" },
	{ KEY_DATABASE, "url", "embedded", "embedded", NULL },
	{ KEY_DATABASE, "url", "postgresql://u:pw@h/db", "postgresql://u:pw@h/db", NULL },
	{ KEY_DATABASE, "url", "postgres:///db", "postgres:///db", NULL },
	{ KEY_DATABASE, "url", "host=h dbname=d", "host=h dbname=d", NULL },
	{ KEY_DATABASE, "url", "mysql://u:secret@h/db", NULL,
	  "not usable; allowed is embedded, postgresql://" },
	{ KEY_DATABASE, "shared", "Yes", "yes", NULL },
	{ KEY_DATABASE, "shared", "off", "no", NULL },
	{ KEY_DATABASE, "shared", "1", "yes", NULL },
	{ KEY_DATABASE, "shared", "2", NULL, "'2' is not yes or no" },
	{ KEY_CONTROL, "mode", "0600", "0600", NULL },
	{ KEY_CONTROL, "mode", "777", "0777", NULL },
	{ KEY_CONTROL, "mode", "1777", NULL, "an octal mode" },
	{ KEY_CONTROL, "mode", "0680", NULL, "an octal mode" },
	{ KEY_CONTROL, "mode", "", NULL, "an octal mode" },
	{ KEY_CONTROL, "mode", "00660", NULL, "an octal mode" },
	{ KEY_CONTROL, "max_clients", "1", "1", NULL },
	{ KEY_CONTROL, "max_clients", "0", NULL, "'0' is not a whole number from 1 to 10000" },
	{ KEY_CONTROL, "max_clients", "10001", NULL, "a whole number from 1 to 10000" },
	{ KEY_CONTROL, "max_clients", "0x10", NULL, "a whole number" },
	{ KEY_CONTROL, "max_clients", "-1", NULL, "a whole number" },
	{ KEY_CONTROL, "max_clients", "99999999999999999999", NULL, "a whole number" },
	{ KEY_POOL, "command", "python3 'a b' \"c\\\"d\" e\\ f", "python3 'a b' \"c\\\"d\" e\\ f", NULL },
	{ KEY_POOL, "command", "python3 'a b", NULL, "with every quote closed" },
	{ KEY_POOL, "command", "python3 \"a\\\"", NULL, "with every quote closed" },
	{ KEY_POOL, "command", "'' x", NULL, "a program and its arguments" },
	{ KEY_POOL, "providers", "", "", NULL },
	{ KEY_POOL, "providers", "xai  'openai'", "xai  'openai'", NULL },
	{ KEY_POOL, "providers", "xai acme", NULL, "'xai acme' is not empty, or any of openai, anthropic" },
	{ KEY_POOL, "providers", "xai,openai", NULL, "'xai,openai' is not empty, or any of" },
	{ KEY_POOL, "providers", "xai \"\"", NULL, "is not empty, or any of" },
	{ KEY_POOL, "providers", "'xai", NULL, "is not empty, or any of" },
	{ KEY_POOL, "environment", "A=1 b_2='x y'", "A=1 b_2='x y'", NULL },
	{ KEY_POOL, "environment", "A", NULL, "NAME=value words" },
	{ KEY_POOL, "environment", "=1", NULL, "NAME=value words" },
	{ KEY_POOL, "environment", "1A=1", NULL, "NAME=value words" },
	{ KEY_POOL, "environment", "A='1", NULL, "NAME=value words" },
	{ KEY_POOL, "environment", "OPENAI_API_KEY=secret", NULL, "no API key" },
	{ KEY_SERVICE, "type", "transient", "transient", NULL },
	{ KEY_SERVICE, "ready", "fd", "fd", NULL },
	{ KEY_SERVICE, "ready", "none", "none", NULL },
	{ KEY_SERVICE, "ready", "2s", "2s", NULL },
	{ KEY_SERVICE, "ready", "0", NULL, "fd, command, none, or a duration" },
	{ KEY_SERVICE, "ready", "2h", NULL, "fd, command, none, or a duration" },
	{ KEY_SERVICE, "ready", "command", "command", NULL },
	{ KEY_SERVICE, "stop_signal", "INT", "INT", NULL },
	{ KEY_SERVICE, "stop_signal", "STOP", NULL, "one of KILL, TERM, INT, QUIT, HUP" },
	{ KEY_SERVICE, "group", "", NULL, "a text of 1 to 32 bytes" },
	{ KEY_POOL, "max_rss", "256M", "256M", NULL },
	{ KEY_POOL, "max_rss", "1024M", "1G", NULL },
	{ KEY_POOL, "max_rss", "1048577", "1048577", NULL },
	{ KEY_POOL, "max_rss", "0", "0", NULL },
	{ KEY_POOL, "max_rss", "0G", "0", NULL },
	{ KEY_POOL, "max_rss", "1023K", NULL, "'1023K' is not 0, or a size from 1M to 1T, as 256M or 2G" },
	{ KEY_POOL, "max_rss", "2T", NULL, "0, or a size" },
	{ KEY_POOL, "max_rss", "256MB", NULL, "0, or a size" },
	{ KEY_POOL, "max_rss", "256m", NULL, "0, or a size" },
	{ KEY_POOL, "max_rss", "", NULL, "empty; allowed is 0, or a size" },
	{ KEY_POOL, "max_rss", "9223372036854775807T", NULL, "0, or a size" },
	{ KEY_GROUP, "intensity", "1", "1", NULL },
	{ KEY_GROUP, "intensity", "0", NULL, "a whole number from 1 to 10000" },
	{ KEY_SERVICE, "death_signal", "SIGQUIT", "QUIT", NULL },
	{ KEY_SERVICE, "death_signal", "TERM", "TERM", NULL },
	{ KEY_SERVICE, "death_signal", "9", NULL, "one of KILL, TERM, INT, QUIT, HUP" },
	{ KEY_PROVIDER, "base_url", "http://127.0.0.1:9/openai", "http://127.0.0.1:9/openai", NULL },
	{ KEY_PROVIDER, "base_url", "https://u:p@h", "https://u:p@h", NULL },
	{ KEY_PROVIDER, "base_url", "", "", NULL },
	{ KEY_PROVIDER, "base_url", "ftp://h", NULL, "http://HOST" },
	{ KEY_PROVIDER, "base_url", "h:80", NULL, "http://HOST" },
	{ KEY_PROVIDER, "base_url", "http://", NULL, "http://HOST" },
	{ KEY_PROVIDER, "base_url", "http:///x", NULL, "http://HOST" },
	{ KEY_PROVIDER, "base_url", "http://h/?key=secret", NULL, "without query" },
	{ KEY_PROVIDER, "budget_usd_per_day", "0", "0", NULL },
	{ KEY_PROVIDER, "budget_usd_per_day", "0.00", "0", NULL },
	{ KEY_PROVIDER, "budget_usd_per_day", "25", "25", NULL },
	{ KEY_PROVIDER, "budget_usd_per_day", "2.5", "2.50", NULL },
	{ KEY_PROVIDER, "budget_usd_per_day", "2.05000", "2.05", NULL },
	{ KEY_PROVIDER, "budget_usd_per_day", "0.125", "0.125", NULL },
	{ KEY_PROVIDER, "budget_usd_per_day", "999999.9999", "999999.9999", NULL },
	{ KEY_PROVIDER, "budget_usd_per_day", "1000000", "1000000", NULL },
	{ KEY_PROVIDER, "budget_usd_per_day", "1000000.0001", NULL,
	  "is not US dollars from 0 to 1000000 with up to four decimals, as 25 or 2.50" },
	{ KEY_PROVIDER, "budget_usd_per_day", "0.00001", NULL, "up to four decimals" },
	{ KEY_PROVIDER, "budget_usd_per_day", "$5", NULL, "'$5' is not US dollars" },
	{ KEY_PROVIDER, "budget_usd_per_day", "-1", NULL, "'-1' is not US dollars" },
	{ KEY_PROVIDER, "budget_usd_per_day", "1,5", NULL, "'1,5' is not US dollars" },
	{ KEY_PROVIDER, "budget_usd_per_day", "5.", NULL, "'5.' is not US dollars" },
	{ KEY_PROVIDER, "budget_usd_per_day", "", NULL, "empty; allowed is US dollars" },
	{ KEY_PROVIDER, "requests_window", "1s", "1s", NULL },
	{ KEY_PROVIDER, "requests_window", "999ms", NULL, "a duration from 1s to 1m" },
	{ KEY_PROVIDER, "requests_window", "61s", NULL, "a duration from 1s to 1m" },
	{ KEY_PROVIDER, "ramp_up", "0", "0s", NULL },
	{ KEY_PROVIDER, "ramp_up", "2h", NULL, "a duration from 0s to 1h" },
	{ KEY_LIMIT, "requests_per_minute", "inherit", "inherit", NULL },
	{ KEY_LIMIT, "requests_per_minute", "0", "0", NULL },
	{ KEY_LIMIT, "requests_per_minute", "1000000000", "1000000000", NULL },
	{ KEY_LIMIT, "requests_per_minute", "-1", NULL, "inherit, or a whole number from 0 to 1000000000" },
	{ KEY_LIMIT, "requests_per_minute", "Inherit", NULL, "'Inherit' is not inherit, or a whole number" },
	{ KEY_LIMIT, "requests_per_minute", "", NULL, "empty; allowed is inherit, or a whole number" },
	{ KEY_LIMIT, "concurrency", "inherit", "inherit", NULL },
	{ KEY_LIMIT, "concurrency", "1000000", "1000000", NULL },
	{ KEY_LIMIT, "concurrency", "1000001", NULL, "inherit, or a whole number from 0 to 1000000" },
	{ KEY_PROVIDER, "requests_per_minute", "1000000000", "1000000000", NULL },
	{ KEY_PROVIDER, "requests_per_minute", "1000000001", NULL, "a whole number from 0 to 1000000000" },
};

/* Room for the largest of the structs. */
union any {
	struct config_daemon daemon;
	struct config_database database;
	struct config_control control;
	struct config_group group;
	struct config_pool pool;
	struct config_service service;
	struct config_provider provider;
	struct config_limit limit;
};

static void check_row(size_t i)
{
	const struct key_spec *key = key_find(rows[i].section, rows[i].key);
	AUTO(mem_free_str) char *error = NULL;
	AUTO(mem_free_str) char *text = NULL;
	union any base;
	int r;

	memset(&base, 0, sizeof(base));
	expect(key, "%s is no key", rows[i].key);
	r = key_parse(key, &base, rows[i].text, &error);
	expect(r == (rows[i].want ? 0 : -EINVAL), "%s = %s: %d, %s", rows[i].key, rows[i].text, r,
	       error ? error : "");
	if (r < 0) {
		expect(strstr(error, rows[i].want_error), "%s = %s: %s", rows[i].key, rows[i].text, error);
		expect(!strstr(error, "secret"), "%s tells a secret: %s", rows[i].key, error);
		return;
	}
	text = key_text(key, &base, false);
	expect(!strcmp(text, rows[i].want), "%s = %s is shown as %s", rows[i].key, rows[i].text, text);
	key_clear(key, &base);
}

static void test_each_type_takes_what_it_allows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_row(i);
}

static void test_a_value_refused_leaves_the_old_one(void **state)
{
	const struct key_spec *key = key_find(KEY_POOL, "command");
	struct config_pool pool = { 0 };
	AUTO(mem_free_str) char *error = NULL;
	AUTO(mem_free_str) char *ignored = NULL;

	(void)state;
	assert_int_equal(key_parse(key, &pool, "a b", &ignored), 0);
	assert_int_equal(key_parse(key, &pool, "a 'b", &error), -EINVAL);
	assert_string_equal(pool.command.text, "a b");
	assert_int_equal(pool.command.len, 2);
	assert_string_equal(pool.command.words[1], "b");
	assert_null(pool.command.words[2]);
	key_clear(key, &pool);
}

static void test_words_are_split_as_a_shell_would(void **state)
{
	static const struct {
		const char *text;
		const char *want[5];
	} cases[] = {
		{ "", { NULL } },
		{ "  a\t b ", { "a", "b", NULL } },
		{ "a'b c'd", { "ab cd", NULL } },
		{ "a '' \"\"", { "a", "", "", NULL } },
		{ "\"a\\\"b\\\\c\\d\"", { "a\"b\\c\\d", NULL } },
		{ "a\\ b \\'c", { "a b", "'c", NULL } },
		{ "'a\\b'", { "a\\b", NULL } },
		{ "X='1 2' Y=\"3 4\"", { "X=1 2", "Y=3 4", NULL } },
	};
	const struct key_spec *key = key_find(KEY_SERVICE, "command");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct config_service service = { 0 };
		AUTO(mem_free_str) char *error = NULL;
		size_t n = 0;

		expect(key_parse(key, &service, cases[i].text, &error) == 0, "%s: %s", cases[i].text, error);
		for (; cases[i].want[n]; n++)
			expect(n < service.command.len && !strcmp(service.command.words[n], cases[i].want[n]),
			       "%s: word %zu", cases[i].text, n);
		expect(service.command.len == n && !service.command.words[n], "%s: %zu words", cases[i].text,
		       service.command.len);
		key_clear(key, &service);
	}
}

/* What no row of the table may get wrong. */
static void test_every_row_of_the_table_is_sound(void **state)
{
	(void)state;
	for (size_t i = 0; i < key_table_len; i++) {
		const struct key_spec *key = &key_table[i];
		AUTO(mem_free_str) char *error = NULL;
		AUTO(mem_free_str) char *text = NULL;
		union any base;

		memset(&base, 0, sizeof(base));
		expect(key_find(key->section, key->name) == key, "%s stands twice", key->name);
		expect(key->offset + key->width <= sizeof(base), "%s lies outside", key->name);
		expect(key->help[0] && key->help[strlen(key->help) - 1] != '.', "%s: help", key->name);
		expect(key->min <= key->max, "%s: range", key->name);
		expect(key_parse(key, &base, key->fallback, &error) == 0, "%s: default: %s", key->name,
		       error);
		text = key_text(key, &base, false);
		expect(!strcmp(text, key->fallback), "%s: default %s is shown as %s", key->name,
		       key->fallback, text);
		key_clear(key, &base);
	}
	assert_null(key_find(KEY_DAEMON, "size"));
	assert_null(key_find(KEY_POOL, "siz"));
}

static void test_signals_are_numbers(void **state)
{
	const struct key_spec *key = key_find(KEY_SERVICE, "death_signal");
	struct config_service service = { 0 };
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	assert_int_equal(key_parse(key, &service, "QUIT", &error), 0);
	assert_int_equal(service.death_signal, SIGQUIT);
}

static void test_passwords_are_redacted(void **state)
{
	static const char *const urls[][2] = {
		{ "embedded", "embedded" },
		{ "", "" },
		{ "postgresql://u:hunter2@h:5432/db", "postgresql://u:***@h:5432/db" },
		{ "postgres://u@h/db", "postgres://u@h/db" },
		{ "postgres://h:5432/db", "postgres://h:5432/db" },
		{ "postgres://u:a@b:c@h/db", "postgres://u:***@h/db" },
		{ "postgres://u:a/b@h/db", "postgres://u:***@h/db" },
		{ "postgres://u:a?b@h/db", "postgres://u:***@h/db" },
		{ "postgres://u:p@h/db?options=a@b", "postgres://u:***@h/db?options=a@b" },
		{ "postgres://u:@h/db", "postgres://u:***@h/db" },
		{ "postgres://h/db?user=u&password=hunter2&sslmode=x",
		  "postgres://h/db?user=u&password=***&sslmode=x" },
		{ "postgres://u:p@h/db?sslpassword=q", "postgres://u:***@h/db?sslpassword=***" },
		{ "host=h password=hunter2 user=u", "host=h password=*** user=u" },
		{ "host=h password = 'a b\\'c' user=u", "host=h password = *** user=u" },
		{ "password=a\\ b user=u", "password=*** user=u" },
		{ "PASSWORD=x", "PASSWORD=***" },
		{ "password='open", "password=***" },
		{ "A=1 https_proxy=http://me:pw@proxy:80 B=2", "A=1 https_proxy=http://me:***@proxy:80 B=2" },
		{ "passwords are no secret", "passwords are no secret" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		AUTO(mem_free_str) char *got = config_redact_url(urls[i][0]);

		expect(!strcmp(got, urls[i][1]), "%s → %s", urls[i][0], got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations_are_read_exactly),
		cmocka_unit_test(test_sizes_are_read_exactly),
		cmocka_unit_test(test_each_type_takes_what_it_allows),
		cmocka_unit_test(test_a_value_refused_leaves_the_old_one),
		cmocka_unit_test(test_words_are_split_as_a_shell_would),
		cmocka_unit_test(test_every_row_of_the_table_is_sound),
		cmocka_unit_test(test_signals_are_numbers),
		cmocka_unit_test(test_passwords_are_redacted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
