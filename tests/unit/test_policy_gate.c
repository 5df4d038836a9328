/* A call's way in and out, and what it is told while it waits. */

#include "gate_case.h"

#include <limits.h>

static void test_a_call_takes_from_all_or_from_none(void **state)
{
	static const struct {
		const char *what;
		struct gate_scope_params scope;
		struct gate_cost cost;
		int want; /* calls that enter at once */
	} rows[] = {
		{ "requests", { .most = { 60, 60000 }, .burst = 3 }, { { 1, 10 } }, 3 },
		{ "slots", { .most = { 60, 60000 }, .burst = 9, .concurrency = 2 }, { { 1, 10 } }, 2 },
		{ "tokens", { .most = { 600, 1200 }, .burst = 9 }, { { 1, 700 } }, 1 },
		{ "input tokens", { .most = { 600, 0, 1200 }, .burst = 9 }, { { 1, 800, 700, 100 } }, 1 },
		{ "output tokens", { .most = { 600, 0, 0, 1200 }, .burst = 9 }, { { 1, 800, 100, 700 } }, 1 },
		{ "requests of a day",
		  { .most = { 600, 0, 0, 0, 4 }, .burst = 9 },
		  { { 1, 0, 0, 0, 1 } },
		  4 },
		{ "money of a day",
		  { .most = { 600, 0, 0, 0, 0, 100 }, .burst = 9 },
		  { { 1, 0, 0, 0, 1, 40 } },
		  2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = case_gate(&rows[i].scope, 1);
		struct gate_ticket t;
		int entered = 0;

		for (int k = 0; k < 10; k++)
			entered += gate_enter(g, 0, LATER, &rows[i].cost, &t);
		expect(entered == rows[i].want && gate_in_flight(g) == entered, "%s: %d, %d", rows[i].what,
		       entered, gate_in_flight(g));
		for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
			int64_t used = case_used(g, 0, u, LATER);

			expect(used == entered * rows[i].cost.of[u], "%s: %" PRId64 " %s", rows[i].what, used,
			       gate_unit_name(u));
		}
	}
}

static void test_what_became_of_a_call_decides_what_it_is_charged(void **state)
{
	static const struct {
		const char *what;
		enum gate_end end;
		int64_t want[GATE_UNITS];
	} rows[] = {
		{ "answered", GATE_ANSWERED, { 1, 90, 60, 30, 1, 7 } },
		{ "refused", GATE_REFUSED, { 1, 0, 0, 0, 1, 0 } },
		{ "broken", GATE_BROKEN, { 1, 100, 50, 50, 1, 9 } },
		{ "failed", GATE_FAILED, { 1, 100, 50, 50, 1, 9 } },
		{ "unsent", GATE_UNSENT, { 0, 0, 0, 0, 0, 0 } },
	};
	static const struct gate_scope_params scope = { .most = { 600, 60000, 60000, 60000, 0, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
		struct gate_ticket t = case_enter(g, "m", LATER, COST(1, 100, 50, 50, 1, 9));

		assert_false(gate_leave(g, &t, LATER + 100, rows[i].end, COST(1, 90, 60, 30, 1, 7), 0));
		assert_null(t.slot);
		assert_int_equal(gate_in_flight(g), 0);
		for (enum gate_unit u = 0; u < GATE_UNITS; u++)
			expect(case_used(g, 0, u, LATER + 100) == rows[i].want[u], "%s: %s: %" PRId64,
			       rows[i].what, gate_unit_name(u), case_used(g, 0, u, LATER + 100));
	}
}

/* What was not reserved is not charged: nobody held it against the limit either. */
static void test_a_unit_that_was_not_taken_is_not_settled(void **state)
{
	static const struct gate_scope_params scope = { .most = { 600, 600 } };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_ticket t = case_enter(g, "m", LATER, COST(1));

	(void)state;
	gate_leave(g, &t, LATER, GATE_ANSWERED, COST(1, 500, 0, 0, 1), 0);
	assert_int_equal(case_used(g, 0, GATE_TOKENS, LATER), 0);
	assert_int_equal(case_used(g, 0, GATE_REQUESTS_DAY, LATER), 0);
}

static void test_a_call_from_before_a_restart_takes_its_slot_whatever_is_full(void **state)
{
	static const struct gate_scope_params scope = { .most = { 600, 600 }, .burst = 9, .concurrency = 1 };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_ticket a, b, c;

	(void)state;
	gate_readmit(g, 0, LATER, &a);
	gate_readmit(g, 0, LATER, &b);
	assert_int_equal(gate_in_flight(g), 2);
	assert_false(gate_enter(g, 0, LATER, COST(1, 10), &c));
	case_leave(g, &a, LATER, GATE_ANSWERED);
	assert_int_equal(case_why(g, LATER), GATE_CONCURRENCY);
	case_leave(g, &b, LATER, GATE_BROKEN);
	assert_int_equal(case_why(g, LATER), GATE_OPEN);
	assert_int_equal(case_used(g, 0, GATE_REQUESTS, LATER), 0);
}

/* ---- why ---- */

static const char *const whys[] = { "open",   "never",	     "parked", "breaker",
				    "paused", "concurrency", "unit",   "no grant" };

static void expect_why(const struct gate *g, const char *what, int64_t now_ms, const struct gate_cost *cost,
		       struct gate_verdict want)
{
	struct gate_verdict v = gate_look(g, 0, now_ms, cost);

	expect(v.why == want.why && v.unit == want.unit && v.wait_ms == want.wait_ms &&
		       !strcmp(v.scope, want.scope),
	       "%s: %s, %s, %" PRId64 " ms, '%s'", what, whys[v.why], gate_unit_name(v.unit), v.wait_ms,
	       v.scope);
}

/* Each cause is taken away in turn, and shows the one below it. */
static void test_the_first_cause_is_told(void **state)
{
	static const struct gate_scope_params scope = { .most = { 600, 600, 0, 0, 3 },
							.burst = 5,
							.concurrency = 11 };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_told told = case_told();
	struct gate_ticket t[11], more;

	(void)state;
	for (int i = 0; i < 11; i++)
		gate_readmit(g, 0, LATER, &t[i]);
	for (int i = 0; i < 10; i++)
		assert_int_equal(case_leave(g, &t[i], LATER, GATE_BROKEN), i == 9);
	gate_readmit(g, 0, LATER, &t[0]);
	gate_refuse(g, &t[0], LATER, &told, 9000, 9000);
	for (int i = 1; i < 10; i++)
		gate_readmit(g, 0, LATER, &t[i]);
	assert_int_equal(gate_in_flight(g), 11);
	gate_park(g, GATE_PARK_OPERATOR, "tea", LATER, 0, 0);
	gate_new_day(g, LATER + 70000);
	gate_add_used(g, 0, GATE_REQUESTS_DAY, 3);

	expect_why(g, "tokens above a minute's", LATER, COST(1, 601, 0, 0, 1),
		   (struct gate_verdict){ GATE_NEVER, GATE_TOKENS, -1, "" });
	expect_why(g, "requests above a day's", LATER, COST(1, 0, 0, 0, 4),
		   (struct gate_verdict){ GATE_NEVER, GATE_REQUESTS_DAY, -1, "" });
	expect_why(g, "parked", LATER, COST(1, 0, 0, 0, 1), (struct gate_verdict){ GATE_PARKED, 0, -1, "" });
	assert_false(gate_enter(g, 0, LATER, COST(1), &more));
	gate_resume(g);
	for (int i = 0; i < 10; i++) {
		case_leave(g, &t[i], LATER, GATE_BROKEN);
		gate_readmit(g, 0, LATER, &t[i]);
	}
	gate_refuse(g, &t[0], LATER, &told, 9000, 9000);
	expect_why(g, "breaker", LATER, COST(1, 0, 0, 0, 1),
		   (struct gate_verdict){ GATE_BREAKER, 0, 5000, "" });
	assert_false(gate_enter(g, 0, LATER, COST(1), &more));
	expect_why(g, "paused", LATER + 5000, COST(1, 0, 0, 0, 1),
		   (struct gate_verdict){ GATE_PAUSED, 0, 4000, "" });
	assert_false(gate_enter(g, 0, LATER + 5000, COST(1), &more));
	expect_why(g, "slots", LATER + 9000, COST(1, 0, 0, 0, 1),
		   (struct gate_verdict){ GATE_CONCURRENCY, 0, -1, "" });
	assert_false(gate_enter(g, 0, LATER + 9000, COST(1), &more));
	case_leave(g, &t[0], LATER + 9000, GATE_FAILED);
	expect_why(g, "the day", LATER + 9000, COST(1, 0, 0, 0, 1),
		   (struct gate_verdict){ GATE_UNIT, GATE_REQUESTS_DAY, 61000, "" });
	assert_false(gate_enter(g, 0, LATER + 9000, COST(1, 0, 0, 0, 1), &more));
	gate_new_day(g, LATER + 200000);
	expect_why(g, "nothing", LATER + 70000, COST(1, 0, 0, 0, 1),
		   (struct gate_verdict){ GATE_OPEN, 0, 0, "" });
	assert_true(gate_enter(g, 0, LATER + 70000, COST(1, 0, 0, 0, 1), &more));
}

static void test_of_the_units_the_longest_wait_is_told(void **state)
{
	static const struct gate_scope_params scopes[] = {
		{ .most = { 60, 60000, 0, 0, 0, 100 }, .burst = 1 },
		{ .glob = "big-*", .most = { -1, 600, -1, -1, -1, -1 }, .concurrency = GATE_INHERIT },
	};
	AUTO(gate_free) struct gate *g = case_gate(scopes, 2);
	size_t big = gate_family(g, "big-1");
	struct gate_verdict v;

	(void)state;
	case_enter(g, "big-1", LATER, COST(1, 300));
	v = gate_look(g, big, LATER, COST(1));
	assert_true(v.why == GATE_UNIT && v.unit == GATE_REQUESTS && v.wait_ms > 0 && !strcmp(v.scope, ""));
	v = gate_look(g, big, LATER, COST(1, 300));
	assert_true(v.why == GATE_UNIT && v.unit == GATE_TOKENS && v.wait_ms >= 28000 &&
		    !strcmp(v.scope, "big-*"));
	/* A day whose end nobody has told lasts longest. */
	gate_add_used(g, 0, GATE_MONEY_DAY, 99);
	v = gate_look(g, big, LATER, COST(1, 300, 0, 0, 0, 2));
	assert_true(v.why == GATE_UNIT && v.unit == GATE_MONEY_DAY && v.wait_ms == -1);
	/* After the wait it is told, a call goes. */
	v = gate_look(g, big, LATER, COST(1, 300));
	case_enter(g, "big-1", LATER + v.wait_ms, COST(1, 300));
}

static void test_units_have_names(void **state)
{
	static const char *const want[] = { "requests/min",	 "tokens/min",	 "input tokens/min",
					    "output tokens/min", "requests/day", "money/day" };

	(void)state;
	for (enum gate_unit u = 0; u < GATE_UNITS; u++)
		assert_string_equal(gate_unit_name(u), want[u]);
	assert_string_equal(gate_unit_name(GATE_UNITS), "?");
}

/* ---- room ---- */

static void test_room_is_what_could_enter_within_the_horizon(void **state)
{
	static const struct {
		const char *what;
		struct gate_scope_params scope;
		int under_way;
		int64_t pause, horizon;
		struct gate_cost cost;
		int least, most;
	} rows[] = {
		{ "nothing limits", { .most = { 0 } }, 3, 0, 1000, { { 1, 10 } }, INT_MAX, INT_MAX },
		{ "slots", { .concurrency = 5 }, 3, 0, 1000, { { 1 } }, 2, 2 },
		{ "all slots taken", { .concurrency = 3 }, 3, 0, 1000, { { 1 } }, 0, 0 },
		{ "the burst and what is earned",
		  { .most = { 60 }, .burst = 3 },
		  0,
		  0,
		  4000,
		  { { 1 } },
		  6,
		  7 },
		{ "slots below requests",
		  { .most = { 60 }, .burst = 3, .concurrency = 4 },
		  1,
		  0,
		  4000,
		  { { 1 } },
		  3,
		  3 },
		{ "tokens below requests", { .most = { 6000, 600 } }, 0, 0, 30000, { { 1, 100 } }, 2, 3 },
		{ "now", { .most = { 60 }, .burst = 3 }, 0, 0, 0, { { 1 } }, 3, 3 },
		{ "a call dearer than the burst", { .most = { 60, 600 } }, 0, 0, 0, { { 1, 590 } }, 1, 1 },
		{ "a call above the limit", { .most = { 60, 600 } }, 0, 0, 60000, { { 1, 601 } }, 0, 0 },
		{ "paused beyond", { .most = { 60 }, .burst = 3 }, 1, 4000, 4000, { { 1 } }, 0, 0 },
		{ "paused for a part", { .most = { 0 }, .concurrency = 9 }, 1, 3999, 4000, { { 1 } }, 8, 8 },
		{ "a day's rest", { .most = { 0, 0, 0, 0, 7 } }, 0, 0, 1000, { { 1, 0, 0, 0, 1 } }, 7, 7 },
		{ "a day's money",
		  { .most = { 0, 0, 0, 0, 0, 100 } },
		  0,
		  0,
		  1000,
		  { { 1, 0, 0, 0, 1, 30 } },
		  3,
		  3 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = case_gate(&rows[i].scope, 1);
		struct gate_scope_view paused = { .paused_until_ms = LATER + rows[i].pause };
		struct gate_ticket t;
		int got;

		for (int k = 0; k < rows[i].under_way; k++)
			gate_readmit(g, 0, LATER, &t);
		gate_go_on(g, 0, &paused);
		got = gate_room(g, 0, LATER, rows[i].horizon, &rows[i].cost);
		expect(got >= rows[i].least && got <= rows[i].most, "%s: %d", rows[i].what, got);
	}
}

static void test_where_a_trial_is_awaited_there_is_room_for_it(void **state)
{
	static const struct gate_scope_params scope = { .concurrency = 100 };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_ticket t;

	(void)state;
	gate_park(g, GATE_PARK_QUOTA, "used up", LATER, 5000, 9000);
	assert_int_equal(gate_room(g, 0, LATER, 5000, COST(1)), 0);
	assert_int_equal(gate_room(g, 0, LATER, 5001, COST(1)), 1);
	t = case_enter(g, "m", LATER + 5000, COST(1));
	assert_int_equal(gate_room(g, 0, LATER + 5000, 60000, COST(1)), 0);
	case_leave(g, &t, LATER + 5000, GATE_ANSWERED);
	assert_int_equal(gate_room(g, 0, LATER + 5000, 1000, COST(1)), 100);
	for (int i = 0; i < 10; i++)
		gate_check(g, LATER + 6000, false, 0);
	assert_int_equal(gate_room(g, 0, LATER + 6000, 5000, COST(1)), 0);
	assert_int_equal(gate_room(g, 0, LATER + 6000, 5001, COST(1)), 1);
	case_enter(g, "m", LATER + 11000, COST(1));
	assert_int_equal(gate_room(g, 0, LATER + 11000, 60000, COST(1)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_call_takes_from_all_or_from_none),
		cmocka_unit_test(test_what_became_of_a_call_decides_what_it_is_charged),
		cmocka_unit_test(test_a_unit_that_was_not_taken_is_not_settled),
		cmocka_unit_test(test_a_call_from_before_a_restart_takes_its_slot_whatever_is_full),
		cmocka_unit_test(test_the_first_cause_is_told),
		cmocka_unit_test(test_of_the_units_the_longest_wait_is_told),
		cmocka_unit_test(test_units_have_names),
		cmocka_unit_test(test_room_is_what_could_enter_within_the_horizon),
		cmocka_unit_test(test_where_a_trial_is_awaited_there_is_room_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
