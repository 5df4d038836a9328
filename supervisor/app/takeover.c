#include "app/takeover.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "app/command.h"
#include "app/daemon_private.h"
#include "app/metrics.h"
#include "app/program.h"
#include "app/state.h"
#include "app/tree.h"
#include "app/upgrade.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/embedded.h"
#include "core/healthcheck.h"
#include "core/pool.h"
#include "core/service.h"
#include "core/store.h"
#include "core/suptree.h"
#include "io/cgroup.h"
#include "io/child.h"
#include "io/guard.h"
#include "io/handover.h"
#include "io/loop.h"

enum { DEAF_MS = 3000 };

/* ---- configuration ---- */

/* Of one key, in the form that `config show` has: without secrets. */
struct item {
	char *section, *key, *value;
	bool given; /* by the file, be it at its default */
};

struct items {
	struct item *at;
	size_t count;
};

static void add_item(void *arg, const struct config_item *item)
{
	struct items *items = arg;

	items->at = mem_resize(items->at, items->count + 1, sizeof(*items->at));
	items->at[items->count++] = (struct item){
		.section = mem_strdup(item->section),
		.key = mem_strdup(item->key),
		.value = mem_strdup(item->value),
		.given = item->line > 0,
	};
}

static void free_items(struct items *items)
{
	for (size_t i = 0; i < items->count; i++) {
		free(items->at[i].section);
		free(items->at[i].key);
		free(items->at[i].value);
	}
	free(items->at);
}

static void pass_items(struct handover *h, struct items *items)
{
	size_t count = handover_begin_list(h, "items", items->count);

	if (handover_is_read(h)) {
		items->at = mem_array(count, sizeof(*items->at));
		items->count = count;
	}
	for (size_t i = 0; i < count; i++) {
		struct item *item = &items->at[i];

		handover_begin(h, NULL);
		handover_text(h, "section", &item->section);
		handover_text(h, "key", &item->key);
		handover_text(h, "value", &item->value);
		handover_bool(h, "given", &item->given);
		handover_end(h);
	}
	handover_end(h);
}

static bool is_same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static const struct item *find_item(const struct items *items, const struct item *like)
{
	for (size_t i = 0; i < items->count; i++)
		if (is_same(items->at[i].section, like->section) && is_same(items->at[i].key, like->key))
			return &items->at[i];
	return NULL;
}

static bool has_section(const struct items *items, const char *section)
{
	for (size_t i = 0; i < items->count; i++)
		if (is_same(items->at[i].section, section))
			return true;
	return false;
}

/* A key that only one version has is no change, as long as it is not about a section that only one has. Nor
 * is a default that differs between versions. */
static bool has_changed(const struct items *others, const struct item *item)
{
	const struct item *other = find_item(others, item);

	if (!other)
		return item->given && !has_section(others, item->section);
	return (item->given || other->given) && !is_same(item->value, other->value);
}

/* The first of `items` that is not so among `others`, as "[section] key"; NULL when there is none. */
static char *first_change(const struct items *items, const struct items *others)
{
	for (size_t i = 0; i < items->count; i++)
		if (has_changed(others, &items->at[i]))
			return mem_printf("[%s] %s", items->at[i].section, items->at[i].key);
	return NULL;
}

/* FNV-1a, from here on: tells texts apart without showing them. */
static const int64_t no_texts = INT64_C(-3750763034362895579);

static int64_t mix(int64_t digest, const char *text)
{
	uint64_t mixed = (uint64_t)digest;

	for (; *text; text++)
		mixed = (mixed ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return (int64_t)(mixed ^ 0xff);
}

static int64_t keys_digest(const struct config *config, const struct program *program)
{
	int64_t digest = no_texts;

	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		const char *variable = config->providers[i].key_env;
		const char *value = variable[0] ? program_variable(program, variable) : NULL;

		digest = mix(mix(digest, variable), value ? value : "");
	}
	return digest;
}

/* What a reload would find changed; NULL = nothing. `h` is in the object of the configuration. */
static char *find_change(struct handover *h, const struct config *config, const struct program *program,
			 const struct items *items)
{
	struct items former = { 0 };
	int64_t keys = 0, url = 0;
	char *change;

	pass_items(h, &former);
	handover_number(h, "keys", &keys);
	handover_number(h, "databaseUrl", &url);
	change = first_change(items, &former);
	if (!change)
		change = first_change(&former, items);
	if (!change && keys != keys_digest(config, program))
		change = mem_strdup("a provider's key");
	if (!change && url != mix(no_texts, program_database_url(program)))
		change = mem_strdup("the database's URL");
	free_items(&former);
	return change;
}

char *takeover_check_config(struct handover *h, const struct config *config, const struct program *program)
{
	struct items items = { 0 };
	AUTO(mem_free_str) char *change = NULL;

	config_walk(config, add_item, &items);
	handover_begin(h, "config");
	change = find_change(h, config, program, &items);
	handover_end(h);
	free_items(&items);
	if (handover_error(h))
		return mem_strdup(handover_error(h));
	return change ? mem_printf("%s has changed since it was read: an upgrade changes the program alone; "
				   "first "
				   "`proctorctl reload`, or restart where that is not enough",
				   change)
		      : NULL;
}

static void write_config(const struct daemon *daemon, struct handover *h)
{
	int64_t keys = keys_digest(daemon->config, daemon->program);
	int64_t url = mix(no_texts, program_database_url(daemon->program));
	struct items items = { 0 };

	config_walk(daemon->config, add_item, &items);
	handover_begin(h, "config");
	pass_items(h, &items);
	handover_number(h, "keys", &keys);
	handover_number(h, "databaseUrl", &url);
	handover_end(h);
	free_items(&items);
}

/* ---- the process ---- */

static void pass_levels(struct handover *h)
{
	handover_begin(h, "logLevels");
	for (size_t i = 0; log_subsystems[i]; i++) {
		enum log_level level = LOG_LEVEL_INFO;

		if (!handover_has(h, log_subsystems[i]) ||
		    log_get_subsystem_level(log_subsystems[i], &level) < 0)
			continue;
		handover_enum(h, log_subsystems[i], LOG_LEVEL_DEBUG, &level);
		if (handover_is_read(h) && !handover_is_rehearsal(h))
			(void)!log_set_subsystem_level(log_subsystems[i], level);
	}
	handover_end(h);
}

void takeover_pass_process(struct handover *h, char **state_id)
{
	enum log_level level = log_get_level();

	handover_begin(h, "process");
	handover_text(h, "stateId", state_id);
	state_pass(h, "lock");
	guard_pass(h, "guard");
	cgroup_pass_ours(h, "cgroup");
	child_pass_all(h);
	handover_enum(h, "logLevel", LOG_LEVEL_DEBUG, &level);
	if (handover_is_read(h) && !handover_is_rehearsal(h))
		log_set_level(level);
	if (handover_has(h, "logLevels"))
		pass_levels(h);
	handover_end(h);
}

/* ---- the daemon ---- */

static void pass_record(struct daemon *daemon, struct handover *h)
{
	bool had_database = store_is_ready(daemon->store);

	handover_begin(h, "daemon");
	handover_enum(h, "phase", DAEMON_RUNNING, &daemon->phase);
	handover_bool(h, "wasHealthy", &daemon->was_healthy);
	handover_time(h, "startedMs", &daemon->started_ms);
	handover_time(h, "startedWallMs", &daemon->started_wall_ms);
	handover_bool(h, "hadDatabase", &had_database);
	upgrade_pass(daemon, h);
	handover_end(h);
	daemon->upgraded.had_database = had_database;
}

static void pass_leaf(struct daemon *daemon, struct suptree_node *node, struct handover *h)
{
	struct service *service = node == daemon->postgres_node ? embedded_service(daemon->embedded)
								: tree_service(daemon->tree, node);
	struct pool *pool = tree_pool(daemon->tree, node);

	if ((!service && !pool) || !handover_has(h, suptree_name(node)))
		return;
	handover_begin(h, suptree_name(node));
	if (service)
		service_pass(service, h);
	else
		pool_pass(pool, h, dispatch_probes(daemon->dispatch));
	handover_end(h);
}

static void pass_leaves(struct daemon *daemon, struct suptree_node *node, struct handover *h)
{
	struct suptree_node *child;

	if (!suptree_is_group(node))
		pass_leaf(daemon, node, h);
	for (size_t i = 0; (child = suptree_child(node, i)); i++)
		pass_leaves(daemon, child, h);
}

void takeover_pass(struct daemon *daemon, struct handover *h)
{
	if (!handover_is_read(h)) {
		takeover_pass_process(h, &daemon->state_id);
		write_config(daemon, h);
	}
	pass_record(daemon, h);
	handover_begin(h, "store");
	store_pass(daemon->store, h);
	handover_end(h);
	handover_begin(h, "tree");
	suptree_pass(tree_nodes(daemon->tree), h);
	handover_end(h);
	/* Workers hold probes, and lanes those that no worker has. */
	handover_begin(h, "work");
	dispatch_pass_probes(daemon->dispatch, h);
	handover_end(h);
	handover_begin(h, "leaves");
	pass_leaves(daemon, suptree_root(tree_nodes(daemon->tree)), h);
	handover_end(h);
	dispatch_pass_lanes(daemon->dispatch, h);
	handover_begin(h, "health");
	healthcheck_pass(daemon->health, h);
	handover_end(h);
	commands_pass(daemon->commands, h);
	if (!handover_is_read(h))
		metrics_pass(daemon, h);
}

static void listen_again(void *arg)
{
	struct daemon *daemon = arg;

	loop_timer_free(&daemon->upgraded.deaf_timer);
	if (daemon->commands)
		commands_hold_back(daemon->commands, false);
}

void takeover_on_database(struct daemon *daemon)
{
	if (daemon->upgraded.deaf_timer)
		listen_again(daemon);
}

/* Connecting takes some milliseconds, in which each request would be refused that needs the database. */
static void wait_for_database(struct daemon *daemon)
{
	if (!daemon->upgraded.had_database)
		return;
	commands_hold_back(daemon->commands, true);
	loop_timer_new(daemon->loop, listen_again, daemon, &daemon->upgraded.deaf_timer);
	loop_timer_start(daemon->upgraded.deaf_timer, DEAF_MS);
}

void takeover_resume(struct daemon *daemon)
{
	struct pool *pool;

	child_end_rest();
	if (suptree_state(daemon->store_node) == SUPTREE_UP)
		store_start(daemon->store);
	wait_for_database(daemon);
	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++)
		pool_resume(pool);
	suptree_start_added(tree_nodes(daemon->tree));
	dispatch_on_work(daemon->dispatch);
	upgrade_finish(daemon);
}
