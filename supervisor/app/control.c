#include "app/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/control_private.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/handover.h"
#include "io/lineconn.h"
#include "io/loop.h"

enum {
	ACCEPTS_A_WAKE = 16,
	ACCEPT_AGAIN_MS = 1000, /* after the process ran out of descriptors */
	STALL_CHECK_MS = 1000,
	STALL_LIMIT_MS = 30000, /* a client whose queue has not shrunk for so long is dropped */
};

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

void client_drop(struct client *client, const char *why)
{
	struct control *control = client->control;

	if (!client->conn)
		return;
	log_debug("control.close", "client=%" PRId64 " why=%s", client->id, why);
	lineconn_free(&client->conn);
	list_remove(&client->node);
	list_push_back(&control->dead, &client->node);
	control->count--;
	control->full_told = false;
	loop_defer(control->loop, reap, control);
	call_tell_gone(client);
	if (control->options.client_gone)
		control->options.client_gone(control->options.arg, client->id);
}

/* ---- flow ---- */

static bool is_congested(const struct client *client)
{
	return client->control->held_back || client->in_flight >= CONTROL_IN_FLIGHT_MAX ||
	       lineconn_queued(client->conn) > CONTROL_QUEUE_PAUSE;
}

/* Nothing more can come of a client that has ended, has been answered and has read its answers. */
static bool is_done(const struct client *client)
{
	return client->ended && client->in_flight == 0 && lineconn_queued(client->conn) == 0;
}

static void review(void *arg)
{
	struct control *control = arg;

	list_foreach_safe (node, &control->clients) {
		struct client *client = client_of(node);

		if (is_done(client))
			client_drop(client, "done");
		else if (!client->ended)
			lineconn_pause(client->conn, is_congested(client));
	}
}

void control_review(struct control *control)
{
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

	/* A write that failed empties the queue and tells nobody: who was paused is read from again, and so
	 * seen to have gone. */
	review(control);
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

/* ---- what clients get ---- */

bool client_send(struct client *client, const struct buf *head, const char *bytes, size_t len)
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
		(void)snprintf(message, sizeof(message), "the line is longer than %d bytes",
			       CONTROL_LINE_MAX);
		log_warning("control.line_too_long", "client=%" PRId64 " pid=%d -- closed", client->id,
			    (int)client->peer.pid);
		call_send_error(client, NULL, CALL_TOO_LARGE, message);
	}
	/* Who sends no more may still wait for answers, but a stream to it would never end. */
	call_tell_ended(client);
	control_review(client->control);
}

static void on_drained(void *arg)
{
	struct client *client = arg;

	client->stall_since_ms = 0;
	control_review(client->control);
}

/* ---- clients ---- */

static void refuse_client(struct control *control, int fd, const struct unixsock_peer *peer)
{
	char line[200];
	int len = snprintf(
		line, sizeof(line),
		"{\"id\":null,\"ok\":false,\"error\":{\"code\":\"UNAVAILABLE\",\"message\":\"already "
		"%d clients are connected: [control] max_clients\"}}\n",
		control->options.max_clients);

	if (!control->full_told)
		log_warning("control.full", "pid=%d clients=%zu -- refused, as are all until one goes",
			    (int)peer->pid, control->count);
	control->full_told = true;
	(void)send(fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int client_new(struct control *control, int read_fd, int write_fd, const struct unixsock_peer *peer,
	       struct client **ret)
{
	struct client *client = mem_alloc(sizeof(*client));
	const struct lineconn_options options = {
		.read_fd = read_fd,
		.write_fd = write_fd,
		.max_line = CONTROL_LINE_MAX,
		.max_queued = CONTROL_QUEUE_MAX,
		.on_line = control_on_line,
		.on_end = on_end,
		.on_drained = on_drained,
		.arg = client,
	};
	int r = lineconn_new(control->loop, &options, &client->conn);

	if (r < 0) {
		mem_free(&client);
		return r;
	}
	client->control = control;
	client->peer = *peer;
	client->role = control->options.role_of(control->options.arg, peer, read_fd);
	list_init(&client->calls);
	list_push_back(&control->clients, &client->node);
	control->count++;
	*ret = client;
	return 0;
}

static int take_client(struct control *control, int *fd, const struct unixsock_peer *peer)
{
	/* Two descriptors: the end of what a client sends must not end what it is told. */
	AUTO(fd_close) int write_fd = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
	struct client *client;
	int r;

	if (write_fd < 0)
		return -errno;
	r = client_new(control, *fd, write_fd, peer, &client);
	if (r < 0)
		return r;
	(void)fd_take(fd);
	(void)fd_take(&write_fd);
	client->id = ++control->last_client_id;
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

	loop_fd_set(control->accept_watch, control->held_back ? 0 : LOOP_READ);
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
			r = take_client(control, &fd, &peer);
		if (r == -EMFILE || r == -ENFILE || r == -ENOMEM) {
			suspend_accept(control, -r);
			return;
		}
	}
}

static int open_socket(const struct control_options *options, struct handover *h, struct unixsock **ret,
		       char **ret_error)
{
	const struct unixsock_options sock_options = {
		.path = options->path,
		.mode = options->mode,
		.group = options->group,
	};

	if (!h)
		return unixsock_listen(&sock_options, ret, ret_error);
	unixsock_pass(h, "socket", ret);
	if (!handover_error(h))
		return 0;
	*ret_error = mem_strdup(handover_error(h));
	return -EPROTO;
}

int control_new(struct loop *loop, const struct control_options *options, struct handover *h,
		struct control **ret, char **ret_error)
{
	struct unixsock *sock;
	struct control *control;
	int r = open_socket(options, h, &sock, ret_error);

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
	if (!h)
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

void control_review_roles(struct control *control)
{
	list_foreach (node, &control->clients) {
		struct client *client = client_of(node);
		int read_fd, write_fd;

		lineconn_fds(client->conn, &read_fd, &write_fd);
		client->role = control->options.role_of(control->options.arg, &client->peer, write_fd);
	}
}

size_t control_clients(const struct control *control)
{
	return control->count;
}

void control_hold_back(struct control *control, bool hold_back)
{
	control->held_back = hold_back;
	if (!loop_timer_armed(control->accept_timer))
		loop_fd_set(control->accept_watch, hold_back ? 0 : LOOP_READ);
	review(control);
}

void control_expect_stalls(struct control *control)
{
	loop_timer_start(control->stall_timer, STALL_CHECK_MS);
}
