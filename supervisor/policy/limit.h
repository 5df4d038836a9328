#ifndef POLICY_LIMIT_H
#define POLICY_LIMIT_H

/* One limit of a provider: so many units in a span of time, paced, never exceeded, used in full.
 *
 * Three things together decide:
 * - a token bucket (policy/bucket.h) paces: units are earned evenly, `burst` of them at most are kept;
 * - a sliding window (policy/window.h) remembers what was spent: in no span, widened by a guard (750 ms for
 *   a minute, 65 ms for a second), is more spent than the rate, whatever the burst, so that a provider that
 *   counts a sliding minute never sees too many, even when the network delays some calls more than others;
 * - the rate itself, the least of what is configured, what the provider told, and what was learned from its
 *   refusals.
 *
 * What is spent is a reservation, settled when the real cost is known; what was reserved too much comes back
 * as if it had never been taken. A new limit behaves as if its last span had been used in full: nobody knows
 * what was sent before a restart. Pure: every call takes now_ms, monotonic; a clock that steps back counts as
 * standing still until it has caught up, so that it grants nothing twice. Looking, also ahead, changes
 * nothing. */

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_RATE_MAX	  INT64_C(1000000000)
#define LIMIT_MINUTE_MS	  INT64_C(60000)
#define LIMIT_SPAN_MIN_MS INT64_C(1000)

struct limit;

struct limit_params {
	int64_t rate;	 /* units in span_ms, 0..LIMIT_RATE_MAX; 0 = none, until told or learned */
	int64_t span_ms; /* over which the provider counts: LIMIT_SPAN_MIN_MS..LIMIT_MINUTE_MS */
	int64_t burst;	 /* units at once after a lull; 0 = what the pacing needs */
	int64_t ramp_ms; /* a new limit rises to its rate over this time; 0 = at once */
	bool firm;	 /* the operator's word: what the provider tells never raises it */
};

/* -ERANGE for params out of range. */
int limit_new(const struct limit_params *params, int64_t now_ms, struct limit **ret)
	__attribute__((warn_unused_result));
void limit_free(struct limit **l);

/* Reload: what was spent, told and learned stays, but for a rate that is configured otherwise than before:
 * that forgets what was learned. -ERANGE changes nothing. */
int limit_configure(struct limit *l, const struct limit_params *params, int64_t now_ms)
	__attribute__((warn_unused_result));

/* Milliseconds until `cost` could be taken; 0 = now, -1 = never: it is above the whole rate. A call that
 * costs more than the burst is let in when the bucket is full, and leaves a debt. After a clock's step back
 * it may be less, but for what has still to be earned not below LIMIT_BEHIND_MS: who knows when it is set
 * right. */
#define LIMIT_BEHIND_MS INT64_C(1000)
int64_t limit_wait_ms(const struct limit *l, int64_t now_ms, int64_t cost);

/* Whether that is 0; the quick way for who looks at each turn of a loop. now_ms is not ahead. */
bool limit_has_room(struct limit *l, int64_t now_ms, int64_t cost);

/* Takes `cost`, which limit_wait_ms() has just called possible. Returns when: the taken_ms of the calls
 * below, which is later than now_ms if the clock has stepped back. */
int64_t limit_take(struct limit *l, int64_t now_ms, int64_t cost);

/* What was taken at taken_ms as `reserved` cost `real` (both >= 0). */
void limit_settle(struct limit *l, int64_t now_ms, int64_t taken_ms, int64_t reserved, int64_t real);

/* Whole units that could be taken between now_ms and now_ms + horizon_ms, each as soon as it is earned;
 * INT64_MAX when there is no limit. */
int64_t limit_room(const struct limit *l, int64_t now_ms, int64_t horizon_ms);

/* ---- what the provider tells ---- */

/* Its header says that so much is allowed in a minute. */
void limit_told(struct limit *l, int64_t now_ms, int64_t per_minute);

/* Its header says that so much was left; `unseen` is the cost of calls under way that it may not have counted
 * yet. Only ever lowers what is left here. */
void limit_told_remaining(struct limit *l, int64_t now_ms, int64_t remaining, int64_t unseen);

/* A call taken at taken_ms was refused for this limit. `counted` of what it took stays taken, the rest is to
 * be settled. retry_after_ms is the provider's word, -1 when it had none. One decrease for all calls that
 * were under way together. */
void limit_refused(struct limit *l, int64_t now_ms, int64_t taken_ms, int64_t counted,
		   int64_t retry_after_ms);

/* A call was answered: what was learned recovers slowly while all goes well and the limit is in use. */
void limit_answered(struct limit *l, int64_t now_ms);

/* What was learned from refusals holds no more. */
void limit_forget(struct limit *l);

/* ---- grants: several nodes share one limit ---- */

/* From now on what may be spent comes from grants alone, whatever the rate; or from the rate again. */
void limit_set_granted(struct limit *l, bool granted);
bool limit_is_granted(const struct limit *l);

/* Leave to spend `amount` more until until_ms; an earlier grant's rest is kept until its own end or this
 * one's, the later. */
void limit_grant(struct limit *l, int64_t now_ms, int64_t amount, int64_t until_ms);

/* What of the grants is not spent, to be given back; negative when settling cost more than was granted. It is
 * taken away: what is returned here must reach the database, or be lost. */
int64_t limit_take_back(struct limit *l, int64_t now_ms);

/* ---- what is known ---- */

struct limit_view {
	int64_t configured, told,
		learned; /* units in span_ms; 0 = none; `told` and `learned` 0 = not known */
	int64_t rate;	 /* in effect, ramp left out; 0 = no limit */
	int64_t span_ms;
	int64_t used; /* in the last span */
	int64_t left; /* could be taken now; negative while in debt; INT64_MAX without a limit */
};

void limit_look(const struct limit *l, int64_t now_ms, struct limit_view *ret);

/* Of a new limit that goes on for another: what that had been told and had learned; 0 = nothing. */
void limit_go_on(struct limit *l, int64_t told, int64_t learned);

#endif
