#include "policy/histogram.h"

#include "row.h"

static void test_a_time_is_counted_up_to_its_bound(void **state)
{
	static const struct {
		int64_t ms;
		int bound; /* the first that has it */
	} rows[] = {
		{ -7, 0 },   { 0, 0 },	  { 5, 0 },	   { 6, 1 },	    { 10, 1 },	       { 11, 2 },
		{ 1000, 7 }, { 1001, 8 }, { 1800000, 14 }, { 1800001, 15 }, { INT32_MAX, 15 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct histogram h = { .sum_ms = 0 };

		histogram_add(&h, rows[i].ms);
		for (int bound = 0; bound <= HISTOGRAM_BOUNDS; bound++)
			expect(histogram_upto(&h, bound) == (bound >= rows[i].bound), "%lld ms at bound %d",
			       (long long)rows[i].ms, bound);
		expect(h.sum_ms == (rows[i].ms < 0 ? 0 : rows[i].ms), "%lld ms in the sum",
		       (long long)rows[i].ms);
	}
}

static void test_nothing_is_lost_and_sums_add_up(void **state)
{
	struct histogram h = { .sum_ms = 0 };
	uint64_t seed = 4711;
	int64_t sum = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		int64_t ms = row_random(&seed) % 4000000;

		histogram_add(&h, ms);
		sum += ms;
	}
	assert_int_equal(histogram_upto(&h, HISTOGRAM_BOUNDS), 10000);
	assert_int_equal(h.sum_ms, sum);
	for (int bound = 1; bound <= HISTOGRAM_BOUNDS; bound++)
		assert_true(histogram_upto(&h, bound) >= histogram_upto(&h, bound - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_time_is_counted_up_to_its_bound),
		cmocka_unit_test(test_nothing_is_lost_and_sums_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
