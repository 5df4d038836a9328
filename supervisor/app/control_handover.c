/* The control socket while the daemon's program is replaced: it listens on, and its clients notice nothing. A
 * call whose answer is under way is answered that its fate is not known, unless it is one that goes on. */

#include <string.h>
#include <unistd.h>

#include "app/control_private.h"
#include "base/fd.h"
#include "base/mem.h"
#include "io/handover.h"
#include "io/lineconn.h"

/* ---- calls ---- */

static bool goes_on(const struct control *control, const struct command *command, bool stream)
{
	return command && control->options.goes_on(control->options.arg, command, stream);
}

bool control_is_busy(const struct control *control)
{
	list_foreach (node, &control->clients) {
		list_foreach (at, &client_of(node)->calls) {
			const struct call *call = call_of(at);

			if (!goes_on(control, call->command, call->stream))
				return true;
		}
	}
	return false;
}

static void write_call(struct control *control, struct handover *h, struct call *call)
{
	AUTO(mem_free_str) char *id = json_dumps(call->id, JSON_ENCODE_ANY | JSON_COMPACT);
	AUTO(mem_free_str) char *name = mem_strdup(call->command->name);

	handover_begin(h, NULL);
	handover_text(h, "id", &id);
	handover_text(h, "command", &name);
	handover_bool(h, "stream", &call->stream);
	if (goes_on(control, call->command, call->stream))
		control->options.pass(control->options.arg, call, h);
	handover_end(h);
}

static void read_call(struct client *client, struct handover *h)
{
	struct control *control = client->control;
	AUTO(mem_free_str) char *id_text = NULL;
	AUTO(mem_free_str) char *name = NULL;
	const struct command *command;
	bool stream = false;
	struct call *call;
	json_t *id;

	handover_begin(h, NULL);
	handover_text(h, "id", &id_text);
	handover_text(h, "command", &name);
	handover_bool(h, "stream", &stream);
	id = id_text ? json_loads(id_text, JSON_DECODE_ANY, NULL) : NULL;
	command = name ? command_find(name) : NULL;
	if (goes_on(control, command, stream)) {
		call_new(client, id, command, &call);
		control->options.pass(control->options.arg, call, h);
	} else {
		call_send_error(
			client, id, CALL_UNAVAILABLE,
			"the daemon was upgraded while it worked on this: it may or may not have been "
			"done; look before you repeat it");
	}
	json_decref(id);
	handover_end(h);
}

/* ---- clients ---- */

static void pass_state(struct client *client, struct handover *h)
{
	size_t count = 0;

	handover_number(h, "id", &client->id);
	handover_bool(h, "ended", &client->ended);
	lineconn_pass(client->conn, h, "lines");
	list_foreach (at, &client->calls)
		count++;
	count = handover_begin_list(h, "calls", count);
	if (!handover_is_read(h)) {
		list_foreach (at, &client->calls) {
			write_call(client->control, h, call_of(at));
		}
	}
	/* One that cannot be told of the fate of a call is dropped. */
	for (size_t i = 0; handover_is_read(h) && i < count && client->conn; i++)
		read_call(client, h);
	handover_end(h);
}

static void pass_client(struct control *control, struct handover *h, struct client *client)
{
	struct unixsock_peer peer = client ? client->peer : (struct unixsock_peer){ 0 };
	int64_t pid = peer.pid, uid = peer.uid, gid = peer.gid;
	int read_fd = -1, write_fd = -1;

	if (client)
		lineconn_fds(client->conn, &read_fd, &write_fd);
	handover_begin(h, NULL);
	handover_number(h, "pid", &pid);
	handover_number(h, "uid", &uid);
	handover_number(h, "gid", &gid);
	handover_fd(h, "readFd", &read_fd);
	handover_fd(h, "writeFd", &write_fd);
	peer = (struct unixsock_peer){ .pid = (pid_t)pid, .uid = (uid_t)uid, .gid = (gid_t)gid };
	if (!client && (read_fd < 0 || client_new(control, read_fd, write_fd, &peer, &client) < 0))
		handover_fault(h, "it has no connection");
	if (client)
		pass_state(client, h);
	handover_end(h);
}

static void pass_clients(struct control *control, struct handover *h)
{
	size_t count = handover_begin_list(h, "clients", control->count);

	if (!handover_is_read(h)) {
		list_foreach (node, &control->clients) {
			pass_client(control, h, client_of(node));
		}
	}
	for (size_t i = 0; handover_is_read(h) && i < count; i++)
		pass_client(control, h, NULL);
	handover_end(h);
}

void control_pass(struct control *control, struct handover *h)
{
	/* One that goes on was made with it. */
	if (!handover_is_read(h))
		unixsock_pass(h, "socket", &control->sock);
	handover_number(h, "lastClientId", &control->last_client_id);
	pass_clients(control, h);
	if (!handover_is_read(h))
		return;
	control_expect_stalls(control);
	control_review(control);
}
