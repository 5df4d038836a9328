/* The sample, `config show` and the reference page come from the key table: each must read back. */

#include "row.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/keys.h"

static char *written(void (*write)(FILE *out))
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	write(out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static struct config *load(const char *text)
{
	AUTO(mem_free_str) char *error = NULL;
	struct config *c = NULL;

	expect(config_load_text("t.ini", text, strlen(text), &c, &error) == 0, "%s", error);
	return c;
}

static void on_change(void *arg, const char *section, const char *key, bool live)
{
	(void)live;
	print_error("[%s] %s differs\n", section, key);
	++*(int *)arg;
}

static int count_changes(const struct config *from, const struct config *to)
{
	int changes = 0;

	config_diff(from, to, on_change, &changes);
	return changes;
}

static void test_the_sample_is_the_defaults(void **state)
{
	AUTO(mem_free_str) char *sample = written(config_write_sample);
	AUTO(config_free) struct config *c = load(sample);
	AUTO(config_free) struct config *defaults = load("");

	(void)state;
	assert_int_equal(count_changes(defaults, c), 0);
}

/* Removes the `;` in front of each key, up to the section that stands for those a user may add. */
static char *uncommented(const char *sample)
{
	struct buf text = BUF_INIT(0);
	bool off = false;
	size_t len;

	for (const char *line = sample; *line; line += len + 1) {
		len = strcspn(line, "\n");
		if (!strncmp(line, ";[", 2))
			off = true;
		else if (line[0] == '[')
			off = false;
		if (line[0] == ';' && islower((unsigned char)line[1]) && !off)
			buf_put(&text, line + 1, len);
		else
			buf_put(&text, line, len + 1);
	}
	return buf_take(&text, &len);
}

struct lines {
	int given, defaults;
};

static void count_lines(void *arg, const struct config_item *item)
{
	struct lines *lines = arg;

	if (item->line)
		lines->given++;
	else
		lines->defaults++;
}

static void test_every_value_in_the_sample_is_the_default(void **state)
{
	AUTO(mem_free_str) char *sample = written(config_write_sample);
	AUTO(mem_free_str) char *text = uncommented(sample);
	AUTO(config_free) struct config *c = load(text);
	AUTO(config_free) struct config *defaults = load("");
	struct lines lines = { 0 };

	(void)state;
	assert_int_equal(count_changes(defaults, c), 0);
	config_walk(c, count_lines, &lines);
	/* What is told once for all providers is left to the first of them (14 keys, of which the others tell
	 * 5, 3, 3, 3, 4 and 3), and what root has not to others. */
	assert_int_equal(lines.defaults, 14 * (CONFIG_PROVIDERS - 1) - 21 + 1);
	assert_true(lines.given > 50);
}

static void test_every_key_is_in_the_sample_with_its_help(void **state)
{
	AUTO(mem_free_str) char *sample = written(config_write_sample);

	(void)state;
	for (size_t i = 0; i < key_table_len; i++) {
		AUTO(mem_free_str) char *line = mem_printf("\n;%s =", key_table[i].name);

		expect(strstr(sample, line), "%s is missing", key_table[i].name);
		expect(strstr(sample, key_table[i].help), "%s: help is missing", key_table[i].name);
	}
}

/* Tests run wherever make was called; the source's own path leads to the top. */
static char *top_file(const char *path)
{
	const char *slash = strrchr(__FILE__, '/');

	return mem_printf("%.*s/../../%s", slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".", path);
}

static void test_the_checked_in_sample_is_up_to_date(void **state)
{
	AUTO(mem_free_str) char *sample = written(config_write_sample);
	AUTO(mem_free_str) char *path = top_file("conf/proctor.ini");
	AUTO(mem_free_str) char *text = NULL;
	size_t len;

	(void)state;
	expect(fd_read_file(path, 65536, &text, &len) == 0, "%s cannot be read", path);
	expect(!strcmp(text, sample), "%s differs from what config_write_sample() writes", path);
}

static const struct config *shown;

static void write_shown(FILE *out)
{
	config_write(shown, out);
}

static void test_what_is_shown_reads_back(void **state)
{
	AUTO(config_free)
	struct config *c = load("[daemon]\nlog_level = error\n[pool:a]\nenvironment = A='1 "
				"2'\n[service:s]\ncommand = x 'y;z'\n"
				"ready = 3s\n[group:g]\nintensity = 2\n[pool:b]\ngroup = g\nproviders = xai "
				"google\nmax_rss = 1G\n[provider:xai]\nburst = 7\nbudget_usd_per_day = 1.5\n"
				"[limit:xai/grok-4*]\nconcurrency = 0\n");
	AUTO(mem_free_str) char *text = NULL;
	AUTO(config_free) struct config *again = NULL;

	(void)state;
	shown = c;
	text = written(write_shown);
	again = load(text);
	assert_int_equal(count_changes(c, again), 0);
	assert_non_null(strstr(text, "log_level = error ; line 2\n"));
	assert_non_null(strstr(text, "size = 2 ; default\n"));
	assert_non_null(strstr(text, "budget_usd_per_day = 1.50 ; line"));
	assert_non_null(strstr(text, "[limit:xai/grok-4*]\nrequests_per_minute = inherit ; default\n"));
}

static void test_the_reference_tells_every_key(void **state)
{
	AUTO(mem_free_str) char *page = written(config_write_reference);

	(void)state;
	for (size_t i = 0; i < key_table_len; i++) {
		AUTO(mem_free_str)
		char *entry = mem_printf("\n`%s`\n\n: %s.\n", key_table[i].name, key_table[i].help);

		expect(strstr(page, entry), "%s is missing", key_table[i].name);
	}
	assert_non_null(
		strstr(page, ": calls under way at once; 0: no limit.\n\n  The default is `100`. Takes "));
	assert_non_null(strstr(page, "  The default differs from provider to provider. Takes "));
	assert_non_null(strstr(page, "## [group:NAME]"));
	assert_non_null(strstr(page, "## [limit:PROVIDER/GLOB]"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_sample_is_the_defaults),
		cmocka_unit_test(test_every_value_in_the_sample_is_the_default),
		cmocka_unit_test(test_every_key_is_in_the_sample_with_its_help),
		cmocka_unit_test(test_the_checked_in_sample_is_up_to_date),
		cmocka_unit_test(test_what_is_shown_reads_back),
		cmocka_unit_test(test_the_reference_tells_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
