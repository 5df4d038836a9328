#include "row.h"

#include <errno.h>
#include <inttypes.h>

#include "base/mem.h"
#include "policy/price.h"

static void test_prices_are_read_exactly(void **state)
{
	static const struct {
		const char *text;
		int want; /* of the call */
		int64_t want_e10;
	} rows[] = {
		{ "1", 0, 10000 },
		{ "2.50", 0, 25000 },
		{ "0.075", 0, 750 },
		{ "0.0001", 0, 1 },
		{ "0", 0, 0 },
		{ "0.0", 0, 0 },
		{ "10.10000000", 0, 101000 },
		{ "1000000", 0, INT64_C(10000000000) },
		{ "1000000.0", 0, INT64_C(10000000000) },
		{ "1000000.0001", -ERANGE, 0 },
		{ "1000001", -ERANGE, 0 },
		{ "99999999999999999999", -ERANGE, 0 },
		{ "0.00001", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ ".5", -EINVAL, 0 },
		{ "1.", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "1,5", -EINVAL, 0 },
		{ "1.5 USD", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "nan", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t e10 = -7;
		int r = price_parse(rows[i].text, &e10);

		expect(r == rows[i].want && e10 == (r == 0 ? rows[i].want_e10 : -7), "'%s': %d, %" PRId64,
		       rows[i].text, r, e10);
	}
}

static void test_costs_never_overflow(void **state)
{
	static const struct {
		struct price price;
		int64_t input, output, want;
	} rows[] = {
		{ { 25000, 100000, true, 0 }, 1000000, 0, 25000000000 }, /* 2.50 USD */
		{ { 25000, 100000, true, 0 }, 150, 320, 35750000 },
		{ { 25000, 100000, false, 0 }, 150, 320, 0 },
		{ { 25000, 100000, true, 0 }, -5, 10, 1000000 },
		{ { 25000, 100000, true, 0 }, INT64_MAX, 0, INT64_MAX },
		{ { 1, 1, true, 0 }, INT64_MAX, 1, INT64_MAX },
		{ { 1, 1, true, 0 }, INT64_MAX - 1, 1, INT64_MAX },
		{ { 0, 0, true, 0 }, INT64_MAX, INT64_MAX, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t got = price_cost(&rows[i].price, rows[i].input, rows[i].output);

		expect(got == rows[i].want, "row %zu: %" PRId64, i, got);
	}
}

static void test_days_are_dates_of_the_calendar(void **state)
{
	static const struct {
		const char *text;
		int64_t want; /* -1 = refused */
	} rows[] = {
		{ "1970-01-02", 1 },	 { "2000-02-29", 11016 },
		{ "2000-03-01", 11017 }, { "2100-02-29", -1 },
		{ "2026-06-01", 20605 }, { "9999-12-31", 2932896 },
		{ "1970-01-01", -1 },	 { "1969-12-31", -1 },
		{ "2026-02-29", -1 },	 { "2026-04-31", -1 },
		{ "2026-13-01", -1 },	 { "2026-00-01", -1 },
		{ "2026-6-1", -1 },	 { "2026-06-1", -1 },
		{ "2026-06-01 ", -1 },	 { " 2026-06-01", -1 },
		{ "2026/06/01", -1 },	 { "20260601", -1 },
		{ "2026-06-01T00", -1 }, { "", -1 },
		{ "tomorrow", -1 },	 { " 026-06-01", -1 },
		{ "2026- 6-01", -1 },	 { "+026-06-01", -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t day = -1;
		int r = price_parse_day(rows[i].text, &day);

		expect(r == (rows[i].want < 0 ? -EINVAL : 0) && day == rows[i].want, "'%s': %d, %" PRId64,
		       rows[i].text, r, day);
	}
}

static void test_a_price_applies_from_its_day_on(void **state)
{
	static const struct {
		const char *model_id;
		int64_t day, want; /* input price; -1 = unknown */
	} rows[] = {
		{ "gpt-5", 0, 1 },   { "gpt-5", 99, 1 },   { "gpt-5", 100, 2 }, { "gpt-5", 199, 2 },
		{ "gpt-5", 200, 3 }, { "gpt-5", 9999, 3 }, { "gpt-4", 9, 7 },	{ "gpt-4", 100, 7 },
		{ "grok", 49, -1 },  { "grok", 50, 5 },	   { "grok", 60, -1 },	{ "gpt-5-mini", 150, 2 },
	};
	AUTO(price_table_free) struct price_table *t = NULL;

	(void)state;
	assert_int_equal(price_table_new(&t), 0);
	assert_false(price_table_has(t, "gpt-5*"));
	price_table_add(t, "gpt-5*", 0, &(struct price){ 1, 0, true, 0 });
	price_table_add(t, "gpt-*", 0, &(struct price){ 7, 0, true, 0 });
	price_table_add(t, "gpt-5*", 200, &(struct price){ 3, 0, true, 0 });
	price_table_add(t, "gpt-5*", 100, &(struct price){ 2, 0, true, 0 });
	price_table_add(t, "grok", 60, &(struct price){ 0, 0, false, 0 });
	price_table_add(t, "grok", 50, &(struct price){ 5, 0, true, 0 });
	assert_true(price_table_has(t, "gpt-5*"));
	assert_false(price_table_has(t, "gpt-5"));
	price_table_add(t, "gpt-5*", 100, &(struct price){ 9, 0, true, 0 });
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct price got = price_table_find(t, rows[i].model_id, rows[i].day);

		expect(got.known == (rows[i].want >= 0) &&
			       (!got.known || got.input_e10_per_token == rows[i].want),
		       "row %zu: known %d, %" PRId64, i, (int)got.known, got.input_e10_per_token);
	}
}

static void test_the_first_glob_that_matches_wins(void **state)
{
	static const struct {
		const char *model_id;
		int64_t want; /* input price; -1 = unknown */
	} rows[] = {
		{ "gpt-5-mini", 1 }, { "gpt-5-mini-2025", 1 }, { "gpt-5", 2 }, { "gpt-5.1", 2 },
		{ "gpt-free", -1 },  { "gpt-4", 4 },	       { "o1", 5 },    { "o3", 5 },
		{ "o2", -1 },	     { "xgpt-5", -1 },	       { "", -1 },     { "GPT-5", -1 },
	};
	AUTO(price_table_free) struct price_table *t = NULL;

	(void)state;
	assert_int_equal(price_table_new(&t), 0);
	assert_false(price_table_find(t, "gpt-5", 0).known);
	price_table_add(t, "gpt-5-mini*", 0, &(struct price){ 1, 0, true, 0 });
	price_table_add(t, "gpt-5*", 0, &(struct price){ 2, 0, true, 0 });
	price_table_add(t, "gpt-free", 0, &(struct price){ 0, 0, false, 0 });
	price_table_add(t, "gpt-?", 0, &(struct price){ 4, 0, true, 0 });
	price_table_add(t, "o[13]", 0, &(struct price){ 5, 0, true, 0 });
	price_table_add(t, "gpt-*", 0, &(struct price){ 6, 0, true, 0 });
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct price got = price_table_find(t, rows[i].model_id, 0);

		expect(got.known == (rows[i].want >= 0) &&
			       (!got.known || got.input_e10_per_token == rows[i].want),
		       "'%s': known %d, %" PRId64, rows[i].model_id, (int)got.known, got.input_e10_per_token);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prices_are_read_exactly),
		cmocka_unit_test(test_costs_never_overflow),
		cmocka_unit_test(test_days_are_dates_of_the_calendar),
		cmocka_unit_test(test_a_price_applies_from_its_day_on),
		cmocka_unit_test(test_the_first_glob_that_matches_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
