/* definition.import … definition.show.
 *
 * An import comes in pages. Until the last of them the definition is not complete and nobody sees it; it is
 * removed when its client goes away, and what an earlier daemon left behind at the next import. */

#include <stdlib.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/handover.h"

struct import {
	struct list node; /* in commands->imports */
	int64_t client_id;
	char *id; /* of the definition */
};

static struct import *import_of(struct list *node)
{
	return list_entry(node, struct import, node);
}

static struct import *import_find(struct commands *commands, int64_t client_id, const char *id)
{
	list_foreach (node, &commands->imports) {
		struct import *import = import_of(node);

		if (import->client_id == client_id && strcmp(import->id, id) == 0)
			return import;
	}
	return NULL;
}

static void import_free(struct import *import)
{
	list_remove(&import->node);
	mem_free(&import->id);
	mem_free(&import);
}

static void abandon(struct commands *commands, const char *id)
{
	struct db_params *params = db_params_new();

	db_param_text(params, id);
	command_query_quietly(commands, "SELECT api_definition_abandon($1)", params);
}

void cmd_definition_client_gone(struct commands *commands, int64_t client_id)
{
	list_foreach_safe (node, &commands->imports) {
		struct import *import = import_of(node);

		if (import->client_id == client_id) {
			abandon(commands, import->id);
			import_free(import);
		}
	}
}

void cmd_definition_free(struct commands *commands)
{
	list_foreach_safe (node, &commands->imports) {
		import_free(import_of(node));
	}
}

static void pass_import(struct commands *commands, struct handover *h, struct import *import)
{
	struct import *it = import ? import : mem_alloc(sizeof(*it));

	handover_begin(h, NULL);
	handover_number(h, "client", &it->client_id);
	handover_text(h, "definition", &it->id);
	handover_end(h);
	if (!import)
		list_push_back(&commands->imports, &it->node);
}

void cmd_definition_pass(struct commands *commands, struct handover *h)
{
	size_t count = 0;

	list_foreach (node, &commands->imports)
		count++;
	count = handover_begin_list(h, "imports", count);
	if (!handover_is_read(h)) {
		list_foreach (node, &commands->imports) {
			pass_import(commands, h, import_of(node));
		}
	}
	for (size_t i = 0; handover_is_read(h) && i < count; i++)
		pass_import(commands, h, NULL);
	handover_end(h);
}

/* text[] of the imports that still go on. */
static void param_imports(struct db_params *params, const struct commands *commands)
{
	size_t count = 0;
	const char **ids;

	list_foreach (node, &commands->imports)
		count++;
	ids = mem_array(count + 1, sizeof(*ids));
	count = 0;
	list_foreach (node, &commands->imports)
		ids[count++] = import_of(node)->id;
	db_param_texts(params, ids, NULL, count);
	mem_free(&ids);
}

static void on_first_page(struct call *call, const struct db_rows *rows)
{
	size_t len;
	const char *answer = db_text(rows, 0, 0, &len);
	const char *id = db_text(rows, 0, 1, NULL);
	bool more = db_bool(rows, 0, 2);

	if (more && call_is_wanted(call)) {
		struct import *import = mem_alloc(sizeof(*import));

		import->client_id = call_client_id(call);
		import->id = mem_strdup(id);
		list_push_back(&call_commands(call)->imports, &import->node);
	} else if (more) {
		abandon(call_commands(call), id);
	}
	call_ok_raw(call, answer, len);
}

void cmd_definition_import(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "name"));
	db_param_text(params, arg_text(args, "preamble"));
	db_param_json(params, json_object_get(args, "followups"), "[]");
	db_param_json(params, json_object_get(args, "metadata"), "{}");
	db_param_json(params, json_object_get(args, "scenarios"), "[]");
	db_param_bool(params, arg_bool(args, "more"));
	param_imports(params, call_commands(call));
	command_query_then(
		call,
		"SELECT answer, id, $6 FROM api_definition_import($1, $2, $3::jsonb, $4::jsonb, $5::jsonb, "
		"$6, $7)",
		params, on_first_page);
}

/* After the last page nothing is left to be removed. */
static void on_page(struct call *call, const struct db_rows *rows)
{
	struct import *import = import_find(call_commands(call), call_client_id(call),
					    db_text(rows, 0, 1, NULL));
	size_t len;
	const char *answer = db_text(rows, 0, 0, &len);

	if (import && !db_bool(rows, 0, 2))
		import_free(import);
	call_ok_raw(call, answer, len);
}

void cmd_definition_append(struct call *call, const json_t *args)
{
	struct commands *commands = call_commands(call);
	const char *id = arg_text(args, "id");
	struct db_params *params;

	if (!import_find(commands, call_client_id(call), id)) {
		call_error(call, CALL_NOT_FOUND, "no import \"%s\" of yours is under way", id);
		return;
	}
	params = db_params_new();
	db_param_text(params, id);
	db_param_json(params, json_object_get(args, "scenarios"), "[]");
	db_param_bool(params, arg_bool(args, "more"));
	command_query_then(call, "SELECT api_definition_append($1, $2::jsonb, $3), $1, $3", params, on_page);
}

void cmd_definition_list(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "name"));
	db_param_int(params, arg_int(args, "limit", 50));
	command_query(call, "SELECT api_definition_list($1, $2)", params);
}

void cmd_definition_show(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "definition"));
	db_param_int(params, arg_int(args, "scenarios", 20));
	command_query(call, "SELECT api_definition_show($1, $2)", params);
}
