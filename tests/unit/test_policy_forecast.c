/* policy/forecast: calls and tokens of runs, by hand-reckoned rows. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/forecast.h"

static const int64_t followups[] = { 40, 80 };

static void test_each_call_sends_all_before_it_again(void **state)
{
	const struct forecast_shape shape = { .scenarios = 2,
					      .samples = 3,
					      .preamble_bytes = 12,
					      .prompt_bytes = 240,
					      .followup_bytes = followups,
					      .followups = 2 };
	struct forecast f = forecast_run(&shape, 100);

	(void)state;
	assert_int_equal(f.probes, 6);
	assert_int_equal(f.calls, 18);
	/* 3 samples x (3 turns x (2 x 12 + 240) + 2 x (40 + 120)) = 3336 bytes; 3 answers are sent again by
	 * each probe */
	assert_int_equal(f.input_low, 3336 / 4 + 6 * 3 * 75);
	assert_int_equal(f.input_high, 3336 / 3 + 6 * 3 * 125);
	assert_int_equal(f.output_low, 18 * 75);
	assert_int_equal(f.output_high, 18 * 125);
	assert_int_equal(f.basis, FORECAST_SEEN);
}

static void test_turns_end_at_the_most(void **state)
{
	const struct forecast_shape shape = { .scenarios = 1,
					      .samples = 1,
					      .prompt_bytes = 12,
					      .followup_bytes = followups,
					      .followups = 2,
					      .max_turns = 1 };

	(void)state;
	assert_int_equal(forecast_run(&shape, 100).calls, 1);
	assert_int_equal(forecast_run(&shape, 100).input_high, 4);
}

static void test_answers_are_no_longer_than_allowed(void **state)
{
	struct forecast_shape shape = { .scenarios = 1, .samples = 1, .max_tokens = 60 };

	(void)state;
	assert_int_equal(forecast_run(&shape, 100).output_low, 60);
	assert_int_equal(forecast_run(&shape, 100).output_high, 60);
	assert_int_equal(forecast_run(&shape, 0).output_low, 15);
	assert_int_equal(forecast_run(&shape, 0).basis, FORECAST_MAX_TOKENS);
	shape.max_tokens = 0;
	assert_int_equal(forecast_run(&shape, 0).output_high, 2 * FORECAST_OUTPUT_DEFAULT);
	assert_int_equal(forecast_run(&shape, 0).basis, FORECAST_ASSUMED);
}

static void test_time_is_the_amount_by_the_rate(void **state)
{
	(void)state;
	assert_int_equal(forecast_minutes_ms(90, 60), 90000);
	assert_int_equal(forecast_minutes_ms(90, 0), 0);
	assert_true(forecast_minutes_ms(INT64_MAX, 1) == INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_call_sends_all_before_it_again),
		cmocka_unit_test(test_turns_end_at_the_most),
		cmocka_unit_test(test_answers_are_no_longer_than_allowed),
		cmocka_unit_test(test_time_is_the_amount_by_the_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
