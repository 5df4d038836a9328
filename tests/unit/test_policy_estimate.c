#include "row.h"

#include <inttypes.h>
#include <stdbool.h>

#include "base/mem.h"
#include "policy/estimate.h"

static void test_a_model_of_which_nothing_is_known_is_reckoned_high(void **state)
{
	static const struct {
		int64_t bytes, max;
		struct tokens call, mean;
	} rows[] = {
		{ 3200, 0, { 1000, ESTIMATE_OUTPUT_START }, { 800, ESTIMATE_OUTPUT_START } },
		{ 3200, 4096, { 1000, 4096 }, { 800, ESTIMATE_OUTPUT_START } },
		{ 3200, 50, { 1000, 50 }, { 800, 50 } },
		{ 0, 1, { 1, 1 }, { 1, 1 } },
		{ 1, 0, { 1, ESTIMATE_OUTPUT_START }, { 1, ESTIMATE_OUTPUT_START } },
		{ INT64_MAX,
		  0,
		  { 1000000000, ESTIMATE_OUTPUT_START },
		  { 1000000000, ESTIMATE_OUTPUT_START } },
	};
	static const struct estimate nothing;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tokens call = estimate_call(&nothing, rows[i].bytes, rows[i].max);
		struct tokens mean = estimate_mean(&nothing, rows[i].bytes, rows[i].max);

		expect(call.input == rows[i].call.input && call.output == rows[i].call.output,
		       "row %zu: %" PRId64 " in, %" PRId64 " out", i, call.input, call.output);
		expect(mean.input == rows[i].mean.input && mean.output == rows[i].mean.output,
		       "row %zu: mean %" PRId64 " in, %" PRId64 " out", i, mean.input, mean.output);
	}
}

static void test_answers_are_believed_from_the_fifth_on(void **state)
{
	struct estimate e = { 0 };

	(void)state;
	for (int i = 0; i < 4; i++)
		estimate_learn(&e, 400, 100, 20);
	assert_int_equal(estimate_call(&e, 400, 700).output, 700);
	assert_int_equal(estimate_mean(&e, 400, 700).output, 20);
	estimate_learn(&e, 400, 100, 20);
	assert_int_equal(estimate_call(&e, 400, 700).output, 20);
	assert_int_equal(estimate_call(&e, 400, 10).output, 10);
}

static void test_the_margin_shrinks_with_experience(void **state)
{
	struct estimate e = { 0 };
	int64_t before = estimate_call(&e, 100000, 0).input, first = before;

	(void)state;
	for (int i = 0; i < 300; i++) {
		int64_t now;

		estimate_learn(&e, 100000, 25000, 1);
		now = estimate_call(&e, 100000, 0).input;
		expect(now <= before && now >= 25000, "call %d: %" PRId64 " after %" PRId64, i, now, before);
		before = now;
	}
	assert_int_equal(first, 31250);
	assert_in_range(before, 25000, 25010);
}

/* A tokenizer that nobody expected: two bytes a token, or eight. */
static void test_it_comes_to_what_the_model_really_counts(void **state)
{
	static const int64_t per_8000_bytes[] = { 4000, 1000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(per_8000_bytes); i++) {
		int64_t real = per_8000_bytes[i], got;
		struct estimate e = { 0 };

		for (int k = 0; k < 200; k++)
			estimate_learn(&e, 8000, real, 1);
		got = estimate_call(&e, 8000, 0).input;
		expect(got >= real && got <= real + real / 50, "%" PRId64 ": %" PRId64, real, got);
	}
}

/* Half of the answers short, half long: the reservation covers nearly all, and is not out of proportion. */
static void test_a_reservation_covers_what_answers_vary_by(void **state)
{
	uint64_t seed = 88172645463325252u;
	struct estimate e = { 0 };
	int covered = 0, asked = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		int64_t output = 200 + row_random(&seed) % 800, reserved = estimate_call(&e, 1000, 0).output;

		if (i >= 5) {
			asked++;
			covered += reserved >= output;
		}
		expect(i < 100 || reserved <= 1600, "call %d: %" PRId64, i, reserved);
		estimate_learn(&e, 1000, 250, output);
	}
	expect(covered * 100 >= asked * 97, "%d of %d", covered, asked);
}

static void test_counts_that_no_call_has_teach_nothing(void **state)
{
	static const int64_t rows[][3] = {
		{ 0, 10, 10 },	       { -1, 10, 10 },	       { 100, 0, 10 },
		{ 100, -5, 10 },       { 100, 10, -1 },	       { 100, INT64_C(1000000001), 10 },
		{ INT64_MAX, 10, 10 }, { 100, 10, INT64_MAX }, { INT64_MIN, 10, 10 },
	};
	struct estimate e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		estimate_learn(&e, rows[i][0], rows[i][1], rows[i][2]);
		expect(e.calls == 0, "row %zu", i);
	}
	estimate_learn(&e, 100, 10, 0);
	assert_int_equal(e.calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_model_of_which_nothing_is_known_is_reckoned_high),
		cmocka_unit_test(test_answers_are_believed_from_the_fifth_on),
		cmocka_unit_test(test_the_margin_shrinks_with_experience),
		cmocka_unit_test(test_it_comes_to_what_the_model_really_counts),
		cmocka_unit_test(test_a_reservation_covers_what_answers_vary_by),
		cmocka_unit_test(test_counts_that_no_call_has_teach_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
