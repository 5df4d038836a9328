/* config.*: what is in effect, whether a file would do, and how to reach the database. */

#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/embedded.h"
#include "io/db_environment.h"

struct shown {
	json_t *items;
	const char *section; /* NULL = all */
	bool changed;
};

static void show_item(void *arg, const struct config_item *item)
{
	struct shown *shown = arg;

	if ((shown->section && strcmp(shown->section, item->section) != 0) ||
	    (shown->changed && item->line == 0))
		return;
	json_array_append_new(shown->items, json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:s}", "section",
						      item->section, "key", item->key, "value", item->value,
						      "source", item->line ? "file" : "default", "line",
						      item->line, "live", item->live, "help", item->help));
}

void cmd_config_show(struct call *call, const json_t *args)
{
	const struct config *config = call_daemon(call)->config;
	struct shown shown = { .items = json_array(),
			       .section = arg_text(args, "section"),
			       .changed = arg_bool(args, "changed") };

	config_walk(config, show_item, &shown);
	if (shown.section && !shown.changed && json_array_size(shown.items) == 0) {
		json_decref(shown.items);
		call_error(call, CALL_NOT_FOUND, "there is no section [%s]; `config show` lists them",
			   shown.section);
		return;
	}
	call_ok_json(call, json_pack("{s:s, s:o}", "path", config->path, "items", shown.items));
}

static void add_change(void *arg, const char *section, const char *key, bool live)
{
	json_array_append_new(arg,
			      json_pack("{s:s, s:s, s:b}", "section", section, "key", key, "live", live));
}

void cmd_config_check(struct call *call, const json_t *args)
{
	const struct daemon *daemon = call_daemon(call);
	const json_t *text = json_object_get(args, "text");
	const char *name = arg_text(args, "name");
	AUTO(config_free) struct config *config = NULL;
	AUTO(mem_free_str) char *error = NULL;
	json_t *changes;
	int r;

	if (json_is_string(text))
		r = config_load_text(name ? name : "config", json_string_value(text),
				     json_string_length(text), &config, &error);
	else
		r = config_load(daemon->paths.config, &config, &error);
	if (r < 0) {
		call_ok_json(call, json_pack("{s:b, s:s}", "valid", false, "error", error));
		return;
	}
	changes = json_array();
	config_diff(daemon->config, config, add_change, changes);
	call_ok_json(call, json_pack("{s:b, s:o}", "valid", true, "changes", changes));
}

static void add_variable(void *arg, const char *variable, const char *value)
{
	json_object_set_new(arg, variable, json_string(value));
}

void cmd_config_database(struct call *call, const json_t *args)
{
	const struct daemon *daemon = call_daemon(call);
	json_t *environment;

	(void)args;
	if (!daemon->database_url) {
		call_error(call, CALL_UNAVAILABLE, "the embedded database has not started yet");
		return;
	}
	environment = json_object();
	if (db_environment(daemon->database_url, add_variable, environment) < 0) {
		json_decref(environment);
		call_error(call, CALL_INTERNAL, "the database's URL cannot be read");
		return;
	}
	call_ok_json(call, json_pack("{s:o, s:b, s:s?}", "environment", environment, "embedded",
				     daemon->embedded != NULL, "programs",
				     daemon->embedded ? embedded_bin_dir(daemon->embedded) : NULL));
}
