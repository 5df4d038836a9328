#include "ctl/conn.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "ctl/first_aid.h"

enum { POLL_MS = 1000, READ_CHUNK = 64 * 1024 };

struct conn {
	int fd;
	int64_t last_id;
	struct buf in;
	size_t scanned;
	bool send_failed; /* the daemon may still have said why */
};

int conn_open(const char *path, int64_t timeout_ms, struct conn **ret, char **ret_error)
{
	AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct conn *conn;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		*ret_error = mem_printf("the socket path %s is too long: %zu bytes at most", path,
					sizeof(addr.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int error = errno;

		*ret_error = first_aid(path, error);
		return -error;
	}
	conn = mem_alloc(sizeof(*conn));
	conn->fd = fd_take(&fd);
	*ret = conn;
	return 0;
}

int conn_fd(const struct conn *conn)
{
	return conn->fd;
}

void conn_free(struct conn **conn)
{
	struct conn *dead = *conn;

	if (!dead)
		return;
	*conn = NULL;
	fd_close(&dead->fd);
	buf_free(&dead->in);
	mem_free(&dead);
}

static int send_all(struct conn *conn, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(conn->fd, bytes, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

int conn_send(struct conn *conn, const char *cmd, json_t *args, char **ret_error)
{
	json_t *request = json_pack("{s:I, s:s, s:O*}", "id", (json_int_t)++conn->last_id, "cmd", cmd, "args",
				    args);
	char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
	int r;

	json_decref(request);
	if (!line) {
		*ret_error = mem_strdup("the request cannot be written as JSON");
		return -EINVAL;
	}
	r = send_all(conn, line, strlen(line));
	if (r == 0)
		r = send_all(conn, "\n", 1);
	mem_free(&line);
	/* A daemon that closes the connection says why first: the next receive tells. */
	conn->send_failed = r == -EPIPE || r == -ECONNRESET;
	if (r < 0 && !conn->send_failed) {
		*ret_error = mem_printf("cannot send to the daemon: %s", strerror(-r));
		return r;
	}
	return 0;
}

/* Reads until a line is held; its length without the newline. */
static int read_line(struct conn *conn, int64_t timeout_ms, size_t *ret_len)
{
	int64_t deadline_ms = clock_now_ms() + timeout_ms;

	for (;;) {
		const char *bytes = buf_bytes(&conn->in);
		size_t held = buf_len(&conn->in);
		const char *newline = memchr(bytes + conn->scanned, '\n', held - conn->scanned);
		int64_t left_ms = timeout_ms < 0 ? POLL_MS : deadline_ms - clock_now_ms();
		struct pollfd poll_fd = { .fd = conn->fd, .events = POLLIN };
		char *room;
		ssize_t n;
		int ready;

		if (newline) {
			*ret_len = (size_t)(newline - bytes);
			conn->scanned = 0;
			return 0;
		}
		conn->scanned = held;
		ready = poll(&poll_fd, 1, left_ms > POLL_MS ? POLL_MS : left_ms > 0 ? (int)left_ms : 0);
		if (ready <= 0 && left_ms <= 0)
			return -ETIMEDOUT;
		if (ready <= 0)
			continue;
		room = buf_reserve(&conn->in, READ_CHUNK);
		if (!room)
			return -ENOBUFS;
		n = read(conn->fd, room, READ_CHUNK);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EPIPE;
		if (n > 0)
			buf_commit(&conn->in, (size_t)n);
	}
}

/* The text of "data", the last member of the line. */
static void take_raw(const char *line, size_t len, struct conn_reply *reply)
{
	static const char mark[] = ",\"data\":";
	const char *at = memmem(line, len, mark, sizeof(mark) - 1);

	if (!at)
		return;
	at += sizeof(mark) - 1;
	reply->raw_len = (size_t)(line + len - 1 - at);
	reply->raw = mem_strndup(at, reply->raw_len);
}

static int parse_reply(const char *line, size_t len, struct conn_reply *ret, char **ret_error)
{
	json_error_t error;
	json_t *reply = json_loadb(line, len, JSON_ALLOW_NUL, &error);

	if (!json_is_object(reply)) {
		json_decref(reply);
		*ret_error = mem_printf("the daemon's answer is not JSON: %s", error.text);
		return -EPROTO;
	}
	*ret = (struct conn_reply){ .ok = json_is_true(json_object_get(reply, "ok")),
				    .more = json_is_true(json_object_get(reply, "more")) };
	if (ret->ok) {
		ret->data = json_incref(json_object_get(reply, "data"));
		take_raw(line, len, ret);
	} else {
		ret->error = json_incref(json_object_get(reply, "error"));
		ret->code = json_string_value(json_object_get(ret->error, "code"));
		ret->message = json_string_value(json_object_get(ret->error, "message"));
	}
	json_decref(reply);
	if ((ret->ok && ret->data) || (!ret->ok && ret->code && ret->message))
		return 0;
	conn_reply_clear(ret);
	*ret_error = mem_strdup("the daemon's answer has neither data nor an error");
	return -EPROTO;
}

int conn_receive(struct conn *conn, int64_t timeout_ms, struct conn_reply *ret, char **ret_error)
{
	size_t len = 0;
	int r = read_line(conn, timeout_ms, &len);

	if (r == -ETIMEDOUT)
		*ret_error = mem_printf("no answer within %" PRId64
					" s; it may still come about (--timeout waits longer)",
					timeout_ms / 1000);
	else if (r == -EPIPE || r == -ECONNRESET)
		*ret_error = mem_strdup(
			"the daemon closed the connection; journalctl -u proctord -n 50 may tell why");
	else if (r < 0)
		*ret_error = mem_printf("cannot read from the daemon: %s", strerror(-r));
	if (r < 0)
		return r;
	r = parse_reply(buf_bytes(&conn->in), len, ret, ret_error);
	buf_drop(&conn->in, len + 1);
	return r;
}

void conn_reply_clear(struct conn_reply *reply)
{
	json_decref(reply->data);
	json_decref(reply->error);
	mem_free(&reply->raw);
	*reply = (struct conn_reply){ .ok = false };
}
