/* workers.*: the slots of the pools. */

#include <stdlib.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/tree.h"
#include "config/config.h"
#include "core/pool.h"
#include "core/store.h"
#include "core/worker.h"
#include "io/db.h"
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

	return json_pack("{s:s, s:s, s:I, s:b, s:i, s:i, s:I, s:i, s:o, s:o, s:o, s:I, s:I, s:s?, s:s?, "
			 "s:s?, s:s?, s:s?}",
			 "worker", worker->name, "state", worker_state_name(worker->state), "pid",
			 (json_int_t)worker_pid(worker), "late", worker_is_late(worker), "held", worker->held,
			 "capacity", worker->capacity, "jobsDone", (json_int_t)worker->jobs_done, "restarts",
			 worker->restarts, "upMs", since(daemon, worker->started_ms), "lastPongMs",
			 since(daemon, worker->last_pong_ms), "nextStartMs",
			 next_ms ? json_integer(next_ms - loop_now_ms(daemon->loop)) : json_null(), "bootMs",
			 (json_int_t)worker->boot_took_ms, "rssKb", (json_int_t)worker->rss_kb, "lastDeath",
			 worker->last_death, "version", worker->version, "python", worker->python, "verdict",
			 worker->ailment ? hang_name(worker->verdict) : NULL, "ailment", worker->ailment);
}

/* Those of a state and of a pool; NULL = of any. */
static json_t *workers_json(const struct daemon *daemon, const char *state, const char *pool_wanted)
{
	json_t *items = json_array();
	struct pool *pool;

	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++)
		list_foreach (node, pool_workers(pool)) {
			const struct worker *worker = list_entry(node, struct worker, link);

			if ((!state || strcmp(state, worker_state_name(worker->state)) == 0) &&
			    (!pool_wanted || strcmp(pool_wanted, pool_name(pool)) == 0))
				json_array_append_new(items, worker_json(daemon, worker));
		}
	return items;
}

static json_t *pool_json(struct pool *pool)
{
	return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:s?}", "pool", pool_name(pool), "size",
			 pool_size(pool), "serving", pool_serving(pool), "held", pool_held(pool), "freeSlots",
			 pool_free_slots(pool), "restartsInWindow", pool_restarts_in_window(pool),
			 "forkserverPid", (int)pool_forkserver_pid(pool), "degraded", pool_degraded(pool));
}

json_t *cmd_pools(struct daemon *daemon)
{
	json_t *items = json_array();
	struct pool *pool;

	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++)
		json_array_append_new(items, pool_json(pool));
	return items;
}

json_t *cmd_workers(struct daemon *daemon)
{
	struct pool *pool;
	int held = 0;

	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++)
		held += pool_held(pool);
	return json_pack("{s:i, s:i, s:i, s:s?}", "size", tree_workers(daemon->tree), "serving",
			 tree_serving(daemon->tree), "held", held, "degraded", tree_degraded(daemon->tree));
}

void cmd_workers_list(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	const char *pool = arg_text(args, "pool");

	if (pool && !tree_find_pool(daemon->tree, pool)) {
		call_error(call, CALL_NOT_FOUND, "there is no pool \"%s\"; `tree` shows them", pool);
		return;
	}
	call_ok_json(call, json_pack("{s:o, s:o}", "pools", cmd_pools(daemon), "items",
				     workers_json(daemon, arg_text(args, "state"), pool)));
}

/* The worker that "probe/1" names; NULL after answering that there is none. *ret_pool (may be NULL) is its
 * pool. */
static struct worker *find_worker(struct call *call, const char *name, struct pool **ret_pool)
{
	struct pool *pool;

	for (size_t i = 0; (pool = tree_pool_at(call_daemon(call)->tree, i)); i++)
		list_foreach (node, pool_workers(pool)) {
			struct worker *worker = list_entry(node, struct worker, link);

			if (strcmp(worker->name, name) != 0)
				continue;
			if (ret_pool)
				*ret_pool = pool;
			return worker;
		}
	call_error(call, CALL_NOT_FOUND, "there is no worker \"%s\"; `workers list` shows them", name);
	return NULL;
}

/* The pool that `name` names, the only one when it is NULL; NULL after answering what is wrong. */
static struct pool *find_pool(struct call *call, const char *name)
{
	const struct tree *tree = call_daemon(call)->tree;
	struct pool *pool = name ? tree_find_pool(tree, name) : tree_pool_at(tree, 0);

	if (!pool)
		call_error(call, CALL_NOT_FOUND, "there is no pool \"%s\"; `workers list` shows them",
			   name ? name : "");
	else if (!name && tree_pool_at(tree, 1)) {
		call_error(call, CALL_BAD_ARGUMENT, "pool: there are several; name one");
		return NULL;
	}
	return pool;
}

/* `crash` is its newest crash record (taken), NULL where none is known. */
static void answer_worker(struct call *call, const struct worker *worker, json_t *crash)
{
	json_t *object = worker_json(call_daemon(call), worker);

	(void)json_object_set_new(object, "crash", crash ? crash : json_null());
	call_ok_json(call, object);
}

/* A record that the database has not taken yet, in the shape that it will have there, as far as that is
 * known. */
static json_t *held_crash(const struct worker *worker, const char *data)
{
	json_t *record = data ? json_loads(data, 0, NULL) : NULL;
	json_t *jobs = json_array();
	const json_t *id;
	size_t i;

	json_array_foreach(json_object_get(record, "jobs"), i, id)(void)
		json_array_append_new(jobs, json_pack("{s:O}", "jobId", id));
	(void)json_object_set_new(record, "jobs", jobs);
	(void)json_object_set_new(record, "kind", json_string("worker"));
	(void)json_object_set_new(record, "name", json_string(worker->name));
	return record;
}

static void answer_with_crash(struct call *call, const struct db_rows *rows)
{
	const struct worker *worker = find_worker(call, db_text(rows, 0, 0, NULL), NULL);

	if (worker)
		answer_worker(call, worker, json_loads(db_text(rows, 0, 1, NULL), 0, NULL));
}

/* The newest record is still here when the database has not taken it yet. What is asked of the database now
 * comes behind what it is being told. */
void cmd_workers_show(struct call *call, const json_t *args)
{
	const struct store *store = call_daemon(call)->store;
	const struct worker *worker = find_worker(call, arg_text(args, "worker"), NULL);
	const char *held;
	struct db_params *params;

	if (!worker)
		return;
	held = store_held_event(store, "worker.exit", worker->name);
	if (held || !store_is_ready(store)) {
		answer_worker(call, worker, held_crash(worker, held));
		return;
	}
	params = db_params_new();
	db_param_text(params, worker->name);
	command_query_then(call, "SELECT name, crash FROM api_last_crash($1)", params, answer_with_crash);
}

static int restart_pools(struct daemon *daemon)
{
	struct pool *pool;
	int r = 0;

	for (size_t i = 0; r == 0 && (pool = tree_pool_at(daemon->tree, i)); i++)
		r = pool_restart(pool, 0);
	return r;
}

void cmd_workers_restart(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	const char *name = arg_text(args, "worker");
	struct pool *pool = NULL;
	const struct worker *worker = name ? find_worker(call, name, &pool) : NULL;
	int r;

	if (name && !worker)
		return;
	r = worker ? pool_restart(pool, worker->number) : restart_pools(daemon);
	if (r < 0) {
		call_error(call, CALL_CONFLICT, "%s cannot be restarted now: %s",
			   worker ? worker->name : "the workers", strerror(-r));
		return;
	}
	store_event(daemon->store, "info", "worker.restart_requested", NULL, 0, worker ? worker->name : NULL,
		    NULL);
	cmd_workers_list(call, args);
}

void cmd_workers_scale(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	struct pool *pool = find_pool(call, arg_text(args, "pool"));

	if (!pool)
		return;
	pool_resize(pool, (int)arg_int(args, "size", 1));
	store_event(daemon->store, "info", "pool.resized", NULL, 0, pool_name(pool), NULL);
	cmd_workers_list(call, args);
}
