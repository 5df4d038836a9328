#include "app/command.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "app/cmd.h"
#include "app/control.h"
#include "app/daemon.h"
#include "app/roles.h"
#include "app/upgrade.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/store.h"
#include "io/db.h"
#include "io/handover.h"

typedef void handler(struct call *call, const json_t *args);

#define COMMAND_HANDLER(id, function) [COMMAND_##id] = cmd_##function,
#define COMMAND_ELSEWHERE(id, function)
static handler *const handlers[COMMAND_COUNT] = { COMMAND_LIST(COMMAND_HANDLER, COMMAND_ELSEWHERE) };
#undef COMMAND_HANDLER
#undef COMMAND_ELSEWHERE

/* One question to the database. */
struct query {
	struct call *call; /* NULL = asked for nobody */
	void (*done)(struct call *call, const struct db_rows *rows);
};

struct commands *call_commands(const struct call *call)
{
	return call_arg(call);
}

struct daemon *call_daemon(const struct call *call)
{
	return call_commands(call)->daemon;
}

const char *arg_text(const json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

int64_t arg_int(const json_t *args, const char *name, int64_t fallback)
{
	const json_t *value = json_object_get(args, name);

	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

bool arg_bool(const json_t *args, const char *name)
{
	return json_is_true(json_object_get(args, name));
}

json_t *cmd_json(const struct db_rows *rows, int column)
{
	size_t len;
	const char *text = db_text(rows, 0, column, &len);

	return json_loadb(text, len, 0, NULL);
}

void db_param_json(struct db_params *params, const json_t *value, const char *fallback)
{
	char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	db_param_text(params, text ? text : fallback);
	mem_free(&text);
}

void db_param_list(struct db_params *params, const json_t *list)
{
	size_t len = json_array_size(list);
	const char **texts;

	if (!json_is_array(list)) {
		db_param_null(params);
		return;
	}
	texts = mem_array(len + 1, sizeof(*texts));
	for (size_t i = 0; i < len; i++)
		texts[i] = json_string_value(json_array_get(list, i));
	db_param_texts(params, texts, NULL, len);
	mem_free(&texts);
}

void db_param_since(struct db_params *params, const json_t *args)
{
	if (json_is_integer(json_object_get(args, "since")))
		db_param_int(params, arg_int(args, "since", 0));
	else
		db_param_null(params);
}

/* ---- answers of the database ---- */

static enum call_code code_of(const char *sqlstate)
{
	static const struct {
		const char *state; /* or its beginning */
		enum call_code code;
	} codes[] = {
		{ "PR300", CALL_AMBIGUOUS }, { "PR400", CALL_BAD_ARGUMENT }, { "PR404", CALL_NOT_FOUND },
		{ "PR409", CALL_CONFLICT },  { "P0002", CALL_NOT_FOUND },    { "55000", CALL_CONFLICT },
		{ "22", CALL_BAD_ARGUMENT }, { "40", CALL_UNAVAILABLE },     { "53", CALL_UNAVAILABLE },
		{ "57", CALL_UNAVAILABLE },
	};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (strncmp(sqlstate, codes[i].state, strlen(codes[i].state)) == 0)
			return codes[i].code;
	return CALL_INTERNAL;
}

static void answer_failure(struct call *call, const struct db_reply *reply)
{
	enum call_code code;

	if (reply->status == DB_LOST) {
		call_error(
			call, CALL_UNAVAILABLE,
			call_command(call)->role == COMMAND_READ
				? "the connection to the database was lost (%s); ask again in a few seconds"
				: "the connection to the database was lost (%s): it may or may not have been "
				  "done; "
				  "look before you repeat it",
			reply->message);
		return;
	}
	code = code_of(reply->sqlstate);
	if (code == CALL_INTERNAL)
		log_error("command.failed", "command=%s sqlstate=%s why=\"%s\"", call_command(call)->name,
			  reply->sqlstate, reply->message);
	/* The candidates: our own words, as no other detail of the server's is. */
	if (code == CALL_AMBIGUOUS && reply->detail)
		call_error(call, code, "%s:\n%s", reply->message, reply->detail);
	else
		call_error(call, code, "%s", reply->message);
}

static void on_reply(void *arg, const struct db_reply *reply)
{
	struct query query = *(struct query *)arg;

	mem_free(&arg);
	if (reply->status != DB_OK && query.call)
		answer_failure(query.call, reply);
	else if (reply->status != DB_OK)
		log_warning("command.cleanup", "sqlstate=%s why=\"%s\"", reply->sqlstate, reply->message);
	else if (query.done)
		query.done(query.call, reply->rows);
}

static void answer_text(struct call *call, const struct db_rows *rows)
{
	size_t len;
	const char *text;

	if (db_rows_count(rows) != 1 || db_is_null(rows, 0, 0)) {
		call_error(call, CALL_NOT_FOUND, "there is no such thing");
		return;
	}
	text = db_text(rows, 0, 0, &len);
	call_ok_raw(call, text, len);
}

void command_query_then(struct call *call, const char *sql, struct db_params *params,
			void (*done)(struct call *call, const struct db_rows *rows))
{
	struct store *store = call_daemon(call)->store;
	struct query *query;
	int r;

	if (!store_is_ready(store)) {
		db_params_free(&params);
		call_error(call, CALL_UNAVAILABLE,
			   "the database is not ready: %s; it is tried again every few seconds",
			   store_why_not_ready(store));
		return;
	}
	query = mem_alloc(sizeof(*query));
	*query = (struct query){ .call = call, .done = done };
	r = db_query(store_control_db(store), sql, params, on_reply, query);
	if (r < 0) {
		mem_free(&query);
		call_error(call, CALL_UNAVAILABLE,
			   "the connection to the database is %s; ask again in a few seconds",
			   r == -ENOBUFS ? "busy" : "being made");
	}
}

void command_query(struct call *call, const char *sql, struct db_params *params)
{
	command_query_then(call, sql, params, answer_text);
}

void command_query_quietly(struct commands *commands, const char *sql, struct db_params *params)
{
	struct store *store = commands->daemon->store;
	struct query *query;

	if (!store_is_ready(store)) {
		db_params_free(&params);
		return;
	}
	query = mem_alloc(sizeof(*query));
	if (db_query(store_control_db(store), sql, params, on_reply, query) < 0)
		mem_free(&query);
}

/* ---- the server ---- */

static void on_call(void *arg, struct call *call, const json_t *args)
{
	(void)arg;
	handlers[command_id_of(call_command(call))](call, args);
}

static void on_client_gone(void *arg, int64_t client_id)
{
	cmd_definition_client_gone(arg, client_id);
}

/* The upgrade itself, which its new program answers, and streams of events. */
static bool goes_on(void *arg, const struct command *command, bool stream)
{
	enum command_id id = command_id_of(command);

	(void)arg;
	return id == COMMAND_UPGRADE || (id == COMMAND_EVENTS && stream);
}

static void pass_call(void *arg, struct call *call, struct handover *h)
{
	(void)arg;
	if (command_id_of(call_command(call)) == COMMAND_EVENTS)
		cmd_events_pass(call, h);
	else if (handover_is_read(h))
		upgrade_await(call_daemon(call), call);
}

static enum command_role role_of(void *arg, const struct unixsock_peer *peer, int fd)
{
	const struct commands *commands = arg;

	return roles_of(commands->roles, peer, fd);
}

int commands_new(struct daemon *daemon, struct handover *h, struct commands **ret, char **ret_error)
{
	const struct config *config = daemon->config;
	struct commands *commands = mem_alloc(sizeof(*commands));
	struct control_options options = {
		.path = daemon->paths.socket,
		.mode = config->control.mode,
		.group = config->control.group,
		.max_clients = config->control.max_clients,
		.role_of = role_of,
		.handle = on_call,
		.client_gone = on_client_gone,
		.goes_on = goes_on,
		.pass = pass_call,
		.arg = commands,
	};
	int r;

	commands->daemon = daemon;
	list_init(&commands->imports);
	roles_read(config, &commands->roles);
	if (h)
		handover_begin(h, "control");
	r = control_new(daemon->loop, &options, h, &commands->control, ret_error);
	if (h)
		handover_end(h);
	if (r < 0) {
		mem_free(&commands);
		return r;
	}
	*ret = commands;
	return 0;
}

void commands_free(struct commands **commands)
{
	struct commands *dead = *commands;

	if (!dead)
		return;
	*commands = NULL;
	control_free(&dead->control);
	cmd_definition_free(dead);
	roles_free(&dead->roles);
	mem_free(&dead);
}

void commands_reconfigure(struct commands *commands)
{
	control_set_max_clients(commands->control, commands->daemon->config->control.max_clients);
	roles_read(commands->daemon->config, &commands->roles);
	control_review_roles(commands->control);
}

void commands_pass(struct commands *commands, struct handover *h)
{
	handover_begin(h, "control");
	control_pass(commands->control, h);
	cmd_definition_pass(commands, h);
	handover_end(h);
}

void commands_hold_back(struct commands *commands, bool hold_back)
{
	control_hold_back(commands->control, hold_back);
}

bool commands_are_busy(const struct commands *commands)
{
	return control_is_busy(commands->control);
}
