#ifndef POLICY_WORKER_FSM_H
#define POLICY_WORKER_FSM_H

/* Life of one worker slot as a table: state x event → next state and actions.
 * The caller owns effects: it runs the actions, sets the state, and arms the one deadline of the new state.
 * An illegal cell changes nothing; the caller counts and logs it. */

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define WORKER_STATES(X)                                                                                     \
	X(W_DOWN,     "down")     /* no process; a restart timer may be armed */                             \
	X(W_STARTING, "starting") /* spawned, no hello yet */                                                \
	X(W_BOOTING,  "booting")  /* hello seen, no ready yet */                                             \
	X(W_READY,    "ready")    /* takes jobs */                                                           \
	X(W_SUSPECT,  "suspect")  /* asked for a stack dump; holds its jobs, takes none */                   \
	X(W_DRAINING, "draining") /* asked to shut down; finishes or gives back */                           \
	X(W_STOPPING, "stopping") /* TERM sent */                                                            \
	X(W_KILLING,  "killing")  /* KILL sent to its group */                                               \
	X(W_PARKED,   "parked")   /* no process, and none until an operator or a canary says so */

#define WORKER_EVENTS(X)                                                                                     \
	X(WE_START,          "start")          /* make a process: boot, restart timer, operator */           \
	X(WE_SPAWN_FAILED,   "spawn_failed")   /* WA_SPAWN did not give a process */                         \
	X(WE_HELLO,          "hello")                                                                        \
	X(WE_READY,          "ready")                                                                        \
	X(WE_PROTOCOL_FAULT, "protocol_fault") /* a line that is no protocol, a wrong version, a flood */    \
	X(WE_DEADLINE,       "deadline")       /* the state's one deadline */                                \
	X(WE_HUNG,           "hung")           /* health's verdict, or a call past its hard cap */           \
	X(WE_RECOVERED,      "recovered")      /* the suspect answered after all */                          \
	X(WE_DRAIN,          "drain")          /* finish and go: recycling, scale-down, shutdown */          \
	X(WE_KILL,           "kill")           /* a second stop: no more patience */                         \
	X(WE_EXIT,           "exit")           /* the process was reaped */                                  \
	X(WE_PARK,           "park")           /* the restart decision says park, or the pool gave up */     \
	X(WE_UNPARK,         "unpark")
/* clang-format on */

enum worker_state {
#define X(state, name) state,
	WORKER_STATES(X)
#undef X
		WORKER_STATE_COUNT
};

enum worker_event {
#define X(event, name) event,
	WORKER_EVENTS(X)
#undef X
		WORKER_EVENT_COUNT
};

enum worker_action {
	WA_CANCEL_RESTART = 1 << 0, /* of an armed restart timer */
	WA_FAULT = 1 << 1,	    /* this life has failed, whatever its exit status will be */
	WA_SPAWN = 1 << 2,
	WA_SERVE = 1 << 3,	     /* jobs may be sent from now on */
	WA_STOP_SERVING = 1 << 4,    /* no new job from now on */
	WA_ASK_SHUTDOWN = 1 << 5,    /* the protocol's `shutdown`, with drain_ms as grace */
	WA_DUMP = 1 << 6,	     /* SIGUSR1: a traceback on stderr */
	WA_TERM = 1 << 7,	     /* close stdin, SIGTERM then SIGCONT to the group */
	WA_KILL = 1 << 8,	     /* SIGKILL to the group */
	WA_RELEASE_JOBS = 1 << 9,    /* drain the pipe, then give back what it still held */
	WA_DECIDE_RESTART = 1 << 10, /* policy/restart.h; then WE_PARK, or WE_START at once or by timer */
};

struct fsm_step {
	bool legal;
	enum worker_state next; /* the same state when illegal */
	unsigned actions;	/* set of enum worker_action, to be run in the order of their bits */
};

/* Milliseconds, all > 0. */
struct worker_timing {
	int64_t boot_timeout_ms; /* spawn to ready: STARTING, and what is left of it for BOOTING */
	int64_t dump_ms;	 /* SUSPECT: time to write the traceback */
	int64_t term_ms;	 /* STOPPING: TERM to KILL */
	int64_t kill_ms;	 /* KILLING: after which a process that is still there is reported again */
	int64_t drain_ms;	 /* DRAINING */
};

struct fsm_step worker_fsm_step(enum worker_state state, enum worker_event event);

/* The state's one deadline, counted from entering it; -1 = none. */
int64_t worker_fsm_deadline_ms(enum worker_state state, const struct worker_timing *timing);

/* A process exists in this state. */
bool worker_state_has_process(enum worker_state state);

/* "ready"; "?" for a number that is no state. */
const char *worker_state_name(enum worker_state state);
const char *worker_event_name(enum worker_event event);

#endif
