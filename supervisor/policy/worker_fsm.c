#include "policy/worker_fsm.h"

#define GO(state, set)                                                                                       \
	{                                                                                                    \
		.legal = true, .next = (state), .actions = (set)                                             \
	}

/* The worker's own words may still arrive after we have decided to end it: legal, and of no effect. */
#define STAY(state) GO(state, 0)

#define ENDED (WA_RELEASE_JOBS | WA_DECIDE_RESTART)

static const struct fsm_step table[WORKER_STATE_COUNT][WORKER_EVENT_COUNT] = {
	[W_DOWN] = {
		[WE_START] = GO(W_STARTING, WA_CANCEL_RESTART | WA_SPAWN),
		[WE_DRAIN] = GO(W_DOWN, WA_CANCEL_RESTART),
		[WE_KILL] = GO(W_DOWN, WA_CANCEL_RESTART),
		[WE_PARK] = GO(W_PARKED, WA_CANCEL_RESTART),
	},
	/* No stack dump before `ready`: its signal handler may not be there yet, and the signal would kill. */
	[W_STARTING] = {
		[WE_SPAWN_FAILED] = GO(W_DOWN, WA_FAULT | WA_DECIDE_RESTART),
		[WE_HELLO] = GO(W_BOOTING, 0),
		[WE_PROTOCOL_FAULT] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_DEADLINE] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_DRAIN] = GO(W_STOPPING, WA_TERM),
		[WE_KILL] = GO(W_KILLING, WA_KILL),
		[WE_EXIT] = GO(W_DOWN, WA_DECIDE_RESTART),
	},
	[W_BOOTING] = {
		[WE_READY] = GO(W_READY, WA_SERVE),
		[WE_PROTOCOL_FAULT] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_DEADLINE] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_DRAIN] = GO(W_STOPPING, WA_TERM),
		[WE_KILL] = GO(W_KILLING, WA_KILL),
		[WE_EXIT] = GO(W_DOWN, WA_DECIDE_RESTART),
	},
	[W_READY] = {
		[WE_PROTOCOL_FAULT] = GO(W_STOPPING, WA_STOP_SERVING | WA_FAULT | WA_TERM),
		[WE_HUNG] = GO(W_SUSPECT, WA_STOP_SERVING | WA_DUMP),
		[WE_DRAIN] = GO(W_DRAINING, WA_STOP_SERVING | WA_ASK_SHUTDOWN),
		[WE_KILL] = GO(W_KILLING, WA_STOP_SERVING | WA_KILL),
		[WE_EXIT] = GO(W_DOWN, WA_STOP_SERVING | ENDED),
	},
	[W_SUSPECT] = {
		[WE_PROTOCOL_FAULT] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_DEADLINE] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_HUNG] = STAY(W_SUSPECT),
		[WE_RECOVERED] = GO(W_READY, WA_SERVE),
		[WE_DRAIN] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_KILL] = GO(W_KILLING, WA_FAULT | WA_KILL),
		[WE_EXIT] = GO(W_DOWN, WA_FAULT | ENDED),
	},
	[W_DRAINING] = {
		[WE_PROTOCOL_FAULT] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_DEADLINE] = GO(W_STOPPING, WA_TERM),
		[WE_HUNG] = GO(W_STOPPING, WA_FAULT | WA_TERM),
		[WE_DRAIN] = STAY(W_DRAINING),
		[WE_KILL] = GO(W_KILLING, WA_KILL),
		[WE_EXIT] = GO(W_DOWN, ENDED),
	},
	[W_STOPPING] = {
		[WE_HELLO] = STAY(W_STOPPING),
		[WE_READY] = STAY(W_STOPPING),
		[WE_PROTOCOL_FAULT] = STAY(W_STOPPING),
		[WE_DEADLINE] = GO(W_KILLING, WA_KILL),
		[WE_DRAIN] = STAY(W_STOPPING),
		[WE_KILL] = GO(W_KILLING, WA_KILL),
		[WE_EXIT] = GO(W_DOWN, ENDED),
	},
	[W_KILLING] = {
		[WE_HELLO] = STAY(W_KILLING),
		[WE_READY] = STAY(W_KILLING),
		[WE_PROTOCOL_FAULT] = STAY(W_KILLING),
		[WE_DEADLINE] = GO(W_KILLING, WA_KILL),
		[WE_DRAIN] = STAY(W_KILLING),
		[WE_KILL] = STAY(W_KILLING),
		[WE_EXIT] = GO(W_DOWN, ENDED),
	},
	[W_PARKED] = {
		[WE_DRAIN] = STAY(W_PARKED),
		[WE_KILL] = STAY(W_PARKED),
		[WE_PARK] = STAY(W_PARKED),
		[WE_UNPARK] = GO(W_DOWN, 0),
	},
};

struct fsm_step worker_fsm_step(enum worker_state state, enum worker_event event)
{
	struct fsm_step step = { .next = state };

	if ((unsigned)state >= WORKER_STATE_COUNT || (unsigned)event >= WORKER_EVENT_COUNT)
		return step;
	if (table[state][event].legal)
		step = table[state][event];
	return step;
}

int64_t worker_fsm_deadline_ms(enum worker_state state, const struct worker_timing *timing)
{
	switch (state) {
	case W_STARTING:
	case W_BOOTING:
		return timing->boot_timeout_ms;
	case W_SUSPECT:
		return timing->dump_ms;
	case W_DRAINING:
		return timing->drain_ms;
	case W_STOPPING:
		return timing->term_ms;
	case W_KILLING:
		return timing->kill_ms;
	case W_DOWN:
	case W_READY:
	case W_PARKED:
	case WORKER_STATE_COUNT:
		break;
	}
	return -1;
}

bool worker_state_has_process(enum worker_state state)
{
	return state != W_DOWN && state != W_PARKED;
}

const char *worker_state_name(enum worker_state state)
{
	static const char *const names[] = {
#define X(id, text) [id] = text,
		WORKER_STATES(X)
#undef X
	};

	return (unsigned)state < WORKER_STATE_COUNT ? names[state] : "?";
}

const char *worker_event_name(enum worker_event event)
{
	static const char *const names[] = {
#define X(id, text) [id] = text,
		WORKER_EVENTS(X)
#undef X
	};

	return (unsigned)event < WORKER_EVENT_COUNT ? names[event] : "?";
}
