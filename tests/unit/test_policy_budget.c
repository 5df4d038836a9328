/* policy/budget: a table of verdicts, and a random model: no call that is let in passes the budget, and no
 * money is made or lost. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "policy/budget.h"

static void test_looks_by_what_is_left(void **state)
{
	static const struct {
		struct budget budget;
		int64_t cost;
		enum budget_verdict want;
	} rows[] = {
		{ { .most = 0, .spent = 900 }, INT64_MAX, BUDGET_OPEN },
		{ { .most = 100 }, 100, BUDGET_OPEN },
		{ { .most = 100 }, 101, BUDGET_OVER },
		{ { .most = 100, .spent = 60 }, 40, BUDGET_OPEN },
		{ { .most = 100, .spent = 60, .reserved = 1 }, 40, BUDGET_WAITS },
		{ { .most = 100, .spent = 61, .reserved = 1 }, 40, BUDGET_OVER },
		{ { .most = 100, .spent = 60, .reserved = 41 }, -1, BUDGET_WAITS },
		{ { .most = 100, .spent = 100 }, -1, BUDGET_OPEN },
		{ { .most = 100, .spent = 101 }, -1, BUDGET_OVER },
		{ { .most = 100, .spent = 101, .reserved = 7 }, 0, BUDGET_OVER },
		{ { .most = INT64_MAX, .spent = INT64_MAX - 1, .reserved = 5 }, INT64_MAX, BUDGET_OPEN },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum budget_verdict got = budget_look(&rows[i].budget, rows[i].cost);

		if (got != rows[i].want)
			fail_msg("row %zu: verdict %d, want %d", i, (int)got, (int)rows[i].want);
	}
}

static void test_settles_what_was_reserved(void **state)
{
	struct budget b = { .most = 100 };

	(void)state;
	budget_reserve(&b, 30);
	budget_reserve(&b, -1);
	assert_int_equal(b.reserved, 30);
	budget_settle(&b, 30, 12);
	assert_int_equal(b.reserved, 0);
	assert_int_equal(b.spent, 12);
	budget_settle(&b, -1, -1);
	assert_int_equal(b.reserved, 0);
	assert_int_equal(b.spent, 12);
}

static void test_hears_only_upward(void **state)
{
	struct budget b = { .most = 100, .spent = 50 };

	(void)state;
	budget_hear(&b, 40);
	assert_int_equal(b.spent, 50);
	budget_hear(&b, 60);
	assert_int_equal(b.spent, 60);
}

static void test_saturates(void **state)
{
	struct budget b = { .most = 100, .spent = INT64_MAX - 1, .reserved = INT64_MAX - 1 };

	(void)state;
	budget_reserve(&b, 10);
	budget_settle(&b, 0, 10);
	assert_true(b.reserved == INT64_MAX);
	assert_true(b.spent == INT64_MAX);
	assert_int_equal(budget_look(&b, 1), BUDGET_OVER);
}

/* ---- a random model ---- */

enum { CALLS = 50, STEPS = 200000 };

struct account {
	int64_t reserved[CALLS]; /* -1 = no such call */
	int64_t spent;
};

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static int64_t under_way(const struct account *account)
{
	int64_t sum = 0;

	for (size_t i = 0; i < CALLS; i++)
		sum += account->reserved[i] > 0 ? account->reserved[i] : 0;
	return sum;
}

static void check(const struct budget *b, const struct account *account, int step)
{
	if (b->spent != account->spent || b->reserved != under_way(account))
		fail_msg("step %d: spent %lld reserved %lld, the account has %lld and %lld", step,
			 (long long)b->spent, (long long)b->reserved, (long long)account->spent,
			 (long long)under_way(account));
}

static void begin(struct budget *b, struct account *account, size_t i, int64_t cost, int step)
{
	enum budget_verdict verdict = budget_look(b, cost);
	int64_t with = account->spent + cost;

	if (verdict == BUDGET_OPEN && with + under_way(account) > b->most)
		fail_msg("step %d: a call of %lld passes the budget", step, (long long)cost);
	if (verdict == BUDGET_WAITS && with > b->most)
		fail_msg("step %d: a call waits that can never go", step);
	if (verdict == BUDGET_OVER && with <= b->most)
		fail_msg("step %d: a call is refused that may yet go", step);
	if (verdict != BUDGET_OPEN)
		return;
	budget_reserve(b, cost);
	account->reserved[i] = cost;
}

static void test_no_call_passes_the_budget_and_no_money_is_lost(void **state)
{
	struct budget b = { .most = 1000000 };
	struct account account = { .spent = 0 };
	uint32_t seed = 20260101;

	(void)state;
	for (size_t i = 0; i < CALLS; i++)
		account.reserved[i] = -1;
	for (int step = 0; step < STEPS; step++) {
		size_t i = next_random(&seed) % CALLS;
		int64_t amount = next_random(&seed) % 5000;

		if (account.reserved[i] < 0) {
			begin(&b, &account, i, amount, step);
		} else {
			int64_t real = next_random(&seed) % 3 == 0 ? 0 : amount;

			budget_settle(&b, account.reserved[i], real);
			account.reserved[i] = -1;
			account.spent += real;
		}
		if (next_random(&seed) % 1000 == 0)
			b.most += 400000; /* somebody raises it */
		check(&b, &account, step);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_looks_by_what_is_left),
		cmocka_unit_test(test_settles_what_was_reserved),
		cmocka_unit_test(test_hears_only_upward),
		cmocka_unit_test(test_saturates),
		cmocka_unit_test(test_no_call_passes_the_budget_and_no_money_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
