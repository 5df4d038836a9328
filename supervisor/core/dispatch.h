#ifndef CORE_DISPATCH_H
#define CORE_DISPATCH_H

/* The dispatcher: joins lanes, pool and store. It decides what is claimed, which probe may call now, what
 * becomes of an attempt that has ended, and it is the one owner of every probe that this node holds.
 *
 *   store --claim--> lane queue --gate--> worker --turns--> lane (between) --gate--> ... --end--> store */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/pool.h"
#include "core/store.h"
#include "policy/estimate.h"

struct config;
struct dispatch;
struct handover;
struct lane;
struct loop;
struct map;
struct models;

int dispatch_new(struct loop *loop, const struct config *config, const struct models *models,
		 struct store *store, struct dispatch **ret) __attribute__((warn_unused_result));

/* Whose workers serve a lane (borrowed): to be told for every lane before the first probe, and again when it
 * changes. Conversations under way stay where they are. */
void dispatch_route(struct dispatch *dispatch, const char *lane, struct pool *pool);

/* All probes must be gone: after dispatch_stop() and the pool's end. What is left is dropped: its lease is
 * taken back at the next boot. */
void dispatch_free(struct dispatch **dispatch);

/* Reload: new limits and prices. `models` is borrowed. */
int dispatch_configure(struct dispatch *dispatch, const struct config *config, const struct models *models)
	__attribute__((warn_unused_result));

/* Nothing new is claimed or begun from now on; what waits here goes back to the store. */
void dispatch_stop(struct dispatch *dispatch);

/* After that and the pool's end: what other nodes may use from now on is theirs. */
void dispatch_leave(struct dispatch *dispatch);

/* For as long as it rests nothing is claimed and no call is made; calls under way finish, and everything then
 * goes back to the store. */
void dispatch_rest(struct dispatch *dispatch, bool rest);

/* From the store. */
void dispatch_on_store_state(struct dispatch *dispatch, bool ready);
/* Another node has taken this job over: what comes of it here still counts, but nothing more is asked. */
void dispatch_on_lost(struct dispatch *dispatch, int64_t job_id);
/* What was called and spent today before this boot. */
void dispatch_on_today(struct dispatch *dispatch, int64_t day, const struct store_spent *spent, size_t count);
void dispatch_on_pairs(struct dispatch *dispatch, const struct store_pair *pairs, size_t count);
void dispatch_on_work(struct dispatch *dispatch);
/* A run got its last outcome from this node. */
void dispatch_on_run_finished(struct dispatch *dispatch, const char *status);

/* From the pool. */
void dispatch_on_room(struct dispatch *dispatch);
void dispatch_on_turn(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
		      const struct msg *msg);
void dispatch_on_result(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
			const struct msg *msg);
void dispatch_on_released(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
			  const struct worker_death *death);

/* A run is being cancelled (or is deleted): what waits here ends as CANCELLED, calls under way are told. */
void dispatch_cancel_run(struct dispatch *dispatch, const char *run_id);

/* Lanes, in config_provider_names' order. */
struct lane *const *dispatch_lanes(const struct dispatch *dispatch, size_t *ret_count);
struct lane *dispatch_lane(const struct dispatch *dispatch, const char *name); /* NULL when there is none */

/* An operator's word. Resuming also opens a lane that a used-up quota has parked. */
void dispatch_pause_lane(struct dispatch *dispatch, struct lane *lane, const char *reason);
void dispatch_resume_lane(struct dispatch *dispatch, struct lane *lane);

/* A look at the provider from outside, without a call: feeds the lane's breaker. */
void dispatch_check(struct dispatch *dispatch, struct lane *lane, bool good);
/* What it is parked for may have been mended: a trial call may go at once. */
void dispatch_recheck_lane(struct dispatch *dispatch, struct lane *lane);

/* Why something does not go on, for people, and when that may change by itself. */
struct dispatch_wait {
	char why[240]; /* "tokens/min", "concurrency", "the provider asked to wait", "parked: …", "no worker
			  is ready", "the database is away", …; "" when nothing holds it */
	int64_t until_ms; /* monotonic; 0 = not known */
};

/* Of a lane: what holds up the first of its families that has something waiting. */
struct dispatch_wait dispatch_why(const struct dispatch *dispatch, const struct lane *lane);
/* Of one model in a lane, be something waiting or not. */
struct dispatch_wait dispatch_why_model(const struct dispatch *dispatch, struct lane *lane,
					const char *model_id);

/* Of a run that does not get on: what the first of its models that waits for something waits for, with its
 * lane; else what it is doing. `retrying`: the error that all its unfinished probes wait out, NULL when some
 * do not. Never "". */
struct dispatch_wait dispatch_why_run(const struct dispatch *dispatch, const char *run_id,
				      const char *retrying);

/* Whether a run has had no success for too long (core/run_watch.h), and since when, monotonic. */
bool dispatch_is_stalled(const struct dispatch *dispatch, const char *run_id, int64_t *ret_since_ms);

/* What a probe that this node holds is doing: "calling" (until its call times out), "queued" or "between
 * turns", with what it waits for. False when it is not held here. */
bool dispatch_why_job(const struct dispatch *dispatch, int64_t job_id, const char **ret_doing,
		      struct dispatch_wait *ret);

/* What the answers of a model have taught since start; all zero when it had none. */
struct estimate dispatch_estimate(const struct dispatch *dispatch, const char *model_id);

/* "PENDING" … as in the table of runs; the first three are of runs that are not over. */
enum { DISPATCH_RUN_STATUSES = 6, DISPATCH_RUN_ACTIVE = 3 };
extern const char *const dispatch_run_statuses[DISPATCH_RUN_STATUSES];

/* Runs that are not over, by status, as of the last reading; and how many of them are stalled. */
void dispatch_count_runs(const struct dispatch *dispatch, int ret[DISPATCH_RUN_ACTIVE], int *ret_stalled);

/* Counts since start. */
struct dispatch_stats {
	int64_t claimed, completed, failed, cancelled, retried, turns;
	int64_t runs_ended[DISPATCH_RUN_STATUSES]; /* by this node; 0 for those that are no end */
};
void dispatch_stats(const struct dispatch *dispatch, struct dispatch_stats *ret);

/* Probes held by this node. */
int dispatch_held(const struct dispatch *dispatch);

/* ---- while the daemon's program is replaced ---- */

/* Claims nothing more, for a moment. */
void dispatch_hold_claims(struct dispatch *dispatch, bool hold);

/* The probes, then the pools that hold them, then the lanes that they wait at, either way. A dispatcher that
 * goes on has its store and its routes. */
void dispatch_pass_probes(struct dispatch *dispatch, struct handover *h);
void dispatch_pass_lanes(struct dispatch *dispatch, struct handover *h);

/* id → struct probe, for the pools; borrowed. */
const struct map *dispatch_probes(const struct dispatch *dispatch);

#endif
