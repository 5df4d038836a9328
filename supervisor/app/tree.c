#include "app/tree.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/command.h"
#include "app/daemon_private.h"
#include "app/program.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/embedded.h"
#include "core/pool.h"
#include "core/service.h"
#include "core/store.h"
#include "core/suptree.h"
#include "io/loop.h"

enum {
	STORE_MEMORY = 512 * 1024 * 1024, /* results held while Postgres is away */
	FLUSH_MS = 15000,		  /* for the last results, once the workers are gone */
	FLUSH_HURRY_MS = 1000,		  /* the same when told to stop a second time */
};

/* ---- the store, a leaf of the tree between its server and what needs it ---- */

static void start_store(void *leaf)
{
	struct daemon *daemon = leaf;

	store_start(daemon->store);
	/* It is up without its database: it holds what it is given, and says what it waits for. */
	suptree_up(daemon->store_node);
}

/* Everything that asks the database goes in one turn of the loop, then its server may. */
static void close_store(void *arg)
{
	struct daemon *daemon = arg;

	commands_free(&daemon->commands);
	dispatch_free(&daemon->dispatch);
	store_free(&daemon->store);
	suptree_down(daemon->store_node);
}

static void on_flushed(void *arg, bool flushed)
{
	struct daemon *daemon = arg;

	if (!flushed)
		log_error("daemon.unflushed", "reason=\"the database did not take all results in time\" "
					      "effect=\"those probes run again\"");
	loop_defer(daemon->loop, close_store, daemon);
}

static void stop_store(void *leaf, bool at_once)
{
	struct daemon *daemon = leaf;

	if (at_once)
		store_hurry_flush(daemon->store, FLUSH_HURRY_MS);
	else if (daemon->phase == DAEMON_STOPPING)
		store_flush(daemon->store, daemon->hurried ? FLUSH_HURRY_MS : FLUSH_MS, on_flushed, daemon);
	else
		suptree_down(daemon->store_node); /* its server is restarted: it waits that out by itself */
}

/* ---- services ---- */

static void start_service(void *leaf)
{
	service_start(leaf);
}

static void stop_service(void *leaf, bool at_once)
{
	(void)at_once; /* a second call is enough */
	service_stop(leaf);
}

static struct suptree_node *node_of(struct daemon *daemon, const struct service *service)
{
	return suptree_find(daemon->tree, service_name(service));
}

static void on_service_up(void *arg, struct service *service)
{
	suptree_up(node_of(arg, service));
}

static void on_service_down(void *arg, struct service *service)
{
	suptree_down(node_of(arg, service));
}

static void on_service_ended(void *arg, struct service *service, bool parked)
{
	suptree_ended(node_of(arg, service), parked);
}

static bool on_service_failed(void *arg, struct service *service, bool counts, int64_t delay_ms)
{
	return suptree_failed(node_of(arg, service), counts, delay_ms) == SUPTREE_YOURSELF;
}

/* ---- the pool ---- */

static void start_pool(void *leaf)
{
	pool_start(((struct daemon *)leaf)->pool);
}

static void stop_pool(void *leaf, bool at_once)
{
	struct daemon *daemon = leaf;
	int64_t grace_ms = daemon->phase == DAEMON_STOPPING ? daemon->config->daemon.drain_timeout_ms
							    : pool_config(daemon->pool)->shutdown_timeout_ms;

	pool_stop(daemon->pool, at_once ? 0 : grace_ms);
}

static void on_pool_up(void *arg)
{
	suptree_up(((struct daemon *)arg)->pool_node);
}

static void on_pool_stopped(void *arg)
{
	suptree_down(((struct daemon *)arg)->pool_node);
}

/* ---- between the parts ---- */

static void on_store_state(void *arg, bool ready, const char *why)
{
	struct daemon *daemon = arg;

	(void)why;
	dispatch_on_store_state(daemon->dispatch, ready);
}

static void on_pairs(void *arg, const struct store_pair *pairs, size_t count)
{
	dispatch_on_pairs(((struct daemon *)arg)->dispatch, pairs, count);
}

static void on_wake(void *arg)
{
	dispatch_on_work(((struct daemon *)arg)->dispatch);
}

static void on_run_finished(void *arg, const char *run_id, const char *status)
{
	(void)arg;
	log_info("run.finished", "run=%s status=%s", run_id, status);
}

static void on_room_in_store(void *arg)
{
	dispatch_on_work(((struct daemon *)arg)->dispatch);
}

static void on_room_in_pool(void *arg)
{
	dispatch_on_room(((struct daemon *)arg)->dispatch);
}

static void on_turn(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg)
{
	dispatch_on_turn(((struct daemon *)arg)->dispatch, worker, probe, msg);
}

static void on_result(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg)
{
	dispatch_on_result(((struct daemon *)arg)->dispatch, worker, probe, msg);
}

static void on_released(void *arg, struct worker *worker, struct probe *probe,
			const struct worker_death *death)
{
	dispatch_on_released(((struct daemon *)arg)->dispatch, worker, probe, death);
}

static void on_event(void *arg, const char *level, const char *kind, const char *subject, const char *data)
{
	struct daemon *daemon = arg;

	if (daemon->store)
		store_event(daemon->store, level, kind, NULL, 0, subject, data);
}

/* ---- making ---- */

static struct service_events service_events_of(struct daemon *daemon)
{
	return (struct service_events){
		.up = on_service_up,
		.down = on_service_down,
		.ended = on_service_ended,
		.failed = on_service_failed,
		.event = on_event,
		.arg = daemon,
	};
}

static int make_database(struct daemon *daemon, char **ret_error)
{
	const char *url = program_database_url(daemon->program);
	const struct embedded_options options = {
		.state_dir = daemon->config->daemon.state_dir,
		.run_dir = daemon->config->daemon.run_dir,
		.socket_mode = daemon->config->control.mode,
		.socket_group = daemon->config->control.group,
		.env = program_plain_env(daemon->program),
		.events = service_events_of(daemon),
	};
	int r;

	if (strcmp(url, "embedded") != 0) {
		daemon->database_url = mem_strdup(url);
		return 0;
	}
	r = embedded_new(daemon->loop, &options, &daemon->embedded, ret_error);
	if (r == 0)
		daemon->database_url = mem_strdup(embedded_url(daemon->embedded));
	return r;
}

static int make_store(struct daemon *daemon, const char *state_id, char **ret_error)
{
	AUTO(mem_free_str) char *sql_dir = mem_printf("%s/sql", daemon->paths.home);
	char host[256] = "localhost";
	const struct store_options options = {
		.url = daemon->database_url,
		.sql_dir = sql_dir,
		.node_name = host,
		.state_id = state_id,
		.memory_cap = STORE_MEMORY,
		.on_state = on_store_state,
		.on_pairs = on_pairs,
		.on_wake = on_wake,
		.on_run_finished = on_run_finished,
		.on_room = on_room_in_store,
		.arg = daemon,
	};
	int r;

	(void)gethostname(host, sizeof(host) - 1);
	r = store_new(daemon->loop, &options, &daemon->store);
	if (r < 0)
		*ret_error = mem_printf("[database] url: %s", strerror(-r));
	return r;
}

static int make_pool(struct daemon *daemon, char **ret_error)
{
	const struct pool_events events = {
		.up = on_pool_up,
		.room = on_room_in_pool,
		.turn = on_turn,
		.result = on_result,
		.released = on_released,
		.event = on_event,
		.stopped = on_pool_stopped,
		.arg = daemon,
	};
	int r = pool_new(daemon->loop, &daemon->config->pools[0], &daemon->config->root, &events,
			 &daemon->pool);

	if (r < 0) {
		*ret_error = mem_strdup("[group:root] intensity or period is out of range");
		return r;
	}
	pool_set_program(daemon->pool, program_worker_argv(daemon->program),
			 program_worker_env(daemon->program));
	pool_set_drain_timeout(daemon->pool, daemon->config->daemon.drain_timeout_ms);
	return 0;
}

static void make_services(struct daemon *daemon)
{
	const struct config *config = daemon->config;
	const struct service_events events = service_events_of(daemon);

	daemon->services = mem_array(config->nservices, sizeof(struct service *));
	daemon->service_count = config->nservices;
	for (size_t i = 0; i < config->nservices; i++) {
		const struct config_service *service = &config->services[i];
		const struct service_spec spec = {
			.name = service->name,
			.argv = program_service_argv(daemon->program, i),
			.env = program_service_env(daemon->program, i),
			.type = (enum restart_type)service->type,
			.ready_ms = service->ready_ms,
			.ready_timeout_ms = service->ready_timeout_ms,
			.shutdown_timeout_ms = service->shutdown_timeout_ms,
			.stop_signal = SIGTERM,
			.death_signal = service->death_signal,
			.restart_delay_ms = service->restart_delay_ms,
			.restart_delay_max_ms = service->restart_delay_max_ms,
			.stable_after_ms = service->stable_after_ms,
		};

		service_new(daemon->loop, &spec, &events, &daemon->services[i]);
	}
}

static void plant(struct daemon *daemon)
{
	struct suptree_node *root = suptree_root(daemon->tree);
	const struct suptree_leaf store = { .start = start_store, .stop = stop_store, .leaf = daemon };
	const struct suptree_leaf pool = { .start = start_pool, .stop = stop_pool, .leaf = daemon };
	struct suptree_leaf service = { .start = start_service, .stop = stop_service };
	struct suptree_node *node;

	if (daemon->embedded) {
		service.leaf = embedded_service(daemon->embedded);
		suptree_add_leaf(root, "postgres", &service, &node);
	}
	suptree_add_leaf(root, "store", &store, &daemon->store_node);
	for (size_t i = 0; i < daemon->service_count; i++) {
		service.leaf = daemon->services[i];
		suptree_add_leaf(root, service_name(daemon->services[i]), &service, &node);
	}
	suptree_add_leaf(root, pool_name(daemon->pool), &pool, &daemon->pool_node);
}

int tree_build(struct daemon *daemon, const char *state_id, char **ret_error)
{
	const struct config_group *config = &daemon->config->root;
	const struct suptree_group root = {
		.name = config->name,
		.strategy = (enum strategy)config->strategy,
		.intensity = config->intensity,
		.period_ms = config->period_ms,
	};
	const struct suptree_events events = {
		.up = daemon_is_up,
		.down = daemon_is_down,
		.event = on_event,
		.arg = daemon,
	};
	int r = suptree_new(daemon->loop, &root, &events, &daemon->tree);

	if (r < 0) {
		*ret_error = mem_strdup("[group:root] intensity or period is out of range");
		return r;
	}
	r = make_database(daemon, ret_error);
	if (r == 0)
		r = make_store(daemon, state_id, ret_error);
	if (r == 0)
		r = make_pool(daemon, ret_error);
	if (r < 0)
		return r;
	make_services(daemon);
	plant(daemon);
	return 0;
}

void tree_free(struct daemon *daemon)
{
	store_free(&daemon->store);
	pool_free(&daemon->pool);
	for (size_t i = 0; i < daemon->service_count; i++)
		service_free(&daemon->services[i]);
	mem_free(&daemon->services);
	embedded_free(&daemon->embedded);
	suptree_free(&daemon->tree);
	mem_free(&daemon->database_url);
}
