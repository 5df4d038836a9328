/* How a bucket earns, waits and bears debts. */

#include "row.h"

#include <inttypes.h>

#include "base/mem.h"
#include "model.h"
#include "policy/bucket.h"

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)

struct step {
	int64_t at_ms, cost;
	int64_t want_wait;  /* before; what need not wait is taken */
	int64_t want_level; /* after */
};

static void run(const char *what, int64_t rate, int64_t burst, const struct step *steps, size_t len)
{
	struct bucket b;

	bucket_init(&b, rate, MINUTE, burst, 0);
	for (size_t i = 0; i < len; i++) {
		const struct step *s = &steps[i];
		int64_t wait = bucket_wait_ms(&b, s->at_ms, s->cost), level;

		if (wait == 0)
			bucket_take(&b, s->at_ms, s->cost);
		level = bucket_level(&b, s->at_ms);
		expect(wait == s->want_wait && level == s->want_level,
		       "%s: step %zu at %" PRId64 ": wait %" PRId64 ", level %" PRId64, what, i, s->at_ms,
		       wait, level);
	}
}

#define RUN(what, rate, burst, ...)                                                                          \
	do {                                                                                                 \
		static const struct step steps[] = { __VA_ARGS__ };                                          \
		run(what, rate, burst, steps, ARRAY_LEN(steps));                                             \
	} while (0)

static void test_a_bucket_starts_empty_and_paces_evenly(void **state)
{
	(void)state;
	RUN("60 a minute", 60, 1, { 0, 1, 1000, 0 }, { 999, 1, 1, 0 }, { 1000, 1, 0, 0 },
	    { 1000, 1, 1000, 0 }, { 1999, 1, 1, 0 }, { 2000, 1, 0, 0 });
}

static void test_a_burst_is_what_a_lull_has_saved(void **state)
{
	(void)state;
	RUN("burst 3", 60, 3, { 10000, 1, 0, 2 }, { 10000, 1, 0, 1 }, { 10000, 1, 0, 0 },
	    { 10000, 1, 950, 0 });
	RUN("two at once", 60, 3, { 1500, 2, 500, 1 }, { 2000, 2, 0, 0 });
	RUN("at least one", 60, 0, { 10000, 1, 0, 0 }, { 10000, 1, 950, 0 });
}

static void test_who_comes_a_little_late_loses_nothing(void **state)
{
	(void)state;
	RUN("late by 50 ms", 60, 1, { 1050, 1, 0, 0 }, { 2050, 1, 0, 0 }, { 3000, 1, 0, 0 });
}

static void test_a_big_call_waits_for_a_full_bucket_and_leaves_a_debt(void **state)
{
	(void)state;
	RUN("debt", 60, 2, { 1999, 10, 1, 1 }, { 2000, 10, 0, -8 }, { 9999, 1, 1001, -1 }, { 10999, 1, 1, 0 },
	    { 11000, 1, 0, 0 });
}

static void test_without_a_rate_nothing_is_earned(void **state)
{
	(void)state;
	RUN("none", 0, 1, { 0, 1, -1, 0 }, { INT64_MAX, 1, -1, 0 });
}

static void test_a_clock_that_jumps_neither_robs_nor_grants(void **state)
{
	(void)state;
	RUN("jumps", 60, 1, { 1000, 1, 0, 0 }, { -100000, 1, 1000, 0 }, { 1000, 1, 1000, 0 },
	    { 2000, 1, 0, 0 }, { INT64_MAX, 1, 0, 0 }, { 0, 1, 950, 0 });
}

static void test_what_is_given_back_may_pass_the_burst(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 60, MINUTE, 2, 0);
	bucket_take(&b, 0, 100);
	assert_int_equal(bucket_level(&b, 0), -100);
	bucket_give(&b, 103000, 50);
	assert_int_equal(bucket_level(&b, 103000), 52);
	/* Nothing is earned meanwhile, and it is there for a moment only. */
	assert_int_equal(bucket_level(&b, 103050), 52);
	assert_int_equal(bucket_level(&b, 103051), 2);
	bucket_give(&b, 200000, 50);
	bucket_take(&b, 200050, 51);
	assert_int_equal(bucket_level(&b, 201050), 2);
	assert_int_equal(bucket_level(&b, 300000), 2);
}

static void test_new_rates_keep_what_is_earned(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 600, MINUTE, 10, 0);
	assert_int_equal(bucket_level(&b, 800), 8);
	bucket_set_rate(&b, 60, 5, 800);
	assert_int_equal(bucket_level(&b, 800), 5);
	bucket_take(&b, 800, 20);
	bucket_set_rate(&b, 120, 100, 1800);
	assert_int_equal(bucket_level(&b, 1800), -14);
	assert_int_equal(bucket_level(&b, 2800), -12);
}

/* What was given back stays above, what was earned does not. */
static void test_a_smaller_burst_takes_from_a_bucket_that_is_above_it_too(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 60, MINUTE, 500, 0);
	bucket_take(&b, HOUR, 100);
	bucket_take(&b, 2 * HOUR, 100);
	bucket_give(&b, 2 * HOUR + 101000, 100);
	assert_int_equal(bucket_level(&b, 2 * HOUR + 101000), 600);
	bucket_set_rate(&b, 60, 10, 2 * HOUR + 101000);
	assert_int_equal(bucket_level(&b, 2 * HOUR + 101000), 110);
	assert_int_equal(bucket_level(&b, 2 * HOUR + 101051), 10);
}

static void test_room_is_what_could_be_taken_within_the_horizon(void **state)
{
	static const struct {
		int64_t at_ms, horizon_ms, want;
	} rows[] = { { 0, 0, 0 },     { 0, 999, 0 },   { 0, 1000, 1 }, { 0, 5000, 5 },
		     { 10000, 0, 3 }, { 500, 500, 1 }, { 500, -9, 0 }, { 0, INT64_MAX, INT64_C(1440) * 60 } };
	struct bucket b;

	(void)state;
	bucket_init(&b, 60, MINUTE, 3, 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t got = bucket_room(&b, rows[i].at_ms, rows[i].horizon_ms);

		expect(got == rows[i].want, "row %zu: %" PRId64, i, got);
	}
}

/* Two buckets, one looked at in every odd moment and one not at all, have earned the same after a day. */
static void test_nothing_drifts_over_a_day(void **state)
{
	static const int64_t rates[] = { 1, 7, 59, 997, 30001, 999999937 };
	enum { DAY_MS = 86400000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
		struct bucket watched, left;

		bucket_init(&watched, rates[i], 58125, BUCKET_RATE_MAX, 0);
		left = watched;
		for (int64_t now = 0; now < DAY_MS; now += 1 + model_below(20000))
			bucket_take(&watched, now, 0);
		agree(bucket_level(&watched, DAY_MS) == bucket_level(&left, DAY_MS), "rate %" PRId64,
		      rates[i]);
	}
}

/* What is taken as soon as it may be: in no time more than was earned in it, the burst and what lateness
 * keeps; and what waits says is true to the millisecond. */
static void test_no_time_sees_more_than_its_rate_and_one_burst(void **state)
{
	(void)state;
	for (int round = 0; round < 100; round++) {
		int64_t rate = 1 + model_below(100000), burst = 1 + model_below(500), now = 0, taken = 0,
			full;
		struct bucket b;

		bucket_init(&b, rate, MINUTE, burst, 0);
		full = burst * MINUTE + rate * BUCKET_LATE_MS;
		for (int i = 0; i < 1000; i++) {
			int64_t cost = 1 + model_below((int)burst), wait = bucket_wait_ms(&b, now, cost);

			if (wait > 0)
				agree(bucket_wait_ms(&b, now + wait - 1, cost) == 1, "early, round %d",
				      round);
			now += wait;
			agree(bucket_wait_ms(&b, now, cost) == 0, "late, round %d", round);
			bucket_take(&b, now, cost);
			taken += cost;
			agree(taken * MINUTE <= now * rate, "more than earned, round %d", round);
			now += model_chance(30) ? model_below(3000) : 0;
			agree(bucket_level(&b, now) * MINUTE <= full, "more than full, round %d", round);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_bucket_starts_empty_and_paces_evenly),
		cmocka_unit_test(test_a_burst_is_what_a_lull_has_saved),
		cmocka_unit_test(test_who_comes_a_little_late_loses_nothing),
		cmocka_unit_test(test_a_big_call_waits_for_a_full_bucket_and_leaves_a_debt),
		cmocka_unit_test(test_without_a_rate_nothing_is_earned),
		cmocka_unit_test(test_a_clock_that_jumps_neither_robs_nor_grants),
		cmocka_unit_test(test_what_is_given_back_may_pass_the_burst),
		cmocka_unit_test(test_new_rates_keep_what_is_earned),
		cmocka_unit_test(test_a_smaller_burst_takes_from_a_bucket_that_is_above_it_too),
		cmocka_unit_test(test_room_is_what_could_be_taken_within_the_horizon),
		cmocka_unit_test(test_nothing_drifts_over_a_day),
		cmocka_unit_test(test_no_time_sees_more_than_its_rate_and_one_burst),
	};

	return cmocka_run_group_tests(tests, model_start, NULL);
}
