#ifndef POLICY_HANG_H
#define POLICY_HANG_H

/* What ails a worker that does not answer its pings. policy/health.h says when a row of pongs is missing;
 * this says whether the worker is to blame, and so whether to kill it. */

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define HANG_VERDICTS(X)                                                                                     \
	X(HANG_NONE,    "none")    /* it is not suspect */                                                   \
	X(HANG_STOPPED, "stopped") /* by a signal or a debugger: SIGCONT to the group, and one more row */   \
	X(HANG_STARVED, "starved") /* the machine is sick, not the worker: alarm, and none is killed */      \
	X(HANG_DISK,    "disk")    /* no signal reaches it until a device answers: say so, one more row */   \
	X(HANG_DEAD,    "dead")    /* stack dump, then TERM, then KILL */
/* clang-format on */

enum hang_verdict {
#define X(verdict, name) verdict,
	HANG_VERDICTS(X)
#undef X
		HANG_VERDICT_COUNT
};

/* A worker in state D is given this many rows of pings more. Mostly a signal would not reach it anyway; but a
 * parent that waits for its vfork child is in D as well, would wait for ever, and can be killed. */
#define HANG_DISK_ROWS 3

/* So long most of a pool may be suspect while our own loop is in time. Then the machine is not what ails
 * them, and a pool that hangs as a whole would stay so for ever if none were killed. */
#define HANG_HELD_MAX_MS (5 * 60 * 1000)

struct hang_signs {
	int64_t now_ms;	   /* monotonic, > 0 */
	int misses;	   /* pongs missed in a row */
	int misses_wanted; /* >= 1: that many make a suspect */
	char proc_state;   /* letter of /proc/PID/stat; '?' = cannot be read */
	/* By how much our own loop was late to see the last pong missing. An earlier lateness was granted to
	 * the worker (policy/health.h), so it is no excuse any more: only one that came again is. */
	int64_t loop_lag_ms;
	int64_t timeout_ms;	 /* of a pong */
	int suspects, pool_size; /* this one included */
};

/* Chances given since the worker's last pong. Zeroed at the start of a life and at each pong. */
struct hang {
	bool continued;	       /* HANG_STOPPED was told */
	int disk_rows;	       /* HANG_DISK was told so often */
	int64_t held_since_ms; /* HANG_STARVED was told first, for most of the pool; 0 = never */
};

/* To be asked at the end of each row of missed pongs. Notes in *hang the chance that it gives. */
enum hang_verdict hang_judge(struct hang *hang, const struct hang_signs *signs);

/* "stopped", for the log. */
const char *hang_name(enum hang_verdict verdict);

/* One line for people: what is wrong, as far as verdict and state tell, and what is done about it. */
const char *hang_text(enum hang_verdict verdict, char proc_state);

#endif
