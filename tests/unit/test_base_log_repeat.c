#include "row.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log_repeat.h"

static struct log_repeat repeat;

static int empty(void **state)
{
	(void)state;
	repeat = (struct log_repeat){ 0 };
	return 0;
}

static bool take(int64_t now_ms, const char *pairs)
{
	return log_repeat_take(&repeat, now_ms, 1, "lane.limited", pairs);
}

static void test_a_text_is_written_ten_times_and_then_counted(void **state)
{
	const struct log_repeat_text *due;

	(void)state;
	for (int i = 0; i < 500; i++)
		expect(take(1000 + i, "lane=openai") == (i < LOG_REPEAT_BURST), "line %d", i);
	assert_null(log_repeat_due(&repeat, 60999, false));
	assert_int_equal(log_repeat_wait_ms(&repeat, 31000), 30000);
	due = log_repeat_due(&repeat, 61000, false);
	assert_non_null(due);
	assert_int_equal(due->folded, 490);
	assert_string_equal(due->event, "lane.limited");
	assert_string_equal(due->pairs, "lane=openai");
	assert_int_equal(due->level, 1);
	assert_null(log_repeat_due(&repeat, 61000, false));
	assert_int_equal(log_repeat_wait_ms(&repeat, 61000), -1);
	assert_true(take(61001, "lane=openai"));
}

static void test_other_texts_levels_and_events_are_others(void **state)
{
	(void)state;
	for (int i = 0; i < LOG_REPEAT_BURST; i++)
		assert_true(take(0, "lane=openai"));
	assert_false(take(0, "lane=openai"));
	assert_true(take(0, "lane=xai"));
	assert_true(log_repeat_take(&repeat, 0, 2, "lane.limited", "lane=openai"));
	assert_true(log_repeat_take(&repeat, 0, 1, "lane.paused", "lane=openai"));
}

static void test_what_comes_seldom_is_never_counted(void **state)
{
	(void)state;
	for (int64_t now = 0; now < 100 * LOG_REPEAT_SPAN_MS; now += LOG_REPEAT_SPAN_MS / LOG_REPEAT_BURST)
		expect(take(now, "lane=openai"), "at %lld", (long long)now);
	assert_null(log_repeat_due(&repeat, INT64_MAX / 2, true));
}

static void test_no_count_is_lost_for_want_of_room(void **state)
{
	char pairs[32];
	int written = 0, told = 0;
	const int lines = 3 * LOG_REPEAT_TEXTS * 100;
	const struct log_repeat_text *due;

	(void)state;
	for (int i = 0; i < lines; i++) {
		(void)snprintf(pairs, sizeof(pairs), "number=%d", i % (3 * LOG_REPEAT_TEXTS));
		written += take(i, pairs);
	}
	while ((due = log_repeat_due(&repeat, lines, true)))
		told += (int)due->folded;
	assert_int_equal(written + told, lines);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_text_is_written_ten_times_and_then_counted, empty),
		cmocka_unit_test_setup(test_other_texts_levels_and_events_are_others, empty),
		cmocka_unit_test_setup(test_what_comes_seldom_is_never_counted, empty),
		cmocka_unit_test_setup(test_no_count_is_lost_for_want_of_room, empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
