#include "row.h"

#include <inttypes.h>

#include "base/mem.h"
#include "policy/backoff.h"

static const struct {
	int64_t base, max;
	unsigned failures;
	int64_t want_least, want_most; /* for random 0 and UINT32_MAX */
} rows[] = {
	{ 500, 60000, 0, 0, 0 },
	{ 500, 60000, 1, 250, 500 },
	{ 500, 60000, 2, 500, 1000 },
	{ 500, 60000, 3, 1000, 2000 },
	{ 500, 60000, 7, 16000, 32000 },
	{ 500, 60000, 8, 30000, 60000 },
	{ 500, 60000, 9, 30000, 60000 },
	{ 500, 60000, UINT32_MAX, 30000, 60000 },
	{ 1, 3, 1, 1, 1 },
	{ 1, 3, 2, 1, 2 },
	{ 1, 3, 3, 2, 3 },
	{ 0, 60000, 5, 0, 0 },
	{ 0, 60000, UINT32_MAX, 0, 0 },
	{ 1000, 0, 5, 0, 0 },
	{ 90000, 60000, 1, 30000, 60000 },
	{ 1, INT64_MAX, 64, INT64_MAX - INT64_MAX / 2, INT64_MAX },
	{ INT64_MAX, INT64_MAX, UINT32_MAX, INT64_MAX - INT64_MAX / 2, INT64_MAX },
};

static void test_backoff_doubles_to_its_maximum(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t least = backoff_delay_ms(rows[i].base, rows[i].max, rows[i].failures, 0);
		int64_t most = backoff_delay_ms(rows[i].base, rows[i].max, rows[i].failures, UINT32_MAX);

		expect(least == rows[i].want_least, "row %zu: least is %" PRId64, i, least);
		expect(most <= rows[i].want_most &&
			       most >= rows[i].want_most - rows[i].want_most / 1000000000,
		       "row %zu: most is %" PRId64, i, most);
	}
}

static void test_backoff_spreads_over_its_upper_half(void **state)
{
	uint64_t seed = 20240601;
	int count[4] = { 0 };

	(void)state;
	for (int i = 0; i < 4000; i++) {
		int64_t delay = backoff_delay_ms(8000, 8000, 1, row_random(&seed));

		expect(delay >= 4000 && delay <= 8000, "delay %" PRId64, delay);
		count[delay == 8000 ? 3 : (delay - 4000) / 1000]++;
	}
	for (size_t i = 0; i < ARRAY_LEN(count); i++)
		expect(count[i] > 850 && count[i] < 1150, "quarter %zu holds %d of 4000", i, count[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backoff_doubles_to_its_maximum),
		cmocka_unit_test(test_backoff_spreads_over_its_upper_half),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
