#include "app/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/alerting.h"
#include "app/checks.h"
#include "app/command.h"
#include "app/daemon_private.h"
#include "app/hold.h"
#include "app/manager.h"
#include "app/metrics.h"
#include "app/program.h"
#include "app/tree.h"
#include "app/upgrade.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "core/dispatch.h"
#include "core/healthcheck.h"
#include "core/pool.h"
#include "core/provider_check.h"
#include "core/store.h"
#include "core/suptree.h"
#include "io/handover.h"
#include "io/loop.h"
#include "io/sdnotify.h"

/* ---- starting and stopping ---- */

void daemon_is_up(void *arg)
{
	struct daemon *daemon = arg;

	if (daemon->phase != DAEMON_STARTING)
		return;
	daemon->phase = DAEMON_RUNNING;
	log_info("daemon.running", "workers=%d", tree_workers(daemon->tree));
}

void daemon_is_down(void *arg)
{
	struct daemon *daemon = arg;

	log_info("daemon.stopped", "up_ms=%lld", (long long)(loop_now_ms(daemon->loop) - daemon->started_ms));
	loop_stop(daemon->loop);
}

void daemon_shutdown(struct daemon *daemon)
{
	int64_t grace_ms = daemon->config->daemon.drain_timeout_ms;

	if (daemon->phase == DAEMON_STOPPING) {
		log_warning("daemon.hurry", "reason=\"told to stop again\"");
		daemon->hurried = true;
	} else {
		upgrade_cancel(daemon, "the daemon is stopping");
		log_info("daemon.stopping", "held=%d drain_ms=%lld", dispatch_held(daemon->dispatch),
			 (long long)grace_ms);
		sdnotify_send("STOPPING=1");
		daemon->phase = DAEMON_STOPPING;
		manager_tell(daemon->manager);
		dispatch_stop(daemon->dispatch);
	}
	suptree_stop(tree_nodes(daemon->tree));
}

/* The first pool that will not start in an unhealthy environment; NULL when there is none. */
static const struct config_pool *demanding_pool(const struct config *config)
{
	for (size_t i = 0; i < config->npools; i++)
		if (config->pools[i].require_healthy)
			return &config->pools[i];
	return NULL;
}

static void on_first_check(void *arg)
{
	struct daemon *daemon = arg;
	const struct config_pool *pool = demanding_pool(daemon->config);
	struct healthcheck_verdict verdict;

	healthcheck_verdict(daemon->health, &verdict);
	if (daemon->phase != DAEMON_STARTING || !pool)
		return;
	if (verdict.healthy) {
		suptree_start(tree_nodes(daemon->tree));
		return;
	}
	log_error("daemon.refused", "reason=\"%s\" rule=\"[pool:%s] require_healthy = yes\"", verdict.reason,
		  pool->name);
	daemon->exit_code = DAEMON_EXIT_UNHEALTHY;
	daemon_shutdown(daemon);
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
	sdnotify_send("READY=1");
	/* With require_healthy the verdict decides whether anything is started at all. */
	healthcheck_run(daemon->health, on_first_check, daemon);
	if (!demanding_pool(daemon->config))
		suptree_start(tree_nodes(daemon->tree));
}

void daemon_event(void *arg, const char *level, const char *kind, const char *subject, const char *data)
{
	struct daemon *daemon = arg;

	if (daemon->store)
		store_event(daemon->store, level, kind, NULL, 0, subject, data);
}

/* ---- making ---- */

/* One environment serves all pools: the most careful of them sets the pace. */
int64_t daemon_health_interval_ms(const struct config *config)
{
	int64_t least = config->pools[0].health_interval_ms;

	for (size_t i = 1; i < config->npools; i++)
		if (config->pools[i].health_interval_ms < least)
			least = config->pools[i].health_interval_ms;
	return least;
}

static void make_healthcheck(struct daemon *daemon)
{
	const struct healthcheck_options check = {
		.argv = program_health_argv(daemon->program),
		.env = program_health_env(daemon->program),
		.interval_ms = daemon_health_interval_ms(daemon->config),
		.checked = on_checked,
		.arg = daemon,
	};

	healthcheck_new(daemon->loop, &check, &daemon->health);
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
	daemon->state_id = start->state_id;
	daemon->argv = start->argv;
	daemon->rehearsal = start->handover && handover_is_rehearsal(start->handover);
	daemon->started_ms = loop_now_ms(loop);
	daemon->started_wall_ms = clock_wall_ms();
	r = tree_build(daemon, daemon->state_id, ret_error);
	if (r == 0) {
		make_healthcheck(daemon);
		r = dispatch_new(loop, daemon->config, daemon->models, daemon->store, &daemon->dispatch);
		if (r < 0)
			*ret_error = mem_strdup("[provider:*] a limit is out of range");
	}
	if (r == 0) {
		r = checks_make(daemon);
		if (r < 0)
			*ret_error = mem_strdup("libcurl cannot be set up");
	}
	if (r == 0 && !daemon->rehearsal) {
		r = alerting_new(daemon, &daemon->alerting);
		if (r < 0)
			*ret_error = mem_strdup("alerts: no thread, or libcurl cannot be set up");
	}
	if (r == 0) {
		tree_route(daemon);
		manager_new(daemon, &daemon->manager);
		r = commands_new(daemon, start->handover, &daemon->commands, ret_error);
	}
	if (r == 0)
		r = metrics_open(daemon, start->handover, ret_error);
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
	alerting_free(&dead->alerting);
	metrics_close(dead);
	if (dead->commands)
		commands_free(&dead->commands);
	hold_free(&dead->hold);
	manager_free(&dead->manager);
	provider_checks_free(&dead->checks);
	dispatch_free(&dead->dispatch);
	healthcheck_free(&dead->health);
	loop_timer_free(&dead->upgraded.deaf_timer);
	tree_free(dead);
	program_free(&dead->program);
	models_free(&dead->models);
	config_free(&dead->config);
	paths_free(&dead->paths);
	free(dead->state_id);
	free(dead->upgraded.from);
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
