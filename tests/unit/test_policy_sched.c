#include "model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/sched.h"

/* Jobs chosen of each pair in one call. */
static int choose(struct sched_pair *pairs, size_t npairs, const int *want, size_t nlanes, int total,
		  int *ret_n)
{
	struct sched_pick picks[64];
	size_t n = sched_choose(pairs, npairs, want, nlanes, total, picks);
	int sum = 0;

	memset(ret_n, 0, npairs * sizeof(*ret_n));
	assert_true(n <= npairs);
	for (size_t i = 0; i < n; i++) {
		assert_true(picks[i].pair < npairs);
		expect(picks[i].n > 0 && !ret_n[picks[i].pair], "pick %zu: pair %zu, n %d", i, picks[i].pair,
		       picks[i].n);
		ret_n[picks[i].pair] = picks[i].n;
		sum += picks[i].n;
	}
	return sum;
}

#define PAIR(run, model, lane_, prio)                                                                        \
	{                                                                                                    \
		.run_id = run, .model_id = model, .lane = lane_, .priority = prio, .maybe_ready = true       \
	}

static void test_one_call_shares_as_told(void **state)
{
	static const struct {
		const char *what;
		struct sched_pair pairs[4];
		size_t npairs;
		int want[2];
		int total;
		int want_n[4];
	} rows[] = {
		{ "two runs share evenly",
		  { PAIR("a", "m", 0, 0), PAIR("b", "m", 0, 0) },
		  2,
		  { 100, 0 },
		  10,
		  { 5, 5 } },
		{ "runs share, not pairs",
		  { PAIR("a", "m1", 0, 0), PAIR("a", "m2", 0, 0), PAIR("a", "m3", 0, 0),
		    PAIR("b", "m", 0, 0) },
		  4,
		  { 100, 0 },
		  12,
		  { 2, 2, 2, 6 } },
		{ "one step of priority is four times the turns",
		  { PAIR("a", "m", 0, 1), PAIR("b", "m", 0, 2) },
		  2,
		  { 1000, 0 },
		  500,
		  { 100, 400 } },
		{ "two steps are sixteen times the turns",
		  { PAIR("a", "m", 0, -1), PAIR("b", "m", 0, 1) },
		  2,
		  { 1000, 0 },
		  170,
		  { 10, 160 } },
		{ "three steps and more are sixty-four times the turns",
		  { PAIR("a", "m", 0, 0), PAIR("b", "m", 0, 3), PAIR("c", "m", 0, -1000) },
		  3,
		  { 1000, 0 },
		  660,
		  { 10, 640, 10 } },
		{ "the highest priority starts",
		  { PAIR("a", "m", 0, 1), PAIR("b", "m", 0, 2) },
		  2,
		  { 1 },
		  9,
		  { 0, 1 } },
		{ "priorities at the ends of int",
		  { PAIR("a", "m", 0, INT_MIN), PAIR("b", "m", 0, INT_MAX) },
		  2,
		  { 100, 0 },
		  65,
		  { 1, 64 } },
		{ "what the higher cannot use goes to the lower",
		  { PAIR("a", "m", 0, 1), PAIR("b", "m", 1, 2) },
		  2,
		  { 100, 3 },
		  10,
		  { 7, 3 } },
		{ "a lane takes no more than it wants",
		  { PAIR("a", "m", 0, 0), PAIR("b", "m", 1, 0) },
		  2,
		  { 2, 4 },
		  100,
		  { 2, 4 } },
		{ "a throttled lane starves nobody",
		  { PAIR("a", "m0", 0, 0), PAIR("a", "m1", 1, 0) },
		  2,
		  { 0, 9 },
		  9,
		  { 0, 9 } },
		{ "a lane below nothing is nothing", { PAIR("a", "m", 0, 0) }, 1, { -5, 0 }, 9, { 0 } },
		{ "a lane unknown is nothing",
		  { PAIR("a", "m", 2, 0), PAIR("b", "m", -1, 0) },
		  2,
		  { 9, 9 },
		  9,
		  { 0, 0 } },
		{ "nothing in all", { PAIR("a", "m", 0, 0) }, 1, { 9, 9 }, 0, { 0 } },
		{ "no pairs", { PAIR("a", "m", 0, 0) }, 0, { 9, 9 }, 9, { 0 } },
		{ "an empty pair is passed over",
		  { PAIR("a", "m", 0, 0), { .run_id = "b", .model_id = "m" } },
		  2,
		  { 9, 0 },
		  4,
		  { 4, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sched_pair pairs[4];
		int n[4] = { 0 };

		memcpy(pairs, rows[i].pairs, sizeof(pairs));
		(void)choose(pairs, rows[i].npairs, rows[i].want, 2, rows[i].total, n);
		for (size_t k = 0; k < rows[i].npairs; k++)
			expect(n[k] == rows[i].want_n[k], "%s: pair %zu got %d", rows[i].what, k, n[k]);
	}
}

static void test_turns_are_fair_over_calls_of_one_job(void **state)
{
	struct sched_pair pairs[] = { PAIR("a", "m1", 0, 0), PAIR("a", "m2", 0, 0), PAIR("b", "m", 0, 0),
				      PAIR("c", "m", 0, 0) };
	static const int want[] = { 1 };
	int sum[4] = { 0 };

	(void)state;
	for (int call = 0; call < 300; call++) {
		int n[4];

		assert_int_equal(choose(pairs, 4, want, 1, 50, n), 1);
		for (size_t k = 0; k < 4; k++)
			sum[k] += n[k];
	}
	/* The first served is ahead by the one job that the others joined behind. */
	expect(sum[0] + sum[1] == 101 && sum[0] - sum[1] == 1 && sum[2] == 100 && sum[3] == 99, "%d %d %d %d",
	       sum[0], sum[1], sum[2], sum[3]);
}

/* A run of 100,000 has been served for long when one of 10 comes: the small one need not wait for it. */
static void test_a_new_small_run_is_served_at_once(void **state)
{
	struct sched_pair pairs[] = { PAIR("big", "m", 0, 0), PAIR("small", "m", 0, 0) };
	static const int want[] = { 10 };
	int n[2];

	(void)state;
	for (int call = 0; call < 1000; call++)
		assert_int_equal(choose(pairs, 1, want, 1, 10, n), 10);
	assert_int_equal(choose(pairs, 2, want, 1, 10, n), 10);
	expect(n[1] == 5, "the small run got %d of 10", n[1]);
}

static void test_a_run_that_was_blocked_does_not_starve_the_others(void **state)
{
	struct sched_pair pairs[] = { PAIR("a", "m", 0, 0), PAIR("b", "m", 0, 0) };
	static const int want[] = { 10 };
	int n[2], lost = 0;

	(void)state;
	assert_int_equal(choose(pairs, 2, want, 1, 10, n), 10);
	pairs[1].maybe_ready = false;
	for (int call = 0; call < 10000; call++)
		assert_int_equal(choose(pairs, 2, want, 1, 10, n), 10);
	pairs[1].maybe_ready = true;
	for (int call = 0; call < 20; call++) {
		(void)choose(pairs, 2, want, 1, 10, n);
		lost += n[0] == 0;
	}
	expect(lost <= 7, "a got nothing in %d calls of 20", lost);
	expect(n[0] == 5 && n[1] == 5, "then %d and %d", n[0], n[1]);
}

static void test_many_pairs_of_many_runs_are_all_served(void **state)
{
	enum { RUNS = 100, MODELS = 6 };
	struct sched_pair *pairs = mem_array((size_t)RUNS * MODELS, sizeof(*pairs));
	struct sched_pick *picks = mem_array((size_t)RUNS * MODELS, sizeof(*picks));
	static char names[RUNS][16];
	static const int want[MODELS] = { 1000, 1000, 1000, 1000, 1000, 1000 };
	int of_run[RUNS] = { 0 };
	size_t n;

	(void)state;
	for (int i = 0; i < RUNS * MODELS; i++) {
		(void)snprintf(names[i / MODELS], sizeof(names[0]), "r%d", i / MODELS);
		pairs[i] = (struct sched_pair)PAIR(names[i / MODELS], "m", i % MODELS, 0);
	}
	n = sched_choose(pairs, (size_t)RUNS * MODELS, want, MODELS, 1000, picks);
	for (size_t i = 0; i < n; i++)
		of_run[picks[i].pair / MODELS] += picks[i].n;
	for (int i = 0; i < RUNS; i++)
		expect(of_run[i] == 10, "run %d got %d", i, of_run[i]);
	mem_free(&pairs);
	mem_free(&picks);
}

/* Random runs and priorities, pauses, lanes that fill and empty, runs that come and go. A run with work is
 * never passed over for longer than each other run takes to use up its turns. */
static void test_every_run_with_work_is_soon_served(void **state)
{
	enum { RUNS = 12, CALLS = 4000, TURNS = 65 };
	static const char *const names[RUNS] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l" };
	struct sched_pair pairs[RUNS];
	int missed[RUNS] = {
		0
	}; /* jobs of others since it was served or came, while it had work all along */
	int arrivals[RUNS] = { 0 }; /* others that have come or come back meanwhile */

	(void)state;
	for (int i = 0; i < RUNS; i++)
		pairs[i] = (struct sched_pair)PAIR(names[i], "m", 0, model_below(9) - 4);
	for (int call = 0; call < CALLS; call++) {
		const int want[] = { model_below(40) };
		int n[RUNS], sum;

		for (int i = 0; i < RUNS; i++) {
			if (!model_chance(2))
				continue;
			pairs[i].maybe_ready = !pairs[i].maybe_ready;
			if (model_chance(30))
				pairs[i].served = 0; /* another run */
			missed[i] = 0;
			for (int k = 0; k < RUNS; k++)
				arrivals[k]++;
			arrivals[i] = 0;
		}
		sum = choose(pairs, RUNS, want, 1, 128, n);
		for (int i = 0; i < RUNS; i++) {
			if (n[i] || !pairs[i].maybe_ready) {
				missed[i] = arrivals[i] = 0;
				continue;
			}
			missed[i] += sum;
			agree(missed[i] <= TURNS * (RUNS + arrivals[i]),
			      "call %d: run %s missed %d jobs, %d arrivals", call, names[i], missed[i],
			      arrivals[i]);
		}
	}
}

/* While all have work, each gets its weight's part of the jobs. */
static void test_runs_share_by_their_priorities_over_time(void **state)
{
	static const int weights[] = { 64, 16, 4, 1, 1 };
	struct sched_pair pairs[] = { PAIR("a", "m", 0, 7), PAIR("b", "m", 0, 6), PAIR("c", "m", 0, 5),
				      PAIR("d", "m", 0, 4), PAIR("e", "m", 0, -9) };
	int sum[5] = { 0 }, all = 0;

	(void)state;
	while (all < 86 * 100) {
		const int want[] = { 1 + model_below(30) };
		int n[5];

		all += choose(pairs, 5, want, 1, 20, n);
		for (size_t i = 0; i < 5; i++)
			sum[i] += n[i];
	}
	for (size_t i = 0; i < 5; i++)
		agree(abs(sum[i] * 86 - all * weights[i]) <= 86 * 64, "run %zu got %d of %d", i, sum[i], all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_call_shares_as_told),
		cmocka_unit_test(test_turns_are_fair_over_calls_of_one_job),
		cmocka_unit_test(test_a_new_small_run_is_served_at_once),
		cmocka_unit_test(test_a_run_that_was_blocked_does_not_starve_the_others),
		cmocka_unit_test(test_many_pairs_of_many_runs_are_all_served),
		cmocka_unit_test_setup(test_every_run_with_work_is_soon_served, model_start),
		cmocka_unit_test_setup(test_runs_share_by_their_priorities_over_time, model_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
