#ifndef POLICY_GATE_H
#define POLICY_GATE_H

/* Admission to one lane: a bucket of requests, concurrency slots, a pause, a parked reason.
 * A call enters with one request and one slot, or with nothing; it leaves when its answer (or its worker's
 * end) is known, which frees the slot, never the request. */

#include <stdbool.h>
#include <stdint.h>

struct gate;

struct gate_params {
	int64_t requests_per_min; /* 0 = no limit; as in policy/bucket.h */
	int64_t burst;		  /* 0 = one second's worth */
	int concurrency;	  /* calls under way at once; 0 = no limit */
};

enum gate_why {
	GATE_OPEN,
	GATE_RATE,	  /* the bucket is empty */
	GATE_CONCURRENCY, /* all slots are taken */
	GATE_PAUSED,	  /* the provider asked to wait */
	GATE_PARKED,	  /* an operator, or a used-up account */
};

/* -ERANGE for params out of range. */
int gate_new(const struct gate_params *params, int64_t now_ms, struct gate **ret)
	__attribute__((warn_unused_result));
void gate_free(struct gate **g);

/* Live reload: level, pause and calls under way stay; a lower concurrency takes effect as calls leave.
 * -ERANGE changes nothing. */
int gate_configure(struct gate *g, const struct gate_params *params, int64_t now_ms)
	__attribute__((warn_unused_result));

/* What a gate has come to, for another that goes on from there. */
struct gate_standing {
	int in_flight;
	int64_t paused_until_ms; /* 0 = never paused */
	int64_t level;		 /* as gate_level() */
};

/* Of a new gate; parked by gate_park(). It never admits more than the former one would have. */
void gate_go_on(struct gate *g, const struct gate_standing *standing, int64_t now_ms);

/* Takes one request and one slot, or nothing and returns false. */
bool gate_enter(struct gate *g, int64_t now_ms) __attribute__((warn_unused_result));

/* Frees the slot of a call that entered. */
void gate_leave(struct gate *g);

/* Shuts the lane until `until_ms`; never shortens a pause. */
void gate_pause_until(struct gate *g, int64_t until_ms);

/* Monotonic time at which the pause ends; may be past; 0 = never paused. */
int64_t gate_paused_until(const struct gate *g);

/* Shuts the lane until gate_resume(). `reason` is copied; the first reason stays. */
void gate_park(struct gate *g, const char *reason);

/* NULL unless parked. Valid until the next change of the gate. */
const char *gate_parked_reason(const struct gate *g);

/* Ends parking and pause. */
void gate_resume(struct gate *g);

/* Why a call could not enter now: the first of parked, paused, concurrency, rate; GATE_OPEN if it could.
 * *ret_wait_ms (may be NULL): milliseconds until it may change by itself, 0 when open, -1 = not before
 * something happens (a call leaves, an operator resumes). */
enum gate_why gate_why(const struct gate *g, int64_t now_ms, int64_t *ret_wait_ms);

/* "open", "rate", "concurrency", "paused", "parked". */
const char *gate_why_name(enum gate_why why);

/* Calls under way. */
int gate_in_flight(const struct gate *g);

/* How many calls could enter between now and now + horizon_ms if none left: what is worth claiming.
 * INT_MAX when nothing limits them. */
int gate_room(const struct gate *g, int64_t now_ms, int64_t horizon_ms);

/* Whole requests in the bucket, as bucket_level(). */
int64_t gate_level(const struct gate *g, int64_t now_ms);

#endif
