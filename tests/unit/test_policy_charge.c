#include "row.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "policy/charge.h"

static void test_each_provider_is_charged_its_own_way(void **state)
{
	static const struct {
		const char *provider;
		struct tokens estimated, real;
		int64_t max;
		int64_t want_reserved, want_settled; /* GATE_TOKENS */
	} rows[] = {
		{ "openai", { 100, 30 }, { 80, 20 }, 500, 500, 500 },
		{ "openai", { 900, 30 }, { 850, 20 }, 500, 900, 900 },
		{ "openai", { 900, 30 }, { 950, 20 }, 500, 900, 950 },
		{ "openai", { 100, 30 }, { 80, 20 }, 0, 130, 100 },
		{ "anthropic", { 100, 30 }, { 80, 20 }, 500, 130, 100 },
		{ "google", { 100, 30 }, { 80, 20 }, 500, 130, 100 },
		{ "xai", { 100, 30 }, { 80, 20 }, 500, 130, 100 },
		{ "deepseek", { 100, 30 }, { 80, 20 }, 500, 130, 100 },
		{ "mistral", { 100, 30 }, { 80, 20 }, 500, 130, 100 },
		{ "", { 100, 30 }, { 80, 200 }, 500, 130, 280 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct gate_cost reserved, settled;

		memset(&reserved, 0x55, sizeof(reserved));
		memset(&settled, 0x55, sizeof(settled));
		charge_reserve(rows[i].provider, rows[i].estimated, rows[i].max, &reserved);
		charge_settle(rows[i].provider, rows[i].real, rows[i].max, &reserved, &settled);
		expect(reserved.of[GATE_TOKENS] == rows[i].want_reserved &&
			       settled.of[GATE_TOKENS] == rows[i].want_settled,
		       "row %zu, %s: %" PRId64 ", then %" PRId64, i, rows[i].provider,
		       reserved.of[GATE_TOKENS], settled.of[GATE_TOKENS]);
		for (int k = 0; k < 2; k++) {
			const struct gate_cost *c = k ? &settled : &reserved;
			const struct tokens *t = k ? &rows[i].real : &rows[i].estimated;

			expect(c->of[GATE_INPUT_TOKENS] == t->input &&
				       c->of[GATE_OUTPUT_TOKENS] == t->output && c->of[GATE_REQUESTS] == 1 &&
				       c->of[GATE_REQUESTS_DAY] == 1 && c->of[GATE_MONEY_DAY] == 0,
			       "row %zu, %s", i, rows[i].provider);
		}
	}
}

static void test_headers_that_mean_another_limit_are_not_heard(void **state)
{
	static const struct {
		const char *provider;
		int64_t want_limit, want_remaining;
	} rows[] = { { "anthropic", -1, -1 }, { "openai", 30000, 12 }, { "simulated", 30000, 12 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct gate_told told = { .limit = { 50, 30000, 20000, 8000 },
					  .remaining = { 3, 12, 13, 14 } };

		charge_hear(rows[i].provider, &told);
		expect(told.limit[GATE_TOKENS] == rows[i].want_limit &&
			       told.remaining[GATE_TOKENS] == rows[i].want_remaining,
		       "%s", rows[i].provider);
		expect(told.limit[GATE_REQUESTS] == 50 && told.remaining[GATE_OUTPUT_TOKENS] == 14, "%s",
		       rows[i].provider);
	}
}

static void test_only_deepseek_means_calls_at_once(void **state)
{
	static const char *const others[] = { "openai",	 "anthropic", "google",	  "xai",
					      "mistral", "",	      "simulated" };

	(void)state;
	assert_true(charge_learns_concurrency("deepseek"));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		expect(!charge_learns_concurrency(others[i]), "%s", others[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_provider_is_charged_its_own_way),
		cmocka_unit_test(test_headers_that_mean_another_limit_are_not_heard),
		cmocka_unit_test(test_only_deepseek_means_calls_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
