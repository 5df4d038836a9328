#include "app/control_private.h"

#include <string.h>

#include "base/mem.h"
#include "io/lineconn.h"

/* True when the request may go to its handler; else it has been answered. */
static bool admit(struct client *client, const json_t *id, const char *name, json_t *args,
		  const struct command **ret)
{
	const struct command *command = command_find(name);
	AUTO(mem_free_str) char *error = NULL;

	if (!command || command->place != COMMAND_IN_DAEMON) {
		error = mem_printf("there is no command \"%.60s\"; `proctorctl help` lists them", name);
		call_send_error(client, id, CALL_UNKNOWN_COMMAND, error);
		return false;
	}
	if (client->role < command->role) {
		const char *needed = command_role_name(command->role);

		error = mem_printf("%s needs the role %s (you are uid %u, with the role %s); try it with "
				   "sudo, or let [control] %s in proctor.ini name you",
				   command->name, needed, (unsigned)client->peer.uid,
				   command_role_name(client->role), needed);
		call_send_error(client, id, CALL_FORBIDDEN, error);
		return false;
	}
	if (command_check_args(command, args, &error) < 0) {
		call_send_error(client, id, CALL_BAD_ARGUMENT, error);
		return false;
	}
	*ret = command;
	return true;
}

static void start_call(struct client *client, json_t *id, const struct command *command, const json_t *args)
{
	const struct control_options *options = &client->control->options;
	struct call *call;

	call_new(client, id, command, &call);
	if (client->in_flight >= CONTROL_IN_FLIGHT_MAX)
		lineconn_pause(client->conn, true);
	options->handle(options->arg, call, args);
}

static void on_request(struct client *client, json_t *request)
{
	json_t *id = json_object_get(request, "id");
	const json_t *name = json_object_get(request, "cmd");
	json_t *args = json_object_get(request, "args");
	json_t *none = NULL;
	const struct command *command;

	if (!json_is_integer(id) && !json_is_string(id)) {
		call_send_error(client, NULL, CALL_BAD_REQUEST,
				"a request needs an \"id\": an integer or a string");
		return;
	}
	if (json_string_length(id) > 100) {
		call_send_error(client, NULL, CALL_BAD_REQUEST, "the \"id\" is over 100 bytes");
		return;
	}
	if (!json_is_string(name)) {
		call_send_error(client, id, CALL_BAD_REQUEST,
				"a request needs a \"cmd\": a string such as \"status\"");
		return;
	}
	if (args && !json_is_object(args)) {
		call_send_error(client, id, CALL_BAD_REQUEST, "\"args\" must be an object");
		return;
	}
	if (!args)
		args = none = json_object();
	if (admit(client, id, json_string_value(name), args, &command))
		start_call(client, id, command, args);
	json_decref(none);
}

void control_on_line(void *arg, char *line, size_t len)
{
	struct client *client = arg;
	json_error_t error;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	AUTO(mem_free_str) char *message = NULL;

	if (json_is_object(request)) {
		on_request(client, request);
	} else {
		message = request ? mem_strdup("a request is a JSON object on one line")
				  : mem_printf("not JSON in UTF-8: byte %d of the line: %s", error.position,
					       error.text);
		call_send_error(client, NULL, CALL_BAD_REQUEST, message);
	}
	json_decref(request);
}
