#include "policy/metric.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "policy/histogram.h"
#include "row.h"

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool is_name(const char *text)
{
	for (const char *at = text; *at; at++)
		if (!islower((unsigned char)*at) && *at != '_')
			return false;
	return *text;
}

static void test_every_row_keeps_to_the_conventions(void **state)
{
	(void)state;
	for (size_t id = 0; id < METRIC_COUNT; id++) {
		const struct metric_row *row = &metric_table[id];

		expect(row->name && row->help, "row %zu is missing", id);
		expect(is_name(row->name) && strncmp(row->name, "proctor_", 8) == 0, "%s", row->name);
		expect((row->type == METRIC_COUNTER) == ends_with(row->name, "_total"), "%s", row->name);
		expect((row->unit == METRIC_MS) == (strstr(row->name, "_seconds") != NULL), "%s", row->name);
		expect((row->unit == METRIC_E10) == (strstr(row->name, "_usd") != NULL), "%s", row->name);
		expect(isupper((unsigned char)row->help[0]) || row->help[0] == '1' || row->help[0] == '[',
		       "%s: %s", row->name, row->help);
		expect(!ends_with(row->help, ".") && !strchr(row->help, '\n') && !strchr(row->help, '\\') &&
			       !strchr(row->help, '|'),
		       "%s: %s", row->name, row->help);
		for (size_t i = 0; i < METRIC_LABELS_MAX && row->labels[i]; i++)
			expect(is_name(row->labels[i]), "%s: %s", row->name, row->labels[i]);
		for (size_t other = 0; other < id; other++)
			expect(strcmp(metric_table[other].name, row->name) != 0, "%s is there twice",
			       row->name);
	}
}

static void test_runs_and_jobs_are_no_labels(void **state)
{
	static const char *const unbounded[] = { "run", "job", "id", "worker", "pid", "message", "reason" };

	(void)state;
	for (size_t id = 0; id < METRIC_COUNT; id++)
		for (size_t i = 0; i < METRIC_LABELS_MAX && metric_table[id].labels[i]; i++)
			for (size_t k = 0; k < ARRAY_LEN(unbounded); k++)
				expect(strcmp(metric_table[id].labels[i], unbounded[k]) != 0, "%s by %s",
				       metric_table[id].name, unbounded[k]);
}

static void test_a_sample_is_written_in_base_units(void **state)
{
	static const struct {
		enum metric_id id;
		const char *labels[METRIC_LABELS_MAX];
		int64_t value;
		const char *want;
	} rows[] = {
		{ METRIC_CLAIMED, { NULL }, 12, "proctor_probes_claimed_total 12\n" },
		{ METRIC_CLAIMED, { NULL }, -3, "proctor_probes_claimed_total 0\n" },
		{ METRIC_CLAIMED, { NULL }, INT64_MAX, "proctor_probes_claimed_total 9223372036854775807\n" },
		{ METRIC_LOOP_LAG, { NULL }, 0, "proctor_loop_lag_seconds 0.000\n" },
		{ METRIC_LOOP_LAG, { NULL }, 7, "proctor_loop_lag_seconds 0.007\n" },
		{ METRIC_LOOP_LAG, { NULL }, 61234, "proctor_loop_lag_seconds 61.234\n" },
		{ METRIC_COST,
		  { "openai", "gpt-4" },
		  30000000001,
		  "proctor_cost_usd_total{provider=\"openai\",model=\"gpt-4\"} 3.0000000001\n" },
		{ METRIC_LANE_LIMIT,
		  { "openai", "", "requests/min" },
		  500,
		  "proctor_lane_limit{provider=\"openai\",scope=\"\",unit=\"requests/min\"} 500\n" },
		{ METRIC_ANSWERS,
		  { "openai", "a\"b\\c\nd\xc3\xbc" },
		  1,
		  "proctor_answers_total{provider=\"openai\",model=\"a\\\"b\\\\c\\nd\xc3\xbc\"} 1\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(buf_free) struct buf out = BUF_INIT(0);

		metric_put(&out, rows[i].id, rows[i].labels, rows[i].value);
		expect(strcmp(buf_bytes(&out), rows[i].want) == 0, "row %zu: %s", i, buf_bytes(&out));
	}
}

static void test_a_head_tells_help_and_type(void **state)
{
	AUTO(buf_free) struct buf out = BUF_INIT(0);

	(void)state;
	metric_begin(&out, METRIC_READY);
	assert_string_equal(buf_bytes(&out), "# HELP proctor_ready 1 when `proctorctl status` says ready\n"
					     "# TYPE proctor_ready gauge\n");
}

static void test_a_histogram_is_cumulative_and_ends_with_all(void **state)
{
	AUTO(buf_free) struct buf out = BUF_INIT(0);
	struct histogram h = { .sum_ms = 0 };
	const char *text;

	(void)state;
	histogram_add(&h, 3);
	histogram_add(&h, 700);
	histogram_add(&h, 2000000);
	metric_put_histogram(&out, METRIC_CALL_TIME, METRIC_LABELS("xai"), &h);
	text = buf_bytes(&out);
	assert_non_null(strstr(text, "_bucket{provider=\"xai\",le=\"0.005\"} 1\n"));
	assert_non_null(strstr(text, "_bucket{provider=\"xai\",le=\"0.5\"} 1\n"));
	assert_non_null(strstr(text, "_bucket{provider=\"xai\",le=\"1\"} 2\n"));
	assert_non_null(strstr(text, "_bucket{provider=\"xai\",le=\"1800\"} 2\n"));
	assert_non_null(strstr(text, "_bucket{provider=\"xai\",le=\"+Inf\"} 3\n"));
	assert_non_null(strstr(text, "_seconds_sum{provider=\"xai\"} 2000.703\n"));
	assert_non_null(strstr(text, "_seconds_count{provider=\"xai\"} 3\n"));
}

static void test_the_reference_has_every_row(void **state)
{
	AUTO(mem_free_str) char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	metric_write_reference(out);
	assert_int_equal(fclose(out), 0);
	for (size_t id = 0; id < METRIC_COUNT; id++) {
		AUTO(mem_free_str) char *name = mem_printf("| `%s` | ", metric_table[id].name);

		expect(strstr(text, name) && strstr(text, metric_table[id].help), "%s", name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row_keeps_to_the_conventions),
		cmocka_unit_test(test_runs_and_jobs_are_no_labels),
		cmocka_unit_test(test_a_sample_is_written_in_base_units),
		cmocka_unit_test(test_a_head_tells_help_and_type),
		cmocka_unit_test(test_a_histogram_is_cumulative_and_ends_with_all),
		cmocka_unit_test(test_the_reference_has_every_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
