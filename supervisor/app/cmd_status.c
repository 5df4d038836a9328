/* status: everything at a glance, from memory alone, so that it answers while Postgres is away. */

#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/tree.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/pool.h"
#include "core/store.h"
#include "io/loop.h"
#include "io/spool.h"

json_t *cmd_database(struct daemon *daemon)
{
	/* The one in effect: a key file or the environment may have given it. */
	AUTO(mem_free_str)
	char *url = config_redact_url(daemon->embedded ? "embedded" : daemon->database_url);
	const char *trouble = store_trouble(daemon->store);
	struct spool_stat spool;

	store_spool_stat(daemon->store, &spool);
	return json_pack("{s:b, s:s, s:s, s:I, s:I, s:s?, s:I}", "ready", store_is_ready(daemon->store),
			 "why", store_why_not_ready(daemon->store), "url", url, "backlogRecords",
			 (json_int_t)spool.depth, "backlogBytes", (json_int_t)spool.depth_bytes, "trouble",
			 trouble, "nodeId", (json_int_t)store_node_id(daemon->store));
}

/* How this program came to run the daemon; null when it started it. */
static json_t *upgraded_json(const struct daemon *daemon)
{
	const struct upgraded *upgraded = &daemon->upgraded;

	if (upgraded->count == 0)
		return json_null();
	return json_pack("{s:i, s:s, s:I}", "count", upgraded->count, "from", upgraded->from, "atMs",
			 (json_int_t)upgraded->wall_ms);
}

static json_t *probes_json(const struct daemon *daemon)
{
	struct dispatch_stats stats;

	dispatch_stats(daemon->dispatch, &stats);
	return json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "held", dispatch_held(daemon->dispatch),
			 "claimed", (json_int_t)stats.claimed, "completed", (json_int_t)stats.completed,
			 "failed", (json_int_t)stats.failed, "cancelled", (json_int_t)stats.cancelled,
			 "retried", (json_int_t)stats.retried, "turns", (json_int_t)stats.turns);
}

/* Of a degraded pool there is nothing to add. */
static void note_given_up(const struct pool *pool, json_t *notes)
{
	list_foreach (at, pool_workers(pool)) {
		const struct worker *worker = list_entry(at, struct worker, link);

		if (worker->given_up && !pool_degraded(pool))
			json_array_append_new(
				notes,
				json_sprintf("%s is given up on, and tried again every few minutes: "
					     "%s",
					     worker->name, worker->last_death ? worker->last_death : "?"));
	}
}

/* Takes the line; NULL is none. */
static void note(json_t *notes, char *line)
{
	if (line)
		json_array_append_new(notes, json_string(line));
	mem_free(&line);
}

/* What an operator should know, in sentences. */
static json_t *notes_json(struct daemon *daemon, const json_t *environment)
{
	json_t *notes = json_array();
	struct pool *pool;

	note(notes, store_why_late(daemon->store));
	note(notes, store_why_no_claims(daemon->store));
	note(notes, store_why_no_beat(daemon->store));
	if (store_trouble(daemon->store))
		json_array_append_new(
			notes, json_sprintf("nothing new is started: %s", store_trouble(daemon->store)));
	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++)
		if (pool_degraded(pool))
			json_array_append_new(notes, json_sprintf("the worker pool %s is degraded: %s",
								  pool_name(pool), pool_degraded(pool)));
	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++)
		note_given_up(pool, notes);
	cmd_tree_notes(daemon, notes);
	if (json_is_true(json_object_get(environment, "known")) &&
	    !json_is_true(json_object_get(environment, "healthy")))
		json_array_append_new(
			notes, json_sprintf("the Python environment is not healthy: %s",
					    json_string_value(json_object_get(environment, "reason"))));
	return notes;
}

/* Workers take a moment to boot: no need to alarm anybody before they had it. */
static bool is_booting(const struct daemon *daemon)
{
	return tree_serving(daemon->tree) == 0 && !tree_degraded(daemon->tree) &&
	       loop_now_ms(daemon->loop) - daemon->started_ms < daemon->config->pools[0].boot_timeout_ms;
}

static const char *state_of(const struct daemon *daemon, const json_t *notes)
{
	if (daemon->phase != DAEMON_RUNNING)
		return daemon_phase_name(daemon);
	if (json_array_size(notes) > 0)
		return "degraded";
	if (is_booting(daemon))
		return "starting";
	return tree_serving(daemon->tree) == 0 ? "degraded" : "ready";
}

const char *cmd_state(struct daemon *daemon)
{
	json_t *environment = cmd_environment(daemon);
	json_t *notes = notes_json(daemon, environment);
	const char *state = state_of(daemon, notes);

	json_decref(notes);
	json_decref(environment);
	return state;
}

void cmd_status(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	json_t *environment = cmd_environment(daemon);
	json_t *notes = notes_json(daemon, environment);
	int64_t up_ms = loop_now_ms(daemon->loop) - daemon->started_ms;

	(void)args;
	call_ok_json(
		call,
		json_pack("{s:s, s:s, s:i, s:o, s:I, s:I, s:I, s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			  "state", state_of(daemon, notes), "version", PROCTOR_VERSION, "pid", (int)getpid(),
			  "upgraded", upgraded_json(daemon), "startedMs", (json_int_t)daemon->started_wall_ms,
			  "uptimeMs", (json_int_t)up_ms, "loopLagMs", (json_int_t)loop_lag_ms(daemon->loop),
			  "heapBytes", (json_int_t)mem_in_use(), "clients",
			  (int)control_clients(call_commands(call)->control), "notes", notes, "database",
			  cmd_database(daemon), "workers", cmd_workers(daemon), "pools", cmd_pools(daemon),
			  "probes", probes_json(daemon), "providers", cmd_lanes(daemon), "environment",
			  environment));
}
