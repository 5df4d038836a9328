#include "row.h"

#include "base/mem.h"
#include "policy/strategy.h"

static const struct {
	enum strategy strategy;
	size_t count, failed, want_first, want_last;
} rows[] = {
	{ STRATEGY_ONE_FOR_ONE, 1, 0, 0, 0 },  { STRATEGY_ONE_FOR_ALL, 1, 0, 0, 0 },
	{ STRATEGY_REST_FOR_ONE, 1, 0, 0, 0 }, { STRATEGY_ONE_FOR_ONE, 3, 0, 0, 0 },
	{ STRATEGY_ONE_FOR_ONE, 3, 1, 1, 1 },  { STRATEGY_ONE_FOR_ONE, 3, 2, 2, 2 },
	{ STRATEGY_ONE_FOR_ALL, 3, 0, 0, 2 },  { STRATEGY_ONE_FOR_ALL, 3, 1, 0, 2 },
	{ STRATEGY_ONE_FOR_ALL, 3, 2, 0, 2 },  { STRATEGY_REST_FOR_ONE, 3, 0, 0, 2 },
	{ STRATEGY_REST_FOR_ONE, 3, 1, 1, 2 }, { STRATEGY_REST_FOR_ONE, 3, 2, 2, 2 },
};

static void test_a_strategy_takes_along_whom_it_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t first, last;

		strategy_span(rows[i].strategy, rows[i].count, rows[i].failed, &first, &last);
		expect(first == rows[i].want_first && last == rows[i].want_last, "%s, %zu of %zu: %zu to %zu",
		       strategy_name(rows[i].strategy), rows[i].failed, rows[i].count, first, last);
	}
}

static void test_strategies_are_named_as_in_the_ini(void **state)
{
	static const char *const names[] = { "one_for_one", "one_for_all", "rest_for_one", "?" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_string_equal(strategy_name((enum strategy)i), names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_strategy_takes_along_whom_it_says),
		cmocka_unit_test(test_strategies_are_named_as_in_the_ini),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
