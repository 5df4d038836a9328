#include "app/storage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/alerting.h"
#include "app/command.h"
#include "app/daemon_private.h"
#include "app/metrics.h"
#include "app/program.h"
#include "app/takeover.h"
#include "app/tree.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/embedded.h"
#include "core/service.h"
#include "core/store.h"
#include "core/suptree.h"
#include "io/loop.h"

enum {
	FLUSH_MS = 15000,      /* for the last results, once the workers are gone */
	FLUSH_HURRY_MS = 1000, /* the same when told to stop a second time */
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

	metrics_close(daemon);
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
					      "effect=\"the spool keeps them for the next start\"");
	loop_defer(daemon->loop, close_store, daemon);
}

static void stop_store(void *leaf, bool at_once)
{
	struct daemon *daemon = leaf;

	if (at_once) {
		store_hurry_flush(daemon->store, FLUSH_HURRY_MS);
		return;
	}
	if (daemon->phase != DAEMON_STOPPING) {
		suptree_down(daemon->store_node); /* its server is restarted: it waits that out by itself */
		return;
	}
	dispatch_leave(daemon->dispatch);
	store_flush(daemon->store,
		    daemon->hurried || !store_is_ready(daemon->store) ? FLUSH_HURRY_MS : FLUSH_MS, on_flushed,
		    daemon);
}

/* ---- the embedded Postgres ---- */

static void start_postgres(void *leaf)
{
	service_start(embedded_service(((struct daemon *)leaf)->embedded));
}

static void forget_failures(void *leaf)
{
	service_forget_failures(embedded_service(((struct daemon *)leaf)->embedded));
}

static void stop_postgres(void *leaf, bool at_once)
{
	(void)at_once; /* a second call is enough */
	service_stop(embedded_service(((struct daemon *)leaf)->embedded));
}

static void on_postgres_up(void *arg, struct service *service)
{
	(void)service;
	suptree_up(((struct daemon *)arg)->postgres_node);
}

static void on_postgres_down(void *arg, struct service *service)
{
	(void)service;
	suptree_down(((struct daemon *)arg)->postgres_node);
}

static void on_postgres_ended(void *arg, struct service *service, bool parked)
{
	(void)service;
	suptree_ended(((struct daemon *)arg)->postgres_node, parked);
}

static bool on_postgres_failed(void *arg, struct service *service, bool counts, int64_t delay_ms)
{
	(void)service;
	return suptree_failed(((struct daemon *)arg)->postgres_node, counts, delay_ms) == SUPTREE_YOURSELF;
}

/* ---- between the parts ---- */

static void on_store_state(void *arg, bool ready, const char *why)
{
	struct daemon *daemon = arg;

	(void)why;
	if (ready)
		takeover_on_database(daemon);
	dispatch_on_store_state(daemon->dispatch, ready);
}

static void on_pairs(void *arg, const struct store_pair *pairs, size_t count)
{
	dispatch_on_pairs(((struct daemon *)arg)->dispatch, pairs, count);
	alerting_on_pairs(arg, pairs, count);
}

static void on_wake(void *arg)
{
	dispatch_on_work(((struct daemon *)arg)->dispatch);
}

static void on_run_finished(void *arg, const char *run_id, const char *status)
{
	log_info("run.finished", "run=%s status=%s", run_id, status);
	dispatch_on_run_finished(((struct daemon *)arg)->dispatch, status);
	alerting_on_run_finished(arg, run_id, status);
}

static void on_over_budget(void *arg, const char *run_id, const char *reason)
{
	alerting_on_over_budget(arg, run_id, reason);
}

static void on_trouble(void *arg)
{
	dispatch_on_work(((struct daemon *)arg)->dispatch);
}

static void on_today(void *arg, int64_t day, const struct store_spent *spent, size_t count)
{
	dispatch_on_today(((struct daemon *)arg)->dispatch, day, spent, count);
}

static void on_lost(void *arg, int64_t job_id)
{
	dispatch_on_lost(((struct daemon *)arg)->dispatch, job_id);
}

/* ---- making ---- */

static int make_database(struct daemon *daemon, char **ret_error)
{
	const char *url = program_database_url(daemon->program);
	const struct embedded_options options = {
		.state_dir = daemon->config->daemon.state_dir,
		.run_dir = daemon->config->daemon.run_dir,
		.socket_mode = daemon->config->control.mode,
		.socket_group = daemon->config->control.group,
		.env = program_plain_env(daemon->program),
		.events = { .up = on_postgres_up,
			    .down = on_postgres_down,
			    .ended = on_postgres_ended,
			    .failed = on_postgres_failed,
			    .event = daemon_event,
			    .arg = daemon },
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

void storage_keep(struct daemon *daemon)
{
	const struct config_retention *retention = &daemon->config->retention;
	const struct store_keeping keeping = {
		.events_ms = retention->events_ms,
		.content_ms = retention->content_ms,
		.outcomes_ms = retention->outcomes_ms,
	};

	store_keep(daemon->store, &keeping);
}

static int make_store(struct daemon *daemon, const char *state_id, char **ret_error)
{
	AUTO(mem_free_str) char *sql_dir = mem_printf("%s/sql", daemon->paths.home);
	AUTO(mem_free_str) char *spool_dir = mem_printf("%s/spool", daemon->config->daemon.state_dir);
	char host[256] = "localhost";
	const struct store_options options = {
		.url = daemon->database_url,
		.sql_dir = sql_dir,
		.node_name = host,
		.state_id = state_id,
		.spool_dir = spool_dir,
		.spool_max_bytes = daemon->config->spool.max_bytes,
		.spool_keep_ms = daemon->config->spool.keep_ms,
		.shared = daemon->config->database.shared,
		.rehearsal = daemon->rehearsal,
		.on_state = on_store_state,
		.on_pairs = on_pairs,
		.on_today = on_today,
		.on_wake = on_wake,
		.on_run_finished = on_run_finished,
		.on_over_budget = on_over_budget,
		.on_trouble = on_trouble,
		.on_lost = on_lost,
		.arg = daemon,
	};
	int r;

	(void)gethostname(host, sizeof(host) - 1);
	r = store_new(daemon->loop, &options, &daemon->store, ret_error);
	if (r == 0)
		storage_keep(daemon);
	return r;
}

int storage_make(struct daemon *daemon, const char *state_id, char **ret_error)
{
	int r = make_database(daemon, ret_error);

	return r < 0 ? r : make_store(daemon, state_id, ret_error);
}

void storage_plant(struct daemon *daemon, struct suptree_node *root)
{
	const struct suptree_leaf postgres = {
		.start = start_postgres, .stop = stop_postgres, .forget = forget_failures, .leaf = daemon
	};
	const struct suptree_leaf store = { .start = start_store, .stop = stop_store, .leaf = daemon };

	if (daemon->embedded)
		suptree_add_leaf(root, "postgres", &postgres, &daemon->postgres_node);
	suptree_add_leaf(root, "store", &store, &daemon->store_node);
}

void storage_free(struct daemon *daemon)
{
	store_free(&daemon->store);
	embedded_free(&daemon->embedded);
	mem_free(&daemon->database_url);
}
