/* Reload: the file, the models and the keys are read again; either all of it is good and takes effect, or
 * none. */

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "app/command.h"
#include "app/daemon.h"
#include "app/program.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "core/dispatch.h"
#include "core/healthcheck.h"
#include "core/pool.h"
#include "io/sdnotify.h"

struct fresh {
	struct config *config;
	struct models *models;
	struct program *program;
};

static void fresh_free(struct fresh *fresh)
{
	config_free(&fresh->config);
	models_free(&fresh->models);
	program_free(&fresh->program);
}

static int read_all(const struct daemon *daemon, struct fresh *ret, char **ret_error)
{
	int r = config_load(daemon->paths.config, &ret->config, ret_error);

	if (r == 0)
		r = models_load(daemon->paths.models, &ret->models, ret_error);
	if (r == 0)
		r = program_new(ret->config, &daemon->paths, &ret->program, ret_error);
	return r;
}

struct changes {
	json_t *applied, *needs_restart;
};

static void on_change(void *arg, const char *section, const char *key, bool live)
{
	struct changes *changes = arg;
	json_t *list = live ? changes->applied : changes->needs_restart;

	(void)json_array_append_new(list, json_sprintf("[%s]%s%s", section, *key ? " " : "", key));
	if (live)
		log_info("config.applied", "section=%s key=%s", section, key);
	else
		log_warning("config.needs_restart", "section=%s key=%s", section, key);
}

static char *describe(const struct daemon *daemon, const struct fresh *fresh, bool workers_roll)
{
	struct changes changes = { .applied = json_array(), .needs_restart = json_array() };
	json_t *report;
	char *text;

	config_diff(daemon->config, fresh->config, on_change, &changes);
	report = json_pack("{s:o, s:o, s:b}", "applied", changes.applied, "needsRestart",
			   changes.needs_restart, "workersRestarted", workers_roll);
	text = json_dumps(report, JSON_COMPACT);
	json_decref(report);
	return text;
}

/* The services' command lines are borrowed from the program that the daemon started with. */
static void replace_program(struct daemon *daemon, struct program *fresh)
{
	if (!daemon->first_program)
		daemon->first_program = daemon->program;
	else
		program_free(&daemon->program);
	daemon->program = fresh;
}

static void apply(struct daemon *daemon, struct fresh *fresh)
{
	const struct config *config = fresh->config;
	struct config *old = daemon->config;
	struct models *old_models = daemon->models;

	daemon->config = fresh->config;
	daemon->models = fresh->models;
	/* Limits were checked when the file was read. */
	if (dispatch_configure(daemon->dispatch, config, fresh->models) < 0)
		log_error("config.limits", "reason=\"a limit is out of range; the old one stays\"");
	pool_set_drain_timeout(daemon->pool, config->daemon.drain_timeout_ms);
	pool_configure(daemon->pool, &config->pools[0], &config->root);
	pool_set_program(daemon->pool, program_worker_argv(fresh->program),
			 program_worker_env(fresh->program));
	healthcheck_set_program(daemon->health, program_health_argv(fresh->program),
				program_worker_env(fresh->program), config->pools[0].health_interval_ms);
	replace_program(daemon, fresh->program);
	log_set_level((enum log_level)config->daemon.log_level);
	commands_reconfigure(daemon->commands);
	models_free(&old_models);
	config_free(&old);
}

int daemon_reload(struct daemon *daemon, char **ret_text)
{
	struct fresh fresh = { 0 };
	bool workers_roll;
	int r;

	if (daemon->phase == DAEMON_STOPPING) {
		*ret_text = mem_strdup("the daemon is stopping");
		return -EINVAL;
	}
	sdnotify_reloading();
	r = read_all(daemon, &fresh, ret_text);
	if (r < 0) {
		fresh_free(&fresh);
		log_error("config.refused", "reason=\"%s\" effect=\"nothing has changed\"", *ret_text);
		sdnotify_send("READY=1");
		return -EINVAL;
	}
	workers_roll = !program_same_workers(daemon->program, fresh.program);
	*ret_text = describe(daemon, &fresh, workers_roll);
	apply(daemon, &fresh);
	if (workers_roll && pool_restart(daemon->pool, 0) < 0)
		log_error("config.workers", "reason=\"the pool cannot be restarted now\"");
	log_info("config.reloaded", "workers_restarted=%s", workers_roll ? "yes" : "no");
	sdnotify_send("READY=1");
	return 0;
}
