/* Who may call now: each lane's families in turn, each call with all that it takes from the limits or not at
 * all; and what a call leaves behind when it is over. */

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/claim.h"
#include "core/costing.h"
#include "core/dispatch_private.h"
#include "core/grants.h"
#include "core/lane.h"
#include "core/probe.h"
#include "core/purse.h"
#include "io/msg.h"
#include "policy/charge.h"
#include "policy/error.h"

/* ---- who may call now ---- */

/* A call that could never go, because more is expected of it than a limit allows in a minute, goes when the
 * limit is unused: what is expected may be wrong, and if it is not, the provider says so. Money is not its
 * to judge: a call that is dearer than a day's budget does not go. */
static void fit(struct dispatch *dispatch, struct probe *probe)
{
	struct gate_verdict verdict;

	for (;;) {
		verdict = gate_look(probe->lane->gate, probe->family, dispatch_now_ms(dispatch),
				    &probe->cost);
		if (verdict.why != GATE_NEVER || verdict.unit == GATE_MONEY_DAY ||
		    probe->cost.of[verdict.unit] <= 1)
			return;
		probe->cost.of[verdict.unit] /= 2;
	}
}

/* Takes from the limits and the run's budget what the probe's next call will cost; false when it has to wait.
 */
static bool admit(struct dispatch *dispatch, struct probe *probe)
{
	struct lane *lane = probe->lane;

	lane->families[probe->family].typical = probe->cost;
	if (!gate_enter(lane->gate, probe->family, dispatch_now_ms(dispatch), &probe->cost, &probe->ticket)) {
		fit(dispatch, probe);
		return false;
	}
	purse_reserve(dispatch->purse, probe->run_id, probe->ticket.reserved.of[GATE_MONEY_DAY]);
	return true;
}

static void take_back(struct dispatch *dispatch, struct probe *probe)
{
	dispatch_call_over(dispatch, probe, GATE_UNSENT, NULL);
}

/* The run's budget is used up: it is paused, with the reason. */
static void pause_run(struct dispatch *dispatch, const struct probe *probe)
{
	int64_t budget_e10;
	AUTO(mem_free_str) char *reason = purse_over(dispatch->purse, probe->run_id, &budget_e10);

	if (!reason)
		return;
	log_warning("run.over_budget", "run=%s reason=\"%s\"", probe->run_id, reason);
	store_pause_run(dispatch->store, probe->run_id, budget_e10, reason);
}

/* Whether the budget of the probe's run lets its next call go. */
static bool may_spend(struct dispatch *dispatch, struct probe *probe)
{
	enum budget_verdict verdict;

	costing_next(dispatch->costing, probe);
	verdict = purse_look(dispatch->purse, probe->run_id, probe->cost.of[GATE_MONEY_DAY]);
	if (verdict == BUDGET_OVER)
		pause_run(dispatch, probe);
	return verdict == BUDGET_OPEN;
}

/* The first of those between turns whose run has money left; the others are in nobody's way. A conversation
 * that is over its run's budget goes back with its turns, by way of a result that says CANCELLED. */
static struct probe *find_next_call(struct dispatch *dispatch, struct lane *lane, struct lane_family *family)
{
	list_foreach_safe (at, &family->between) {
		struct probe *probe = list_entry(at, struct probe, link);

		if (may_spend(dispatch, probe))
			return probe;
		if (purse_look(dispatch->purse, probe->run_id, probe->cost.of[GATE_MONEY_DAY]) ==
		    BUDGET_OVER) {
			lane_unlink(lane, probe);
			worker_send_cancel(probe->worker, probe);
		}
	}
	return NULL;
}

/* A call of it is under way. */
static void count_call(struct dispatch *dispatch, struct probe *probe)
{
	probe->lane->calls++;
	histogram_add(&probe->lane->tally.call_wait, dispatch_now_ms(dispatch) - probe->queued_ms);
}

static bool permit_next_call(struct dispatch *dispatch, struct lane *lane, struct probe *probe)
{
	if (!admit(dispatch, probe))
		return false;
	if (worker_send_go(probe->worker, probe) < 0) {
		/* The worker is failing: its end will release the probe. Until then it is out of the way. */
		take_back(dispatch, probe);
		lane_unlink(lane, probe);
		lane_wait_between(lane, probe);
		return false;
	}
	count_call(dispatch, probe);
	return true;
}

/* The first probe in the queue that some worker can take and its run can pay for, and that worker. */
static struct probe *find_sendable(struct dispatch *dispatch, struct lane *lane,
				   const struct lane_family *family, struct worker **ret)
{
	list_foreach (at, &family->queue) {
		struct probe *probe = list_entry(at, struct probe, link);

		if (!may_spend(dispatch, probe))
			continue;
		*ret = pool_pick(lane->pool, probe_runs_alone(probe));
		if (*ret)
			return probe;
		if (!probe_runs_alone(probe))
			return NULL;
	}
	return NULL;
}

static bool begin_conversation(struct dispatch *dispatch, struct lane *lane, struct lane_family *family)
{
	struct worker *worker;
	struct probe *probe = find_sendable(dispatch, lane, family, &worker);

	if (probe && !probe_turns_are_json(probe)) {
		dispatch_refuse_broken(dispatch, probe);
		return true;
	}
	if (!probe || !admit(dispatch, probe))
		return false;
	lane_unlink(lane, probe);
	probe->attempt = probe->lease;
	if (worker_send_job(worker, probe) < 0) {
		take_back(dispatch, probe);
		lane_queue(lane, probe, true);
		return false;
	}
	count_call(dispatch, probe);
	worker->solo = probe_runs_alone(probe);
	return true;
}

/* One call of the family; what was begun goes first. */
static bool serve(struct dispatch *dispatch, struct lane *lane, struct lane_family *family)
{
	struct probe *begun = find_next_call(dispatch, lane, family);

	if (begun)
		return permit_next_call(dispatch, lane, begun);
	if (list_is_empty(&family->queue) || dispatch->stopping || store_trouble(dispatch->store))
		return false;
	return begin_conversation(dispatch, lane, family);
}

/* When the first of the families that wait may go on by itself. */
static void arm(struct dispatch *dispatch, struct lane *lane)
{
	int64_t now_ms = dispatch_now_ms(dispatch), soonest = -1;

	for (size_t i = 0; i < gate_families(lane->gate); i++) {
		const struct lane_family *family = &lane->families[i];
		struct gate_verdict verdict;

		if (list_is_empty(&family->queue) && list_is_empty(&family->between))
			continue;
		verdict = gate_look(lane->gate, i, now_ms, &family->typical);
		if (verdict.why != GATE_OPEN && verdict.wait_ms >= 0 &&
		    (soonest < 0 || verdict.wait_ms < soonest))
			soonest = verdict.wait_ms;
	}
	if (soonest >= 0)
		loop_timer_start_by(lane->timer, soonest > 0 ? soonest : 1);
}

/* Round after round until no family gets any further. */
static void pump_lane(struct dispatch *dispatch, struct lane *lane)
{
	size_t families = gate_families(lane->gate), idle = 0;

	if (store_is_holding(dispatch->store) || lane->queued + lane->between_count == 0)
		return;
	while (idle < families) {
		if (lane->turn >= families)
			lane->turn = 0;
		if (serve(dispatch, lane, &lane->families[lane->turn]))
			idle = 0;
		else
			idle++;
		lane->turn++;
	}
	arm(dispatch, lane);
}

/* What has no call under way. A conversation goes back with its turns, by way of a result that says
 * CANCELLED. */
static void give_back_waiting(struct dispatch *dispatch)
{
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		struct lane *lane = dispatch->lanes[i];

		for (size_t k = 0; k < lane->family_count; k++) {
			list_foreach_safe (at, &lane->families[k].queue) {
				dispatch_give_back(dispatch, list_entry(at, struct probe, link));
			}
			list_foreach_safe (at, &lane->families[k].between) {
				struct probe *probe = list_entry(at, struct probe, link);

				lane_unlink(lane, probe);
				worker_send_cancel(probe->worker, probe);
			}
		}
	}
}

static void pump_now(void *arg)
{
	struct dispatch *dispatch = arg;

	dispatch->pump_due = false;
	if (dispatch->resting) {
		give_back_waiting(dispatch);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++) {
		pump_lane(dispatch, dispatch->lanes[i]);
		if (dispatch->grants)
			grants_look(dispatch->grants, dispatch->lanes[i]);
	}
	if (!dispatch->stopping)
		claim_more(dispatch->claim);
}

void dispatch_rest(struct dispatch *dispatch, bool rest)
{
	dispatch->resting = rest;
	claim_hold(dispatch->claim, rest || dispatch->stopping);
	dispatch_pump(dispatch);
}

/* Once per turn of the loop, however many answers came in it. */
void dispatch_pump(struct dispatch *dispatch)
{
	if (dispatch->pump_due)
		return;
	dispatch->pump_due = true;
	loop_defer(dispatch->loop, pump_now, dispatch);
}

/* ---- what a call leaves behind ---- */

/* A limit of requests that takes longer than this to fill again is none of a minute. */
enum { MINUTES_RESET_MS = 120000 };

static void hear_one(struct gate_told *told, enum gate_unit unit, const struct msg_limit *limit)
{
	if (limit->reset_ms > MINUTES_RESET_MS)
		return;
	told->limit[unit] = limit->limit;
	told->remaining[unit] = limit->remaining;
}

struct gate_told dispatch_told(const struct lane *lane, const struct msg *msg)
{
	struct gate_told told;

	for (size_t i = 0; i < GATE_PACED; i++)
		told.limit[i] = told.remaining[i] = -1;
	if (!msg->has_limits)
		return told;
	hear_one(&told, GATE_REQUESTS, &msg->limits.requests);
	hear_one(&told, GATE_TOKENS, &msg->limits.tokens);
	hear_one(&told, GATE_INPUT_TOKENS, &msg->limits.input_tokens);
	hear_one(&told, GATE_OUTPUT_TOKENS, &msg->limits.output_tokens);
	charge_hear(lane->name, &told);
	return told;
}

static void say_breaker_open(struct dispatch *dispatch, const struct lane *lane)
{
	const char *error = lane->last_error ? lane->last_error : "its check failed";

	log_warning("lane.breaker_open", "lane=%s last_error=\"%s\"", lane->name, error);
	dispatch_record(dispatch, "warning", "lane.breaker_open", lane, error);
}

void dispatch_call_over(struct dispatch *dispatch, struct probe *probe, enum gate_end end,
			const struct gate_cost *real)
{
	struct lane *lane = probe->lane;
	bool was_parked = gate_parked_reason(lane->gate) != NULL;
	enum gate_breaker_view was = gate_breaker(lane->gate);

	/* What has never answered may be a wrong address, and what fails while others answer is one model's
	 * trouble: no breaker waits for that, and its probes fail with the reason. */
	if (end == GATE_BROKEN && !lane_is_at_fault(lane, probe->model_id, dispatch_now_ms(dispatch)))
		end = GATE_FAILED;
	purse_settle(dispatch->purse, probe->run_id, probe->ticket.reserved.of[GATE_MONEY_DAY],
		     real ? real->of[GATE_MONEY_DAY] : 0);
	if (gate_leave(lane->gate, &probe->ticket, dispatch_now_ms(dispatch), end, real, clock_random()))
		say_breaker_open(dispatch, lane);
	else if (was != GATE_BREAKER_CLOSED && gate_breaker(lane->gate) == GATE_BREAKER_CLOSED)
		dispatch_say_open(dispatch, lane, "lane.breaker_closed", "a trial call was answered");
	if (was_parked && !gate_parked_reason(lane->gate))
		dispatch_say_open(dispatch, lane, "lane.resumed", "a trial call was let through");
}

void dispatch_check(struct dispatch *dispatch, struct lane *lane, bool good)
{
	enum gate_breaker_view was = gate_breaker(lane->gate);

	if (gate_check(lane->gate, dispatch_now_ms(dispatch), good, clock_random()))
		say_breaker_open(dispatch, lane);
	if (was != gate_breaker(lane->gate))
		dispatch_pump(dispatch);
}

enum gate_end dispatch_end_of(const struct msg *msg)
{
	if (msg->given_back)
		return GATE_UNSENT;
	switch (error_parse(msg->error_code)) {
	case ERROR_RATE_LIMIT:
		return GATE_REFUSED;
	case ERROR_SERVER_ERROR:
	case ERROR_TIMEOUT:
	case ERROR_NETWORK_ERROR:
		return GATE_BROKEN;
	case ERROR_MISSING_API_KEY:
	case ERROR_UNSUPPORTED_PROVIDER:
		return GATE_UNSENT;
	default:
		return GATE_FAILED;
	}
}
