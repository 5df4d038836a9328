#include "app/control_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/lineconn.h"

static const char *const code_names[] = {
	[CALL_BAD_REQUEST] = "BAD_REQUEST",   [CALL_UNKNOWN_COMMAND] = "UNKNOWN_COMMAND",
	[CALL_BAD_ARGUMENT] = "BAD_ARGUMENT", [CALL_NOT_FOUND] = "NOT_FOUND",
	[CALL_CONFLICT] = "CONFLICT",	      [CALL_FORBIDDEN] = "FORBIDDEN",
	[CALL_UNAVAILABLE] = "UNAVAILABLE",   [CALL_INTERNAL] = "INTERNAL",
	[CALL_TOO_LARGE] = "TOO_LARGE",	      [CALL_AMBIGUOUS] = "AMBIGUOUS",
};

const char *call_code_name(enum call_code code)
{
	return code_names[code];
}

/* ---- the life of a call ---- */

void call_new(struct client *client, json_t *id, const struct command *command, struct call **ret)
{
	struct call *call = mem_alloc(sizeof(*call));

	call->client = client;
	call->arg = client->control->options.arg;
	call->command = command;
	call->id = json_incref(id);
	call->client_id = client->id;
	call->role = client->role;
	list_push_back(&client->calls, &call->node);
	client->in_flight++;
	*ret = call;
}

static void tell_gone(struct call *call)
{
	void (*gone)(void *) = call->gone;

	call->gone = NULL;
	if (gone)
		gone(call->gone_arg);
}

void call_tell_gone(struct client *client)
{
	struct list *node;

	while ((node = list_pop_front(&client->calls))) {
		struct call *call = call_of(node);

		call->client = NULL;
		tell_gone(call);
	}
}

void call_tell_ended(struct client *client)
{
	list_foreach_safe (node, &client->calls) {
		if (call_of(node)->stream)
			tell_gone(call_of(node));
	}
}

static void call_end(struct call *call)
{
	struct client *client = call->client;

	if (client) {
		client->in_flight--;
		control_review(client->control);
	}
	list_remove(&call->node);
	json_decref(call->id);
	mem_free(&call);
}

/* ---- answers ---- */

static void put_head(struct buf *out, const json_t *id, const char *rest)
{
	char *text = id ? json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	buf_putf(out, "{\"id\":%s,%s", text ? text : "null", rest);
	mem_free(&text);
}

void call_send_error(struct client *client, const json_t *id, enum call_code code, const char *message)
{
	AUTO(buf_free) struct buf head = BUF_INIT(0);
	json_t *error = json_pack("{s:s,s:s%}", "code", call_code_name(code), "message", message,
				  strlen(message));
	char *text;

	/* A message that quotes what is not UTF-8 is not worth a broken answer. */
	if (!error)
		error = json_pack("{s:s,s:s}", "code", call_code_name(code), "message",
				  "the reason cannot be shown: it is not valid UTF-8");
	text = json_dumps(error, JSON_COMPACT);
	json_decref(error);
	put_head(&head, id, "\"ok\":false,\"error\":");
	(void)client_send(client, &head, text, strlen(text));
	mem_free(&text);
}

void call_ok_raw(struct call *call, const char *bytes, size_t len)
{
	if (call->client) {
		AUTO(buf_free) struct buf head = BUF_INIT(0);

		put_head(&head, call->id, "\"ok\":true,\"data\":");
		(void)client_send(call->client, &head, bytes, len);
	}
	call_end(call);
}

void call_ok_json(struct call *call, json_t *data)
{
	char *text = call->client ? json_dumps(data, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	json_decref(data);
	if (call->client && !text) {
		call_error(call, CALL_INTERNAL, "the answer cannot be written as JSON");
		return;
	}
	call_ok_raw(call, text ? text : "null", text ? strlen(text) : 4);
	mem_free(&text);
}

void call_error(struct call *call, enum call_code code, const char *format, ...)
{
	char message[2048];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (call->client)
		call_send_error(call->client, call->id, code, message);
	call_end(call);
}

int call_stream_begin(struct call *call, void (*gone)(void *arg), void *arg)
{
	if (!call->client || call->client->ended)
		return -EPIPE;
	call->stream = true;
	call_on_gone(call, gone, arg);
	return 0;
}

int call_stream_raw(struct call *call, const char *bytes, size_t len)
{
	AUTO(buf_free) struct buf head = BUF_INIT(0);

	if (!call->client)
		return -EPIPE;
	if (lineconn_queued(call->client->conn) > CONTROL_QUEUE_PAUSE) {
		log_warning("control.slow", "client=%" PRId64 " pid=%d stream=%s -- dropped", call->client_id,
			    (int)call->client->peer.pid, call->command->name);
		client_drop(call->client, "slow");
		return -EPIPE;
	}
	put_head(&head, call->id, "\"ok\":true,\"more\":true,\"data\":");
	return client_send(call->client, &head, bytes, len) ? 0 : -EPIPE;
}

/* ---- what a handler may ask of its call ---- */

void call_on_gone(struct call *call, void (*fn)(void *arg), void *arg)
{
	call->gone = fn;
	call->gone_arg = arg;
}

bool call_is_wanted(const struct call *call)
{
	return call->client != NULL;
}

void *call_arg(const struct call *call)
{
	return call->arg;
}

const struct command *call_command(const struct call *call)
{
	return call->command;
}

enum command_role call_role(const struct call *call)
{
	return call->role;
}

int64_t call_client_id(const struct call *call)
{
	return call->client_id;
}

void *call_gone_arg(const struct call *call)
{
	return call->gone_arg;
}
