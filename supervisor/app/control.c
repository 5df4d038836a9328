#include "app/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/lineconn.h"
#include "io/loop.h"
#include "io/unixsock.h"

enum {
	LINE_MAX_BYTES = 8 * 1024 * 1024,
	QUEUE_MAX_BYTES = 64 * 1024 * 1024,
	QUEUE_PAUSE_BYTES = 1024 *
			    1024, /* above it, no more requests are read and streams count as too slow */
	IN_FLIGHT_MAX = 32,
	ACCEPTS_A_WAKE = 16,
	ACCEPT_AGAIN_MS = 1000, /* after the process ran out of descriptors */
	STALL_CHECK_MS = 5000,
	STALL_LIMIT_MS = 30000, /* a client whose queue has not shrunk for so long is dropped */
};

struct control {
	struct loop *loop;
	struct control_options options;
	struct unixsock *sock;
	struct loop_fd *accept_watch;
	struct loop_timer *accept_timer; /* armed while accepting is suspended */
	struct loop_timer *stall_timer;	 /* armed while any client has output queued */
	struct list clients;		 /* of struct client */
	struct list dead;		 /* dropped, freed at the end of the turn */
	size_t count;
	int64_t last_client_id;
	bool review_due;
};

struct client {
	struct list node;
	struct control *control;
	struct lineconn *conn; /* NULL once dropped */
	struct list calls;     /* of struct call: under way */
	int in_flight;
	int64_t id;
	struct unixsock_peer peer;
	enum command_role role;
	bool ended;		/* sends no more requests */
	size_t stall_bytes;	/* least queued since stall_since_ms */
	int64_t stall_since_ms; /* 0 = nothing is queued */
};

struct call {
	struct list node;
	struct client *client; /* NULL once it has gone */
	void *arg;
	const struct command *command;
	json_t *id;
	int64_t client_id;
	enum command_role role;
	void (*gone)(void *arg);
	void *gone_arg;
};

static const char *const code_names[] = {
	[CALL_BAD_REQUEST] = "BAD_REQUEST",   [CALL_UNKNOWN_COMMAND] = "UNKNOWN_COMMAND",
	[CALL_BAD_ARGUMENT] = "BAD_ARGUMENT", [CALL_NOT_FOUND] = "NOT_FOUND",
	[CALL_CONFLICT] = "CONFLICT",	      [CALL_FORBIDDEN] = "FORBIDDEN",
	[CALL_UNAVAILABLE] = "UNAVAILABLE",   [CALL_INTERNAL] = "INTERNAL",
	[CALL_TOO_LARGE] = "TOO_LARGE",
};

const char *call_code_name(enum call_code code)
{
	return code_names[code];
}

static struct client *client_of(struct list *node)
{
	return list_entry(node, struct client, node);
}

static struct call *call_of(struct list *node)
{
	return list_entry(node, struct call, node);
}

/* ---- the end of a client ---- */

static void reap(void *arg)
{
	struct control *control = arg;
	struct list *node;

	while ((node = list_pop_front(&control->dead))) {
		struct client *client = client_of(node);

		mem_free(&client);
	}
}

/* Detaches the calls: their answers go nowhere from now on. */
static void abandon_calls(struct client *client)
{
	struct list *node;

	while ((node = list_pop_front(&client->calls))) {
		struct call *call = call_of(node);
		void (*gone)(void *) = call->gone;

		call->client = NULL;
		call->gone = NULL;
		if (gone)
			gone(call->gone_arg);
	}
}

static void client_drop(struct client *client, const char *why)
{
	struct control *control = client->control;

	if (!client->conn)
		return;
	log_debug("control.close", "client=%" PRId64 " why=%s", client->id, why);
	lineconn_free(&client->conn);
	list_remove(&client->node);
	list_push_back(&control->dead, &client->node);
	control->count--;
	loop_defer(control->loop, reap, control);
	abandon_calls(client);
	if (control->options.client_gone)
		control->options.client_gone(control->options.arg, client->id);
}

/* ---- flow ---- */

static bool is_congested(const struct client *client)
{
	return client->in_flight >= IN_FLIGHT_MAX || lineconn_queued(client->conn) > QUEUE_PAUSE_BYTES;
}

/* Nothing more can come of a client that has ended, has been answered and has read its answers. */
static bool is_done(const struct client *client)
{
	return client->ended && client->in_flight == 0 && lineconn_queued(client->conn) == 0;
}

static void review(void *arg)
{
	struct control *control = arg;

	control->review_due = false;
	list_foreach_safe (node, &control->clients) {
		struct client *client = client_of(node);

		if (is_done(client))
			client_drop(client, "done");
		else if (!client->ended)
			lineconn_pause(client->conn, is_congested(client));
	}
}

/* Reading goes on, and what is done is closed, at the end of the turn: never inside the conn's own callback.
 */
static void review_later(struct control *control)
{
	if (control->review_due)
		return;
	control->review_due = true;
	loop_defer(control->loop, review, control);
}

static bool check_stall(struct client *client, int64_t now_ms)
{
	size_t queued = lineconn_queued(client->conn);

	if (queued == 0) {
		client->stall_since_ms = 0;
		return false;
	}
	if (client->stall_since_ms == 0 || queued < client->stall_bytes) {
		client->stall_since_ms = now_ms;
		client->stall_bytes = queued;
	}
	return now_ms - client->stall_since_ms >= STALL_LIMIT_MS;
}

static void on_stall_check(void *arg)
{
	struct control *control = arg;
	int64_t now_ms = loop_now_ms(control->loop);
	bool waiting = false;

	list_foreach_safe (node, &control->clients) {
		struct client *client = client_of(node);

		if (check_stall(client, now_ms)) {
			log_warning("control.slow", "client=%" PRId64 " pid=%d queued=%zu -- dropped",
				    client->id, (int)client->peer.pid, lineconn_queued(client->conn));
			client_drop(client, "slow");
		} else if (client->stall_since_ms) {
			waiting = true;
		}
	}
	if (waiting)
		loop_timer_start(control->stall_timer, STALL_CHECK_MS);
}

/* ---- answers ---- */

/* Queues head + bytes + "}\n". False when the client had to be dropped. */
static bool client_send(struct client *client, const struct buf *head, const char *bytes, size_t len)
{
	int r = lineconn_send2(client->conn, buf_bytes(head), buf_len(head), bytes, len);

	if (r == 0)
		r = lineconn_send(client->conn, "}\n", 2);
	if (r < 0) {
		if (r == -ENOBUFS)
			log_warning("control.overflow", "client=%" PRId64 " pid=%d queued=%zu -- dropped",
				    client->id, (int)client->peer.pid, lineconn_queued(client->conn));
		client_drop(client, r == -ENOBUFS ? "overflow" : "gone");
		return false;
	}
	if (!loop_timer_armed(client->control->stall_timer))
		loop_timer_start(client->control->stall_timer, STALL_CHECK_MS);
	if (is_congested(client))
		lineconn_pause(client->conn, true);
	return true;
}

static void put_head(struct buf *out, const json_t *id, const char *rest)
{
	char *text = id ? json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	buf_putf(out, "{\"id\":%s,%s", text ? text : "null", rest);
	mem_free(&text);
}

static void send_error(struct client *client, const json_t *id, enum call_code code, const char *message)
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

static void call_end(struct call *call)
{
	struct client *client = call->client;

	if (client) {
		client->in_flight--;
		review_later(client->control);
	}
	list_remove(&call->node);
	json_decref(call->id);
	mem_free(&call);
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
		send_error(call->client, call->id, code, message);
	call_end(call);
}

int call_stream_raw(struct call *call, const char *bytes, size_t len)
{
	AUTO(buf_free) struct buf head = BUF_INIT(0);

	if (!call->client)
		return -EPIPE;
	if (lineconn_queued(call->client->conn) > QUEUE_PAUSE_BYTES) {
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

/* ---- requests ---- */

static const char *role_name(enum command_role role)
{
	static const char *const names[] = {
		[COMMAND_READ] = "read",
		[COMMAND_OPERATE] = "operate",
		[COMMAND_ADMIN] = "admin",
	};

	return names[role];
}

/* True when the request may go to its handler; else it has been answered. */
static bool admit(struct client *client, const json_t *id, const char *name, json_t *args,
		  const struct command **ret)
{
	const struct command *command = command_find(name);
	AUTO(mem_free_str) char *error = NULL;

	if (!command || command->place != COMMAND_IN_DAEMON) {
		error = mem_printf("there is no command \"%.60s\"; `proctorctl help` lists them", name);
		send_error(client, id, CALL_UNKNOWN_COMMAND, error);
		return false;
	}
	if (client->role < command->role) {
		error = mem_printf("%s is for root and the daemon's own user (you are uid %u, role %s); "
				   "try it with sudo",
				   command->name, (unsigned)client->peer.uid, role_name(client->role));
		send_error(client, id, CALL_FORBIDDEN, error);
		return false;
	}
	if (command_check_args(command, args, &error) < 0) {
		send_error(client, id, CALL_BAD_ARGUMENT, error);
		return false;
	}
	*ret = command;
	return true;
}

static void call_start(struct client *client, json_t *id, const struct command *command, const json_t *args)
{
	struct call *call = mem_alloc(sizeof(*call));

	call->client = client;
	call->arg = client->control->options.arg;
	call->command = command;
	call->id = json_incref(id);
	call->client_id = client->id;
	call->role = client->role;
	list_push_back(&client->calls, &call->node);
	if (++client->in_flight >= IN_FLIGHT_MAX)
		lineconn_pause(client->conn, true);
	client->control->options.handle(client->control->options.arg, call, args);
}

static void on_request(struct client *client, json_t *request)
{
	json_t *id = json_object_get(request, "id");
	const json_t *name = json_object_get(request, "cmd");
	json_t *args = json_object_get(request, "args");
	json_t *none = NULL;
	const struct command *command;

	if (!json_is_integer(id) && !json_is_string(id)) {
		send_error(client, NULL, CALL_BAD_REQUEST,
			   "a request needs an \"id\": an integer or a string");
		return;
	}
	if (json_string_length(id) > 100) {
		send_error(client, NULL, CALL_BAD_REQUEST, "the \"id\" is over 100 bytes");
		return;
	}
	if (!json_is_string(name)) {
		send_error(client, id, CALL_BAD_REQUEST,
			   "a request needs a \"cmd\": a string such as \"status\"");
		return;
	}
	if (args && !json_is_object(args)) {
		send_error(client, id, CALL_BAD_REQUEST, "\"args\" must be an object");
		return;
	}
	if (!args)
		args = none = json_object();
	if (admit(client, id, json_string_value(name), args, &command))
		call_start(client, id, command, args);
	json_decref(none);
}

static void on_line(void *arg, char *line, size_t len)
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
		send_error(client, NULL, CALL_BAD_REQUEST, message);
	}
	json_decref(request);
}

static void on_end(void *arg, enum lineconn_end end, int error)
{
	struct client *client = arg;
	char message[80];

	(void)error;
	client->ended = true;
	if (end == LINECONN_ERROR) {
		client_drop(client, "error");
		return;
	}
	if (end == LINECONN_TOO_LONG) {
		(void)snprintf(message, sizeof(message), "the line is longer than %d bytes", LINE_MAX_BYTES);
		log_warning("control.line_too_long", "client=%" PRId64 " pid=%d -- closed", client->id,
			    (int)client->peer.pid);
		send_error(client, NULL, CALL_TOO_LARGE, message);
	}
	/* Nobody ends a stream of a client that only listens but its end of sending. */
	list_foreach_safe (node, &client->calls) {
		struct call *call = call_of(node);
		void (*gone)(void *) = call->gone;

		call->gone = NULL;
		if (gone)
			gone(call->gone_arg);
	}
	review_later(client->control);
}

static void on_drained(void *arg)
{
	struct client *client = arg;

	client->stall_since_ms = 0;
	review_later(client->control);
}

/* ---- clients ---- */

static enum command_role role_of(const struct unixsock_peer *peer)
{
	return peer->uid == 0 || peer->uid == geteuid() ? COMMAND_ADMIN : COMMAND_OPERATE;
}

static void refuse_client(const struct control *control, int fd, const struct unixsock_peer *peer)
{
	char line[200];
	int len = snprintf(
		line, sizeof(line),
		"{\"id\":null,\"ok\":false,\"error\":{\"code\":\"UNAVAILABLE\",\"message\":\"already "
		"%d clients are connected: [control] max_clients\"}}\n",
		control->options.max_clients);

	log_warning("control.full", "pid=%d clients=%zu -- refused", (int)peer->pid, control->count);
	(void)send(fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int client_new(struct control *control, int *fd, const struct unixsock_peer *peer)
{
	struct client *client;
	struct lineconn_options options = {
		.max_line = LINE_MAX_BYTES,
		.max_queued = QUEUE_MAX_BYTES,
		.on_line = on_line,
		.on_end = on_end,
		.on_drained = on_drained,
	};
	/* Two descriptors: the end of what a client sends must not end what it is told. */
	AUTO(fd_close) int write_fd = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
	int r;

	if (write_fd < 0)
		return -errno;
	client = mem_alloc(sizeof(*client));
	options.read_fd = *fd;
	options.write_fd = write_fd;
	options.arg = client;
	r = lineconn_new(control->loop, &options, &client->conn);
	if (r < 0) {
		mem_free(&client);
		return r;
	}
	(void)fd_take(fd);
	(void)fd_take(&write_fd);
	client->control = control;
	client->id = ++control->last_client_id;
	client->peer = *peer;
	client->role = role_of(peer);
	list_init(&client->calls);
	list_push_back(&control->clients, &client->node);
	control->count++;
	log_debug("control.open", "client=%" PRId64 " pid=%d uid=%u", client->id, (int)peer->pid,
		  (unsigned)peer->uid);
	return 0;
}

static void suspend_accept(struct control *control, int error)
{
	log_warning("control.accept", "error=\"%s\" -- trying again in %d ms", strerror(error),
		    ACCEPT_AGAIN_MS);
	loop_fd_set(control->accept_watch, 0);
	loop_timer_start(control->accept_timer, ACCEPT_AGAIN_MS);
}

static void on_accept_again(void *arg)
{
	struct control *control = arg;

	loop_fd_set(control->accept_watch, LOOP_READ);
}

static void on_connection(void *arg, unsigned events)
{
	struct control *control = arg;

	(void)events;
	for (int i = 0; i < ACCEPTS_A_WAKE; i++) {
		AUTO(fd_close) int fd = -1;
		struct unixsock_peer peer;
		int r = unixsock_accept(control->sock, &fd, &peer);

		if (r == -EAGAIN)
			return;
		if (r == 0 && control->count >= (size_t)control->options.max_clients)
			refuse_client(control, fd, &peer);
		else if (r == 0)
			r = client_new(control, &fd, &peer);
		if (r == -EMFILE || r == -ENFILE || r == -ENOMEM) {
			suspend_accept(control, -r);
			return;
		}
	}
}

int control_new(struct loop *loop, const struct control_options *options, struct control **ret,
		char **ret_error)
{
	const struct unixsock_options sock_options = {
		.path = options->path,
		.mode = options->mode,
		.group = options->group,
	};
	struct unixsock *sock;
	struct control *control;
	int r = unixsock_listen(&sock_options, &sock, ret_error);

	if (r < 0)
		return r;
	control = mem_alloc(sizeof(*control));
	control->loop = loop;
	control->options = *options;
	control->options.path = control->options.group = NULL;
	control->sock = sock;
	list_init(&control->clients);
	list_init(&control->dead);
	loop_fd_new(loop, unixsock_fd(sock), LOOP_READ, on_connection, control, &control->accept_watch);
	loop_timer_new(loop, on_accept_again, control, &control->accept_timer);
	loop_timer_new(loop, on_stall_check, control, &control->stall_timer);
	log_info("control.listening", "path=%s mode=%o", options->path, options->mode);
	*ret = control;
	return 0;
}

void control_free(struct control **control)
{
	struct control *dead = *control;

	if (!dead)
		return;
	*control = NULL;
	loop_fd_free(&dead->accept_watch);
	loop_timer_free(&dead->accept_timer);
	list_foreach_safe (node, &dead->clients) {
		client_drop(client_of(node), "shutdown");
	}
	loop_timer_free(&dead->stall_timer);
	loop_undefer(dead->loop, dead);
	reap(dead);
	unixsock_free(&dead->sock);
	mem_free(&dead);
}

void control_set_max_clients(struct control *control, int max_clients)
{
	control->options.max_clients = max_clients;
}

size_t control_clients(const struct control *control)
{
	return control->count;
}
