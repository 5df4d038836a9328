/* definition import: the file is read whole and checked here, where its lines are known, then sent in pages.
 * The daemon shows nothing of it before the last page. */

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"
#include "ctl/definition_file.h"

enum { PAGE_SCENARIOS = 500, PAGE_BYTES = 2 * 1024 * 1024 };

static size_t json_bytes(const json_t *value)
{
	return json_dumpb(value, NULL, 0, JSON_COMPACT);
}

/* The scenarios from *at on that fit a page; moves *at behind them. */
static json_t *take_page(const json_t *scenarios, size_t *at)
{
	json_t *page = json_array();
	size_t bytes = 0;

	while (*at < json_array_size(scenarios) && json_array_size(page) < PAGE_SCENARIOS) {
		json_t *scenario = json_array_get(scenarios, *at);

		bytes += json_bytes(scenario);
		if (bytes > PAGE_BYTES && json_array_size(page) > 0)
			break;
		json_array_append(page, scenario);
		(*at)++;
	}
	return page;
}

static int send_pages(struct ctl *ctl, const struct definition_file *file, struct conn_reply *ret)
{
	json_t *args = json_incref(file->head);
	const char *cmd = "definition.import";
	size_t at = 0;
	int code;

	for (;;) {
		json_object_set_new(args, "scenarios", take_page(file->scenarios, &at));
		json_object_set_new(args, "more", json_boolean(at < json_array_size(file->scenarios)));
		code = ctl_ask(ctl, cmd, args, ret);
		if (code != CTL_OK || at == json_array_size(file->scenarios))
			break;
		json_decref(args);
		args = json_pack("{s:O}", "id", json_object_get(ret->data, "id"));
		cmd = "definition.append";
		conn_reply_clear(ret);
	}
	json_decref(args);
	return code;
}

int action_definition_import(struct ctl *ctl)
{
	const char *path = json_string_value(json_object_get(ctl->parsed->own, "file"));
	json_t *name = json_object_get(ctl->parsed->args, "name");
	AUTO(definition_file_free) struct definition_file *file = NULL;
	AUTO(mem_free_str) char *error = NULL;
	struct conn_reply reply;
	int code;

	if (definition_file_read(path, &file, &error) < 0) {
		ctl_complain("%s", error);
		return CTL_FAILED;
	}
	if (name)
		json_object_set(file->head, "name", name);
	if (!json_object_get(file->head, "name")) {
		ctl_complain("%s:1: there is no name; add `name:` or use --name", path);
		return CTL_FAILED;
	}
	code = send_pages(ctl, file, &reply);
	if (code != CTL_OK)
		return code;
	if (ctl->json)
		ctl_print_json(ctl, &reply);
	else
		(void)printf("%s  %s version %lld, %lld scenarios\n",
			     json_string_value(json_object_get(reply.data, "id")),
			     json_string_value(json_object_get(reply.data, "name")),
			     (long long)json_integer_value(json_object_get(reply.data, "version")),
			     (long long)json_integer_value(json_object_get(reply.data, "scenarioCount")));
	conn_reply_clear(&reply);
	return CTL_OK;
}
