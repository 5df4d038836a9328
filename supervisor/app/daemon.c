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
#include "app/tree.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "core/dispatch.h"
#include "core/healthcheck.h"
#include "core/pool.h"
#include "core/store.h"
#include "core/suptree.h"
#include "io/loop.h"
#include "io/sdnotify.h"

/* ---- starting and stopping ---- */

void daemon_is_up(void *arg)
{
	struct daemon *daemon = arg;

	if (daemon->phase != DAEMON_STARTING)
		return;
	daemon->phase = DAEMON_RUNNING;
	log_info("daemon.running", "workers=%d", pool_size(daemon->pool));
	sdnotify_send("STATUS=Running");
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
		log_info("daemon.stopping", "held=%d drain_ms=%lld", dispatch_held(daemon->dispatch),
			 (long long)grace_ms);
		sdnotify_send("STOPPING=1\nSTATUS=Stopping: conversations under way finish");
		daemon->phase = DAEMON_STOPPING;
		dispatch_stop(daemon->dispatch);
	}
	suptree_stop(daemon->tree);
}

static void on_first_check(void *arg)
{
	struct daemon *daemon = arg;
	const struct config_pool *pool = &daemon->config->pools[0];
	struct healthcheck_verdict verdict;

	healthcheck_verdict(daemon->health, &verdict);
	if (daemon->phase != DAEMON_STARTING || !pool->require_healthy)
		return;
	if (verdict.healthy) {
		suptree_start(daemon->tree);
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
	sdnotify_send("READY=1\nSTATUS=Starting");
	/* With require_healthy the verdict decides whether anything is started at all. */
	healthcheck_run(daemon->health, on_first_check, daemon);
	if (!daemon->config->pools[0].require_healthy)
		suptree_start(daemon->tree);
}

/* ---- making ---- */

static void make_healthcheck(struct daemon *daemon)
{
	const struct healthcheck_options check = {
		.argv = program_health_argv(daemon->program),
		.env = program_worker_env(daemon->program),
		.interval_ms = daemon->config->pools[0].health_interval_ms,
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
	daemon->started_ms = loop_now_ms(loop);
	daemon->started_wall_ms = clock_wall_ms();
	r = tree_build(daemon, start->state_id, ret_error);
	if (r == 0) {
		make_healthcheck(daemon);
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
	healthcheck_free(&dead->health);
	tree_free(dead);
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
