#ifndef POLICY_RESTART_H
#define POLICY_RESTART_H

/* Restart decision of one slot: a place in a pool, or a service.
 * The slot is a plain value that the caller keeps from life to life, zeroed at first. */

#include <stdbool.h>
#include <stdint.h>

enum restart_type {
	RESTART_PERMANENT, /* always again */
	RESTART_TRANSIENT, /* again after an abnormal end only */
	RESTART_TEMPORARY, /* never again */
};

struct restart_params {
	enum restart_type type;
	int64_t base_delay_ms;
	int64_t max_delay_ms;
	int64_t stable_after_ms; /* a life this long, with proven work, clears the failures */
};

/* A life that a stranger ended at once is no failure. But somebody who kills them all would have us start
 * them all at once for ever; so the wait grows, as after so many failures at the most: 4 s by the usual
 * delays. */
enum { RESTART_KILLS_WAITED_FOR = 4 };

struct restart_slot {
	unsigned failures; /* consecutive */
	unsigned kills; /* consecutive, from outside, of lives shorter than the base delay that proved nothing
			 */
	int64_t last_delay_ms; /* waited before the life that now ends; 0 = none */
	bool parked;	       /* set by RESTART_PARK; restart_unpark() clears it */
};

struct restart_exit {
	bool planned;		  /* we wanted this life to end and another to follow: recycling, reload */
	bool stopped;		  /* we wanted it to end for good: an operator's stop, shutdown, scale-down */
	bool failed;		  /* hang kill, boot timeout, protocol fault: a failure whatever the status */
	bool killed_from_outside; /* by a signal that we did not send */
	int exit_code;		  /* 0..255, or 128 + signal */
	int64_t lived_ms;	  /* spawn to exit; 0 for a start that failed */
	bool proven;		  /* a good job or an idle pong; for a service: it lived stable_after */
};

enum restart_action {
	RESTART_NOW,
	RESTART_AFTER, /* after delay_ms, jitter included */
	RESTART_PARK,  /* a broken install: exit code 77, 78 or 125; an operator must act */
	RESTART_NEVER,
};

struct restart_verdict {
	enum restart_action action;
	int64_t delay_ms; /* of RESTART_AFTER, else 0 */
	bool counts;	  /* goes into the restart window: a life without proven work */
};

/* Decides and writes the new counts into *slot. `random` is 32 uniform bits. */
struct restart_verdict restart_decide(const struct restart_params *params, struct restart_slot *slot,
				      const struct restart_exit *exit, uint32_t random);

/* Exit code 77, 78 or 125: trying again changes nothing. */
bool restart_is_broken_install(int exit_code);

/* Clears park and failures: an operator's start, a canary's turn. */
void restart_unpark(struct restart_slot *slot);

/* "permanent", "transient", "temporary". */
const char *restart_type_name(enum restart_type type);

/* "now", "after", "park", "never": for the log. */
const char *restart_action_name(enum restart_action action);

#endif
