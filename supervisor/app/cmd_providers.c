/* providers.*: the lanes, their keys and limits, and what they wait for. */

#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/clock.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/store.h"
#include "io/loop.h"
#include "policy/gate.h"

/* A monotonic time as milliseconds since 1970; null for 0 (not known). */
static json_t *wall_time(const struct daemon *daemon, int64_t at_ms)
{
	if (at_ms == 0)
		return json_null();
	return json_integer(clock_wall_ms() + at_ms - loop_now_ms(daemon->loop));
}

/* "ready", "no-key", "paused" …: the one word that people look for. */
static const char *state_of(const struct daemon *daemon, const struct lane *lane, bool has_key)
{
	enum gate_why why = gate_why(lane->gate, loop_now_ms(daemon->loop), NULL);

	if (why == GATE_PARKED)
		return "parked";
	if (!has_key)
		return "no-key";
	if (why == GATE_PAUSED)
		return "paused";
	return lane->simulated ? "simulated" : "ready";
}

static json_t *lane_json(const struct daemon *daemon, const struct lane *lane)
{
	const struct config_provider *config = config_find_provider(daemon->config, lane->name);
	bool has_key = !*config->key_env || daemon_has_variable(daemon, config->key_env);
	int64_t until_ms = 0;
	const char *why = dispatch_why(daemon->dispatch, lane, &until_ms);

	return json_pack(
		"{s:s, s:s, s:s, s:b, s:b, s:s, s:I, s:i, s:i, s:i, s:i, s:s, s:o, s:I, s:I, s:I, s:I, s:I, "
		"s:I, s:o, s:s?}",
		"provider", lane->name, "state", state_of(daemon, lane, has_key), "keyEnv", config->key_env,
		"keySet", has_key, "simulated", lane->simulated, "baseUrl", config->base_url,
		"requestsPerMinute", (json_int_t)config->requests_per_minute, "concurrency",
		config->concurrency, "inFlight", gate_in_flight(lane->gate), "queued", lane->queued,
		"between", lane->between_count, "why", why, "untilMs", wall_time(daemon, until_ms), "calls",
		(json_int_t)lane->calls, "turns", (json_int_t)lane->turns, "completed",
		(json_int_t)lane->completed, "failed", (json_int_t)lane->failed, "retried",
		(json_int_t)lane->retried, "limited", (json_int_t)lane->limited, "lastSuccessMs",
		wall_time(daemon, lane->last_success_ms), "lastError", lane->last_error);
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

static bool list_has(const char *names, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = strstr(names, name); at; at = strstr(at + 1, name))
		if ((at == names || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
			return true;
	return false;
}

json_t *cmd_waiting(struct daemon *daemon, const char *names)
{
	size_t count;
	struct lane *const *lanes = dispatch_lanes(daemon->dispatch, &count);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		int64_t until_ms = 0;
		const char *why = dispatch_why(daemon->dispatch, lanes[i], &until_ms);

		if (*why && list_has(names, lanes[i]->name))
			json_array_append_new(list,
					      json_pack("{s:s, s:s, s:o}", "lane", lanes[i]->name, "why", why,
							"untilMs", wall_time(daemon, until_ms)));
	}
	return list;
}

void cmd_providers_list(struct call *call, const json_t *args)
{
	(void)args;
	call_ok_json(call, json_pack("{s:o}", "items", cmd_lanes(call_daemon(call))));
}

static struct lane *lane_arg(struct call *call, const json_t *args)
{
	return dispatch_lane(call_daemon(call)->dispatch, arg_text(args, "provider"));
}

static void answer_lane(struct call *call, const struct lane *lane)
{
	call_ok_json(call, lane_json(call_daemon(call), lane));
}

void cmd_providers_show(struct call *call, const json_t *args)
{
	answer_lane(call, lane_arg(call, args));
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
