#include "ctl/actions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/help.h"
#include "ctl/reference.h"
#include "ctl/table.h"
#include "ctl/view.h"

enum { CONFIG_FILE_MAX = 1024 * 1024 };

/* ---- run start ---- */

static void print_warnings(const json_t *warnings)
{
	for (size_t i = 0; i < json_array_size(warnings); i++)
		(void)fprintf(stderr, "! %s\n", json_string_value(json_array_get(warnings, i)));
}

static int show_estimate(struct ctl *ctl)
{
	const struct table_style style = table_style_of(ctl->color, ctl->terminal);
	struct conn_reply reply;
	int code = ctl_ask(ctl, "run.start", ctl->parsed->args, &reply);

	if (code != CTL_OK)
		return code;
	print_warnings(json_object_get(reply.data, "warnings"));
	if (ctl->json)
		ctl_print_json(ctl, &reply);
	else
		view_estimate(&style, reply.data);
	conn_reply_clear(&reply);
	return CTL_OK;
}

int action_run_start(struct ctl *ctl)
{
	struct conn_reply reply;
	AUTO(mem_free_str) char *id = NULL;
	bool watch = json_is_true(json_object_get(ctl->parsed->own, "watch"));
	int code;

	if (json_is_true(json_object_get(ctl->parsed->args, "estimate")))
		return show_estimate(ctl);
	code = ctl_ask(ctl, "run.start", ctl->parsed->args, &reply);
	if (code != CTL_OK)
		return code;
	id = mem_strdup(json_string_value(json_object_get(reply.data, "id")));
	if (ctl->json && !watch)
		ctl_print_json(ctl, &reply);
	print_warnings(json_object_get(reply.data, "warnings"));
	if (!ctl->json)
		(void)printf("%s  %s  %lld probes\n", id,
			     json_string_value(json_object_get(reply.data, "status")),
			     (long long)json_integer_value(table_lookup(reply.data, "progress.total")));
	if (!ctl->json && !watch)
		(void)printf("Watch it:  proctorctl run watch %s\n", id);
	conn_reply_clear(&reply);
	(void)fflush(stdout);
	return watch ? watch_run(ctl, id, 0) : CTL_OK;
}

/* ---- events ---- */

static void show_events(const struct ctl *ctl, const struct table_style *style, const json_t *data)
{
	const json_t *items = json_object_get(data, "items");

	for (size_t i = 0; i < json_array_size(items); i++) {
		if (!ctl->json) {
			view_event(style, json_array_get(items, i));
			continue;
		}
		(void)json_dumpf(json_array_get(items, i), stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
		(void)putchar('\n');
	}
	(void)fflush(stdout);
}

/* Every piece of the stream until the daemon ends it, or we are interrupted. */
static int follow_events(struct ctl *ctl)
{
	struct table_style style = table_style_of(ctl->color, ctl->terminal);
	struct conn_reply reply;
	int code = ctl_ask(ctl, "events", ctl->parsed->args, &reply);

	while (code == CTL_OK && reply.more && !ferror(stdout)) {
		AUTO(mem_free_str) char *error = NULL;

		show_events(ctl, &style, reply.data);
		conn_reply_clear(&reply);
		if (conn_receive(ctl->conn, -1, &reply, &error) < 0) {
			ctl_complain("%s", error);
			return CTL_UNREACHABLE;
		}
		if (!reply.ok) {
			ctl_complain("%s", reply.message);
			code = CTL_REFUSED;
		}
	}
	if (code != CTL_UNREACHABLE)
		conn_reply_clear(&reply);
	return code;
}

int action_events(struct ctl *ctl)
{
	struct conn_reply reply;
	int code;

	if (json_is_true(json_object_get(ctl->parsed->args, "follow"))) {
		/* Nothing may happen for hours: the first piece has no time limit. */
		ctl->timeout_ms = -1;
		return follow_events(ctl);
	}
	code = ctl_ask(ctl, "events", ctl->parsed->args, &reply);
	if (code != CTL_OK)
		return code;
	if (ctl->json)
		ctl_print_json(ctl, &reply);
	else
		view_print(ctl, ctl->parsed->command, reply.data);
	conn_reply_clear(&reply);
	return CTL_OK;
}

/* ---- checks, whose verdict is the exit code ---- */

static int show_verdict(struct ctl *ctl, const char *cmd, json_t *args, const char *key)
{
	struct conn_reply reply;
	int code = ctl_ask(ctl, cmd, args, &reply);
	const char *error;

	if (code != CTL_OK)
		return code;
	code = json_is_true(json_object_get(reply.data, key)) ? CTL_OK : CTL_FAILED;
	error = json_string_value(json_object_get(reply.data, "error"));
	if (ctl->json)
		ctl_print_json(ctl, &reply);
	else if (error)
		ctl_complain("%s", error);
	else
		view_print(ctl, ctl->parsed->command, reply.data);
	conn_reply_clear(&reply);
	return code;
}

int action_health(struct ctl *ctl)
{
	return show_verdict(ctl, "health", ctl->parsed->args, "healthy");
}

int action_config_check(struct ctl *ctl)
{
	const char *path = json_string_value(json_object_get(ctl->parsed->own, "file"));
	AUTO(mem_free_str) char *text = NULL;
	size_t len;
	json_t *value;
	int r;

	if (path) {
		r = fd_read_file(path, CONFIG_FILE_MAX, &text, &len);
		if (r < 0) {
			ctl_complain("cannot read %s: %s", path, strerror(-r));
			return CTL_FAILED;
		}
		value = json_stringn(text, len);
		if (!value) {
			ctl_complain("%s is not text in UTF-8", path);
			return CTL_FAILED;
		}
		json_object_set_new(ctl->parsed->args, "name", json_string(path));
		json_object_set_new(ctl->parsed->args, "text", value);
	}
	return show_verdict(ctl, "config.check", ctl->parsed->args, "valid");
}

/* ---- about this program ---- */

int action_version(struct ctl *ctl)
{
	struct conn_reply reply;
	int code;

	if (!ctl->json) {
		(void)printf("proctorctl %s\n", PROCTOR_VERSION);
		(void)fflush(stdout);
	}
	code = ctl_ask(ctl, "version", NULL, &reply);
	if (code != CTL_OK)
		return code;
	if (ctl->json)
		ctl_print_json(ctl, &reply);
	else
		(void)printf("proctord   %s\n", json_string_value(json_object_get(reply.data, "version")));
	conn_reply_clear(&reply);
	return CTL_OK;
}

int action_help(struct ctl *ctl)
{
	const json_t *topic = json_object_get(ctl->parsed->own, "topic");
	const char *first = json_string_value(json_array_get(topic, 0));
	const char *second = json_string_value(json_array_get(topic, 1));
	AUTO(mem_free_str) char *words = NULL;

	if (json_is_true(json_object_get(ctl->parsed->own, "reference"))) {
		reference_print(stdout);
		return CTL_OK;
	}
	if (!first) {
		help_print_all(stdout);
		return CTL_OK;
	}
	words = second ? mem_printf("%s %s", first, second) : mem_strdup(first);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (command_table[i].words && strcmp(command_table[i].words, words) == 0) {
			help_print_command(stdout, &command_table[i]);
			return CTL_OK;
		}
	if (!second && help_print_group(stdout, first) == 0)
		return CTL_OK;
	ctl_complain("there is no command \"%s\"; `proctorctl --help` lists them", words);
	return CTL_USAGE;
}
