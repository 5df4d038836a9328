#include "row.h"

#include <errno.h>
#include <stdbool.h>

#include "base/mem.h"
#include "policy/intensity.h"

struct step {
	int64_t at_ms;
	bool want_exceeded;
	int want_count;
};

static void run(int limit, int64_t period, const struct step *steps, size_t len)
{
	AUTO(intensity_free) struct intensity *i = NULL;

	assert_int_equal(intensity_new(limit, period, &i), 0);
	for (size_t k = 0; k < len; k++) {
		bool exceeded = intensity_add(i, steps[k].at_ms);
		int count = intensity_count(i, steps[k].at_ms);

		expect(exceeded == steps[k].want_exceeded && count == steps[k].want_count,
		       "limit %d, step %zu at %lld: exceeded %d, count %d", limit, k,
		       (long long)steps[k].at_ms, (int)exceeded, count);
	}
}

#define RUN(limit, period, ...)                                                                              \
	do {                                                                                                 \
		static const struct step steps[] = { __VA_ARGS__ };                                          \
		run(limit, period, steps, ARRAY_LEN(steps));                                                 \
	} while (0)

static void test_more_than_the_limit_within_the_period_is_exceeded(void **state)
{
	(void)state;
	RUN(3, 1000, { 0, false, 1 }, { 10, false, 2 }, { 20, false, 3 }, { 30, true, 4 }, { 40, true, 4 });
	/* The oldest leaves only when it is older than the period. */
	RUN(1, 1000, { 0, false, 1 }, { 1000, true, 2 });
	RUN(1, 1000, { 0, false, 1 }, { 1001, false, 1 });
	RUN(0, 1000, { 5, true, 1 });
}

static void test_slow_restarts_are_borne_for_ever(void **state)
{
	AUTO(intensity_free) struct intensity *i = NULL;

	(void)state;
	assert_int_equal(intensity_new(1, 1000, &i), 0);
	for (int64_t now = 0; now < 2100 * 1000; now += 2100)
		expect(!intensity_add(i, now), "at %lld", (long long)now);
}

static void test_a_clock_that_steps_back_stands_still(void **state)
{
	(void)state;
	RUN(2, 1000, { 5000, false, 1 }, { 100, false, 2 }, { 5900, true, 3 }, { 6001, false, 2 });
	RUN(1, INT64_MAX, { 1, false, 1 }, { INT64_MAX, true, 2 });
}

/* What is added while the clock is behind counts as added now, not long ago. */
static void test_a_restart_during_a_step_back_is_not_forgotten_early(void **state)
{
	AUTO(intensity_free) struct intensity *i = NULL;

	(void)state;
	assert_int_equal(intensity_new(5, 1000, &i), 0);
	assert_false(intensity_add(i, 4000));
	assert_int_equal(intensity_count(i, 5000), 1);
	assert_false(intensity_add(i, 100));
	assert_int_equal(intensity_count(i, 5500), 1);
	assert_int_equal(intensity_count(i, 6001), 0);
}

static void test_reset_forgets(void **state)
{
	AUTO(intensity_free) struct intensity *i = NULL;

	(void)state;
	assert_int_equal(intensity_new(1, 1000, &i), 0);
	assert_false(intensity_add(i, 1));
	assert_true(intensity_add(i, 2));
	intensity_reset(i);
	assert_int_equal(intensity_count(i, 3), 0);
	assert_false(intensity_add(i, 3));
}

static void test_a_window_can_be_gone_on_with(void **state)
{
	AUTO(intensity_free) struct intensity *first = NULL, *second = NULL;

	(void)state;
	assert_int_equal(intensity_new(3, 1000, &first), 0);
	assert_int_equal(intensity_new(3, 1000, &second), 0);
	for (int64_t at_ms = 100; at_ms <= 1300; at_ms += 300)
		(void)intensity_add(first, at_ms);
	for (int k = 0; intensity_stamp(first, k); k++)
		(void)intensity_add(second, intensity_stamp(first, k));
	assert_int_equal(intensity_stamp(second, 0), 400);
	for (int64_t at_ms = 1300; at_ms <= 2500; at_ms += 100)
		expect(intensity_count(second, at_ms) == intensity_count(first, at_ms), "at %d", (int)at_ms);
	assert_int_equal(intensity_stamp(second, 0), 0);
}

static void test_half_a_pool_is_one_accident(void **state)
{
	static const struct {
		int intensity, size, want;
	} rows[] = { { 5, 1, 5 }, { 5, 11, 5 }, { 5, 12, 6 }, { 5, 1024, 512 }, { 1, 2, 1 }, { 1, 4, 2 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect(intensity_of_pool(rows[i].intensity, rows[i].size) == rows[i].want, "row %zu", i);
}

static void test_senseless_limits_are_refused(void **state)
{
	struct intensity *i = NULL;

	(void)state;
	assert_int_equal(intensity_new(-1, 1000, &i), -EINVAL);
	assert_int_equal(intensity_new(10001, 1000, &i), -EINVAL);
	assert_int_equal(intensity_new(1, 0, &i), -EINVAL);
	assert_null(i);
	intensity_free(&i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_more_than_the_limit_within_the_period_is_exceeded),
		cmocka_unit_test(test_slow_restarts_are_borne_for_ever),
		cmocka_unit_test(test_a_clock_that_steps_back_stands_still),
		cmocka_unit_test(test_a_restart_during_a_step_back_is_not_forgotten_early),
		cmocka_unit_test(test_reset_forgets),
		cmocka_unit_test(test_a_window_can_be_gone_on_with),
		cmocka_unit_test(test_half_a_pool_is_one_accident),
		cmocka_unit_test(test_senseless_limits_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
