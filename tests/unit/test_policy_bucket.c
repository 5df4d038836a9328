#include "row.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "policy/bucket.h"

struct step {
	int64_t at_ms;
	int64_t cost; /* taken, if it can be */
	bool want_taken;
	int64_t want_wait;  /* before taking */
	int64_t want_level; /* after */
};

static void run(const char *what, int64_t per_min, int64_t burst, const struct step *steps, size_t len)
{
	AUTO(bucket_free) struct bucket *b = NULL;

	assert_int_equal(bucket_new(per_min, burst, 0, &b), 0);
	for (size_t i = 0; i < len; i++) {
		const struct step *s = &steps[i];
		int64_t wait = bucket_wait_ms(b, s->at_ms, s->cost);
		bool taken = bucket_take(b, s->at_ms, s->cost);
		int64_t level = bucket_level(b, s->at_ms);

		expect(wait == s->want_wait && taken == s->want_taken && level == s->want_level,
		       "%s: step %zu at %" PRId64 ": wait %" PRId64 ", taken %d, level %" PRId64, what, i,
		       s->at_ms, wait, (int)taken, level);
	}
}

#define RUN(what, per_min, burst, ...)                                                                       \
	do {                                                                                                 \
		static const struct step steps[] = { __VA_ARGS__ };                                          \
		run(what, per_min, burst, steps, ARRAY_LEN(steps));                                          \
	} while (0)

static void test_a_bucket_starts_empty_and_paces_evenly(void **state)
{
	(void)state;
	RUN("60 a minute", 60, 1, { 0, 1, false, 1000, 0 }, { 999, 1, false, 1, 0 }, { 1000, 1, true, 0, 0 },
	    { 1000, 1, false, 1000, 0 }, { 1999, 1, false, 1, 0 }, { 2000, 1, true, 0, 0 });
}

static void test_a_burst_is_what_a_lull_has_saved(void **state)
{
	(void)state;
	RUN("burst 3", 60, 3, { 10000, 1, true, 0, 2 }, { 10000, 1, true, 0, 1 }, { 10000, 1, true, 0, 0 },
	    { 10000, 1, false, 1000, 0 }, { 11500, 1, true, 0, 0 }, { 12000, 1, true, 0, 0 });
	RUN("two at once", 60, 3, { 1500, 2, false, 500, 1 }, { 2000, 2, true, 0, 0 });
}

static void test_one_call_fits_even_if_a_second_is_worth_less(void **state)
{
	(void)state;
	RUN("50 a minute", 50, 0, { 1219, 1, false, 1, 0 }, { 1220, 1, true, 0, 0 });
	RUN("1 a minute", 1, 0, { 60999, 1, false, 1, 0 }, { 61000, 1, true, 0, 0 });
	RUN("burst above a minute is a minute", 2, 50, { 600000, 1, true, 0, 1 }, { 600000, 1, true, 0, 0 });
}

static void test_a_big_call_waits_for_a_full_bucket_and_leaves_a_debt(void **state)
{
	(void)state;
	RUN("debt", 60, 2, { 1999, 10, false, 1, 1 }, { 2000, 10, true, 0, -8 }, { 9999, 1, false, 1001, -1 },
	    { 10999, 1, false, 1, 0 }, { 11000, 1, true, 0, 0 });
}

static void test_a_call_above_a_minute_never_fits(void **state)
{
	(void)state;
	RUN("above", 60, 2, { 600000, 61, false, -1, 2 }, { 600000, INT64_MAX, false, -1, 2 },
	    { 600000, 60, true, 0, -58 });
}

static void test_no_limit_is_no_limit(void **state)
{
	(void)state;
	RUN("none", 0, 0, { 0, 1, true, 0, INT64_MAX }, { 0, INT64_MAX, true, 0, INT64_MAX },
	    { -5, 1000000, true, 0, INT64_MAX });
}

static void test_a_cost_of_nothing_is_free_unless_in_debt(void **state)
{
	(void)state;
	RUN("nothing", 60, 1, { 0, 0, true, 0, 0 }, { 1000, 5, true, 0, -4 }, { 1000, 0, false, 4000, -4 });
}

static void test_a_clock_that_jumps_neither_robs_nor_grants(void **state)
{
	(void)state;
	RUN("jumps", 60, 2, { 1000, 1, true, 0, 0 }, { -100000, 1, false, 1000, 0 },
	    { 1000, 1, false, 1000, 0 }, { 2000, 1, true, 0, 0 }, { INT64_MAX, 1, true, 0, 1 },
	    { INT64_MIN, 1, true, 0, 0 }, { INT64_MAX, 1, false, 1000, 0 });
}

static void test_a_start_at_any_time_and_a_jump_over_all_of_it(void **state)
{
	AUTO(bucket_free) struct bucket *b = NULL;

	(void)state;
	assert_int_equal(bucket_new(BUCKET_RATE_MAX, BUCKET_RATE_MAX, INT64_MIN, &b), 0);
	assert_int_equal(bucket_level(b, INT64_MIN), 0);
	assert_int_equal(bucket_level(b, INT64_MAX), BUCKET_RATE_MAX);
	assert_true(bucket_take(b, INT64_MAX, BUCKET_RATE_MAX));
	assert_int_equal(bucket_level(b, INT64_MAX), 0);
}

static void test_new_rates_keep_what_is_earned(void **state)
{
	AUTO(bucket_free) struct bucket *b = NULL;

	(void)state;
	assert_int_equal(bucket_new(600, 10, 0, &b), 0);
	assert_int_equal(bucket_level(b, 800), 8);
	assert_int_equal(bucket_set_rate(b, 60, 5, 800), 0);
	assert_int_equal(bucket_level(b, 800), 5);
	assert_true(bucket_take(b, 800, 20));
	assert_int_equal(bucket_set_rate(b, 120, 100, 1800), 0);
	assert_int_equal(bucket_level(b, 1800), -14);
	assert_int_equal(bucket_level(b, 2800), -12);
	assert_int_equal(bucket_set_rate(b, -1, 1, 2800), -ERANGE);
	assert_int_equal(bucket_set_rate(b, 1, BUCKET_RATE_MAX + 1, 2800), -ERANGE);
	assert_int_equal(bucket_level(b, 3800), -10);
	assert_int_equal(bucket_set_rate(b, 0, 0, 3800), 0);
	assert_true(bucket_take(b, 3800, 1000));
	assert_int_equal(bucket_set_rate(b, 60, 1, 5000), 0);
	assert_true(bucket_level(b, 5000) <= 0);
}

static void test_senseless_limits_are_refused(void **state)
{
	struct bucket *b = NULL;

	(void)state;
	assert_int_equal(bucket_new(-1, 1, 0, &b), -ERANGE);
	assert_int_equal(bucket_new(1, -1, 0, &b), -ERANGE);
	assert_int_equal(bucket_new((int64_t)BUCKET_RATE_MAX + 1, 1, 0, &b), -ERANGE);
	assert_int_equal(bucket_new(INT64_MAX, INT64_MAX, 0, &b), -ERANGE);
	assert_null(b);
	bucket_free(&b);
}

static void test_room_is_what_could_be_taken_within_the_horizon(void **state)
{
	static const struct {
		int64_t at_ms, horizon_ms, want;
	} rows[] = { { 0, 0, 0 },     { 0, 999, 0 },   { 0, 1000, 1 },
		     { 0, 5000, 5 },  { 10000, 0, 3 }, { 10000, 5000, 8 },
		     { 500, 500, 1 }, { 500, -9, 0 },  { 0, INT64_MAX, 1440 * 60 } };
	AUTO(bucket_free) struct bucket *b = NULL;

	(void)state;
	assert_int_equal(bucket_new(60, 3, 0, &b), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t got = bucket_room(b, rows[i].at_ms, rows[i].horizon_ms);

		expect(got == rows[i].want, "row %zu: %" PRId64, i, got);
	}
	assert_true(bucket_take(b, 10000, 30));
	assert_int_equal(bucket_room(b, 10000, 27999), 0);
	assert_int_equal(bucket_room(b, 10000, 28000), 1);
}

/* Two buckets, one looked at in every odd moment and one not at all, have earned the same after a day. */
static void test_nothing_drifts_over_a_day(void **state)
{
	static const int64_t rates[] = { 7, 59, 61, 480, 999 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
		AUTO(bucket_free) struct bucket *b = NULL;
		int64_t taken = 0, day = 86400000;

		/* The burst is never reached, so that nothing is capped. */
		assert_int_equal(bucket_new(rates[i], rates[i], 0, &b), 0);
		for (int64_t now = 0; now < day; now += 37)
			taken += bucket_take(b, now, 1);
		while (bucket_take(b, day, 1))
			taken++;
		expect(taken == rates[i] * 1440, "%" PRId64 " a minute gave %" PRId64, rates[i], taken);
	}
}

struct taken {
	int64_t at_ms, cost;
};

/* The most taken in any window of `window_ms` (closed) must stay within `most`. */
static void check_windows(const struct taken *log, size_t len, int64_t window_ms, int64_t most, uint64_t seed)
{
	int64_t sum = 0;
	size_t first = 0;

	for (size_t i = 0; i < len; i++) {
		sum += log[i].cost;
		while (log[i].at_ms - log[first].at_ms > window_ms)
			sum -= log[first++].cost;
		expect(sum <= most,
		       "seed %" PRIu64 ": %" PRId64 " in %" PRId64 " ms up to %" PRId64 ", most is %" PRId64,
		       seed, sum, window_ms, log[i].at_ms, most);
	}
}

static uint64_t choose_seed(void)
{
	const char *given = getenv("TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);

	return seed ? seed : 1;
}

/* Random takes with random gaps: in no window more than rate x window + burst. */
static void check_random_run(uint64_t seed, int64_t per_min, int64_t burst, int64_t cost_max)
{
	static const int64_t windows[] = { 0, 1, 10, 1000, 7777, 60000, 600000 };
	enum { TAKES = 3000 };
	AUTO(bucket_free) struct bucket *b = NULL;
	struct taken *log = mem_array(TAKES, sizeof(*log));
	uint64_t random = seed;
	int64_t now = 0;
	size_t len = 0;

	assert_int_equal(bucket_new(per_min, burst, 0, &b), 0);
	while (len < TAKES) {
		int64_t cost = 1 + row_random(&random) % cost_max;
		int64_t wait = bucket_wait_ms(b, now, cost);

		if (row_random(&random) % 3 == 0) {
			now += row_random(&random) % 5000;
			continue;
		}
		/* What wait_ms says is true to the millisecond. */
		if (wait > 0)
			expect(!bucket_take(b, now + wait - 1, cost), "seed %" PRIu64 ": early", seed);
		now += wait;
		expect(bucket_take(b, now, cost), "seed %" PRIu64 ": late", seed);
		log[len++] = (struct taken){ now, cost };
	}
	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		int64_t most = per_min * windows[i] / 60000 + (burst > cost_max ? burst : cost_max);

		check_windows(log, len, windows[i], most, seed);
	}
	mem_free(&log);
}

static void test_no_window_sees_more_than_its_rate_and_one_burst(void **state)
{
	uint64_t seed = choose_seed();

	(void)state;
	print_message("TEST_SEED=%" PRIu64 "\n", seed);
	check_random_run(seed, 60, 1, 1);
	check_random_run(seed + 1, 600, 10, 1);
	check_random_run(seed + 2, 30000, 500, 400);
	check_random_run(seed + 3, 997, 13, 13);
	check_random_run(seed + 4, 1000, 5, 200);
}

/* The default burst: a provider that counts a sliding minute, and sees calls up to a second late, never sees
 * more than the limit; and nearly all of the limit is used. */
static void test_the_default_burst_keeps_a_sliding_minute(void **state)
{
	static const int64_t rates[] = { 1, 2, 15, 50, 60, 119, 480, 500, 6000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
		AUTO(bucket_free) struct bucket *b = NULL;
		size_t len = 0, room = (size_t)rates[i] * 20;
		struct taken *log = mem_array(room, sizeof(*log));
		int64_t now = 600000; /* a lull first, so that the bucket is full */

		assert_int_equal(bucket_new(rates[i], 0, 0, &b), 0);
		for (; now < 1200000; now += bucket_wait_ms(b, now, 1)) {
			while (len < room && bucket_take(b, now, 1))
				log[len++] = (struct taken){ now, 1 };
		}
		check_windows(log, len, 60999, rates[i], 0);
		expect((int64_t)len * 31 >= rates[i] * 10 * 29, "%" PRId64 " a minute: %zu in ten", rates[i],
		       len);
		mem_free(&log);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_bucket_starts_empty_and_paces_evenly),
		cmocka_unit_test(test_a_burst_is_what_a_lull_has_saved),
		cmocka_unit_test(test_one_call_fits_even_if_a_second_is_worth_less),
		cmocka_unit_test(test_a_big_call_waits_for_a_full_bucket_and_leaves_a_debt),
		cmocka_unit_test(test_a_call_above_a_minute_never_fits),
		cmocka_unit_test(test_no_limit_is_no_limit),
		cmocka_unit_test(test_a_cost_of_nothing_is_free_unless_in_debt),
		cmocka_unit_test(test_a_clock_that_jumps_neither_robs_nor_grants),
		cmocka_unit_test(test_a_start_at_any_time_and_a_jump_over_all_of_it),
		cmocka_unit_test(test_new_rates_keep_what_is_earned),
		cmocka_unit_test(test_senseless_limits_are_refused),
		cmocka_unit_test(test_room_is_what_could_be_taken_within_the_horizon),
		cmocka_unit_test(test_nothing_drifts_over_a_day),
		cmocka_unit_test(test_no_window_sees_more_than_its_rate_and_one_burst),
		cmocka_unit_test(test_the_default_burst_keeps_a_sliding_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
