#include "app/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "app/daemon_private.h"
#include "app/program.h"
#include "app/storage.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/pool.h"
#include "core/service.h"
#include "core/suptree.h"
#include "io/loop.h"

/* What the configuration names: a group, a pool or a service, with its node. */
struct branch {
	struct list link; /* in tree->branches, in the order of making */
	struct daemon *daemon;
	enum config_child_kind kind;
	struct suptree_node *node;
	bool gone;		 /* its node is no more; its pool may be routed to until it has a successor */
	struct pool *pool;	 /* of a pool */
	struct service *service; /* of a service */
};

struct tree {
	struct suptree *nodes;
	struct list branches;
};

static struct branch *find_branch(const struct tree *tree, const char *name)
{
	list_foreach (at, &tree->branches) {
		struct branch *branch = list_entry(at, struct branch, link);

		if (!branch->gone && strcmp(suptree_name(branch->node), name) == 0)
			return branch;
	}
	return NULL;
}

/* ---- services ---- */

static void start_service(void *leaf)
{
	service_start(((struct branch *)leaf)->service);
}

static void stop_service(void *leaf, bool at_once)
{
	(void)at_once; /* a second call is enough */
	service_stop(((struct branch *)leaf)->service);
}

static void forget_failures(void *leaf)
{
	service_forget_failures(((struct branch *)leaf)->service);
}

static void on_service_up(void *arg, struct service *service)
{
	(void)service;
	suptree_up(((struct branch *)arg)->node);
}

static void on_service_down(void *arg, struct service *service)
{
	(void)service;
	suptree_down(((struct branch *)arg)->node);
}

static void on_service_ended(void *arg, struct service *service, bool parked)
{
	(void)service;
	suptree_ended(((struct branch *)arg)->node, parked);
}

static bool on_service_failed(void *arg, struct service *service, bool counts, int64_t delay_ms)
{
	(void)service;
	return suptree_failed(((struct branch *)arg)->node, counts, delay_ms) == SUPTREE_YOURSELF;
}

static void on_event(void *arg, const char *level, const char *kind, const char *subject, const char *data)
{
	daemon_event(((struct branch *)arg)->daemon, level, kind, subject, data);
}

static struct service_spec service_spec_of(const struct daemon *daemon, size_t index)
{
	const struct config_service *config = &daemon->config->services[index];

	return (struct service_spec){
		.name = config->name,
		.argv = (const char *const *)config->command.words,
		.env = program_service_env(daemon->program, index),
		.ready_argv = (const char *const *)config->ready_command.words,
		.type = (enum restart_type)config->type,
		.ready_ms = config->ready_ms,
		.ready_interval_ms = config->ready_interval_ms,
		.ready_timeout_ms = config->ready_timeout_ms,
		.shutdown_timeout_ms = config->shutdown_timeout_ms,
		.stop_signal = config->stop_signal,
		.death_signal = config->death_signal,
		.limits = { .memory_bytes = config->memory_limit_bytes, .cpu_ms = config->cpu_limit_ms },
		.restart_delay_ms = config->restart_delay_ms,
		.restart_delay_max_ms = config->restart_delay_max_ms,
		.stable_after_ms = config->stable_after_ms,
	};
}

static void add_service(struct daemon *daemon, struct branch *branch, struct suptree_node *parent,
			size_t index)
{
	const struct suptree_leaf leaf = {
		.start = start_service, .stop = stop_service, .forget = forget_failures, .leaf = branch
	};
	const struct service_spec spec = service_spec_of(daemon, index);
	const struct service_events events = {
		.up = on_service_up,
		.down = on_service_down,
		.ended = on_service_ended,
		.failed = on_service_failed,
		.event = on_event,
		.arg = branch,
	};

	service_new(daemon->loop, &spec, &events, &branch->service);
	suptree_add_leaf(parent, spec.name, &leaf, &branch->node);
}

/* ---- pools ---- */

static void start_pool(void *leaf)
{
	pool_start(((struct branch *)leaf)->pool);
}

static void stop_pool(void *leaf, bool at_once)
{
	struct branch *branch = leaf;

	pool_stop(branch->pool, at_once ? 0 : branch->daemon->config->daemon.drain_timeout_ms);
}

static void on_pool_up(void *arg)
{
	suptree_up(((struct branch *)arg)->node);
}

static void on_pool_stumbled(void *arg, const char *why)
{
	suptree_stumbled(((struct branch *)arg)->node, why);
}

static void on_pool_stopped(void *arg)
{
	suptree_down(((struct branch *)arg)->node);
}

static void on_room(void *arg)
{
	dispatch_on_room(((struct branch *)arg)->daemon->dispatch);
}

static void on_turn(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg)
{
	dispatch_on_turn(((struct branch *)arg)->daemon->dispatch, worker, probe, msg);
}

static void on_result(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg)
{
	dispatch_on_result(((struct branch *)arg)->daemon->dispatch, worker, probe, msg);
}

static void on_released(void *arg, struct worker *worker, struct probe *probe,
			const struct worker_death *death)
{
	dispatch_on_released(((struct branch *)arg)->daemon->dispatch, worker, probe, death);
}

/* True when its workers would start otherwise than they did. */
static bool set_program(struct daemon *daemon, struct pool *pool, size_t index)
{
	const struct program_pool program = program_pool(daemon->program, index);

	return pool_set_program(pool, program.argv, program.fork_argv, program.env);
}

static int add_pool(struct daemon *daemon, struct branch *branch, struct suptree_node *parent, size_t index)
{
	const struct config_pool *config = &daemon->config->pools[index];
	const struct suptree_leaf leaf = { .start = start_pool, .stop = stop_pool, .leaf = branch };
	const struct pool_events events = {
		.up = on_pool_up,
		.stumbled = on_pool_stumbled,
		.room = on_room,
		.turn = on_turn,
		.result = on_result,
		.released = on_released,
		.event = on_event,
		.stopped = on_pool_stopped,
		.arg = branch,
	};
	int r = pool_new(daemon->loop, config, config_find_group(daemon->config, config->group), &events,
			 &branch->pool);

	if (r < 0)
		return r;
	pool_set_drain_timeout(branch->pool, daemon->config->daemon.drain_timeout_ms);
	(void)set_program(daemon, branch->pool, index);
	suptree_add_leaf(parent, config->name, &leaf, &branch->node);
	return 0;
}

/* ---- any branch ---- */

static struct suptree_group group_of(const struct config_group *config)
{
	return (struct suptree_group){
		.name = config->name,
		.strategy = (enum strategy)config->strategy,
		.intensity = config->intensity,
		.period_ms = config->period_ms,
	};
}

static void free_branch(struct branch *branch)
{
	list_remove(&branch->link);
	pool_free(&branch->pool);
	service_free(&branch->service);
	free(branch);
}

static int add_branch(struct daemon *daemon, const struct config_child *child)
{
	const char *parent_name = config_child_group(daemon->config, child);
	struct suptree_node *parent = suptree_find(daemon->tree->nodes, parent_name);
	struct branch *branch = mem_alloc(sizeof(*branch));
	struct suptree_group group;
	int r = 0;

	branch->daemon = daemon;
	branch->kind = child->kind;
	list_push_back(&daemon->tree->branches, &branch->link);
	switch (child->kind) {
	case CHILD_GROUP:
		group = group_of(&daemon->config->groups[child->index]);
		r = suptree_add_group(parent, &group, &branch->node);
		break;
	case CHILD_POOL:
		r = add_pool(daemon, branch, parent, child->index);
		break;
	case CHILD_SERVICE:
		add_service(daemon, branch, parent, child->index);
		break;
	}
	if (r < 0)
		free_branch(branch);
	return r;
}

/* Adds what stands in the group, at any depth, and is not in the tree: in the file's order, wherever the
 * groups' own sections stand in it. What is about to go keeps its name, and all below it, until it is gone.
 */
static int add_missing(struct daemon *daemon, const char *group)
{
	const struct config *config = daemon->config;
	int r = 0;

	for (size_t i = 0; r == 0 && i < config->nchildren; i++) {
		const struct config_child *child = &config->children[i];
		const char *name = config_child_name(config, child);
		const struct branch *branch;

		if (strcmp(config_child_group(config, child), group) != 0)
			continue;
		branch = find_branch(daemon->tree, name);
		if (branch && suptree_is_removed(branch->node))
			continue;
		if (!branch)
			r = add_branch(daemon, child);
		if (r == 0 && child->kind == CHILD_GROUP)
			r = add_missing(daemon, name);
	}
	return r;
}

int tree_build(struct daemon *daemon, const char *state_id, char **ret_error)
{
	const struct suptree_group root = group_of(config_root(daemon->config));
	const struct suptree_events events = {
		.up = daemon_is_up,
		.down = daemon_is_down,
		.event = daemon_event,
		.arg = daemon,
	};
	int r;

	daemon->tree = mem_alloc(sizeof(*daemon->tree));
	list_init(&daemon->tree->branches);
	r = suptree_new(daemon->loop, &root, &events, &daemon->tree->nodes);
	if (r == 0)
		r = storage_make(daemon, state_id, ret_error);
	if (r < 0)
		return r;
	storage_plant(daemon, suptree_root(daemon->tree->nodes));
	r = add_missing(daemon, root.name);
	if (r < 0)
		*ret_error = mem_strdup("a group's intensity or period is out of range");
	return r;
}

void tree_free(struct daemon *daemon)
{
	if (!daemon->tree)
		return;
	list_foreach_safe (at, &daemon->tree->branches) {
		free_branch(list_entry(at, struct branch, link));
	}
	storage_free(daemon);
	suptree_free(&daemon->tree->nodes);
	mem_free(&daemon->tree);
}

void tree_route(struct daemon *daemon)
{
	for (size_t i = 0; config_provider_names[i]; i++) {
		const struct config_pool *pool = config_pool_of(daemon->config, config_provider_names[i]);
		const struct branch *branch = find_branch(daemon->tree, pool->name);

		/* While it waits for a place in the tree, its predecessor keeps the lane, and takes nothing.
		 */
		if (branch)
			dispatch_route(daemon->dispatch, config_provider_names[i], branch->pool);
	}
}

/* ---- reload ---- */

struct change {
	const char *section; /* wanted: "service:NAME" */
	bool found;
};

static void on_difference(void *arg, const char *section, const char *key, bool live)
{
	struct change *change = arg;

	(void)key;
	(void)live;
	change->found = change->found || strcmp(section, change->section) == 0;
}

static bool section_changed(const struct config *from, const struct config *to, const char *kind,
			    const char *name)
{
	AUTO(mem_free_str) char *section = mem_printf("%s:%s", kind, name);
	struct change change = { .section = section };

	config_diff(from, to, on_difference, &change);
	return change.found;
}

static const struct config_child *find_child(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->nchildren; i++)
		if (strcmp(config_child_name(config, &config->children[i]), name) == 0)
			return &config->children[i];
	return NULL;
}

/* What is new, or went to make room for what is now of that name. */
static void take_up(struct daemon *daemon)
{
	if (add_missing(daemon, config_root(daemon->config)->name) < 0)
		log_error("tree.refused", "reason=\"a group's intensity or period is out of range\"");
	tree_route(daemon);
	suptree_start_added(daemon->tree->nodes);
}

static bool is_any_going(const struct tree *tree)
{
	list_foreach (at, &tree->branches) {
		const struct branch *branch = list_entry(at, struct branch, link);

		if (!branch->gone && suptree_is_removed(branch->node))
			return true;
	}
	return false;
}

static void free_gone(struct tree *tree)
{
	list_foreach_safe (at, &tree->branches) {
		struct branch *branch = list_entry(at, struct branch, link);

		if (branch->gone)
			free_branch(branch);
	}
}

/* Once all that had to go is gone: their successors, then they are freed. */
static void succeed(void *arg)
{
	struct daemon *daemon = arg;

	if (daemon->phase == DAEMON_STOPPING || is_any_going(daemon->tree))
		return;
	take_up(daemon);
	free_gone(daemon->tree);
}

static void on_gone(void *arg)
{
	struct branch *branch = arg;
	struct daemon *daemon = branch->daemon;

	log_info("tree.removed", "node=%s", suptree_name(branch->node));
	branch->gone = true;
	loop_defer(daemon->loop, succeed, daemon);
}

/* It, or a group that it stands in, is no more what it was and where it was. */
static bool has_moved(const struct config *from, const struct config *to, const char *name)
{
	const struct config_child *was = find_child(from, name), *is = find_child(to, name);
	const char *group;

	if (!was || !is || was->kind != is->kind)
		return true;
	group = config_child_group(to, is);
	if (strcmp(config_child_group(from, was), group) != 0)
		return true;
	return strcmp(group, config_root(to)->name) != 0 && has_moved(from, to, group);
}

static void remove_moved(struct daemon *daemon, const struct config *from)
{
	list_foreach (at, &daemon->tree->branches) {
		struct branch *branch = list_entry(at, struct branch, link);

		if (!branch->gone && !suptree_is_removed(branch->node) &&
		    has_moved(from, daemon->config, suptree_name(branch->node)))
			suptree_remove(branch->node, on_gone, branch);
	}
}

static bool reload_pool(struct daemon *daemon, struct branch *branch, size_t index)
{
	const struct config_pool *config = &daemon->config->pools[index];

	pool_configure(branch->pool, config, config_find_group(daemon->config, config->group));
	pool_set_drain_timeout(branch->pool, daemon->config->daemon.drain_timeout_ms);
	if (!set_program(daemon, branch->pool, index))
		return false;
	if (pool_restart(branch->pool, 0) < 0)
		log_error("config.workers", "pool=%s reason=\"it cannot be restarted now\"", config->name);
	return true;
}

/* What was given up on, or had done its work, gets another chance with its new settings; so does the group
 * that was given up on with it. What an operator stopped stays so. */
static void revive(struct suptree_node *node)
{
	while (suptree_parent(node) && !suptree_is_held(node) &&
	       (suptree_state(node) == SUPTREE_PARKED || suptree_state(node) == SUPTREE_ENDED) &&
	       suptree_release(node) == -EAGAIN)
		node = suptree_parent(node);
}

static bool reload_branch(struct daemon *daemon, struct branch *branch, const struct config_child *child,
			  const struct config *from)
{
	struct suptree_group group;
	struct service_spec spec;

	switch (child->kind) {
	case CHILD_GROUP:
		group = group_of(&daemon->config->groups[child->index]);
		if (suptree_configure(branch->node, &group) < 0)
			log_error("config.limits", "group=%s reason=\"out of range; the old ones stay\"",
				  group.name);
		break;
	case CHILD_POOL:
		return reload_pool(daemon, branch, child->index);
	case CHILD_SERVICE:
		spec = service_spec_of(daemon, child->index);
		if (!section_changed(from, daemon->config, "service", spec.name))
			break;
		service_reconfigure(branch->service, &spec);
		revive(branch->node);
		break;
	}
	return false;
}

void tree_reload(struct daemon *daemon, const struct config *from, bool *ret_rolled)
{
	const struct suptree_group root = group_of(config_root(daemon->config));

	*ret_rolled = false;
	remove_moved(daemon, from);
	if (suptree_configure(suptree_root(daemon->tree->nodes), &root) < 0)
		log_error("config.limits", "group=root reason=\"out of range; the old ones stay\"");
	for (size_t i = 0; i < daemon->config->nchildren; i++) {
		const struct config_child *child = &daemon->config->children[i];
		struct branch *branch = find_branch(daemon->tree, config_child_name(daemon->config, child));

		if (branch && !suptree_is_removed(branch->node))
			*ret_rolled |= reload_branch(daemon, branch, child, from);
	}
	take_up(daemon);
}

/* ---- questions ---- */

struct suptree *tree_nodes(const struct tree *tree)
{
	return tree->nodes;
}

static const struct branch *branch_of(const struct tree *tree, const struct suptree_node *node)
{
	list_foreach (at, &tree->branches) {
		const struct branch *branch = list_entry(at, struct branch, link);

		if (!branch->gone && branch->node == node)
			return branch;
	}
	return NULL;
}

struct service *tree_service(const struct tree *tree, const struct suptree_node *node)
{
	const struct branch *branch = branch_of(tree, node);

	return branch ? branch->service : NULL;
}

struct pool *tree_pool(const struct tree *tree, const struct suptree_node *node)
{
	const struct branch *branch = branch_of(tree, node);

	return branch ? branch->pool : NULL;
}

struct pool *tree_pool_at(const struct tree *tree, size_t index)
{
	list_foreach (at, &tree->branches) {
		struct branch *branch = list_entry(at, struct branch, link);

		if (!branch->gone && branch->kind == CHILD_POOL && branch->pool && index-- == 0)
			return branch->pool;
	}
	return NULL;
}

struct pool *tree_find_pool(const struct tree *tree, const char *name)
{
	struct branch *branch = find_branch(tree, name);

	return branch ? branch->pool : NULL;
}

int tree_workers(const struct tree *tree)
{
	struct pool *pool;
	int count = 0;

	for (size_t i = 0; (pool = tree_pool_at(tree, i)); i++)
		count += pool_size(pool);
	return count;
}

int tree_serving(const struct tree *tree)
{
	struct pool *pool;
	int count = 0;

	for (size_t i = 0; (pool = tree_pool_at(tree, i)); i++)
		count += pool_serving(pool);
	return count;
}

const char *tree_degraded(const struct tree *tree)
{
	const char *why = suptree_degraded(tree->nodes);
	struct pool *pool;

	for (size_t i = 0; !why && (pool = tree_pool_at(tree, i)); i++)
		why = pool_degraded(pool);
	return why;
}
