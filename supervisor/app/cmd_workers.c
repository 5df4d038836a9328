/* workers.*: the slots of the pool. */

#include <stdlib.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "config/config.h"
#include "core/pool.h"
#include "core/store.h"
#include "core/worker.h"
#include "io/loop.h"
#include "policy/worker_fsm.h"

/* Milliseconds from a monotonic time until now; null for 0 (never). */
static json_t *since(const struct daemon *daemon, int64_t at_ms)
{
	return at_ms ? json_integer(loop_now_ms(daemon->loop) - at_ms) : json_null();
}

static json_t *worker_json(const struct daemon *daemon, const struct worker *worker)
{
	int64_t next_ms = worker->next_start_ms;

	return json_pack(
		"{s:s, s:s, s:I, s:b, s:i, s:i, s:I, s:i, s:o, s:o, s:o, s:I, s:I, s:s?, s:s?, s:s?}",
		"worker", worker->name, "state", worker_state_name(worker->state), "pid",
		(json_int_t)worker_pid(worker), "late", worker_is_late(worker), "held", worker->held,
		"capacity", worker->capacity, "jobsDone", (json_int_t)worker->jobs_done, "restarts",
		worker->restarts, "upMs", since(daemon, worker->started_ms), "lastPongMs",
		since(daemon, worker->last_pong_ms), "nextStartMs",
		next_ms ? json_integer(next_ms - loop_now_ms(daemon->loop)) : json_null(), "bootMs",
		(json_int_t)worker->boot_took_ms, "rssKb", (json_int_t)worker->rss_kb, "lastDeath",
		worker->last_death, "version", worker->version, "python", worker->python);
}

static json_t *workers_json(const struct daemon *daemon)
{
	json_t *items = json_array();

	list_foreach (node, pool_workers(daemon->pool)) {
		json_array_append_new(items, worker_json(daemon, list_entry(node, struct worker, link)));
	}
	return items;
}

json_t *cmd_pool(struct daemon *daemon)
{
	struct pool *pool = daemon->pool;

	return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:s?}", "pool", pool_name(pool), "size",
			 pool_size(pool), "serving", pool_serving(pool), "held", pool_held(pool), "freeSlots",
			 pool_free_slots(pool), "restartsInWindow", pool_restarts_in_window(pool), "degraded",
			 pool_degraded(pool));
}

void cmd_workers_list(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);

	(void)args;
	call_ok_json(call, json_pack("{s:o, s:o}", "pool", cmd_pool(daemon), "items", workers_json(daemon)));
}

/* The worker that "probe/1" names; NULL after answering that there is none. */
static struct worker *find_worker(struct call *call, const char *name)
{
	struct pool *pool = call_daemon(call)->pool;

	list_foreach (node, pool_workers(pool)) {
		struct worker *worker = list_entry(node, struct worker, link);

		if (strcmp(worker->name, name) == 0)
			return worker;
	}
	call_error(call, CALL_NOT_FOUND, "there is no worker \"%s\"; `workers list` shows them", name);
	return NULL;
}

void cmd_workers_show(struct call *call, const json_t *args)
{
	const struct worker *worker = find_worker(call, arg_text(args, "worker"));

	if (worker)
		call_ok_json(call, worker_json(call_daemon(call), worker));
}

void cmd_workers_restart(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	const char *name = arg_text(args, "worker");
	const struct worker *worker = name ? find_worker(call, name) : NULL;
	int r;

	if (name && !worker)
		return;
	r = pool_restart(daemon->pool, worker ? worker->number : 0);
	if (r < 0) {
		call_error(call, CALL_CONFLICT, "%s cannot be restarted now: %s",
			   worker ? worker->name : "the pool's workers", strerror(-r));
		return;
	}
	store_event(daemon->store, "info", "worker.restart_requested", NULL, 0,
		    worker ? worker->name : pool_name(daemon->pool), NULL);
	cmd_workers_list(call, args);
}

void cmd_workers_scale(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	const char *pool = arg_text(args, "pool");

	if (pool && strcmp(pool, pool_name(daemon->pool)) != 0) {
		call_error(call, CALL_NOT_FOUND, "there is no pool \"%s\", but \"%s\"", pool,
			   pool_name(daemon->pool));
		return;
	}
	pool_resize(daemon->pool, (int)arg_int(args, "size", 1));
	store_event(daemon->store, "info", "pool.resized", NULL, 0, pool_name(daemon->pool), NULL);
	cmd_workers_list(call, args);
}
