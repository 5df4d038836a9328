/* Why something waits, in words: "stuck" and "waiting for a bucket" never look the same. */

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "core/claim.h"
#include "core/dispatch_private.h"
#include "core/grants.h"
#include "core/lane.h"
#include "core/probe.h"
#include "core/purse.h"
#include "core/run_watch.h"

static void say(struct dispatch_wait *wait, const char *text)
{
	(void)snprintf(wait->why, sizeof(wait->why), "%s", text);
}

/* The scope is named when it is not the whole provider. */
static void say_of(struct dispatch_wait *wait, const char *what, const struct gate_verdict *verdict)
{
	if (verdict->scope && *verdict->scope)
		(void)snprintf(wait->why, sizeof(wait->why), "%s of %s", what, verdict->scope);
	else
		say(wait, what);
}

static void say_verdict(const struct lane *lane, const struct gate_verdict *verdict,
			struct dispatch_wait *wait)
{
	switch (verdict->why) {
	case GATE_OPEN:
		break;
	case GATE_NEVER:
		(void)snprintf(wait->why, sizeof(wait->why), "the call is larger than the limit of %s",
			       gate_unit_name(verdict->unit));
		break;
	case GATE_PARKED:
		(void)snprintf(wait->why, sizeof(wait->why), "%s%s",
			       gate_parked_kind(lane->gate) == GATE_PARK_OPERATOR ? "" : "parked: ",
			       gate_parked_reason(lane->gate));
		break;
	case GATE_BREAKER:
		say(wait, verdict->wait_ms < 0 ? "the provider fails; a trial call is under way"
					       : "the provider fails; a trial call comes next");
		break;
	case GATE_PAUSED:
		say_of(wait, "the provider asked to wait", verdict);
		break;
	case GATE_CONCURRENCY:
		say_of(wait, "concurrency", verdict);
		break;
	case GATE_UNIT:
		say_of(wait, gate_unit_name(verdict->unit), verdict);
		break;
	case GATE_NO_GRANT:
		break; /* told by say_ungranted() */
	}
}

/* Fewer slots are this node's than are configured for all of them, and those are taken. */
static bool lacks_slots(const struct dispatch *dispatch, const struct lane *lane, size_t family)
{
	struct gate_scope_view view;

	if (!dispatch->grants)
		return false;
	gate_view(lane->gate, gate_holder(lane->gate, family, GATE_UNITS), dispatch_now_ms(dispatch), &view);
	return view.concurrency < view.configured_concurrency && view.in_flight >= view.concurrency;
}

static void say_lacking(const struct dispatch *dispatch, const struct lane *lane, size_t family,
			struct dispatch_wait *wait)
{
	size_t len = strlen(wait->why);

	(void)snprintf(wait->why + len, sizeof(wait->why) - len, ": %s",
		       grants_why(dispatch->grants, lane, family, GATE_UNITS, &wait->until_ms));
}

static void say_ungranted(const struct dispatch *dispatch, const struct lane *lane, size_t family,
			  enum gate_unit unit, struct dispatch_wait *wait)
{
	const char *why = dispatch->grants ? grants_why(dispatch->grants, lane, family, unit, &wait->until_ms)
					   : "not granted";

	(void)snprintf(wait->why, sizeof(wait->why), "%s: %s", gate_unit_name(unit), why);
}

/* What holds up every lane that its gate lets through. */
static const char *outside(const struct dispatch *dispatch, const struct lane *lane)
{
	if (dispatch->stopping)
		return "the daemon is stopping";
	if (dispatch->resting)
		return "a backup takes the place of the database";
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

static struct dispatch_wait why_family(const struct dispatch *dispatch, const struct lane *lane,
				       size_t family, const struct gate_cost *cost)
{
	int64_t now_ms = dispatch_now_ms(dispatch);
	struct gate_verdict verdict = gate_look(lane->gate, family, now_ms, cost);
	struct dispatch_wait wait = { .until_ms = verdict.wait_ms > 0 ? now_ms + verdict.wait_ms : 0 };

	say_verdict(lane, &verdict, &wait);
	if (verdict.why == GATE_CONCURRENCY && lacks_slots(dispatch, lane, family))
		say_lacking(dispatch, lane, family, &wait);
	if (verdict.why == GATE_NO_GRANT)
		say_ungranted(dispatch, lane, family, verdict.unit, &wait);
	if (verdict.why == GATE_OPEN)
		say(&wait, outside(dispatch, lane));
	return wait;
}

/* A lane that nobody wants to enter is held up by nothing, be its buckets empty; but pauses and parking are
 * told. */
static bool is_worth_telling(const struct gate_verdict *verdict)
{
	return verdict->why == GATE_PARKED || verdict->why == GATE_PAUSED || verdict->why == GATE_BREAKER;
}

struct dispatch_wait dispatch_why(const struct dispatch *dispatch, const struct lane *lane)
{
	const struct lane_family *first = &lane->families[0];
	struct dispatch_wait wait = { .why = "" };
	struct gate_verdict verdict;

	for (size_t i = 0; i < gate_families(lane->gate); i++) {
		const struct lane_family *family = &lane->families[i];

		if (family->queued + family->between_count == 0)
			continue;
		wait = why_family(dispatch, lane, i, &family->typical);
		if (*wait.why)
			return wait;
	}
	if (lane->queued + lane->between_count > 0)
		return wait;
	verdict = gate_look(lane->gate, 0, dispatch_now_ms(dispatch), &first->typical);
	if (is_worth_telling(&verdict))
		return why_family(dispatch, lane, 0, &first->typical);
	say(&wait, outside(dispatch, lane));
	return wait;
}

struct dispatch_wait dispatch_why_model(const struct dispatch *dispatch, struct lane *lane,
					const char *model_id)
{
	size_t family = lane_family_of(lane, model_id);

	return why_family(dispatch, lane, family, &lane->families[family].typical);
}

static bool is_calling(const struct dispatch *dispatch, const char *run_id)
{
	const struct probe *probe;
	size_t cursor = 0;

	while ((probe = map_next(dispatch->probes, &cursor)))
		if (probe->state == PROBE_CALLING && strcmp(probe->run_id, run_id) == 0)
			return true;
	return false;
}

struct dispatch_wait dispatch_why_run(const struct dispatch *dispatch, const char *run_id,
				      const char *retrying)
{
	struct dispatch_wait wait = { .why = "" };
	size_t cursor = 0, lane;
	const char *model;

	if (retrying) {
		(void)snprintf(wait.why, sizeof(wait.why), "retrying after %s", retrying);
		return wait;
	}
	while ((model = claim_next_model(dispatch->claim, run_id, &cursor, &lane))) {
		struct dispatch_wait of = dispatch_why_model(dispatch, dispatch->lanes[lane], model);

		if (!*of.why)
			continue;
		(void)snprintf(wait.why, sizeof(wait.why), "%s: %.200s", dispatch->lanes[lane]->name, of.why);
		wait.until_ms = of.until_ms;
		return wait;
	}
	say(&wait, is_calling(dispatch, run_id)
			   ? "the provider has not answered calls that are under way"
			   : "no reason is known: please look at `proctorctl jobs` and the log");
	return wait;
}

bool dispatch_is_stalled(const struct dispatch *dispatch, const char *run_id, int64_t *ret_since_ms)
{
	return run_watch_is_stalled(dispatch->watch, run_id, ret_since_ms);
}

bool dispatch_why_job(const struct dispatch *dispatch, int64_t job_id, const char **ret_doing,
		      struct dispatch_wait *ret)
{
	static const char *const doing[] = {
		[PROBE_QUEUED] = "queued",
		[PROBE_CALLING] = "calling",
		[PROBE_BETWEEN] = "between turns",
	};
	const struct probe *probe = map_get_id(dispatch->probes, job_id);
	struct gate_cost typical; /* of one that has not come to the head of its queue yet */

	if (!probe)
		return false;
	typical = probe->lane->families[probe->family].typical;
	*ret_doing = doing[probe->state];
	*ret = (struct dispatch_wait){ .why = "" };
	if (probe->state != PROBE_CALLING)
		*ret = why_family(dispatch, probe->lane, probe->family,
				  probe->costed_turn > 0 ? &probe->cost : &typical);
	if (probe->state != PROBE_CALLING && probe->costed_turn > 0 &&
	    purse_look(dispatch->purse, probe->run_id, probe->cost.of[GATE_MONEY_DAY]) != BUDGET_OPEN) {
		ret->until_ms = 0;
		say(ret, "the run's budget: calls under way decide whether there is enough left");
	}
	return true;
}
