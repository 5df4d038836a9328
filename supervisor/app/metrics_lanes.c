/* The lanes, their calls, models and limits, measured. */

#include "app/daemon.h"
#include "app/metrics_private.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/provider_check.h"
#include "core/tally.h"
#include "io/loop.h"
#include "policy/check.h"
#include "policy/error.h"
#include "policy/gate.h"

/* ---- probes and calls ---- */

static void lane_probes(const struct daemon *daemon, const struct lane *lane, struct buf *out,
			enum metric_id id)
{
	(void)daemon;
	metric_put(out, id, METRIC_LABELS(lane->name, "completed"), lane->completed);
	metric_put(out, id, METRIC_LABELS(lane->name, "failed"), lane->failed);
	metric_put(out, id, METRIC_LABELS(lane->name, "cancelled"), lane->tally.cancelled);
}

static void put_by_code(struct buf *out, enum metric_id id, const struct lane *lane, const int64_t *counts)
{
	for (int code = 0; code < ERROR_CODE_COUNT; code++)
		metric_put(out, id, METRIC_LABELS(lane->name, error_spec((enum error_code)code)->name),
			   counts[code]);
}

static void lane_failures(const struct daemon *daemon, const struct lane *lane, struct buf *out,
			  enum metric_id id)
{
	(void)daemon;
	put_by_code(out, id, lane, lane->tally.failures);
}

static void lane_calls(const struct daemon *daemon, const struct lane *lane, struct buf *out,
		       enum metric_id id)
{
	(void)daemon;
	metric_put(out, id, METRIC_LABELS(lane->name, "answered"), lane->tally.answered);
	put_by_code(out, id, lane, lane->tally.errors);
}

static int64_t retries(const struct daemon *daemon, const struct lane *lane)
{
	(void)daemon;
	return lane->retried;
}

static int64_t calls_begun(const struct daemon *daemon, const struct lane *lane)
{
	(void)daemon;
	return lane->calls;
}

static void lane_times(const struct daemon *daemon, const struct lane *lane, struct buf *out,
		       enum metric_id id)
{
	(void)daemon;
	metric_put_histogram(out, id, METRIC_LABELS(lane->name),
			     id == METRIC_CALL_TIME ? &lane->tally.call_time : &lane->tally.call_wait);
}

/* ---- models ---- */

static void put_model(struct buf *out, enum metric_id id, const char *lane, const struct tally_model *model)
{
	const char *name = model->id ? model->id : "other";

	switch (id) {
	case METRIC_TOKENS:
		metric_put(out, id, METRIC_LABELS(lane, name, "input"), model->input_tokens);
		metric_put(out, id, METRIC_LABELS(lane, name, "output"), model->output_tokens);
		break;
	case METRIC_COST:
		metric_put(out, id, METRIC_LABELS(lane, name), model->cost_e10);
		break;
	case METRIC_UNPRICED:
		metric_put(out, id, METRIC_LABELS(lane, name), model->unpriced);
		break;
	default:
		metric_put(out, id, METRIC_LABELS(lane, name), model->answers);
		break;
	}
}

static void lane_models(const struct daemon *daemon, const struct lane *lane, struct buf *out,
			enum metric_id id)
{
	const struct tally_model *model;
	size_t cursor = 0;

	(void)daemon;
	while ((model = tally_next_model(&lane->tally, &cursor)))
		put_model(out, id, lane->name, model);
}

/* ---- what waits, and why ---- */

static int64_t queued(const struct daemon *daemon, const struct lane *lane)
{
	(void)daemon;
	return lane->queued;
}

static int64_t between(const struct daemon *daemon, const struct lane *lane)
{
	(void)daemon;
	return lane->between_count;
}

static int64_t in_flight(const struct daemon *daemon, const struct lane *lane)
{
	(void)daemon;
	return gate_in_flight(lane->gate);
}

static void lane_parked(const struct daemon *daemon, const struct lane *lane, struct buf *out,
			enum metric_id id)
{
	static const char *const causes[] = {
		[GATE_PARK_OPERATOR] = "operator",
		[GATE_PARK_QUOTA] = "quota",
		[GATE_PARK_AUTH] = "key",
	};
	bool parked = gate_parked_reason(lane->gate) != NULL;

	(void)daemon;
	for (size_t i = 0; i < ARRAY_LEN(causes); i++)
		metric_put(out, id, METRIC_LABELS(lane->name, causes[i]),
			   parked && (size_t)gate_parked_kind(lane->gate) == i);
}

static void lane_breaker(const struct daemon *daemon, const struct lane *lane, struct buf *out,
			 enum metric_id id)
{
	static const char *const states[] = {
		[GATE_BREAKER_CLOSED] = "closed",
		[GATE_BREAKER_OPEN] = "open",
		[GATE_BREAKER_HALF_OPEN] = "half-open",
	};

	(void)daemon;
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		metric_put(out, id, METRIC_LABELS(lane->name, states[i]),
			   (size_t)gate_breaker(lane->gate) == i);
}

static int64_t pause(const struct daemon *daemon, const struct lane *lane)
{
	int64_t now_ms = loop_now_ms(daemon->loop);
	struct gate_scope_view view;

	gate_view(lane->gate, 0, now_ms, &view);
	return view.paused_until_ms - now_ms;
}

/* ---- limits ---- */

static void put_limits(struct buf *out, enum metric_id id, const char *lane,
		       const struct gate_scope_view *view)
{
	int concurrency = gate_view_concurrency(view);

	for (int unit = 0; unit < GATE_UNITS; unit++)
		if (unit != GATE_MONEY_DAY && view->unit[unit].set && view->unit[unit].rate > 0)
			metric_put(out, id,
				   METRIC_LABELS(lane, view->glob, gate_unit_name((enum gate_unit)unit)),
				   id == METRIC_LANE_LIMIT ? view->unit[unit].rate : view->unit[unit].used);
	if (concurrency > 0)
		metric_put(out, id, METRIC_LABELS(lane, view->glob, "concurrency"),
			   id == METRIC_LANE_LIMIT ? concurrency : view->in_flight);
}

static void lane_limits(const struct daemon *daemon, const struct lane *lane, struct buf *out,
			enum metric_id id)
{
	for (size_t i = 0; i < gate_scopes(lane->gate); i++) {
		struct gate_scope_view view;

		gate_view(lane->gate, i, loop_now_ms(daemon->loop), &view);
		put_limits(out, id, lane->name, &view);
	}
}

static void lane_budget(const struct daemon *daemon, const struct lane *lane, struct buf *out,
			enum metric_id id)
{
	struct gate_scope_view view;

	gate_view(lane->gate, 0, loop_now_ms(daemon->loop), &view);
	if (view.unit[GATE_MONEY_DAY].rate > 0)
		metric_put(out, id, METRIC_LABELS(lane->name),
			   id == METRIC_LANE_BUDGET ? view.unit[GATE_MONEY_DAY].rate
						    : view.unit[GATE_MONEY_DAY].used);
}

/* ---- the providers ---- */

static int64_t key_set(const struct daemon *daemon, const struct lane *lane)
{
	const char *key_env = config_find_provider(daemon->config, lane->name)->key_env;

	return !*key_env || daemon_has_variable(daemon, key_env);
}

static void lane_check(const struct daemon *daemon, const struct lane *lane, struct buf *out,
		       enum metric_id id)
{
	struct provider_checks_view view;

	provider_checks_view(daemon->checks, lane->name, &view);
	for (int i = CHECK_OK; view.known && i <= CHECK_UNCLEAR; i++)
		metric_put(out, id, METRIC_LABELS(lane->name, check_word((enum check_verdict)i)),
			   (int)view.verdict == i);
}

const struct metrics_source metrics_of_lanes[METRIC_COUNT] = {
	[METRIC_PROBES] = { .write_lane = lane_probes },
	[METRIC_FAILURES] = { .write_lane = lane_failures },
	[METRIC_RETRIES] = { .of_lane = retries },
	[METRIC_CALLS_BEGUN] = { .of_lane = calls_begun },
	[METRIC_CALLS] = { .write_lane = lane_calls },
	[METRIC_CALL_TIME] = { .write_lane = lane_times },
	[METRIC_CALL_WAIT] = { .write_lane = lane_times },
	[METRIC_ANSWERS] = { .write_lane = lane_models },
	[METRIC_TOKENS] = { .write_lane = lane_models },
	[METRIC_COST] = { .write_lane = lane_models },
	[METRIC_UNPRICED] = { .write_lane = lane_models },
	[METRIC_LANE_QUEUED] = { .of_lane = queued },
	[METRIC_LANE_BETWEEN] = { .of_lane = between },
	[METRIC_LANE_CALLS] = { .of_lane = in_flight },
	[METRIC_LANE_PARKED] = { .write_lane = lane_parked },
	[METRIC_LANE_BREAKER] = { .write_lane = lane_breaker },
	[METRIC_LANE_PAUSE] = { .of_lane = pause },
	[METRIC_LANE_LIMIT] = { .write_lane = lane_limits },
	[METRIC_LANE_USED] = { .write_lane = lane_limits },
	[METRIC_LANE_BUDGET] = { .write_lane = lane_budget },
	[METRIC_LANE_SPENT] = { .write_lane = lane_budget },
	[METRIC_KEY_SET] = { .of_lane = key_set },
	[METRIC_CHECK] = { .write_lane = lane_check },
};
