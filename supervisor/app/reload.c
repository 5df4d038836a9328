/* Reload: the file, the models and the keys are read again; either all of it is good and takes effect, or
 * none. */

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "app/alerting.h"
#include "app/command.h"
#include "app/daemon_private.h"
#include "app/program.h"
#include "app/storage.h"
#include "app/tree.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "core/dispatch.h"
#include "core/healthcheck.h"
#include "core/provider_check.h"
#include "core/store.h"
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

static json_t *describe(const struct config *from, const struct config *to)
{
	struct changes changes = { .applied = json_array(), .needs_restart = json_array() };

	config_diff(from, to, on_change, &changes);
	return json_pack("{s:o, s:o}", "applied", changes.applied, "needsRestart", changes.needs_restart);
}

void daemon_configure_log(const struct config *config)
{
	const struct config_list *list = &config->daemon.log_levels;

	log_set_json(config->daemon.log_format == CONFIG_LOG_JSON);
	log_set_level((enum log_level)config->daemon.log_level);
	for (size_t i = 0; i < list->len; i++) {
		const char *subsystem;
		enum log_level level;

		/* They were checked when the file was read. */
		if (log_parse_subsystem_level(list->words[i], &subsystem, &level) == 0)
			(void)!log_set_subsystem_level(subsystem, level);
	}
}

/* Whether any worker is replaced by one that starts otherwise. */
static bool apply(struct daemon *daemon, struct fresh *fresh)
{
	struct fresh old = { daemon->config, daemon->models, daemon->program };
	bool rolled;

	daemon->config = fresh->config;
	daemon->models = fresh->models;
	daemon->program = fresh->program;
	/* Limits were checked when the file was read. */
	if (dispatch_configure(daemon->dispatch, daemon->config, daemon->models) < 0)
		log_error("config.limits", "reason=\"a limit is out of range; the old one stays\"");
	tree_reload(daemon, old.config, &rolled);
	healthcheck_set_program(daemon->health, program_health_argv(daemon->program),
				program_health_env(daemon->program),
				daemon_health_interval_ms(daemon->config));
	provider_checks_configure(daemon->checks, daemon->config);
	daemon_configure_log(daemon->config);
	alerting_configure(daemon->alerting, daemon->config);
	store_configure_spool(daemon->store, daemon->config->spool.max_bytes, daemon->config->spool.keep_ms);
	storage_keep(daemon);
	commands_reconfigure(daemon->commands);
	fresh_free(&old);
	return rolled;
}

int daemon_reload(struct daemon *daemon, char **ret_text)
{
	struct fresh fresh = { 0 };
	json_t *report;
	bool rolled;
	int r;

	if (daemon->phase == DAEMON_STOPPING) {
		*ret_text = mem_strdup("the daemon is stopping");
		return -EINVAL;
	}
	if (daemon->upgrade) {
		*ret_text = mem_strdup("an upgrade is under way");
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
	report = describe(daemon->config, fresh.config);
	rolled = apply(daemon, &fresh);
	(void)json_object_set_new(report, "workersRestarted", json_boolean(rolled));
	*ret_text = json_dumps(report, JSON_COMPACT);
	json_decref(report);
	log_info("config.reloaded", "workers_restarted=%s", rolled ? "yes" : "no");
	sdnotify_send("READY=1");
	return 0;
}
