/* providers.*: the lanes, their keys and limits, and what they wait for. */

#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/clock.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/provider_check.h"
#include "core/store.h"
#include "io/loop.h"
#include "policy/gate.h"

/* "ready", "no-key", "paused" …: the one word that people look for. */
static const char *state_of(const struct daemon *daemon, const struct lane *lane, bool has_key)
{
	struct gate_scope_view view;

	if (gate_parked_reason(lane->gate))
		return "parked";
	if (!has_key)
		return "no-key";
	if (gate_breaker(lane->gate) != GATE_BREAKER_CLOSED)
		return "failing";
	gate_view(lane->gate, 0, loop_now_ms(daemon->loop), &view);
	if (view.paused_until_ms > loop_now_ms(daemon->loop))
		return "paused";
	return lane->simulated ? "simulated" : "ready";
}

/* What is in force of one unit: configured, told by the provider, learned from its refusals. */
static json_t *unit_json(const struct gate_scope_view *view, enum gate_unit unit)
{
	json_int_t left = view->unit[unit].rate > 0 ? (json_int_t)view->unit[unit].left : 0;

	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "scope", view->glob, "unit",
			 gate_unit_name(unit), "configured", (json_int_t)view->unit[unit].configured, "told",
			 (json_int_t)view->unit[unit].told, "learned", (json_int_t)view->unit[unit].learned,
			 "limit", (json_int_t)view->unit[unit].rate, "used",
			 (json_int_t)view->unit[unit].used, "left", left);
}

static int least(int a, int b)
{
	return a < b ? a : b;
}

/* Where nodes share it, what is left here is less than what is in force. */
static json_t *concurrency_json(const struct gate_scope_view *view)
{
	int configured = view->configured_concurrency, limit = gate_view_concurrency(view);
	int here = configured > 0 ? least(limit, view->concurrency) : limit;

	return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "scope", view->glob, "unit",
			 "concurrency", "configured", configured, "told", 0, "learned",
			 view->learned_concurrency, "limit", limit, "used", view->in_flight, "left",
			 here > view->in_flight ? here - view->in_flight : 0);
}

static json_t *limits_json(const struct daemon *daemon, const struct lane *lane)
{
	json_t *list = json_array();

	for (size_t i = 0; i < gate_scopes(lane->gate); i++) {
		struct gate_scope_view view;

		gate_view(lane->gate, i, loop_now_ms(daemon->loop), &view);
		for (size_t unit = 0; unit < GATE_UNITS; unit++)
			if (view.unit[unit].set && view.unit[unit].rate > 0)
				json_array_append_new(list, unit_json(&view, (enum gate_unit)unit));
		if (view.configured_concurrency > 0 || view.learned_concurrency > 0)
			json_array_append_new(list, concurrency_json(&view));
	}
	return list;
}

static const char *breaker_word(const struct lane *lane)
{
	static const char *const words[] = {
		[GATE_BREAKER_CLOSED] = "closed",
		[GATE_BREAKER_OPEN] = "open",
		[GATE_BREAKER_HALF_OPEN] = "half-open",
	};

	return words[gate_breaker(lane->gate)];
}

/* What the last look at it said; null when there was none. */
static json_t *check_json(const struct daemon *daemon, const struct lane *lane)
{
	struct provider_checks_view view;

	provider_checks_view(daemon->checks, lane->name, &view);
	if (!view.known)
		return json_null();
	return json_pack("{s:s, s:s, s:s, s:o, s:I}", "provider", lane->name, "verdict",
			 check_word(view.verdict), "detail", view.detail, "checkedMs",
			 cmd_wall_time(daemon, view.checked_ms), "tookMs", (json_int_t)view.took_ms);
}

static json_t *lane_json(const struct daemon *daemon, const struct lane *lane)
{
	const struct config_provider *config = config_find_provider(daemon->config, lane->name);
	bool has_key = !*config->key_env || daemon_has_variable(daemon, config->key_env);
	struct dispatch_wait wait = dispatch_why(daemon->dispatch, lane);

	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:I, s:i, s:i, s:i, s:i, s:s, s:o, s:o, s:s, s:o, "
			 "s:I, s:I, s:I, "
			 "s:I, s:I, s:I, s:o, s:s?, s:o}",
			 "provider", lane->name, "state", state_of(daemon, lane, has_key), "keyEnv",
			 config->key_env, "keySet", has_key, "simulated", lane->simulated, "baseUrl",
			 config->base_url, "requestsPerMinute", (json_int_t)config->requests_per_minute,
			 "concurrency", config->concurrency, "inFlight", gate_in_flight(lane->gate), "queued",
			 lane->queued, "between", lane->between_count, "why", wait.why, "untilMs",
			 cmd_wall_time(daemon, wait.until_ms), "limits", limits_json(daemon, lane), "breaker",
			 breaker_word(lane), "recheckMs", cmd_wall_time(daemon, gate_recheck_at(lane->gate)),
			 "calls", (json_int_t)lane->calls, "turns", (json_int_t)lane->turns, "completed",
			 (json_int_t)lane->completed, "failed", (json_int_t)lane->failed, "retried",
			 (json_int_t)lane->retried, "limited", (json_int_t)lane->limited, "lastSuccessMs",
			 cmd_wall_time(daemon, lane->last_success_ms), "lastError", lane->last_error,
			 "health", check_json(daemon, lane));
}

/* Nobody needs to see the lane of FAIL_MODEL_ID before it has had a call. */
static bool is_shown(const struct lane *lane)
{
	return strcmp(lane->name, "simulated") != 0 || lane->calls > 0 || lane->queued > 0;
}

json_t *cmd_lanes(struct daemon *daemon)
{
	size_t count;
	struct lane *const *lanes = dispatch_lanes(daemon->dispatch, &count);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		if (is_shown(lanes[i]))
			json_array_append_new(list, lane_json(daemon, lanes[i]));
	return list;
}

json_t *cmd_provider_checks(struct daemon *daemon)
{
	size_t count;
	struct lane *const *lanes = dispatch_lanes(daemon->dispatch, &count);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *one = check_json(daemon, lanes[i]);

		if (json_is_object(one))
			json_array_append(list, one);
		json_decref(one);
	}
	return list;
}

/* Whether the filters of providers.list let a lane through. */
static bool is_chosen(const json_t *lane, const json_t *args)
{
	const char *state = arg_text(args, "state");
	const char *why = json_string_value(json_object_get(lane, "why"));

	return (!state || strcmp(state, json_string_value(json_object_get(lane, "state"))) == 0) &&
	       (!arg_bool(args, "waiting") || (why && *why));
}

void cmd_providers_list(struct call *call, const json_t *args)
{
	json_t *lanes = cmd_lanes(call_daemon(call)), *items = json_array(), *lane;
	size_t i;

	json_array_foreach(lanes, i, lane)
	{
		if (is_chosen(lane, args))
			json_array_append(items, lane);
	}
	json_decref(lanes);
	call_ok_json(call, json_pack("{s:o}", "items", items));
}

static struct lane *lane_arg(struct call *call, const json_t *args)
{
	return dispatch_lane(call_daemon(call)->dispatch, arg_text(args, "provider"));
}

static void answer_lane(struct call *call, const struct lane *lane)
{
	call_ok_json(call, lane_json(call_daemon(call), lane));
}

/* A `providers show` that waits for a look. */
struct look {
	struct call *call;
	const struct lane *lane;
};

static void on_looked(void *arg)
{
	struct look *look = arg;

	call_on_gone(look->call, NULL, NULL);
	answer_lane(look->call, look->lane);
	mem_free(&look);
}

/* Nobody waits any more. */
static void on_gone(void *arg)
{
	struct look *look = arg;

	provider_checks_forget(call_daemon(look->call)->checks, look);
	call_ok_json(look->call, json_null());
	mem_free(&look);
}

void cmd_providers_show(struct call *call, const json_t *args)
{
	struct lane *lane = lane_arg(call, args);
	struct look *look;

	if (!arg_bool(args, "check")) {
		answer_lane(call, lane);
		return;
	}
	look = mem_alloc(sizeof(*look));
	*look = (struct look){ .call = call, .lane = lane };
	call_on_gone(call, on_gone, look);
	provider_checks_begin(call_daemon(call)->checks, lane->name);
	provider_checks_wait(call_daemon(call)->checks, lane->name, on_looked, look);
}

void cmd_providers_pause(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	struct lane *lane = lane_arg(call, args);
	const char *reason = arg_text(args, "reason");

	dispatch_pause_lane(daemon->dispatch, lane, reason ? reason : "paused by an operator");
	answer_lane(call, lane);
}

void cmd_providers_resume(struct call *call, const json_t *args)
{
	struct lane *lane = lane_arg(call, args);

	dispatch_resume_lane(call_daemon(call)->dispatch, lane);
	answer_lane(call, lane);
}
