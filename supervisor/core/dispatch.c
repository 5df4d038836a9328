#include "core/dispatch.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/claim.h"
#include "core/dispatch_private.h"
#include "core/lane.h"
#include "core/probe.h"
#include "io/msg.h"
#include "io/loop.h"

/* ---- who may call now ---- */

static bool permit_next_call(struct dispatch *dispatch, struct lane *lane)
{
	struct probe *probe = list_entry(lane->between.next, struct probe, link);

	if (!gate_enter(lane->gate, dispatch_now_ms(dispatch)))
		return false;
	lane->calls++;
	if (worker_send_go(probe->worker, probe) < 0) {
		/* The worker is failing: its end will release the probe. Until then it is out of the way. */
		gate_leave(lane->gate);
		lane_unlink(lane, probe);
		lane_wait_between(lane, probe);
		return false;
	}
	return true;
}

/* The first probe in the queue that some worker can take, and that worker. */
static struct probe *find_sendable(struct lane *lane, struct worker **ret)
{
	list_foreach (at, &lane->queue) {
		struct probe *probe = list_entry(at, struct probe, link);

		*ret = pool_pick(lane->pool, probe_runs_alone(probe));
		if (*ret)
			return probe;
		if (!probe_runs_alone(probe))
			return NULL;
	}
	return NULL;
}

static bool begin_conversation(struct dispatch *dispatch, struct lane *lane)
{
	struct worker *worker;
	struct probe *probe = find_sendable(lane, &worker);

	if (probe && !probe_turns_are_json(probe)) {
		dispatch_refuse_broken(dispatch, probe);
		return true;
	}
	if (!probe || !gate_enter(lane->gate, dispatch_now_ms(dispatch)))
		return false;
	lane_unlink(lane, probe);
	probe->attempt = probe->lease;
	if (worker_send_job(worker, probe) < 0) {
		gate_leave(lane->gate);
		lane_queue(lane, probe, true);
		return false;
	}
	lane->calls++;
	worker->solo = probe_runs_alone(probe);
	return true;
}

static void arm(struct dispatch *dispatch, struct lane *lane)
{
	int64_t wait_ms;

	if (list_is_empty(&lane->queue) && list_is_empty(&lane->between))
		return;
	if (gate_why(lane->gate, dispatch_now_ms(dispatch), &wait_ms) != GATE_OPEN && wait_ms >= 0)
		loop_timer_start_by(lane->timer, wait_ms > 0 ? wait_ms : 1);
}

static void pump_lane(struct dispatch *dispatch, struct lane *lane)
{
	if (store_is_holding(dispatch->store))
		return;
	while (!list_is_empty(&lane->between) && permit_next_call(dispatch, lane))
		continue;
	if (list_is_empty(&lane->between) && !dispatch->stopping && !store_trouble(dispatch->store))
		while (!list_is_empty(&lane->queue) && begin_conversation(dispatch, lane))
			continue;
	arm(dispatch, lane);
}

static void pump_now(void *arg)
{
	struct dispatch *dispatch = arg;

	dispatch->pump_due = false;
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++)
		pump_lane(dispatch, dispatch->lanes[i]);
	if (!dispatch->stopping)
		claim_more(dispatch->claim);
}

/* Once per turn of the loop, however many answers came in it. */
void dispatch_pump(struct dispatch *dispatch)
{
	if (dispatch->pump_due)
		return;
	dispatch->pump_due = true;
	loop_defer(dispatch->loop, pump_now, dispatch);
}

static void on_lane_timer(void *arg)
{
	dispatch_pump(arg);
}

/* ---- from the store ---- */

static void on_claimed(void *arg, const struct store_job *jobs, size_t count)
{
	struct dispatch *dispatch = arg;

	for (size_t i = 0; i < count; i++) {
		struct lane *lane = dispatch_lane(dispatch, jobs[i].lane);
		struct probe *probe;

		if (!lane || dispatch->stopping) {
			store_give_back(dispatch->store, &jobs[i].id, &jobs[i].attempt, 1);
			if (!lane)
				log_error("dispatch.lane", "job=%lld lane=%s reason=\"no such lane\"",
					  (long long)jobs[i].id, jobs[i].lane);
			continue;
		}
		/* The database took our lease for another's, and gave it to us again: the conversation goes
		 * on. */
		probe = map_get_id(dispatch->probes, jobs[i].id);
		if (probe) {
			log_warning("dispatch.claimed_again", "run=%s job=%lld attempt=%d", probe->run_id,
				    (long long)probe->id, jobs[i].attempt);
			probe->lease = jobs[i].attempt;
			probe->lost = false;
			continue;
		}
		probe_new(&jobs[i], lane, dispatch_now_ms(dispatch), &probe);
		(void)map_set_id(dispatch->probes, probe->id, probe);
		lane_queue(lane, probe, false);
		dispatch->stats.claimed++;
	}
	dispatch_pump(dispatch);
}

void dispatch_on_store_state(struct dispatch *dispatch, bool ready)
{
	if (ready)
		dispatch_pump(dispatch);
}

void dispatch_on_lost(struct dispatch *dispatch, int64_t job_id)
{
	struct probe *probe = map_get_id(dispatch->probes, job_id);

	if (!probe)
		return;
	log_warning("probe.lost", "run=%s job=%lld reason=\"another node has taken it over\"", probe->run_id,
		    (long long)probe->id);
	probe->lost = true;
	switch (probe->state) {
	case PROBE_QUEUED:
		dispatch_drop(dispatch, probe);
		break;
	case PROBE_BETWEEN:
		lane_unlink(probe->lane, probe);
		worker_send_cancel(probe->worker, probe);
		break;
	case PROBE_CALLING: /* its answer is paid for: it may come */
		break;
	}
	dispatch_pump(dispatch);
}

static enum claim_pair pair_of(const struct dispatch *dispatch, const struct probe *probe)
{
	return claim_look_up(dispatch->claim, probe->run_id, probe->model_id);
}

/* What waits here of a run that was paused goes back, so that it does not block those behind it. */
static void give_back_paused(struct dispatch *dispatch, struct lane *lane)
{
	list_foreach_safe (at, &lane->queue) {
		struct probe *probe = list_entry(at, struct probe, link);

		if (pair_of(dispatch, probe) == CLAIM_PAUSED)
			dispatch_give_back(dispatch, probe);
	}
}

static void cancel(struct dispatch *dispatch, struct probe *probe)
{
	probe->cancelling = true;
	if (probe->worker)
		worker_send_cancel(probe->worker, probe);
	else
		dispatch_end_cancelled(dispatch, probe);
}

/* Nobody wants their answers any more. */
static void cancel_gone(struct dispatch *dispatch)
{
	size_t cursor = 0;
	struct probe *probe;

	while ((probe = map_next(dispatch->probes, &cursor)))
		if (!probe->cancelling && pair_of(dispatch, probe) == CLAIM_GONE)
			cancel(dispatch, probe);
}

void dispatch_on_pairs(struct dispatch *dispatch, const struct store_pair *pairs, size_t count)
{
	claim_set_pairs(dispatch->claim, pairs, count);
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++)
		give_back_paused(dispatch, dispatch->lanes[i]);
	cancel_gone(dispatch);
	for (size_t i = 0; i < count; i++)
		if (pairs[i].cancelling)
			dispatch_cancel_run(dispatch, pairs[i].run_id);
	dispatch_pump(dispatch);
}

void dispatch_on_work(struct dispatch *dispatch)
{
	claim_wake(dispatch->claim);
	dispatch_pump(dispatch);
}

/* ---- from the pool ---- */

void dispatch_on_room(struct dispatch *dispatch)
{
	dispatch_pump(dispatch);
}

void dispatch_on_turn(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
		      const struct msg *msg)
{
	const struct probe_turn *last = &probe->turns[probe->turn_count - 1];
	const struct store_turn turn = {
		.job_id = probe->id,
		.attempt = probe->lease,
		.number = msg->number,
		.prev = msg->prev,
		.digest = msg->digest,
		.body = last->body,
		.body_len = last->len,
	};

	store_turn(dispatch->store, &turn);
	dispatch->stats.turns++;
	probe->lane->turns++;
	probe->lane->last_success_ms = dispatch_now_ms(dispatch);
	probe->limited_since_ms = 0;
	gate_leave(probe->lane->gate);
	if (!msg->last)
		lane_wait_between(probe->lane, probe);
	if (!msg->last && probe->lost) {
		lane_unlink(probe->lane, probe);
		worker_send_cancel(worker, probe);
	}
	dispatch_pump(dispatch);
}

/* ---- from operators ---- */

void dispatch_cancel_run(struct dispatch *dispatch, const char *run_id)
{
	size_t cursor = 0;
	struct probe *probe;

	while ((probe = map_next(dispatch->probes, &cursor)))
		if (strcmp(probe->run_id, run_id) == 0 && !probe->cancelling)
			cancel(dispatch, probe);
	dispatch_pump(dispatch);
}

void dispatch_pause_lane(struct dispatch *dispatch, struct lane *lane, const char *reason)
{
	if (gate_parked_reason(lane->gate))
		return;
	gate_park(lane->gate, reason);
	log_info("lane.paused", "lane=%s reason=\"%s\"", lane->name, reason);
	dispatch_record(dispatch, "info", "lane.paused", lane, reason);
}

void dispatch_resume_lane(struct dispatch *dispatch, struct lane *lane)
{
	gate_resume(lane->gate);
	log_info("lane.resumed", "lane=%s", lane->name);
	store_event(dispatch->store, "info", "lane.resumed", NULL, 0, lane->name, NULL);
	dispatch_pump(dispatch);
}

const char *dispatch_why(const struct dispatch *dispatch, const struct lane *lane, int64_t *ret_until_ms)
{
	int64_t wait_ms;
	enum gate_why why = gate_why(lane->gate, dispatch_now_ms(dispatch), &wait_ms);

	/* A lane that nobody wants to enter is held up by nothing, be its bucket empty. */
	if ((why == GATE_RATE || why == GATE_CONCURRENCY) && lane->queued == 0 && lane->between_count == 0)
		why = GATE_OPEN;
	*ret_until_ms = wait_ms > 0 ? dispatch_now_ms(dispatch) + wait_ms : 0;
	switch (why) {
	case GATE_RATE:
		return "requests/min";
	case GATE_CONCURRENCY:
		return "concurrency";
	case GATE_PAUSED:
		return "the provider asked to wait";
	case GATE_PARKED:
		return gate_parked_reason(lane->gate);
	case GATE_OPEN:
		break;
	}
	*ret_until_ms = 0;
	if (dispatch->stopping)
		return "the daemon is stopping";
	if (pool_serving(lane->pool) == 0)
		return pool_degraded(lane->pool) ? "the worker pool is degraded" : "no worker is ready";
	if (pool_is_renewing(lane->pool))
		return "workers with the new settings are starting";
	if (pool_free_slots(lane->pool) == 0)
		return "all workers are full";
	if (!store_is_ready(dispatch->store))
		return "the database is away";
	if (store_trouble(dispatch->store))
		return store_trouble(dispatch->store);
	return "";
}

/* ---- making and ending ---- */

struct lane *const *dispatch_lanes(const struct dispatch *dispatch, size_t *ret_count)
{
	*ret_count = ARRAY_LEN(dispatch->lanes);
	return dispatch->lanes;
}

struct lane *dispatch_lane(const struct dispatch *dispatch, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++)
		if (strcmp(dispatch->lanes[i]->name, name) == 0)
			return dispatch->lanes[i];
	return NULL;
}

void dispatch_route(struct dispatch *dispatch, const char *lane, struct pool *pool)
{
	dispatch_lane(dispatch, lane)->pool = pool;
}

void dispatch_stats(const struct dispatch *dispatch, struct dispatch_stats *ret)
{
	*ret = dispatch->stats;
}

int dispatch_held(const struct dispatch *dispatch)
{
	return (int)map_len(dispatch->probes);
}

int dispatch_new(struct loop *loop, const struct config *config, const struct models *models,
		 struct store *store, struct dispatch **ret)
{
	struct dispatch *dispatch = mem_alloc(sizeof(*dispatch));
	const struct claim_options options = {
		.lanes = dispatch->lanes,
		.lane_count = ARRAY_LEN(dispatch->lanes),
		.store = store,
		.claimed = on_claimed,
		.arg = dispatch,
	};

	dispatch->loop = loop;
	dispatch->config = config;
	dispatch->models = models;
	dispatch->store = store;
	map_new(&dispatch->probes);
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		int r = lane_new(loop, &config->providers[i], (int)i, loop_now_ms(loop), on_lane_timer,
				 dispatch, &dispatch->lanes[i]);

		if (r < 0) {
			dispatch_free(&dispatch);
			return r;
		}
	}
	claim_new(loop, &options, &dispatch->claim);
	*ret = dispatch;
	return 0;
}

void dispatch_free(struct dispatch **dispatch)
{
	struct dispatch *dead = *dispatch;
	struct probe *probe;
	size_t cursor = 0;

	if (!dead)
		return;
	loop_undefer(dead->loop, dead);
	claim_free(&dead->claim);
	while ((probe = map_next(dead->probes, &cursor))) {
		assert(!probe->worker);
		dispatch_drop(dead, probe);
	}
	for (size_t i = 0; i < ARRAY_LEN(dead->lanes); i++)
		lane_free(&dead->lanes[i]);
	map_free(&dead->probes);
	mem_free(dispatch);
}

int dispatch_configure(struct dispatch *dispatch, const struct config *config, const struct models *models)
{
	dispatch->config = config;
	dispatch->models = models;
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		int r = lane_configure(dispatch->lanes[i], &config->providers[i], dispatch_now_ms(dispatch));

		if (r < 0)
			return r;
	}
	dispatch_pump(dispatch);
	return 0;
}

void dispatch_stop(struct dispatch *dispatch)
{
	dispatch->stopping = true;
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		list_foreach_safe (at, &dispatch->lanes[i]->queue) {
			dispatch_give_back(dispatch, list_entry(at, struct probe, link));
		}
	}
}
