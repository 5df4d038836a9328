#include "row.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/table.h"
#include "ctl/text.h"

static void test_durations_read_well(void **state)
{
	static const struct {
		int64_t ms;
		const char *want;
	} rows[] = {
		{ 0, "0ms" },	    { 812, "812ms" },	 { 999, "999ms" },     { 3200, "3.2s" },
		{ 59999, "59.9s" }, { 245000, "4m05s" }, { 7380000, "2h03m" }, { 90000000, "1d01h" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *text = text_duration(rows[i].ms);

		expect(strcmp(text, rows[i].want) == 0, "%lld: %s", (long long)rows[i].ms, text);
	}
}

static void test_numbers_are_grouped(void **state)
{
	static const struct {
		int64_t number;
		const char *want, *brief;
	} rows[] = {
		{ 0, "0", "0" },
		{ 999, "999", "999" },
		{ 1000, "1,000", "1,000" },
		{ 24100, "24,100", "24.1k" },
		{ 1234567, "1,234,567", "1.2M" },
		{ -1234567, "-1,234,567", "-1,234,567" },
		{ INT64_MAX, "9,223,372,036,854,775,807", "9223372036.9G" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *text = text_count(rows[i].number);
		AUTO(mem_free_str) char *brief = text_short_count(rows[i].number);

		expect(strcmp(text, rows[i].want) == 0, "%s", text);
		expect(strcmp(brief, rows[i].brief) == 0, "%s", brief);
	}
}

static void test_times_are_told_from_now(void **state)
{
	static const int64_t now_ms = 1795368787390;
	static const struct {
		const char *iso, *want;
	} rows[] = {
		{ "2026-11-22T17:33:07.390Z", "now" },	     { "2026-11-22T17:32:07.390Z", "1m00s ago" },
		{ "2026-11-22T17:33:02.390Z", "5s ago" },    { "2026-11-22T17:35:07.390Z", "in 2m00s" },
		{ "2026-11-21T17:33:07.390Z", "1d00h ago" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *text = text_ago(text_parse_time(rows[i].iso), now_ms);

		expect(strcmp(text, rows[i].want) == 0, "%s: %s", rows[i].iso, text);
	}
	assert_int_equal(text_parse_time("yesterday"), -1);
}

/* What a model answers must not reach the terminal as commands. */
static void test_foreign_text_cannot_drive_the_terminal(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "plain ä 漢 😀", "plain ä 漢 😀" },
		{ "a\033[31mred\033]0;title\007", "a?[31mred?]0;title?" },
		{ "line\nnext\ttab\r\b", "line\nnext\ttab??" },
		{ "c1 \xc2\x9b"
		  "31m",
		  "c1 ?31m" },
		{ "turned \xe2\x80\xae"
		  "round",
		  "turned ?round" },
		{ "broken \xff\xc3", "broken ??" },
		{ "cut \xe2\x80", "cut ??" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *text = text_clean(rows[i].text, strlen(rows[i].text));

		expect(strcmp(text, rows[i].want) == 0, "row %zu: %s", i, text);
	}
}

static void test_width_counts_columns_not_bytes(void **state)
{
	(void)state;
	assert_int_equal(text_width("abc"), 3);
	assert_int_equal(text_width("äöü"), 3);
	assert_int_equal(text_width("漢字"), 4);
	assert_int_equal(text_width("e\xcc\x81"), 1);
	assert_int_equal(text_fit("漢字", 3), 3);
	assert_int_equal(text_fit("äb", 1), 2);
	assert_int_equal(text_fit("abc", 9), 3);
}

static const struct column columns[] = {
	{ .title = "NAME", .path = "name", .shrinks = true },
	{ .title = "N", .path = "sum.n", .kind = COLUMN_COUNT },
	{ .title = "WHY", .path = "why", .optional = true },
	{ .title = NULL },
};

static char *print_table(const struct table_style *style, const struct column *shown, const char *rows)
{
	json_t *list = json_loads(rows, 0, NULL);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	table_print(out, style, shown, list);
	(void)fclose(out);
	json_decref(list);
	return text;
}

static void test_tables_fit_and_numbers_stand_right(void **state)
{
	static const struct {
		size_t width;
		const char *rows, *want;
	} rows[] = {
		{ 0, "[]", "NAME  N\n" },
		{ 0, "[{\"name\":\"ä\",\"sum\":{\"n\":1000}},{\"name\":\"longer\",\"sum\":{\"n\":7}}]",
		  "NAME        N\nä       1,000\nlonger      7\n" },
		{ 0, "[{\"name\":\"a\",\"why\":\"x\"},{\"name\":null}]",
		  "NAME  N  WHY\na        x\n         \n" },
		{ 14, "[{\"name\":\"much too long a name\",\"sum\":{\"n\":12}}]",
		  "NAME         N\nmuch too …  12\n" },
		{ 5, "[{\"name\":\"much too long a name\",\"sum\":{\"n\":12}}]",
		  "NAME       N\nmuch to…  12\n" },
		{ 0, "[{\"name\":\"evil\\u001b[2J\\nname\"}]", "NAME           N\nevil?[2J name   \n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct table_style style = { .width = rows[i].width };
		AUTO(mem_free_str) char *text = print_table(&style, columns, rows[i].rows);

		expect(strcmp(text, rows[i].want) == 0, "row %zu:\n%s", i, text);
	}
}

static void test_status_words_are_coloured_only_when_asked(void **state)
{
	struct table_style style = { .color = true };

	(void)state;
	assert_string_equal(table_status_color(&style, "FAILED"), "\033[31m");
	assert_string_equal(table_status_color(&style, "unheard of"), "");
	style.color = false;
	assert_string_equal(table_status_color(&style, "FAILED"), "");
	assert_string_equal(table_reset(&style), "");
}

static void test_money_has_digits_enough(void **state)
{
	static const struct {
		double usd;
		const char *want;
	} rows[] = { { 0, "$0.00" }, { 12.345, "$12.35" }, { 0.0123, "$0.012" }, { 0.0000125, "$0.000013" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *text = text_usd(rows[i].usd);

		expect(strcmp(text, rows[i].want) == 0, "%s: %s", rows[i].want, text);
	}
}

static const struct column wide_columns[] = {
	{ .title = "ID", .path = "id" },
	{ .title = "LONG TEXT", .path = "text", .shrinks = true },
	{ .title = "MINOR", .path = "minor", .minor = true },
	{ .title = "SHARE", .path = "share", .kind = COLUMN_BAR },
	{ .title = "EXTRA", .path = "extra", .kind = COLUMN_COUNT, .extra = true },
	{ .title = NULL },
};

#define WIDE_ROW                                                                                             \
	"[{\"id\":\"id_0123456789\",\"text\":\"some words that go on and on\",\"minor\":\"less\","           \
	"\"share\":0.55,\"extra\":1200}]"

/* Which columns give way to a narrow terminal, and in which order. */
static void test_narrow_tables_keep_what_matters(void **state)
{
	static const struct {
		size_t width;
		const char *only, *want;
	} rows[] = {
		{ 0, NULL,
		  "ID             LONG TEXT                     MINOR  SHARE\n"
		  "id_0123456789  some words that go on and on  less   ██░░  55%\n" },
		{ 53, NULL,
		  "ID             LONG TEXT             MINOR  SHARE\n"
		  "id_0123456789  some words that go …  less   ██░░  55%\n" },
		{ 46, NULL,
		  "ID             LONG TEXT             SHARE\n"
		  "id_0123456789  some words that go …  ██░░  55%\n" },
		{ 36, NULL,
		  "ID             LONG TEXT   SHARE\n"
		  "id_0123456789  some word…  ██░░  55%\n" },
		{ 28, NULL,
		  "ID        LONG TE…  SHARE\n"
		  "id_0123…  some wo…  ██░░  55%\n" },
		{ 0, "[\"share\",\"extra\",\"long-text\"]",
		  "SHARE      EXTRA  LONG TEXT\n"
		  "██░░  55%  1,200  some words that go on and on\n" },
		{ 20, "[\"minor\",\"share\"]",
		  "MINOR  SHARE\n"
		  "less   ██░░  55%\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *only = rows[i].only ? json_loads(rows[i].only, 0, NULL) : NULL;
		struct table_style style = { .width = rows[i].width, .bar_cells = 4, .only = only };
		AUTO(mem_free_str) char *text = print_table(&style, wide_columns, WIDE_ROW);

		expect(strcmp(text, rows[i].want) == 0, "row %zu:\n%s", i, text);
		json_decref(only);
	}
}

static void test_columns_are_found_by_title_and_by_path(void **state)
{
	AUTO(mem_free_str) char *names = table_column_names(wide_columns);

	(void)state;
	assert_string_equal(names, "id, long-text, minor, share, extra");
	assert_ptr_equal(table_find_column(wide_columns, "long-text"), &wide_columns[1]);
	assert_ptr_equal(table_find_column(wide_columns, "text"), &wide_columns[1]);
	assert_null(table_find_column(wide_columns, "LONG TEXT"));
}

static void test_bars_are_never_full_before_the_end(void **state)
{
	static const struct {
		double share;
		const char *want;
	} rows[] = { { 0, "░░░░   0%" },     { 0.249, "░░░░  24%" }, { 0.25, "█░░░  25%" },
		     { 0.999, "███░  99%" }, { 1, "████ 100%" },     { 7, "████ 100%" } };
	static const struct table_style style = { .bar_cells = 4 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *share = json_real(rows[i].share);
		AUTO(mem_free_str) char *text = table_cell(&style, COLUMN_BAR, share);

		expect(strcmp(text, rows[i].want) == 0, "%g: %s", rows[i].share, text);
		json_decref(share);
	}
}

static void test_sequences_of_colour_take_no_columns(void **state)
{
	static const struct {
		const char *text;
		size_t width, bytes, taken;
	} rows[] = {
		{ "abc", 2, 2, 2 },
		{ "\033[31mabc\033[0m", 2, 7, 2 },
		{ "\033[31mabc\033[0m", 3, 12, 3 },
		{ "\033[31mabc\033[0m", 9, 12, 3 },
		{ "a\033[1m漢字", 4, 8, 3 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t taken = 99;
		size_t bytes = text_fit_colored(rows[i].text, rows[i].width, &taken);

		expect(bytes == rows[i].bytes && taken == rows[i].taken, "row %zu: %zu bytes, %zu columns", i,
		       bytes, taken);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations_read_well),
		cmocka_unit_test(test_numbers_are_grouped),
		cmocka_unit_test(test_times_are_told_from_now),
		cmocka_unit_test(test_foreign_text_cannot_drive_the_terminal),
		cmocka_unit_test(test_width_counts_columns_not_bytes),
		cmocka_unit_test(test_tables_fit_and_numbers_stand_right),
		cmocka_unit_test(test_status_words_are_coloured_only_when_asked),
		cmocka_unit_test(test_money_has_digits_enough),
		cmocka_unit_test(test_narrow_tables_keep_what_matters),
		cmocka_unit_test(test_columns_are_found_by_title_and_by_path),
		cmocka_unit_test(test_bars_are_never_full_before_the_end),
		cmocka_unit_test(test_sequences_of_colour_take_no_columns),
	};

	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return 1;

	return cmocka_run_group_tests(tests, NULL, NULL);
}
