#include "row.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "policy/forecast.h"

/* Three turns of 400, 40 and 80 bytes; nothing is known of the model, so that a token is four bytes
 * likely, 5.33 or 3.2 at the edges. */
static const int64_t bytes[] = { 400, 40, 80 };

static struct forecast_model unknown(void)
{
	return (struct forecast_model){ .provider = "", .probes = 10, .turns = 3, .bytes = bytes };
}

static void expect_forecast(const struct forecast_model *model, enum forecast_guess guess, int64_t want_input,
			    int64_t want_output)
{
	struct forecast f;

	forecast_model(model, guess, &f);
	expect(f.tokens.input == want_input && f.tokens.output == want_output,
	       "guess %d: %" PRId64 " in, %" PRId64 " out", (int)guess, f.tokens.input, f.tokens.output);
}

static void test_every_turn_sends_all_that_was_said_before(void **state)
{
	struct forecast_model model = unknown();
	struct forecast f;

	(void)state;
	/* 100 + (100+500+10) + (100+500+10+500+20) a conversation */
	expect_forecast(&model, FORECAST_LIKELY, 18400, 15000);
	/* 75 + (75+100+7) + (75+100+7+100+15) */
	expect_forecast(&model, FORECAST_LOW, 5540, 3000);
	/* 125 + (125+1000+13) + (125+1000+13+1000+25) */
	expect_forecast(&model, FORECAST_HIGH, 34260, 30000);
	forecast_model(&model, FORECAST_LIKELY, &f);
	assert_int_equal(f.calls, 30);
	assert_int_equal(f.charged.of[GATE_REQUESTS], 30);
	assert_int_equal(f.charged.of[GATE_TOKENS], 18400 + 15000);
	assert_int_equal(f.largest.of[GATE_INPUT_TOKENS], 1130);
	assert_int_equal(f.largest.of[GATE_TOKENS], 1630);
	assert_int_equal(f.cost_e10, -1);
}

static void test_an_answer_is_guessed_from_what_is_known(void **state)
{
	static const struct {
		struct estimate learned;
		int64_t seen;
		double mean, deviation;
		int64_t max_tokens;
		enum forecast_source want;
		int64_t want_output[FORECAST_GUESSES];
	} rows[] = {
		{ { 0 }, 0, 0, 0, 0, FORECAST_ASSUMED, { 100, 500, 1000 } },
		{ { 0 }, 0, 0, 0, 300, FORECAST_ASSUMED, { 100, 300, 300 } },
		{ { 0 }, 0, 0, 0, 4096, FORECAST_ASSUMED, { 100, 500, 4096 } },
		{ { 0 }, 7, 200, 30, 0, FORECAST_TRANSCRIPTS, { 140, 200, 1000 } },
		{ { 0 }, 7, 2000, 100, 0, FORECAST_TRANSCRIPTS, { 1800, 2000, 2200 } },
		{ { 0 }, 7, 200, 150, 0, FORECAST_TRANSCRIPTS, { 1, 200, 1000 } },
		{ { 0 }, 7, 200, 30, 150, FORECAST_TRANSCRIPTS, { 140, 150, 150 } },
		{ { .calls = 4, .input_mean = 0.25, .output_mean = 50 },
		  7,
		  200,
		  30,
		  0,
		  FORECAST_TRANSCRIPTS,
		  { 140, 200, 1000 } },
		{ { .calls = 5, .input_mean = 0.25, .output_mean = 50, .output_var = 25 },
		  7,
		  200,
		  30,
		  0,
		  FORECAST_MEASURED,
		  { 40, 50, 1000 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct forecast_model model = unknown();

		model.turns = 1;
		model.learned = rows[i].learned;
		model.seen = rows[i].seen;
		model.seen_mean = rows[i].mean;
		model.seen_deviation = rows[i].deviation;
		model.max_tokens = rows[i].max_tokens;
		expect(forecast_source(&model) == rows[i].want, "row %zu", i);
		for (size_t g = 0; g < FORECAST_GUESSES; g++) {
			struct forecast f;

			forecast_model(&model, (enum forecast_guess)g, &f);
			expect(f.tokens.output == 10 * rows[i].want_output[g], "row %zu, guess %zu: %" PRId64,
			       i, g, f.tokens.output);
		}
	}
}

static void test_cost_is_that_of_the_tokens(void **state)
{
	struct forecast_model model = unknown();
	struct forecast f;

	(void)state;
	/* $2.50 and $10 a million */
	model.price = (struct price){ .known = true,
				      .input_e10_per_token = 25000,
				      .output_e10_per_token = 100000 };
	forecast_model(&model, FORECAST_LIKELY, &f);
	assert_int_equal(f.cost_e10, 18400 * INT64_C(25000) + 15000 * INT64_C(100000));
	assert_int_equal(f.charged.of[GATE_MONEY_DAY], f.cost_e10);
}

static void test_openai_charges_limits_the_longest_answer(void **state)
{
	struct forecast_model model = unknown();
	struct forecast f;

	(void)state;
	model.provider = "openai";
	model.max_tokens = 700;
	forecast_model(&model, FORECAST_LIKELY, &f);
	/* 700 for each of the first two calls; the third sends 1130. */
	assert_int_equal(f.charged.of[GATE_TOKENS], 10 * (700 + 700 + 1130));
	assert_int_equal(f.tokens.output, 15000);
}

static void test_limits_take_their_time(void **state)
{
	static const struct {
		int64_t amount, rate, span_ms, want;
	} rows[] = {
		{ 0, 60, 60000, 0 },
		{ 60, 60, 60000, 60000 },
		{ 61, 60, 60000, 61000 },
		{ 1, 7, 60000, 8572 },
		{ 90, 1, 1000, 90000 },
		{ 30 * 2000, 4, 1, 15000 },
		{ FORECAST_MOST, 1, 60000, FORECAST_MOST },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = forecast_paced_ms(rows[i].amount, rows[i].rate, rows[i].span_ms);

		expect(ms == rows[i].want, "row %zu: %" PRId64, i, ms);
	}
}

static void test_a_limit_of_a_day_takes_whole_days(void **state)
{
	enum { HOUR_MS = 3600000 };
	static const struct {
		int64_t amount, used, want;
	} rows[] = {
		{ 100, 0, 0 },
		{ 40, 60, 0 },
		{ 41, 60, HOUR_MS },
		{ 140, 60, HOUR_MS },
		{ 141, 60, HOUR_MS + PRICE_DAY_MS },
		{ 100, 130, HOUR_MS },
		{ 1000, 100, HOUR_MS + 9 * PRICE_DAY_MS },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = forecast_day_ms(rows[i].amount, 100, rows[i].used, HOUR_MS);

		expect(ms == rows[i].want, "row %zu: %" PRId64, i, ms);
	}
}

static void test_sums_beyond_all_measure_stay_at_the_most(void **state)
{
	static const int64_t huge[] = { INT64_C(4000000000), INT64_C(4000000000) };
	struct forecast_model model = unknown();
	struct forecast f;

	(void)state;
	model.probes = FORECAST_MOST;
	model.turns = 2;
	model.bytes = huge;
	model.price = (struct price){ .known = true,
				      .input_e10_per_token = INT64_C(10000000000),
				      .output_e10_per_token = INT64_C(10000000000) };
	forecast_model(&model, FORECAST_HIGH, &f);
	assert_int_equal(f.calls, FORECAST_MOST);
	assert_int_equal(f.tokens.input, FORECAST_MOST);
	assert_int_equal(f.cost_e10, FORECAST_MOST);
	assert_int_equal(forecast_add(FORECAST_MOST, FORECAST_MOST), FORECAST_MOST);
	assert_int_equal(forecast_add(3, 4), 7);
	assert_int_equal(forecast_times(3, 4), 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_turn_sends_all_that_was_said_before),
		cmocka_unit_test(test_an_answer_is_guessed_from_what_is_known),
		cmocka_unit_test(test_cost_is_that_of_the_tokens),
		cmocka_unit_test(test_openai_charges_limits_the_longest_answer),
		cmocka_unit_test(test_limits_take_their_time),
		cmocka_unit_test(test_a_limit_of_a_day_takes_whole_days),
		cmocka_unit_test(test_sums_beyond_all_measure_stay_at_the_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
