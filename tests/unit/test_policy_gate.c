#include "row.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "base/mem.h"
#include "policy/gate.h"

enum act { ENTER, LEAVE, PAUSE, PARK, RESUME, LOOK };

/* One act; then why and how long it would now take to enter. */
struct step {
	int64_t at_ms;
	enum act act;
	int64_t until_ms; /* of PAUSE */
	bool want_entered;
	enum gate_why want_why;
	int64_t want_wait;
};

static void act(struct gate *g, const struct step *s, const char *what, size_t i)
{
	switch (s->act) {
	case ENTER:
		expect(gate_enter(g, s->at_ms) == s->want_entered, "%s: step %zu: enter", what, i);
		break;
	case LEAVE:
		gate_leave(g);
		break;
	case PAUSE:
		gate_pause_until(g, s->until_ms);
		break;
	case PARK:
		gate_park(g, "the account is used up");
		break;
	case RESUME:
		gate_resume(g);
		break;
	case LOOK:
		break;
	}
}

static void run(const char *what, const struct gate_params *params, const struct step *steps, size_t len)
{
	AUTO(gate_free) struct gate *g = NULL;

	assert_int_equal(gate_new(params, 0, &g), 0);
	for (size_t i = 0; i < len; i++) {
		enum gate_why why;
		int64_t wait;

		act(g, &steps[i], what, i);
		why = gate_why(g, steps[i].at_ms, &wait);
		expect(why == steps[i].want_why && wait == steps[i].want_wait,
		       "%s: step %zu: %s for %" PRId64, what, i, gate_why_name(why), wait);
	}
}

#define RUN(what, per_min, burst_, slots, ...)                                                               \
	do {                                                                                                 \
		static const struct gate_params params = { .requests_per_min = per_min,                      \
							   .burst = burst_,                                  \
							   .concurrency = slots };                           \
		static const struct step steps[] = { __VA_ARGS__ };                                          \
		run(what, &params, steps, ARRAY_LEN(steps));                                                 \
	} while (0)

static void test_a_call_takes_a_request_and_a_slot_or_nothing(void **state)
{
	(void)state;
	RUN("rate", 60, 1, 0, { 0, ENTER, 0, false, GATE_RATE, 1000 },
	    { 1000, ENTER, 0, true, GATE_RATE, 1000 }, { 1000, LEAVE, 0, false, GATE_RATE, 1000 },
	    { 2000, LOOK, 0, false, GATE_OPEN, 0 });
	RUN("concurrency", 0, 0, 2, { 0, ENTER, 0, true, GATE_OPEN, 0 },
	    { 0, ENTER, 0, true, GATE_CONCURRENCY, -1 }, { 0, ENTER, 0, false, GATE_CONCURRENCY, -1 },
	    { 0, LEAVE, 0, false, GATE_OPEN, 0 });
	/* Refused for want of a slot, it costs no request. */
	RUN("both", 60, 2, 1, { 2000, ENTER, 0, true, GATE_CONCURRENCY, -1 },
	    { 2000, ENTER, 0, false, GATE_CONCURRENCY, -1 }, { 2000, LEAVE, 0, false, GATE_OPEN, 0 },
	    { 2000, ENTER, 0, true, GATE_CONCURRENCY, -1 }, { 2000, LEAVE, 0, false, GATE_RATE, 1000 });
	RUN("no limit", 0, 0, 0, { 0, ENTER, 0, true, GATE_OPEN, 0 }, { 0, ENTER, 0, true, GATE_OPEN, 0 });
}

static void test_a_pause_is_never_shortened(void **state)
{
	(void)state;
	RUN("pause", 0, 0, 0, { 0, PAUSE, 5000, false, GATE_PAUSED, 5000 },
	    { 0, PAUSE, 3000, false, GATE_PAUSED, 5000 }, { 0, PAUSE, 6000, false, GATE_PAUSED, 6000 },
	    { 5999, ENTER, 0, false, GATE_PAUSED, 1 }, { 6000, ENTER, 0, true, GATE_OPEN, 0 });
}

static void test_parked_stays_until_resumed(void **state)
{
	(void)state;
	RUN("park", 0, 0, 1, { 0, PARK, 0, false, GATE_PARKED, -1 },
	    { 0, PAUSE, 9000, false, GATE_PARKED, -1 }, { 99000, ENTER, 0, false, GATE_PARKED, -1 },
	    { 100, RESUME, 0, false, GATE_OPEN, 0 }, { 100, ENTER, 0, true, GATE_CONCURRENCY, -1 });
}

static void test_the_first_reason_to_park_stays(void **state)
{
	static const struct gate_params params = { 0 };
	AUTO(gate_free) struct gate *g = NULL;

	(void)state;
	assert_int_equal(gate_new(&params, 0, &g), 0);
	assert_null(gate_parked_reason(g));
	gate_park(g, "quota");
	gate_park(g, "later");
	assert_string_equal(gate_parked_reason(g), "quota");
	gate_pause_until(g, 700);
	assert_int_equal(gate_paused_until(g), 700);
	gate_resume(g);
	assert_null(gate_parked_reason(g));
	assert_int_equal(gate_paused_until(g), 0);
}

static void test_new_limits_leave_calls_under_way_alone(void **state)
{
	struct gate_params params = { .requests_per_min = 600, .burst = 10, .concurrency = 4 };
	AUTO(gate_free) struct gate *g = NULL;

	(void)state;
	assert_int_equal(gate_new(&params, 0, &g), 0);
	for (int i = 0; i < 3; i++)
		assert_true(gate_enter(g, 1000));
	params.concurrency = 2;
	params.requests_per_min = 60;
	assert_int_equal(gate_configure(g, &params, 1000), 0);
	assert_int_equal(gate_in_flight(g), 3);
	assert_int_equal(gate_level(g, 1000), 7);
	gate_leave(g);
	assert_false(gate_enter(g, 1000));
	gate_leave(g);
	assert_true(gate_enter(g, 1000));
	params.concurrency = -1;
	assert_int_equal(gate_configure(g, &params, 1000), -ERANGE);
	params.concurrency = 9;
	params.requests_per_min = -1;
	assert_int_equal(gate_configure(g, &params, 1000), -ERANGE);
	assert_false(gate_enter(g, 1000));
}

static void test_senseless_limits_are_refused(void **state)
{
	struct gate_params params = { .concurrency = -1 };
	struct gate *g = NULL;

	(void)state;
	assert_int_equal(gate_new(&params, 0, &g), -ERANGE);
	params = (struct gate_params){ .burst = -1 };
	assert_int_equal(gate_new(&params, 0, &g), -ERANGE);
	assert_null(g);
	gate_free(&g);
}

static void test_room_is_what_could_enter_within_the_horizon(void **state)
{
	static const struct {
		const char *what;
		struct gate_params params;
		int enter; /* first, at 10000 */
		int64_t paused_until;
		bool parked;
		int64_t horizon;
		int want;
	} rows[] = {
		{ "nothing limits", { 0 }, 3, 0, false, 1000, INT_MAX },
		{ "slots", { .concurrency = 5 }, 3, 0, false, 1000, 2 },
		{ "all slots taken", { .concurrency = 3 }, 3, 0, false, 1000, 0 },
		{ "level and what is earned", { 60, 3, 0 }, 1, 0, false, 4000, 6 },
		{ "slots below requests", { 60, 3, 4 }, 1, 0, false, 4000, 3 },
		{ "paused beyond", { 60, 3, 0 }, 1, 14000, false, 4000, 0 },
		{ "paused for a part", { 60, 3, 0 }, 3, 12000, false, 4000, 4 },
		{ "paused for longer than the bucket saves", { 60, 3, 0 }, 3, 15000, false, 6000, 4 },
		{ "paused in the past", { 60, 3, 0 }, 1, 9000, false, 4000, 6 },
		{ "parked", { 0 }, 0, 0, true, 4000, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = NULL;
		int got;

		assert_int_equal(gate_new(&rows[i].params, 0, &g), 0);
		for (int k = 0; k < rows[i].enter; k++)
			expect(gate_enter(g, 10000), "%s: enter", rows[i].what);
		gate_pause_until(g, rows[i].paused_until);
		if (rows[i].parked)
			gate_park(g, "test");
		got = gate_room(g, 10000, rows[i].horizon);
		expect(got == rows[i].want, "%s: %d", rows[i].what, got);
	}
}

/* Whatever has come before, the gate that goes on lets in no more within the time than the first one would.
 */
static void test_a_gate_that_goes_on_admits_what_the_first_would_have(void **state)
{
	static const struct {
		const char *what;
		struct gate_params params;
		int enter, leave;
		int64_t paused_until;
		int want; /* of those let in from 10,000 to 14,000 */
	} rows[] = {
		{ "no limit", { 0 }, 5, 2, 0, 100 },
		{ "slots that are taken", { .concurrency = 4 }, 3, 0, 0, 1 },
		{ "slots that are free again", { .concurrency = 4 }, 4, 3, 0, 3 },
		{ "a bucket that is empty", { 60, 3, 0 }, 3, 0, 0, 4 },
		{ "a bucket with something in it", { 60, 3, 0 }, 1, 0, 0, 6 },
		{ "a pause", { 60, 3, 0 }, 3, 0, 13500, 3 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *first = NULL, *second = NULL;
		struct gate_standing standing;
		int64_t now_ms = 10000;
		int in[2] = { 0, 0 };

		assert_int_equal(gate_new(&rows[i].params, 0, &first), 0);
		for (int k = 0; k < rows[i].enter; k++)
			expect(gate_enter(first, now_ms), "%s: enter", rows[i].what);
		for (int k = 0; k < rows[i].leave; k++)
			gate_leave(first);
		gate_pause_until(first, rows[i].paused_until);
		standing = (struct gate_standing){
			.in_flight = gate_in_flight(first),
			.paused_until_ms = gate_paused_until(first),
			.level = gate_level(first, now_ms),
		};
		assert_int_equal(gate_new(&rows[i].params, 0, &second), 0);
		gate_go_on(second, &standing, now_ms);
		for (; now_ms <= 14000; now_ms += 10) {
			while (in[0] < 100 && gate_enter(first, now_ms))
				in[0]++;
			while (in[1] < 100 && gate_enter(second, now_ms))
				in[1]++;
			expect(in[1] <= in[0], "%s: %d of %d", rows[i].what, in[1], in[0]);
		}
		expect(in[1] == rows[i].want, "%s: %d", rows[i].what, in[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_gate_that_goes_on_admits_what_the_first_would_have),
		cmocka_unit_test(test_a_call_takes_a_request_and_a_slot_or_nothing),
		cmocka_unit_test(test_a_pause_is_never_shortened),
		cmocka_unit_test(test_parked_stays_until_resumed),
		cmocka_unit_test(test_the_first_reason_to_park_stays),
		cmocka_unit_test(test_new_limits_leave_calls_under_way_alone),
		cmocka_unit_test(test_senseless_limits_are_refused),
		cmocka_unit_test(test_room_is_what_could_enter_within_the_horizon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
