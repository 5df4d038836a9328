/* What shuts a lane: an operator, a used-up account, a sick provider, the end of a day's allowance. */

#include "gate_case.h"

static const struct gate_scope_params open_scope = { .concurrency = 50 };

enum act { PARK, OPERATOR, RESUME, NOW, ENTER, LEAVE, LOOK };

/* One act at its time on the one lane; then whether it is parked, and when the next trial may go (0 = none).
 */
struct step {
	int64_t at_ms;
	enum act act;
	int arg; /* ENTER: whether it is let in; LEAVE: its enum gate_end */
	bool want_parked;
	int64_t want_recheck;
};

static void run(const char *what, const struct step *steps, size_t len)
{
	AUTO(gate_free) struct gate *g = case_gate(&open_scope, 1);
	struct gate_ticket t = { .slot = NULL };

	for (size_t i = 0; i < len; i++) {
		const struct step *s = &steps[i];
		bool parked = gate_parked_reason(g) != NULL;

		switch (s->act) {
		case PARK:
			gate_park(g, GATE_PARK_QUOTA, "used up", s->at_ms, 1000, 3000);
			break;
		case OPERATOR:
			gate_park(g, GATE_PARK_OPERATOR, "tea", s->at_ms, 0, 0);
			break;
		case RESUME:
			gate_resume(g);
			break;
		case NOW:
			gate_recheck_now(g, s->at_ms);
			break;
		case ENTER:
			expect(gate_enter(g, 0, s->at_ms, COST(1), &t) == (bool)s->arg, "%s: step %zu: enter",
			       what, i);
			expect(!s->arg || t.trial == parked, "%s: step %zu: trial", what, i);
			break;
		case LEAVE:
			case_leave(g, &t, s->at_ms, (enum gate_end)s->arg);
			break;
		case LOOK:
			break;
		}
		parked = gate_parked_reason(g) != NULL;
		expect(parked == s->want_parked && gate_recheck_at(g) == s->want_recheck,
		       "%s: step %zu: parked %d, recheck at %" PRId64, what, i, (int)parked,
		       gate_recheck_at(g));
	}
	if (t.slot)
		case_leave(g, &t, steps[len - 1].at_ms, GATE_UNSENT);
	expect(gate_in_flight(g) == 0, "%s: %d under way", what, gate_in_flight(g));
}

#define RUN(what, ...)                                                                                       \
	do {                                                                                                 \
		static const struct step steps[] = { __VA_ARGS__ };                                          \
		run(what, steps, ARRAY_LEN(steps));                                                          \
	} while (0)

static void test_a_parked_lane_sends_its_trial_alone(void **state)
{
	(void)state;
	RUN("answered", { 1, PARK, 0, true, 1001 }, { 1000, ENTER, false, true, 1001 },
	    { 1001, ENTER, true, true, 1001 }, { 9000, ENTER, false, true, 1001 },
	    { 9000, LEAVE, GATE_ANSWERED, false, 0 }, { 9000, ENTER, true, false, 0 });
	RUN("a rate limit shows that the account works", { 1, PARK, 0, true, 1001 },
	    { 1001, ENTER, true, true, 1001 }, { 1002, LEAVE, GATE_REFUSED, false, 0 });
}

static void test_each_trial_that_fails_doubles_the_wait(void **state)
{
	(void)state;
	RUN("fails", { 1, PARK, 0, true, 1001 }, { 1001, ENTER, true, true, 1001 },
	    { 1100, PARK, 0, true, 1001 }, { 1100, LEAVE, GATE_FAILED, true, 3100 },
	    { 3099, ENTER, false, true, 3100 }, { 3100, ENTER, true, true, 3100 },
	    { 4000, LEAVE, GATE_BROKEN, true, 7000 }, { 7000, ENTER, true, true, 7000 },
	    { 7000, LEAVE, GATE_FAILED, true, 10000 }, { 10000, ENTER, true, true, 10000 },
	    { 10000, LEAVE, GATE_UNSENT, true, 10000 }, { 10000, ENTER, true, true, 10000 },
	    { 10000, LEAVE, GATE_ANSWERED, false, 0 },
	    /* And the next parking begins with the first wait. */
	    { 20000, PARK, 0, true, 21000 });
}

static void test_the_operators_word_stands(void **state)
{
	(void)state;
	RUN("no trial", { 1, OPERATOR, 0, true, 0 }, { 99000, ENTER, false, true, 0 },
	    { 99000, NOW, 0, true, 0 }, { 99000, PARK, 0, true, 0 }, { 199000, ENTER, false, true, 0 },
	    { 199000, RESUME, 0, false, 0 }, { 199000, ENTER, true, false, 0 });
	RUN("above a used-up account", { 1, PARK, 0, true, 1001 }, { 2, OPERATOR, 0, true, 0 },
	    { 5000, ENTER, false, true, 0 });
	RUN("against a trial under way", { 1, PARK, 0, true, 1001 }, { 1001, ENTER, true, true, 1001 },
	    { 1002, OPERATOR, 0, true, 0 }, { 1003, LEAVE, GATE_ANSWERED, true, 0 },
	    { 9000, ENTER, false, true, 0 });
}

static void test_calls_from_before_do_not_open_it(void **state)
{
	(void)state;
	RUN("sent before it was parked", { 1, ENTER, true, false, 0 }, { 2, PARK, 0, true, 1002 },
	    { 3, LEAVE, GATE_ANSWERED, true, 1002 });
	RUN("the trial of a parking that was ended", { 1, PARK, 0, true, 1001 },
	    { 1001, ENTER, true, true, 1001 }, { 1002, RESUME, 0, false, 0 }, { 1003, PARK, 0, true, 2003 },
	    { 1004, LEAVE, GATE_ANSWERED, true, 2003 });
	RUN("a recheck brought forward", { 1, PARK, 0, true, 1001 }, { 50, NOW, 0, true, 50 },
	    { 50, ENTER, true, true, 50 }, { 51, NOW, 0, true, 50 }, { 52, LEAVE, GATE_FAILED, true, 2052 });
}

/* T1 from before a resume ends while T2 tries: only T2 decides. */
static void test_a_stale_trial_does_not_speak_for_the_present_one(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(&open_scope, 1);
	struct gate_ticket stale, present;

	(void)state;
	gate_park(g, GATE_PARK_AUTH, "wrong key", 1, 1000, 3000);
	stale = case_enter(g, "m", 1001, COST(1));
	gate_resume(g);
	gate_park(g, GATE_PARK_AUTH, "wrong key", 1002, 1000, 3000);
	present = case_enter(g, "m", 2002, COST(1));
	case_leave(g, &stale, 2003, GATE_ANSWERED);
	assert_non_null(gate_parked_reason(g));
	assert_int_equal(gate_parked_kind(g), GATE_PARK_AUTH);
	case_leave(g, &present, 2004, GATE_ANSWERED);
	assert_null(gate_parked_reason(g));
}

static void test_the_first_reason_to_park_stays(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(&open_scope, 1);

	(void)state;
	gate_park(g, GATE_PARK_QUOTA, "used up", 1, 0, 0);
	gate_park(g, GATE_PARK_AUTH, "wrong key", 2, 0, 0);
	assert_string_equal(gate_parked_reason(g), "used up");
	assert_int_equal(gate_parked_kind(g), GATE_PARK_QUOTA);
	assert_int_equal(gate_recheck_at(g), 0);
	assert_int_equal(gate_look(g, 0, 3, COST(1)).wait_ms, -1);
	gate_recheck_now(g, 100);
	assert_int_equal(case_why(g, 100), GATE_OPEN);
}

static void test_a_parked_lane_tells_when_it_tries(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(&open_scope, 1);
	struct gate_verdict v;

	(void)state;
	gate_park(g, GATE_PARK_QUOTA, "used up", LATER, 1000, 3000);
	v = gate_look(g, 0, LATER + 400, COST(1));
	assert_true(v.why == GATE_PARKED && v.wait_ms == 600);
	case_enter(g, "m", LATER + 1000, COST(1));
	v = gate_look(g, 0, LATER + 1000, COST(1));
	assert_true(v.why == GATE_PARKED && v.wait_ms == -1);
}

/* ---- breaker ---- */

static void test_broken_calls_open_the_breaker_and_a_trial_closes_it(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(&open_scope, 1);
	struct gate_ticket t[12], trial, more;

	(void)state;
	for (int i = 0; i < 12; i++)
		t[i] = case_enter(g, "m", 1, COST(1));
	for (int i = 0; i < 10; i++)
		assert_int_equal(case_leave(g, &t[i], 1, GATE_BROKEN), i == 9);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_OPEN);
	case_leave(g, &t[10], 2, GATE_ANSWERED);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_OPEN);
	assert_false(gate_enter(g, 0, 5000, COST(1), &more));
	trial = case_enter(g, "m", 5001, COST(1));
	assert_true(trial.trial);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_HALF_OPEN);
	assert_false(gate_enter(g, 0, 9000, COST(1), &more));
	case_leave(g, &t[11], 9000, GATE_ANSWERED);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_HALF_OPEN);
	assert_true(case_leave(g, &trial, 9000, GATE_BROKEN));
	assert_int_equal(gate_look(g, 0, 9000, COST(1)).wait_ms, 10000);
	trial = case_enter(g, "m", 19000, COST(1));
	case_leave(g, &trial, 19000, GATE_FAILED);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_HALF_OPEN);
	trial = case_enter(g, "m", 19000, COST(1));
	case_leave(g, &trial, 19000, GATE_REFUSED);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_CLOSED);
	more = case_enter(g, "m", 19000, COST(1));
	assert_false(more.trial);
}

static void test_broken_calls_leave_the_rate_alone(void **state)
{
	static const struct gate_scope_params scope = { .most = { 600 }, .burst = 20 };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_scope_view v;

	(void)state;
	for (int i = 0; i < 10; i++) {
		struct gate_ticket t = case_enter(g, "m", LATER, COST(1));

		case_leave(g, &t, LATER, GATE_BROKEN);
	}
	gate_view(g, 0, LATER, &v);
	assert_int_equal(v.unit[GATE_REQUESTS].rate, 600);
	assert_int_equal(v.unit[GATE_REQUESTS].learned, 0);
	assert_int_equal(v.learned_concurrency, 0);
}

static void test_checks_open_the_breaker_and_a_resume_closes_it(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(&open_scope, 1);

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(gate_check(g, 1, false, 0), i == 9);
	assert_int_equal(case_why(g, 1), GATE_BREAKER);
	gate_check(g, 2, true, 0);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_HALF_OPEN);
	case_enter(g, "m", 2, COST(1));
	assert_int_equal(gate_look(g, 0, 2, COST(1)).wait_ms, -1);
	gate_resume(g);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_CLOSED);
	assert_int_equal(case_why(g, 2), GATE_OPEN);
}

static void test_a_parked_lane_of_a_sick_provider_waits_for_both(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(&open_scope, 1);
	struct gate_ticket t, more;

	(void)state;
	gate_park(g, GATE_PARK_QUOTA, "used up", 1, 1000, 8000);
	for (int i = 0; i < 10; i++)
		gate_check(g, 1, false, 0);
	assert_int_equal(case_why(g, 1), GATE_PARKED);
	assert_int_equal(case_why(g, 2000), GATE_BREAKER);
	t = case_enter(g, "m", 5001, COST(1));
	assert_false(gate_enter(g, 0, 5001, COST(1), &more));
	case_leave(g, &t, 5002, GATE_ANSWERED);
	assert_int_equal(case_why(g, 5002), GATE_OPEN);
	assert_int_equal(gate_breaker(g), GATE_BREAKER_CLOSED);
}

/* ---- the day ---- */

static void test_a_new_day_begins_at_0(void **state)
{
	static const struct gate_scope_params scope = { .most = { 0, 0, 0, 0, 2, 100 } };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_ticket yesterdays, t, more;

	(void)state;
	gate_new_day(g, 1000);
	gate_add_used(g, 0, GATE_MONEY_DAY, 30);
	yesterdays = case_enter(g, "m", 1, COST(1, 0, 0, 0, 1, 20));
	assert_false(gate_enter(g, 0, 1, COST(1, 0, 0, 0, 1, 51), &more));
	t = case_enter(g, "m", 1, COST(1, 0, 0, 0, 1, 50));
	case_leave(g, &t, 2, GATE_UNSENT);
	t = case_enter(g, "m", 2, COST(1, 0, 0, 0, 1, 50));
	assert_int_equal(gate_look(g, 0, 400, COST(1, 0, 0, 0, 1)).wait_ms, 600);
	gate_new_day(g, 2000);
	assert_int_equal(case_used(g, 0, GATE_MONEY_DAY, 1000), 0);
	/* It was counted yesterday, whatever it comes to. */
	gate_leave(g, &yesterdays, 1001, GATE_ANSWERED, COST(1, 0, 0, 0, 1, 90), 0);
	case_leave(g, &t, 1001, GATE_UNSENT);
	assert_int_equal(case_used(g, 0, GATE_MONEY_DAY, 1001), 0);
	assert_int_equal(case_used(g, 0, GATE_REQUESTS_DAY, 1001), 0);
	t = case_enter(g, "m", 1001, COST(1, 0, 0, 0, 1, 100));
	gate_leave(g, &t, 1002, GATE_ANSWERED, COST(1, 0, 0, 0, 1, 130), 0);
	assert_int_equal(case_used(g, 0, GATE_MONEY_DAY, 1002), 130);
	assert_int_equal(gate_room(g, 0, 1002, 0, COST(1, 0, 0, 0, 1, 1)), 0);
}

static void test_a_days_counter_never_overflows(void **state)
{
	static const struct gate_scope_params scope = { .most = { 0 } };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);

	(void)state;
	gate_add_used(g, 0, GATE_MONEY_DAY, INT64_MAX - 5);
	gate_add_used(g, 0, GATE_MONEY_DAY, 10);
	assert_true(case_used(g, 0, GATE_MONEY_DAY, 1) == INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_parked_lane_sends_its_trial_alone),
		cmocka_unit_test(test_each_trial_that_fails_doubles_the_wait),
		cmocka_unit_test(test_the_operators_word_stands),
		cmocka_unit_test(test_calls_from_before_do_not_open_it),
		cmocka_unit_test(test_a_stale_trial_does_not_speak_for_the_present_one),
		cmocka_unit_test(test_the_first_reason_to_park_stays),
		cmocka_unit_test(test_a_parked_lane_tells_when_it_tries),
		cmocka_unit_test(test_broken_calls_open_the_breaker_and_a_trial_closes_it),
		cmocka_unit_test(test_broken_calls_leave_the_rate_alone),
		cmocka_unit_test(test_checks_open_the_breaker_and_a_resume_closes_it),
		cmocka_unit_test(test_a_parked_lane_of_a_sick_provider_waits_for_both),
		cmocka_unit_test(test_a_new_day_begins_at_0),
		cmocka_unit_test(test_a_days_counter_never_overflows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
