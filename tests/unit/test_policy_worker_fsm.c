#include "row.h"

#include <string.h>

#include "base/mem.h"
#include "policy/worker_fsm.h"

/* Every legal cell; all others are illegal. */
static const struct {
	enum worker_state state;
	enum worker_event event;
	enum worker_state next;
	unsigned actions;
} cells[] = {
	{ W_DOWN, WE_START, W_STARTING, WA_CANCEL_RESTART | WA_SPAWN },
	{ W_DOWN, WE_DRAIN, W_DOWN, WA_CANCEL_RESTART },
	{ W_DOWN, WE_KILL, W_DOWN, WA_CANCEL_RESTART },
	{ W_DOWN, WE_PARK, W_PARKED, WA_CANCEL_RESTART },

	{ W_STARTING, WE_SPAWN_FAILED, W_DOWN, WA_FAULT | WA_DECIDE_RESTART },
	{ W_STARTING, WE_HELLO, W_BOOTING, 0 },
	{ W_STARTING, WE_PROTOCOL_FAULT, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_STARTING, WE_DEADLINE, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_STARTING, WE_DRAIN, W_STOPPING, WA_TERM },
	{ W_STARTING, WE_KILL, W_KILLING, WA_KILL },
	{ W_STARTING, WE_EXIT, W_DOWN, WA_DECIDE_RESTART },

	{ W_BOOTING, WE_READY, W_READY, WA_SERVE },
	{ W_BOOTING, WE_PROTOCOL_FAULT, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_BOOTING, WE_DEADLINE, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_BOOTING, WE_DRAIN, W_STOPPING, WA_TERM },
	{ W_BOOTING, WE_KILL, W_KILLING, WA_KILL },
	{ W_BOOTING, WE_EXIT, W_DOWN, WA_DECIDE_RESTART },

	{ W_READY, WE_PROTOCOL_FAULT, W_STOPPING, WA_STOP_SERVING | WA_FAULT | WA_TERM },
	{ W_READY, WE_HUNG, W_SUSPECT, WA_STOP_SERVING | WA_DUMP },
	{ W_READY, WE_DRAIN, W_DRAINING, WA_STOP_SERVING | WA_ASK_SHUTDOWN },
	{ W_READY, WE_KILL, W_KILLING, WA_STOP_SERVING | WA_KILL },
	{ W_READY, WE_EXIT, W_DOWN, WA_STOP_SERVING | WA_RELEASE_JOBS | WA_DECIDE_RESTART },

	{ W_SUSPECT, WE_PROTOCOL_FAULT, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_SUSPECT, WE_DEADLINE, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_SUSPECT, WE_HUNG, W_SUSPECT, 0 },
	{ W_SUSPECT, WE_RECOVERED, W_READY, WA_SERVE },
	{ W_SUSPECT, WE_DRAIN, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_SUSPECT, WE_KILL, W_KILLING, WA_FAULT | WA_KILL },
	{ W_SUSPECT, WE_EXIT, W_DOWN, WA_FAULT | WA_RELEASE_JOBS | WA_DECIDE_RESTART },

	{ W_DRAINING, WE_PROTOCOL_FAULT, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_DRAINING, WE_DEADLINE, W_STOPPING, WA_TERM },
	{ W_DRAINING, WE_HUNG, W_STOPPING, WA_FAULT | WA_TERM },
	{ W_DRAINING, WE_DRAIN, W_DRAINING, 0 },
	{ W_DRAINING, WE_KILL, W_KILLING, WA_KILL },
	{ W_DRAINING, WE_EXIT, W_DOWN, WA_RELEASE_JOBS | WA_DECIDE_RESTART },

	{ W_STOPPING, WE_HELLO, W_STOPPING, 0 },
	{ W_STOPPING, WE_READY, W_STOPPING, 0 },
	{ W_STOPPING, WE_PROTOCOL_FAULT, W_STOPPING, 0 },
	{ W_STOPPING, WE_DEADLINE, W_KILLING, WA_KILL },
	{ W_STOPPING, WE_DRAIN, W_STOPPING, 0 },
	{ W_STOPPING, WE_KILL, W_KILLING, WA_KILL },
	{ W_STOPPING, WE_EXIT, W_DOWN, WA_RELEASE_JOBS | WA_DECIDE_RESTART },

	{ W_KILLING, WE_HELLO, W_KILLING, 0 },
	{ W_KILLING, WE_READY, W_KILLING, 0 },
	{ W_KILLING, WE_PROTOCOL_FAULT, W_KILLING, 0 },
	{ W_KILLING, WE_DEADLINE, W_KILLING, WA_KILL },
	{ W_KILLING, WE_DRAIN, W_KILLING, 0 },
	{ W_KILLING, WE_KILL, W_KILLING, 0 },
	{ W_KILLING, WE_EXIT, W_DOWN, WA_RELEASE_JOBS | WA_DECIDE_RESTART },

	{ W_PARKED, WE_DRAIN, W_PARKED, 0 },
	{ W_PARKED, WE_KILL, W_PARKED, 0 },
	{ W_PARKED, WE_PARK, W_PARKED, 0 },
	{ W_PARKED, WE_UNPARK, W_DOWN, 0 },
};

static const struct worker_timing timing = {
	.boot_timeout_ms = 1, .dump_ms = 2, .term_ms = 3, .kill_ms = 4, .drain_ms = 5
};

static struct fsm_step wanted(enum worker_state state, enum worker_event event)
{
	for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
		if (cells[i].state == state && cells[i].event == event)
			return (struct fsm_step){ true, cells[i].next, cells[i].actions };
	}
	return (struct fsm_step){ .next = state };
}

static void test_every_cell_is_as_written(void **state)
{
	(void)state;
	for (unsigned s = 0; s < WORKER_STATE_COUNT; s++) {
		for (unsigned e = 0; e < WORKER_EVENT_COUNT; e++) {
			struct fsm_step want = wanted((enum worker_state)s, (enum worker_event)e);
			struct fsm_step got = worker_fsm_step((enum worker_state)s, (enum worker_event)e);

			expect(got.legal == want.legal && got.next == want.next &&
				       got.actions == want.actions,
			       "%s + %s: legal %d, next %s, actions %#x, wanted %d, %s, %#x",
			       worker_state_name((enum worker_state)s),
			       worker_event_name((enum worker_event)e), (int)got.legal,
			       worker_state_name(got.next), got.actions, (int)want.legal,
			       worker_state_name(want.next), want.actions);
		}
	}
}

static void test_numbers_outside_the_table_are_illegal(void **state)
{
	(void)state;
	assert_false(worker_fsm_step(WORKER_STATE_COUNT, WE_EXIT).legal);
	assert_false(worker_fsm_step(W_READY, WORKER_EVENT_COUNT).legal);
	assert_string_equal(worker_state_name(WORKER_STATE_COUNT), "?");
	assert_string_equal(worker_event_name(WORKER_EVENT_COUNT), "?");
}

static void test_a_state_has_a_deadline_exactly_where_one_is_answered(void **state)
{
	static const int64_t want[WORKER_STATE_COUNT] = {
		[W_DOWN] = -1,	  [W_STARTING] = 1, [W_BOOTING] = 1, [W_READY] = -1,  [W_SUSPECT] = 2,
		[W_DRAINING] = 5, [W_STOPPING] = 3, [W_KILLING] = 4, [W_PARKED] = -1,
	};

	(void)state;
	for (unsigned s = 0; s < WORKER_STATE_COUNT; s++) {
		int64_t got = worker_fsm_deadline_ms((enum worker_state)s, &timing);

		expect(got == want[s], "%s: %lld", worker_state_name((enum worker_state)s), (long long)got);
		expect((got >= 0) == worker_fsm_step((enum worker_state)s, WE_DEADLINE).legal, "%s",
		       worker_state_name((enum worker_state)s));
	}
}

/* What must hold of any such table, whatever its cells. */
static void test_processes_and_service_begin_and_end_together_with_their_states(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
		struct fsm_step step = worker_fsm_step(cells[i].state, cells[i].event);
		bool had = worker_state_has_process(cells[i].state),
		     has = worker_state_has_process(step.next);
		bool served = cells[i].state == W_READY, serves = step.next == W_READY;

		expect((step.actions & WA_SPAWN ? 1 : 0) == (!had && has), "row %zu: spawn", i);
		expect((step.actions & WA_DECIDE_RESTART ? 1 : 0) == (had && !has), "row %zu: restart", i);
		expect((step.actions & WA_SERVE ? 1 : 0) == (!served && serves), "row %zu: serve", i);
		expect((step.actions & WA_STOP_SERVING ? 1 : 0) == (served && !serves), "row %zu: stop", i);
	}
}

static void test_every_process_can_end_and_be_killed(void **state)
{
	(void)state;
	for (unsigned s = 0; s < WORKER_STATE_COUNT; s++) {
		struct fsm_step end = worker_fsm_step((enum worker_state)s, WE_EXIT);
		struct fsm_step kill = worker_fsm_step((enum worker_state)s, WE_KILL);

		expect(kill.legal, "%s", worker_state_name((enum worker_state)s));
		if (!worker_state_has_process((enum worker_state)s))
			continue;
		expect(end.legal && end.next == W_DOWN, "%s", worker_state_name((enum worker_state)s));
		expect(kill.next == W_KILLING, "%s", worker_state_name((enum worker_state)s));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cell_is_as_written),
		cmocka_unit_test(test_numbers_outside_the_table_are_illegal),
		cmocka_unit_test(test_a_state_has_a_deadline_exactly_where_one_is_answered),
		cmocka_unit_test(test_processes_and_service_begin_and_end_together_with_their_states),
		cmocka_unit_test(test_every_process_can_end_and_be_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
