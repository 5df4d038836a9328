#include "core/dispatch.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "core/claim.h"
#include "core/lane.h"
#include "core/probe.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "io/msg.h"
#include "policy/error.h"
#include "policy/retry.h"

enum { POISON_WORDS = 4000 }; /* of its worker's stderr, kept with a job that is POISON */

struct dispatch {
	struct loop *loop;
	const struct config *config;
	const struct models *models;
	struct store *store;
	struct claim *claim;
	struct lane *lanes[CONFIG_PROVIDERS];
	struct map *probes; /* every probe held, by id */
	struct dispatch_stats stats;
	bool stopping;
	bool pump_due;
};

static int64_t now_ms(const struct dispatch *dispatch)
{
	return loop_now_ms(dispatch->loop);
}

/* ---- a probe comes and goes ---- */

static void drop(struct dispatch *dispatch, struct probe *probe)
{
	(void)map_remove_id(dispatch->probes, probe->id);
	if (!list_is_empty(&probe->link))
		lane_unlink(probe->lane, probe);
	probe_free(&probe);
}

static int64_t limited_for(const struct dispatch *dispatch, const struct probe *probe)
{
	return probe->limited_since_ms ? now_ms(dispatch) - probe->limited_since_ms + 1 : 0;
}

/* Hands the end of the attempt to the store and forgets the probe. */
static void finish(struct dispatch *dispatch, struct probe *probe, enum store_fate fate,
		   const char *model_version, const char *error, int64_t delay_ms)
{
	const char *model = probe->model_id;
	struct price price = { .known = false };
	struct store_end end = {
		.job_id = probe->id,
		.attempt = probe->attempt,
		.fate = fate,
		.turns = probe->turns,
		.turn_count = probe->turn_count,
		.model_version = model_version,
		.input_tokens = probe->input_tokens,
		.output_tokens = probe->output_tokens,
		.reasoning_tokens = probe->reasoning_tokens,
		.duration_ms = probe->duration_ms,
		.cost_e10 = -1,
		.error = error,
		.delay_ms = delay_ms,
		.fails = probe->fails,
		.deaths = probe->deaths,
		.solo_deaths = probe->solo_deaths,
		.limited_for_ms = limited_for(dispatch, probe),
	};

	/* A simulated answer costs nothing, and must not look as if it had. */
	if (fate == STORE_COMPLETED && !probe->lane->simulated) {
		(void)route_find(dispatch->models->route, probe->model_id, &model);
		price = price_table_find(dispatch->models->prices, model);
	}
	if (price.known)
		end.cost_e10 = price_cost(&price, probe->input_tokens, probe->output_tokens);
	store_finish(dispatch->store, &end);
	drop(dispatch, probe);
}

static void finish_failed(struct dispatch *dispatch, struct probe *probe, const char *error, const char *code,
			  const char *message)
{
	dispatch->stats.failed++;
	probe->lane->failed++;
	mem_set_str(&probe->lane->last_error, mem_printf("%s: %s", code, message));
	log_info("probe.failed", "run=%s job=%lld model=%s attempt=%d code=%s message=\"%s\"", probe->run_id,
		 (long long)probe->id, probe->model_id, probe->attempt, code, message);
	finish(dispatch, probe, STORE_FAILED, NULL, error, 0);
}

static void finish_cancelled(struct dispatch *dispatch, struct probe *probe)
{
	AUTO(mem_free_str) char *error = msg_own_error("CANCELLED", "the run was cancelled");

	dispatch->stats.cancelled++;
	finish(dispatch, probe, STORE_CANCELLED, NULL, error, 0);
}

/* Back to the queue with all that it has, blaming nobody. */
static void give_back(struct dispatch *dispatch, struct probe *probe)
{
	finish(dispatch, probe, STORE_LATER, NULL, NULL, 0);
}

/* ---- who may call now ---- */

static bool permit_next_call(struct dispatch *dispatch, struct lane *lane)
{
	struct probe *probe = list_entry(lane->between.next, struct probe, link);

	if (!gate_enter(lane->gate, now_ms(dispatch)))
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

/* A worker would take a broken turn for a broken supervisor, and end with all that it holds. */
static void refuse_broken_turn(struct dispatch *dispatch, struct probe *probe)
{
	static const char message[] = "a worker gave an answer that is no JSON object";
	AUTO(mem_free_str) char *error = msg_own_error("INVALID_RESPONSE", message);

	finish_failed(dispatch, probe, error, "INVALID_RESPONSE", message);
}

static bool begin_conversation(struct dispatch *dispatch, struct lane *lane)
{
	struct worker *worker;
	struct probe *probe = find_sendable(lane, &worker);

	if (probe && !probe_turns_are_json(probe)) {
		refuse_broken_turn(dispatch, probe);
		return true;
	}
	if (!probe || !gate_enter(lane->gate, now_ms(dispatch)))
		return false;
	lane_unlink(lane, probe);
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
	if (gate_why(lane->gate, now_ms(dispatch), &wait_ms) != GATE_OPEN && wait_ms >= 0)
		loop_timer_start_by(lane->timer, wait_ms > 0 ? wait_ms : 1);
}

static void pump_lane(struct dispatch *dispatch, struct lane *lane)
{
	while (!list_is_empty(&lane->between) && permit_next_call(dispatch, lane))
		continue;
	if (list_is_empty(&lane->between) && !dispatch->stopping)
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
static void pump(struct dispatch *dispatch)
{
	if (dispatch->pump_due)
		return;
	dispatch->pump_due = true;
	loop_defer(dispatch->loop, pump_now, dispatch);
}

static void on_lane_timer(void *arg)
{
	pump(arg);
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
		probe_new(&jobs[i], lane, now_ms(dispatch), &probe);
		assert(!map_get_id(dispatch->probes, probe->id));
		(void)map_set_id(dispatch->probes, probe->id, probe);
		lane_queue(lane, probe, false);
		dispatch->stats.claimed++;
	}
	pump(dispatch);
}

void dispatch_on_store_state(struct dispatch *dispatch, bool ready)
{
	if (ready)
		pump(dispatch);
}

/* What waits here of a run that was paused goes back, so that it does not block those behind it. */
static void give_back_paused(struct dispatch *dispatch)
{
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		list_foreach_safe (at, &dispatch->lanes[i]->queue) {
			struct probe *probe = list_entry(at, struct probe, link);

			if (claim_is_paused(dispatch->claim, probe->run_id, probe->model_id))
				give_back(dispatch, probe);
		}
	}
}

void dispatch_on_pairs(struct dispatch *dispatch, const struct store_pair *pairs, size_t count)
{
	claim_set_pairs(dispatch->claim, pairs, count);
	give_back_paused(dispatch);
	for (size_t i = 0; i < count; i++)
		if (pairs[i].cancelling)
			dispatch_cancel_run(dispatch, pairs[i].run_id);
	pump(dispatch);
}

void dispatch_on_work(struct dispatch *dispatch)
{
	claim_wake(dispatch->claim);
	pump(dispatch);
}

/* ---- from the pool ---- */

void dispatch_on_room(struct dispatch *dispatch)
{
	pump(dispatch);
}

void dispatch_on_turn(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
		      const struct msg *msg)
{
	(void)worker;
	dispatch->stats.turns++;
	probe->lane->turns++;
	probe->lane->last_success_ms = now_ms(dispatch);
	probe->limited_since_ms = 0;
	gate_leave(probe->lane->gate);
	if (!msg->last)
		lane_wait_between(probe->lane, probe);
	pump(dispatch);
}

static void record_reason(struct dispatch *dispatch, const char *level, const char *kind,
			  const struct lane *lane, const char *reason)
{
	AUTO(mem_free_str) char *data = jsontext_pack("{s:s}", "reason", reason);

	store_event(dispatch->store, level, kind, NULL, 0, lane->name, data);
}

/* No wait mends it: an operator must. */
static void park(struct dispatch *dispatch, struct lane *lane, const char *reason)
{
	if (gate_parked_reason(lane->gate))
		return;
	gate_park(lane->gate, reason);
	log_error("lane.parked", "lane=%s reason=\"%s\" remedy=\"proctorctl providers resume %s\"",
		  lane->name, reason, lane->name);
	record_reason(dispatch, "error", "lane.parked", lane, reason);
}

/* RATE_LIMIT, and what else makes the whole lane wait: the probe keeps its place at the head. */
static void wait_in_lane(struct dispatch *dispatch, struct probe *probe, const struct retry_verdict *verdict,
			 const struct msg *msg)
{
	struct lane *lane = probe->lane;

	mem_set_str(&lane->last_error, mem_printf("%s: %s", msg->error_code, msg->error_message));
	if (verdict->action == RETRY_PARK_LANE) {
		park(dispatch, lane, msg->error_message);
	} else {
		lane->limited++;
		if (!probe->limited_since_ms)
			probe->limited_since_ms = now_ms(dispatch);
		gate_pause_until(lane->gate, now_ms(dispatch) + verdict->delay_ms);
		log_info("lane.limited", "lane=%s wait_ms=%lld run=%s job=%lld", lane->name,
			 (long long)verdict->delay_ms, probe->run_id, (long long)probe->id);
	}
	lane_queue(lane, probe, true);
}

static void on_failure(struct dispatch *dispatch, struct probe *probe, const struct msg *msg)
{
	const struct config_retry *retry = &dispatch->config->retry;
	const struct retry_params params = {
		.max_tries = retry->max_tries,
		.base_delay_ms = retry->base_delay_ms,
		.max_delay_ms = retry->max_delay_ms,
		.rate_limit_patience_ms = retry->rate_limit_patience_ms,
	};
	const struct retry_state state = { .fails = probe->fails,
					   .limited_for_ms = limited_for(dispatch, probe),
					   .word = msg->retryable ? RETRY_SAID_YES : RETRY_SAID_NO };
	struct retry_verdict verdict = retry_decide(&params, &state, error_parse(msg->error_code),
						    msg->retry_after_ms, clock_random());
	AUTO(mem_free_str) char *error = NULL;

	if (probe->cancelling) {
		finish_cancelled(dispatch, probe);
		return;
	}
	probe->fails = verdict.fails;
	switch (verdict.action) {
	case RETRY_FAIL:
		error = msg_outcome_error(msg);
		finish_failed(dispatch, probe, error, msg->error_code, msg->error_message);
		break;
	case RETRY_LATER:
		dispatch->stats.retried++;
		probe->lane->retried++;
		error = msg_outcome_error(msg);
		mem_set_str(&probe->lane->last_error,
			    mem_printf("%s: %s", msg->error_code, msg->error_message));
		log_info("probe.retry",
			 "run=%s job=%lld model=%s attempt=%d code=%s fails=%d delay_ms=%lld message=\"%s\"",
			 probe->run_id, (long long)probe->id, probe->model_id, probe->attempt,
			 msg->error_code, probe->fails, (long long)verdict.delay_ms, msg->error_message);
		finish(dispatch, probe, STORE_LATER, NULL, error, verdict.delay_ms);
		break;
	case RETRY_WAIT_LANE:
	case RETRY_PARK_LANE:
		wait_in_lane(dispatch, probe, &verdict, msg);
		break;
	}
}

void dispatch_on_result(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
			const struct msg *msg)
{
	struct lane *lane = probe->lane;

	(void)worker;
	/* A call that has answered left the gate with its last turn; one that failed leaves it now. */
	if (probe->state == PROBE_CALLING && !probe->last_seen)
		gate_leave(lane->gate);
	if (msg->success) {
		dispatch->stats.completed++;
		lane->completed++;
		finish(dispatch, probe, STORE_COMPLETED, msg->model_version, NULL, 0);
	} else if (msg->given_back) {
		give_back(dispatch, probe);
	} else if (probe->cancelling && strcmp(msg->error_code, "CANCELLED") == 0) {
		finish_cancelled(dispatch, probe);
	} else {
		on_failure(dispatch, probe, msg);
	}
	pump(dispatch);
}

static void poison(struct dispatch *dispatch, struct probe *probe, const struct worker_death *death)
{
	AUTO(mem_free_str)
	char *message = mem_printf("the job, running alone, killed its worker %d times (%s)",
				   probe->solo_deaths, death->text);
	const char *words = death->stderr_tail;
	size_t len = strlen(words);
	AUTO(mem_free_str)
	char *error = msg_own_error_with("POISON", message, "stderr",
					 len > POISON_WORDS ? words + len - POISON_WORDS : words);

	finish_failed(dispatch, probe, error, "POISON", message);
}

void dispatch_on_released(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
			  const struct worker_death *death)
{
	const struct blame_job job = { .deaths = probe->deaths, .solo_deaths = probe->solo_deaths };
	struct blame blame = blame_decide(&death->blame, &job, death->alone);

	(void)worker;
	if (probe->state == PROBE_CALLING && !probe->last_seen)
		gate_leave(probe->lane->gate);
	probe->deaths = blame.job.deaths;
	probe->solo_deaths = blame.job.solo_deaths;
	if (probe->cancelling) {
		finish_cancelled(dispatch, probe);
	} else if (blame.poison) {
		poison(dispatch, probe, death);
	} else if (dispatch->stopping) {
		give_back(dispatch, probe);
	} else {
		probe->last_seen = false;
		lane_queue(probe->lane, probe, true);
	}
	pump(dispatch);
}

/* ---- from operators ---- */

void dispatch_cancel_run(struct dispatch *dispatch, const char *run_id)
{
	size_t cursor = 0;
	struct probe *probe;

	while ((probe = map_next(dispatch->probes, &cursor))) {
		if (strcmp(probe->run_id, run_id) != 0 || probe->cancelling)
			continue;
		probe->cancelling = true;
		if (probe->worker)
			worker_send_cancel(probe->worker, probe);
		else
			finish_cancelled(dispatch, probe);
	}
	pump(dispatch);
}

void dispatch_pause_lane(struct dispatch *dispatch, struct lane *lane, const char *reason)
{
	if (gate_parked_reason(lane->gate))
		return;
	gate_park(lane->gate, reason);
	log_info("lane.paused", "lane=%s reason=\"%s\"", lane->name, reason);
	record_reason(dispatch, "info", "lane.paused", lane, reason);
}

void dispatch_resume_lane(struct dispatch *dispatch, struct lane *lane)
{
	gate_resume(lane->gate);
	log_info("lane.resumed", "lane=%s", lane->name);
	store_event(dispatch->store, "info", "lane.resumed", NULL, 0, lane->name, NULL);
	pump(dispatch);
}

const char *dispatch_why(const struct dispatch *dispatch, const struct lane *lane, int64_t *ret_until_ms)
{
	int64_t wait_ms;
	enum gate_why why = gate_why(lane->gate, now_ms(dispatch), &wait_ms);

	/* A lane that nobody wants to enter is held up by nothing, be its bucket empty. */
	if ((why == GATE_RATE || why == GATE_CONCURRENCY) && lane->queued == 0 && lane->between_count == 0)
		why = GATE_OPEN;
	*ret_until_ms = wait_ms > 0 ? now_ms(dispatch) + wait_ms : 0;
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
	if (store_is_full(dispatch->store))
		return "results wait for the database";
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
		drop(dead, probe);
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
		int r = lane_configure(dispatch->lanes[i], &config->providers[i], now_ms(dispatch));

		if (r < 0)
			return r;
	}
	pump(dispatch);
	return 0;
}

void dispatch_stop(struct dispatch *dispatch)
{
	dispatch->stopping = true;
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		list_foreach_safe (at, &dispatch->lanes[i]->queue) {
			give_back(dispatch, list_entry(at, struct probe, link));
		}
	}
}
