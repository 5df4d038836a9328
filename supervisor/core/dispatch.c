#include "core/dispatch.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/claim.h"
#include "core/costing.h"
#include "core/dispatch_private.h"
#include "core/grants.h"
#include "core/lane.h"
#include "core/probe.h"
#include "core/purse.h"
#include "core/run_watch.h"
#include "io/msg.h"
#include "io/loop.h"

static void on_lane_timer(void *arg)
{
	dispatch_pump(arg);
}

/* ---- from the store ---- */

static const char *worker_of(const struct probe *probe)
{
	return probe->worker ? probe->worker->name : "none";
}

static void on_claimed(void *arg, const struct store_job *jobs, size_t count)
{
	struct dispatch *dispatch = arg;

	for (size_t i = 0; i < count; i++) {
		struct lane *lane = dispatch_lane(dispatch, jobs[i].lane);
		struct probe *probe;

		if (!lane || dispatch->stopping) {
			store_give_back(dispatch->store, &jobs[i].id, &jobs[i].attempt, 1);
			if (!lane)
				log_error("dispatch.lane",
					  "run=%s job=%lld model=%s lane=%s reason=\"no such lane\"",
					  jobs[i].run_id, (long long)jobs[i].id, jobs[i].model_id,
					  jobs[i].lane);
			continue;
		}
		/* The database took our lease for another's, and gave it to us again: the conversation goes
		 * on. */
		probe = map_get_id(dispatch->probes, jobs[i].id);
		if (probe) {
			log_warning("dispatch.claimed_again", "run=%s job=%lld model=%s worker=%s attempt=%d",
				    probe->run_id, (long long)probe->id, probe->model_id, worker_of(probe),
				    jobs[i].attempt);
			probe->lease = jobs[i].attempt;
			probe->lost = false;
			continue;
		}
		probe_new(&jobs[i], lane, dispatch_now_ms(dispatch), &probe);
		probe->family = lane_family_of(lane, probe->model_id);
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
	log_warning("probe.lost",
		    "run=%s job=%lld model=%s worker=%s reason=\"another node has taken it over\"",
		    probe->run_id, (long long)probe->id, probe->model_id, worker_of(probe));
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
	for (size_t i = 0; i < lane->family_count; i++) {
		list_foreach_safe (at, &lane->families[i].queue) {
			struct probe *probe = list_entry(at, struct probe, link);

			if (pair_of(dispatch, probe) == CLAIM_PAUSED)
				dispatch_give_back(dispatch, probe);
		}
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

const char *const dispatch_run_statuses[DISPATCH_RUN_STATUSES] = {
	"PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED",
};

/* DISPATCH_RUN_STATUSES for one that is none. */
static size_t status_index(const char *status)
{
	size_t i = 0;

	while (i < DISPATCH_RUN_STATUSES && strcmp(dispatch_run_statuses[i], status) != 0)
		i++;
	return i;
}

/* The pairs of a run stand one behind the other. */
static void count_runs(struct dispatch *dispatch, const struct store_pair *pairs, size_t count)
{
	memset(dispatch->runs, 0, sizeof(dispatch->runs));
	for (size_t i = 0; i < count; i++) {
		size_t status = status_index(pairs[i].run_status);

		if (status < DISPATCH_RUN_ACTIVE &&
		    (i == 0 || strcmp(pairs[i].run_id, pairs[i - 1].run_id) != 0))
			dispatch->runs[status]++;
	}
}

void dispatch_on_run_finished(struct dispatch *dispatch, const char *status)
{
	size_t index = status_index(status);

	if (index < DISPATCH_RUN_STATUSES)
		dispatch->stats.runs_ended[index]++;
}

void dispatch_on_pairs(struct dispatch *dispatch, const struct store_pair *pairs, size_t count)
{
	claim_set_pairs(dispatch->claim, pairs, count);
	purse_read(dispatch->purse, pairs, count);
	run_watch_on_pairs(dispatch->watch, pairs, count);
	count_runs(dispatch, pairs, count);
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
	const struct tokens real = { .input = msg->input_tokens, .output = msg->output_tokens };
	const struct probe_turn *last = &probe->turns[probe->turn_count - 1];
	const struct store_turn turn = {
		.job_id = probe->id,
		.attempt = probe->lease,
		.number = msg->number,
		.prev = msg->prev,
		.digest = msg->digest,
		.body = last->body,
		.body_len = last->len,
		.bill = costing_bill(dispatch->costing, probe, &real),
	};
	const struct gate_told told = dispatch_told(probe->lane, msg);
	struct gate_cost cost;

	store_turn(dispatch->store, &turn);
	dispatch->stats.turns++;
	probe->lane->turns++;
	probe->lane->last_success_ms = dispatch_now_ms(dispatch);
	run_watch_on_turn(dispatch->watch, probe->run_id);
	probe->lane->refused_keys = 0;
	lane_note_answer(probe->lane, probe->model_id, dispatch_now_ms(dispatch));
	probe->limited_since_ms = 0;
	costing_answered(dispatch->costing, probe, &real, &cost);
	gate_hear(probe->lane->gate, &probe->ticket, dispatch_now_ms(dispatch), &told);
	dispatch_call_over(dispatch, probe, GATE_ANSWERED, &cost);
	tally_answer(&probe->lane->tally, probe->model_id, dispatch_now_ms(dispatch) - probe->call_ms,
		     real.input, real.output, turn.bill.cost_e10);
	probe->queued_ms = dispatch_now_ms(dispatch);
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
	gate_park(lane->gate, GATE_PARK_OPERATOR, reason, dispatch_now_ms(dispatch), 0, 0);
	log_info("lane.paused", "lane=%s reason=\"%s\"", lane->name, reason);
	dispatch_record(dispatch, "info", "lane.paused", lane, reason);
}

void dispatch_resume_lane(struct dispatch *dispatch, struct lane *lane)
{
	gate_resume(lane->gate);
	lane->refused_keys = 0;
	dispatch_say_open(dispatch, lane, "lane.resumed", "an operator's word");
	dispatch_pump(dispatch);
}

void dispatch_recheck_lane(struct dispatch *dispatch, struct lane *lane)
{
	gate_recheck_now(lane->gate, dispatch_now_ms(dispatch));
	dispatch_pump(dispatch);
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

struct estimate dispatch_estimate(const struct dispatch *dispatch, const char *model_id)
{
	return costing_estimate(dispatch->costing, model_id);
}

void dispatch_stats(const struct dispatch *dispatch, struct dispatch_stats *ret)
{
	*ret = dispatch->stats;
}

void dispatch_count_runs(const struct dispatch *dispatch, int ret[DISPATCH_RUN_ACTIVE], int *ret_stalled)
{
	memcpy(ret, dispatch->runs, sizeof(dispatch->runs));
	*ret_stalled = run_watch_stalled(dispatch->watch);
}

int dispatch_held(const struct dispatch *dispatch)
{
	return (int)map_len(dispatch->probes);
}

/* ---- calendar days ---- */

enum { DAY_MS = 86400000, LOOK_AGAIN_MS = 60000 };

void dispatch_share_limits(struct dispatch *dispatch)
{
	for (size_t i = 0; dispatch->grants && i < ARRAY_LEN(dispatch->lanes); i++)
		grants_configure(dispatch->grants, dispatch->lanes[i]);
}

/* Days are UTC's. Looked at every minute, since the wall clock may be set; a step back into a day that is
 * over does not begin it anew. */
static void on_day_timer(void *arg)
{
	struct dispatch *dispatch = arg;
	int64_t wall_ms = clock_wall_ms(), left_ms = DAY_MS - wall_ms % DAY_MS;

	if (wall_ms / DAY_MS > dispatch->day) {
		dispatch->day = wall_ms / DAY_MS;
		for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++)
			gate_new_day(dispatch->lanes[i]->gate, dispatch_now_ms(dispatch) + left_ms);
		dispatch_share_limits(dispatch);
		dispatch_pump(dispatch);
	}
	loop_timer_start(dispatch->day_timer, left_ms < LOOK_AGAIN_MS ? left_ms : LOOK_AGAIN_MS);
}

static void on_granted(void *arg)
{
	dispatch_pump(arg);
}

/* What this day had before counts where the model's calls of today count. */
static void add_today(struct lane *lane, const struct store_spent *spent)
{
	size_t family = lane_family_of(lane, spent->model_id);

	lane->has_worked = lane->has_worked || spent->calls > 0;
	gate_add_used(lane->gate, gate_holder(lane->gate, family, GATE_REQUESTS_DAY), GATE_REQUESTS_DAY,
		      spent->calls);
	gate_add_used(lane->gate, gate_holder(lane->gate, family, GATE_MONEY_DAY), GATE_MONEY_DAY,
		      spent->cost_e10);
}

void dispatch_on_today(struct dispatch *dispatch, int64_t day, const struct store_spent *spent, size_t count)
{
	for (size_t i = 0; day == dispatch->day && i < count; i++) {
		struct lane *lane = dispatch_lane(dispatch, spent[i].lane);

		if (lane)
			add_today(lane, &spent[i]);
	}
	dispatch_share_limits(dispatch);
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
	costing_new(models, &dispatch->costing);
	purse_new(&dispatch->purse);
	run_watch_new(loop, store, dispatch, config->daemon.stalled_after_ms, &dispatch->watch);
	loop_timer_new(loop, on_day_timer, dispatch, &dispatch->day_timer);
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		int r = lane_new(loop, config, (int)i, loop_now_ms(loop), on_lane_timer, dispatch,
				 &dispatch->lanes[i]);

		if (r < 0) {
			dispatch_free(&dispatch);
			return r;
		}
	}
	claim_new(loop, &options, &dispatch->claim);
	if (config->database.shared)
		grants_new(loop, store, ARRAY_LEN(dispatch->lanes), on_granted, dispatch, &dispatch->grants);
	on_day_timer(dispatch);
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
	grants_free(&dead->grants);
	run_watch_free(&dead->watch);
	while ((probe = map_next(dead->probes, &cursor))) {
		assert(!probe->worker);
		dispatch_drop(dead, probe);
	}
	for (size_t i = 0; i < ARRAY_LEN(dead->lanes); i++)
		lane_free(&dead->lanes[i]);
	costing_free(&dead->costing);
	purse_free(&dead->purse);
	loop_timer_free(&dead->day_timer);
	map_free(&dead->probes);
	mem_free(dispatch);
}

/* Probes whose call is under way are in no list of their lane's: their family is theirs to keep. */
static void refile_calls(struct dispatch *dispatch)
{
	struct probe *probe;
	size_t cursor = 0;

	while ((probe = map_next(dispatch->probes, &cursor)))
		if (probe->state == PROBE_CALLING)
			probe->family = lane_family_of(probe->lane, probe->model_id);
}

/* A reload may have brought the key that a lane was parked for. */
static void try_new_key(struct dispatch *dispatch, struct lane *lane)
{
	if (gate_parked_reason(lane->gate) && gate_parked_kind(lane->gate) == GATE_PARK_AUTH)
		gate_recheck_now(lane->gate, dispatch_now_ms(dispatch));
}

int dispatch_configure(struct dispatch *dispatch, const struct config *config, const struct models *models)
{
	dispatch->config = config;
	dispatch->models = models;
	costing_configure(dispatch->costing, models);
	run_watch_configure(dispatch->watch, config->daemon.stalled_after_ms);
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		int r = lane_configure(dispatch->lanes[i], config, dispatch_now_ms(dispatch));

		if (r < 0)
			return r;
	}
	refile_calls(dispatch);
	dispatch_share_limits(dispatch);
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++)
		try_new_key(dispatch, dispatch->lanes[i]);
	claim_lanes_changed(dispatch->claim);
	dispatch_pump(dispatch);
	return 0;
}

static void give_back_all(struct dispatch *dispatch, struct list *queue)
{
	list_foreach_safe (at, queue) {
		dispatch_give_back(dispatch, list_entry(at, struct probe, link));
	}
}

void dispatch_stop(struct dispatch *dispatch)
{
	dispatch->stopping = true;
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++)
		for (size_t k = 0; k < dispatch->lanes[i]->family_count; k++)
			give_back_all(dispatch, &dispatch->lanes[i]->families[k].queue);
}

void dispatch_leave(struct dispatch *dispatch)
{
	if (dispatch->grants)
		grants_leave(dispatch->grants);
}
