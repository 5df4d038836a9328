#include "app/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/command.h"
#include "app/daemon_private.h"
#include "app/program.h"
#include "app/state.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "core/dispatch.h"
#include "core/embedded.h"
#include "core/healthcheck.h"
#include "core/pool.h"
#include "core/service.h"
#include "core/store.h"
#include "io/child.h"
#include "io/loop.h"
#include "io/sdnotify.h"

enum {
	STORE_MEMORY = 512 * 1024 * 1024, /* results held while Postgres is away */
	FLUSH_MS = 15000,		  /* for the last results, once the workers are gone */
};

/* ---- stopping ---- */

static void stop_services(struct daemon *daemon);

/* Everything that asks the database goes in one turn of the loop, then its server may. */
static void close_store(void *arg)
{
	struct daemon *daemon = arg;

	commands_free(&daemon->commands);
	dispatch_free(&daemon->dispatch);
	store_free(&daemon->store);
	stop_services(daemon);
}

static void on_flushed(void *arg, bool flushed)
{
	struct daemon *daemon = arg;

	if (!flushed)
		log_error("daemon.unflushed",
			  "reason=\"the database did not take all results in %d ms\" "
			  "effect=\"those probes run again\"",
			  FLUSH_MS);
	loop_defer(daemon->loop, close_store, daemon);
}

static void on_pool_stopped(void *arg)
{
	struct daemon *daemon = arg;

	log_info("daemon.workers_gone", "held=%d", dispatch_held(daemon->dispatch));
	store_flush(daemon->store, FLUSH_MS, on_flushed, daemon);
}

static void on_service_stopped(void *arg, struct service *service)
{
	(void)service;
	if (((struct daemon *)arg)->phase == DAEMON_STOPPING)
		stop_services(arg);
}

/* In reverse, one after the other, the embedded Postgres last. */
static void stop_services(struct daemon *daemon)
{
	if (daemon->store)
		return; /* not their turn yet */
	for (size_t i = daemon->service_count; i > 0; i--) {
		struct service *service = daemon->services[i - 1];

		if (service_pid(service) || service_state(service) == SERVICE_PREPARING) {
			if (!service_is_stopping(service))
				service_stop(service);
			return;
		}
	}
	if (daemon->embedded) {
		struct service *service = embedded_service(daemon->embedded);

		if (service_pid(service) || service_state(service) == SERVICE_PREPARING) {
			if (!service_is_stopping(service))
				service_stop(service);
			return;
		}
	}
	log_info("daemon.stopped", "up_ms=%lld", (long long)(loop_now_ms(daemon->loop) - daemon->started_ms));
	loop_stop(daemon->loop);
}

static void hurry(struct daemon *daemon)
{
	pool_stop(daemon->pool, 0);
	for (size_t i = 0; i < daemon->service_count; i++)
		if (service_is_stopping(daemon->services[i]))
			service_stop(daemon->services[i]);
	if (daemon->embedded && service_is_stopping(embedded_service(daemon->embedded)))
		service_stop(embedded_service(daemon->embedded));
}

void daemon_shutdown(struct daemon *daemon)
{
	int64_t grace_ms = daemon->config->daemon.drain_timeout_ms;

	if (daemon->phase == DAEMON_STOPPING) {
		log_warning("daemon.hurry", "reason=\"told to stop again\"");
		hurry(daemon);
		return;
	}
	log_info("daemon.stopping", "held=%d drain_ms=%lld", dispatch_held(daemon->dispatch),
		 (long long)grace_ms);
	sdnotify_send("STOPPING=1\nSTATUS=Stopping: conversations under way finish");
	daemon->phase = DAEMON_STOPPING;
	dispatch_stop(daemon->dispatch);
	pool_stop(daemon->pool, grace_ms);
}

/* ---- starting ---- */

static void start_next_service(struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->service_count; i++) {
		enum service_state state = service_state(daemon->services[i]);

		if (state == SERVICE_UP || state == SERVICE_PARKED)
			continue;
		service_start(daemon->services[i]); /* no-op while it is on its way */
		return;
	}
	if (daemon->phase != DAEMON_STARTING)
		return;
	daemon->phase = DAEMON_RUNNING;
	log_info("daemon.running", "workers=%d", pool_size(daemon->pool));
	sdnotify_send("STATUS=Running");
	pool_start(daemon->pool);
}

static void on_service_ready(void *arg, struct service *service)
{
	struct daemon *daemon = arg;

	(void)service;
	if (daemon->phase == DAEMON_STARTING)
		start_next_service(daemon);
}

static void on_embedded_ready(void *arg, struct service *service)
{
	struct daemon *daemon = arg;

	(void)service;
	store_start(daemon->store);
}

static void on_first_check(void *arg)
{
	struct daemon *daemon = arg;
	struct healthcheck_verdict verdict;

	if (daemon->phase != DAEMON_STARTING)
		return;
	healthcheck_verdict(daemon->health, &verdict);
	if (!verdict.healthy && daemon->config->pools[0].require_healthy) {
		log_error("daemon.refused", "reason=\"%s\" rule=\"[pool:%s] require_healthy = yes\"",
			  verdict.reason, daemon->config->pools[0].name);
		daemon->exit_code = DAEMON_EXIT_UNHEALTHY;
		daemon_shutdown(daemon);
		return;
	}
	start_next_service(daemon);
}

static void on_checked(void *arg, bool healthy)
{
	struct daemon *daemon = arg;
	struct healthcheck_verdict verdict;

	healthcheck_verdict(daemon->health, &verdict);
	if (!healthy && daemon->was_healthy)
		store_event(daemon->store, "error", "health.bad", NULL, 0, "python", verdict.report);
	daemon->was_healthy = healthy;
}

void daemon_start(struct daemon *daemon)
{
	sdnotify_send("READY=1\nSTATUS=Starting");
	if (daemon->embedded)
		service_start(embedded_service(daemon->embedded));
	else
		store_start(daemon->store);
	/* With require_healthy the verdict decides whether there will be workers at all. */
	healthcheck_run(daemon->health, on_first_check, daemon);
	if (!daemon->config->pools[0].require_healthy)
		start_next_service(daemon);
}

/* ---- glue ---- */

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

static int make_database(struct daemon *daemon, char **ret_error)
{
	const char *url = program_database_url(daemon->program);
	const struct embedded_options options = {
		.state_dir = daemon->config->daemon.state_dir,
		.run_dir = daemon->config->daemon.run_dir,
		.socket_mode = daemon->config->control.mode,
		.socket_group = daemon->config->control.group,
		.env = program_plain_env(daemon->program),
		.events = { .ready = on_embedded_ready,
			    .stopped = on_service_stopped,
			    .event = on_event,
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
		.room = on_room_in_pool,
		.turn = on_turn,
		.result = on_result,
		.released = on_released,
		.event = on_event,
		.stopped = on_pool_stopped,
		.arg = daemon,
	};
	const struct healthcheck_options check = {
		.argv = program_health_argv(daemon->program),
		.env = program_worker_env(daemon->program),
		.interval_ms = daemon->config->pools[0].health_interval_ms,
		.checked = on_checked,
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
	healthcheck_new(daemon->loop, &check, &daemon->health);
	return 0;
}

static void make_services(struct daemon *daemon)
{
	const struct config *config = daemon->config;
	const struct service_events events = {
		.ready = on_service_ready,
		.stopped = on_service_stopped,
		.event = on_event,
		.arg = daemon,
	};

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

int daemon_new(struct loop *loop, const struct daemon_start *start, struct daemon **ret, char **ret_error)
{
	struct daemon *daemon = mem_alloc(sizeof(*daemon));
	int r;

	daemon->loop = loop;
	daemon->config = start->config;
	daemon->models = start->models;
	daemon->program = start->program;
	daemon->paths = start->paths;
	daemon->started_ms = loop_now_ms(loop);
	daemon->started_wall_ms = clock_wall_ms();
	r = make_database(daemon, ret_error);
	if (r == 0)
		r = make_store(daemon, start->state_id, ret_error);
	if (r == 0)
		r = make_pool(daemon, ret_error);
	if (r == 0) {
		make_services(daemon);
		r = dispatch_new(loop, daemon->config, daemon->models, daemon->store, daemon->pool,
				 &daemon->dispatch);
		if (r < 0)
			*ret_error = mem_strdup("[provider:*] a limit is out of range");
	}
	if (r == 0)
		r = commands_new(daemon, &daemon->commands, ret_error);
	if (r < 0) {
		daemon_free(&daemon);
		return r;
	}
	*ret = daemon;
	return 0;
}

void paths_free(struct paths *paths)
{
	free(paths->home);
	free(paths->config);
	free(paths->models);
	free(paths->socket);
	*paths = (struct paths){ 0 };
}

void daemon_free(struct daemon **daemon)
{
	struct daemon *dead = *daemon;

	if (!dead)
		return;
	if (dead->commands)
		commands_free(&dead->commands);
	dispatch_free(&dead->dispatch);
	store_free(&dead->store);
	pool_free(&dead->pool);
	healthcheck_free(&dead->health);
	for (size_t i = 0; i < dead->service_count; i++)
		service_free(&dead->services[i]);
	free(dead->services);
	if (dead->embedded)
		embedded_free(&dead->embedded);
	free(dead->database_url);
	program_free(&dead->program);
	program_free(&dead->first_program);
	models_free(&dead->models);
	config_free(&dead->config);
	paths_free(&dead->paths);
	mem_free(daemon);
}

const char *daemon_phase_name(const struct daemon *daemon)
{
	static const char *const phase_names[] = { "starting", "running", "stopping" };

	return phase_names[daemon->phase];
}

bool daemon_has_variable(const struct daemon *daemon, const char *variable)
{
	return program_variable(daemon->program, variable) != NULL;
}
