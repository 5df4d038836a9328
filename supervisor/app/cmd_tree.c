/* tree, services.*: what is supervised, as the configuration nests it. Workers stand below their pool. */

#include <errno.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/tree.h"
#include "base/mem.h"
#include "core/embedded.h"
#include "core/pool.h"
#include "core/service.h"
#include "core/store.h"
#include "core/suptree.h"
#include "core/worker.h"
#include "io/loop.h"
#include "policy/strategy.h"
#include "policy/worker_fsm.h"

/* What a node of the answer is made of; times are monotonic ms, 0 = none. */
struct sight {
	const char *name, *kind, *state;
	pid_t pid; /* 0 = none */
	int64_t up_since_ms, next_start_ms;
	int restarts;
	const char *why, *more; /* NULL or "" = nothing to say */
};

static json_t *since(const struct daemon *daemon, int64_t at_ms)
{
	return at_ms ? json_integer(loop_now_ms(daemon->loop) - at_ms) : json_null();
}

static json_t *until(const struct daemon *daemon, int64_t at_ms)
{
	int64_t left_ms = at_ms - loop_now_ms(daemon->loop);

	return at_ms ? json_integer(left_ms > 0 ? left_ms : 0) : json_null();
}

static json_t *why_json(const struct sight *sight)
{
	bool one = sight->why && *sight->why, other = sight->more && *sight->more;

	if (one && other)
		return json_sprintf("%s; %s", sight->why, sight->more);
	return one || other ? json_string(one ? sight->why : sight->more) : json_null();
}

static json_t *sight_json(const struct daemon *daemon, const struct sight *sight)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:i, s:o, s:o}", "name", sight->name, "kind", sight->kind,
			 "state", sight->state, "pid", sight->pid ? json_integer(sight->pid) : json_null(),
			 "upMs", since(daemon, sight->up_since_ms), "restarts", sight->restarts,
			 "nextStartMs", until(daemon, sight->next_start_ms), "why", why_json(sight));
}

/* ---- workers ---- */

static json_t *worker_json(const struct daemon *daemon, const struct pool *pool, const struct worker *worker)
{
	bool serving = worker->state == W_READY;
	bool on_trial = worker->given_up && worker->state == W_PARKED;
	const struct sight sight = {
		.name = worker->name,
		.kind = "worker",
		.state = worker->next_start_ms ? "waiting" : worker_state_name(worker->state),
		.pid = worker_pid(worker),
		.up_since_ms = worker->started_ms,
		.next_start_ms = on_trial ? pool_next_try_ms(pool) : worker->next_start_ms,
		.restarts = worker->restarts,
		.why = serving ? NULL : worker->last_death,
	};

	return sight_json(daemon, &sight);
}

static json_t *workers_json(const struct daemon *daemon, const struct pool *pool)
{
	json_t *workers = json_array();

	list_foreach (at, pool_workers(pool)) {
		(void)json_array_append_new(workers,
					    worker_json(daemon, pool, list_entry(at, struct worker, link)));
	}
	return workers;
}

/* ---- nodes ---- */

/* Waiting and being stuck are not the same: who has a time to start at waits. */
static const char *state_of(const struct suptree_node *node, const struct sight *sight)
{
	enum suptree_state state = suptree_state(node);

	if (suptree_is_held(node) && state == SUPTREE_DOWN)
		return "stopped";
	if (sight->next_start_ms && (state == SUPTREE_STARTING || state == SUPTREE_DOWN))
		return "waiting";
	return suptree_state_name(state);
}

static void look_at_service(const struct service *service, struct sight *sight)
{
	sight->kind = "service";
	sight->pid = service_pid(service);
	if (!sight->next_start_ms)
		sight->next_start_ms = service_next_start_ms(service);
	if (service_state(service) != SERVICE_UP)
		sight->more = service_last_error(service);
}

static void look_at_pool(const struct pool *pool, struct sight *sight)
{
	sight->kind = "pool";
	sight->pid = pool_forkserver_pid(pool);
	sight->more = pool_degraded(pool);
	if (!sight->more)
		return;
	sight->state = "degraded";
	sight->next_start_ms = pool_next_try_ms(pool);
}

static json_t *node_json(const struct daemon *daemon, struct suptree_node *node);

static json_t *children_json(const struct daemon *daemon, const struct suptree_node *group)
{
	json_t *children = json_array();
	struct suptree_node *child;

	for (size_t i = 0; (child = suptree_child(group, i)); i++)
		(void)json_array_append_new(children, node_json(daemon, child));
	return children;
}

static void add_limits(json_t *object, int restarts, int intensity, int64_t period_ms)
{
	(void)json_object_set_new(object, "restartsInWindow", json_integer(restarts));
	(void)json_object_set_new(object, "intensity", json_integer(intensity));
	(void)json_object_set_new(object, "periodMs", json_integer(period_ms));
}

static void add_group(const struct daemon *daemon, struct suptree_node *node, json_t *object)
{
	(void)json_object_set_new(object, "strategy", json_string(strategy_name(suptree_strategy(node))));
	add_limits(object, suptree_restarts_in_window(node), suptree_intensity(node),
		   suptree_period_ms(node));
	(void)json_object_set_new(object, "children", children_json(daemon, node));
}

static void add_pool(const struct daemon *daemon, struct pool *pool, json_t *object)
{
	add_limits(object, pool_restarts_in_window(pool), pool_intensity(pool), pool_period_ms(pool));
	(void)json_object_set_new(object, "children", workers_json(daemon, pool));
}

static json_t *node_json(const struct daemon *daemon, struct suptree_node *node)
{
	const struct service *service = node == daemon->postgres_node ? embedded_service(daemon->embedded)
								      : tree_service(daemon->tree, node);
	struct pool *pool = tree_pool(daemon->tree, node);
	struct sight sight = {
		.name = suptree_name(node),
		.kind = "group",
		.up_since_ms = suptree_up_since_ms(node),
		.next_start_ms = suptree_next_start_ms(node),
		.restarts = suptree_restarts(node),
		.why = suptree_why(node),
	};
	json_t *object;

	if (service)
		look_at_service(service, &sight);
	else if (pool)
		look_at_pool(pool, &sight);
	else if (node == daemon->store_node)
		sight.kind = "store";
	if (node == daemon->store_node && !store_is_ready(daemon->store))
		sight.more = store_why_not_ready(daemon->store);
	if (!sight.state)
		sight.state = state_of(node, &sight);
	object = sight_json(daemon, &sight);
	if (suptree_is_group(node))
		add_group(daemon, node, object);
	else if (pool)
		add_pool(daemon, pool, object);
	return object;
}

void cmd_tree(struct call *call, const json_t *args)
{
	const struct daemon *daemon = call_daemon(call);

	(void)args;
	call_ok_json(call, node_json(daemon, suptree_root(tree_nodes(daemon->tree))));
}

/* ---- for status ---- */

static void note_parked(const struct daemon *daemon, struct suptree_node *node, json_t *notes)
{
	struct suptree_node *child;

	if (suptree_state(node) == SUPTREE_PARKED) {
		json_t *object = node_json(daemon, node);
		const char *why = json_string_value(json_object_get(object, "why"));
		const json_t *next = json_object_get(object, "nextStartMs");
		const char *name = suptree_name(node);

		(void)json_array_append_new(
			notes, json_is_null(next)
				       ? json_sprintf("%s is given up on: %s; mend it, then: proctorctl "
						      "services start %s",
						      name, why ? why : "?", name)
				       : json_sprintf("%s is given up on, and tried again every few "
						      "minutes: %s",
						      name, why ? why : "?"));
		json_decref(object);
		return; /* and all below it with it */
	}
	for (size_t i = 0; (child = suptree_child(node, i)); i++)
		note_parked(daemon, child, notes);
}

/* A group that waits for such a one says nothing new. */
static void note_stumbled(struct suptree_node *node, json_t *notes)
{
	struct suptree_node *child;

	if (suptree_has_stumbled(node) && !suptree_is_group(node))
		(void)json_array_append_new(
			notes, json_sprintf("%s is not up: %s", suptree_name(node), suptree_why(node)));
	for (size_t i = 0; (child = suptree_child(node, i)); i++)
		note_stumbled(child, notes);
}

void cmd_tree_notes(struct daemon *daemon, json_t *notes)
{
	const char *degraded = suptree_degraded(tree_nodes(daemon->tree));
	size_t before = json_array_size(notes);

	note_parked(daemon, suptree_root(tree_nodes(daemon->tree)), notes);
	/* What is on trial just now is not parked, and not yet trusted. */
	if (degraded && json_array_size(notes) == before)
		(void)json_array_append_new(notes, json_sprintf("on trial: %s", degraded));
	note_stumbled(suptree_root(tree_nodes(daemon->tree)), notes);
}

/* ---- an operator's word ---- */

/* The node of that name that may be stopped apart from the daemon; NULL after answering why there is none. */
static struct suptree_node *find_node(struct call *call, const char *name)
{
	const struct daemon *daemon = call_daemon(call);
	struct suptree_node *node = suptree_find(tree_nodes(daemon->tree), name);

	if (!node) {
		call_error(call, CALL_NOT_FOUND,
			   "nothing that is supervised is called \"%s\"; `tree` shows it", name);
		return NULL;
	}
	if (!suptree_parent(node) || node == daemon->postgres_node || node == daemon->store_node) {
		call_error(call, CALL_CONFLICT, "%s starts and stops with the daemon", name);
		return NULL;
	}
	return node;
}

static void answer_node(struct call *call, struct suptree_node *node, const char *event)
{
	struct daemon *daemon = call_daemon(call);

	store_event(daemon->store, "info", event, NULL, 0, suptree_name(node), NULL);
	call_ok_json(call, node_json(daemon, node));
}

void cmd_services_stop(struct call *call, const json_t *args)
{
	struct suptree_node *node = find_node(call, arg_text(args, "name"));

	if (!node)
		return;
	suptree_hold(node);
	answer_node(call, node, "service.stop_requested");
}

void cmd_services_start(struct call *call, const json_t *args)
{
	const char *name = arg_text(args, "name");
	struct suptree_node *node = find_node(call, name);
	int r;

	if (!node)
		return;
	r = suptree_release(node);
	if (r == -EBUSY)
		call_error(call, CALL_CONFLICT, "%s is %s already", name,
			   suptree_state(node) == SUPTREE_UP ? "running"
							     : suptree_state_name(suptree_state(node)));
	else if (r == -EAGAIN)
		call_error(call, CALL_CONFLICT, "%s starts with its group: start %s", name,
			   suptree_name(suptree_parent(node)));
	else
		answer_node(call, node, "service.start_requested");
}
