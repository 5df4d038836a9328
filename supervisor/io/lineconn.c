#include "io/lineconn.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "io/handover.h"
#include "io/loop.h"

/* A wake reads at most this much. A pipe holds 64 KiB by default. */
enum { READ_CHUNK = 128 * 1024, KEEP_BYTES = 256 * 1024 };

struct lineconn {
	struct loop *loop;
	struct lineconn_options options;
	struct loop_fd *read_watch; /* NULL once the read side has ended */
	struct loop_fd
		*write_watch; /* NULL while the fds are one and the same: read_watch serves both then */
	struct buf in;	      /* bytes of an unfinished line, mostly */
	size_t scanned;	      /* of `in`: no newline in the first `scanned` bytes */
	struct buf out;
	bool paused;
	bool flush_due;	  /* a flush is deferred to the end of this turn */
	bool write_ended; /* the write side is closed or broken */
	bool close_write; /* close it once `out` is empty */
	bool in_callback; /* a callback runs: free is put off */
	bool freed;	  /* freed from inside a callback */
};

static void destroy(void *arg)
{
	struct lineconn *conn = arg;
	int write_fd = conn->options.write_fd;

	loop_undefer(conn->loop, conn);
	loop_fd_free(&conn->read_watch);
	loop_fd_free(&conn->write_watch);
	if (write_fd != conn->options.read_fd)
		fd_close(&write_fd);
	fd_close(&conn->options.read_fd);
	buf_free(&conn->in);
	buf_free(&conn->out);
	mem_free(&conn);
}

/* Runs `conn`'s callbacks between these two; leave() returns false when the conn was freed meanwhile. */
static bool enter(struct lineconn *conn)
{
	bool outer = !conn->in_callback;

	conn->in_callback = true;
	return outer;
}

static bool leave(struct lineconn *conn, bool outer)
{
	if (!outer)
		return !conn->freed;
	conn->in_callback = false;
	if (!conn->freed)
		return true;
	destroy(conn);
	return false;
}

static bool one_fd(const struct lineconn *conn)
{
	return conn->options.read_fd == conn->options.write_fd;
}

static void set_watches(struct lineconn *conn)
{
	bool want_write = !conn->write_ended && buf_len(&conn->out) > 0 && !conn->flush_due;
	unsigned read_events = conn->paused || !conn->read_watch ? 0 : LOOP_READ;

	if (one_fd(conn)) {
		if (conn->read_watch)
			loop_fd_set(conn->read_watch, read_events | (want_write ? LOOP_WRITE : 0));
		return;
	}
	if (conn->read_watch)
		loop_fd_set(conn->read_watch, read_events);
	if (conn->write_watch)
		loop_fd_set(conn->write_watch, want_write ? LOOP_WRITE : 0);
}

static void end_write(struct lineconn *conn)
{
	conn->write_ended = true;
	buf_clear(&conn->out, 0);
	loop_fd_free(&conn->write_watch);
	if (!one_fd(conn))
		fd_close(&conn->options.write_fd);
}

/* The read side is over; tells the owner once. */
static void end_read(struct lineconn *conn, enum lineconn_end end, int error)
{
	bool outer;

	if (!conn->read_watch)
		return;
	loop_fd_free(&conn->read_watch);
	if (one_fd(conn))
		end_write(conn);
	outer = enter(conn);
	conn->options.on_end(conn->options.arg, end, error);
	(void)leave(conn, outer);
}

/* Delivers the whole lines held. False when the conn is gone or has ended. */
static bool deliver(struct lineconn *conn)
{
	bool outer = enter(conn);

	while (!conn->freed && conn->read_watch && !conn->paused) {
		char *bytes = conn->in.bytes + conn->in.start;
		size_t held = buf_len(&conn->in);
		char *newline = held > conn->scanned
					? memchr(bytes + conn->scanned, '\n', held - conn->scanned)
					: NULL;
		size_t len;

		if (!newline) {
			conn->scanned = held;
			break;
		}
		len = (size_t)(newline - bytes);
		conn->scanned = 0;
		if (len > conn->options.max_line) {
			end_read(conn, LINECONN_TOO_LONG, 0);
			break;
		}
		*newline = '\0';
		conn->options.on_line(conn->options.arg, bytes, len);
		buf_drop(&conn->in, len + 1);
	}
	if (!conn->freed && conn->read_watch && buf_len(&conn->in) > conn->options.max_line)
		end_read(conn, LINECONN_TOO_LONG, 0);
	if (!conn->freed && buf_len(&conn->in) == 0)
		buf_clear(&conn->in, KEEP_BYTES);
	return leave(conn, outer);
}

/* Reads once. Returns the bytes read; 0 when there is nothing now or ever, *ret_ended tells which. */
static size_t read_some(struct lineconn *conn, bool *ret_ended)
{
	char *at = buf_reserve(&conn->in, READ_CHUNK);
	ssize_t n;

	*ret_ended = false;
	assert(at); /* `in` has no cap of its own: deliver() ends the conn when a line is too long */
	n = read(conn->options.read_fd, at, READ_CHUNK);
	if (n > 0) {
		buf_commit(&conn->in, (size_t)n);
		return (size_t)n;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	*ret_ended = true;
	end_read(conn, n == 0 ? LINECONN_EOF : LINECONN_ERROR, n == 0 ? 0 : errno);
	return 0;
}

static void flush(struct lineconn *conn)
{
	conn->flush_due = false;
	while (!conn->write_ended && buf_len(&conn->out) > 0) {
		ssize_t n = write(conn->options.write_fd, buf_bytes(&conn->out), buf_len(&conn->out));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			int error = errno;

			end_write(conn);
			/* A pipe's reader tells the same story by EOF, with the last lines it still sent. */
			if (one_fd(conn))
				end_read(conn, LINECONN_ERROR, error);
			return;
		}
		buf_drop(&conn->out, (size_t)n);
	}
	if (conn->write_ended)
		return;
	if (buf_len(&conn->out) == 0) {
		buf_clear(&conn->out, KEEP_BYTES);
		if (conn->close_write)
			end_write(conn);
	}
	set_watches(conn);
	if (buf_len(&conn->out) == 0 && conn->options.on_drained) {
		bool outer = enter(conn);

		conn->options.on_drained(conn->options.arg);
		(void)leave(conn, outer);
	}
}

static void on_flush(void *arg)
{
	struct lineconn *conn = arg;
	bool outer = enter(conn);

	flush(conn);
	(void)leave(conn, outer);
}

static void on_ready(void *arg, unsigned events)
{
	struct lineconn *conn = arg;
	bool outer = enter(conn);
	bool ended;

	if (events & LOOP_WRITE)
		flush(conn);
	if (!conn->freed && (events & LOOP_READ) && conn->read_watch && !conn->paused &&
	    read_some(conn, &ended) > 0)
		(void)deliver(conn);
	(void)leave(conn, outer);
}

int lineconn_new(struct loop *loop, const struct lineconn_options *options, struct lineconn **ret)
{
	struct lineconn *conn;
	int r = 0;

	if (options->read_fd >= 0)
		r = fd_set_nonblock(options->read_fd);
	if (r == 0 && options->write_fd >= 0)
		r = fd_set_nonblock(options->write_fd);
	if (r < 0)
		return r;
	conn = mem_alloc(sizeof(*conn));
	conn->loop = loop;
	conn->options = *options;
	buf_init(&conn->in, 0);
	buf_init(&conn->out, options->max_queued);
	if (options->read_fd >= 0)
		loop_fd_new(loop, options->read_fd, LOOP_READ, on_ready, conn, &conn->read_watch);
	conn->write_ended = options->write_fd < 0;
	if (options->write_fd >= 0 && !one_fd(conn))
		loop_fd_new(loop, options->write_fd, 0, on_ready, conn, &conn->write_watch);
	*ret = conn;
	return 0;
}

void lineconn_free(struct lineconn **conn)
{
	struct lineconn *dead = *conn;

	if (!dead)
		return;
	*conn = NULL;
	if (dead->in_callback) {
		dead->freed = true;
		return;
	}
	destroy(dead);
}

int lineconn_send2(struct lineconn *conn, const void *a, size_t a_len, const void *b, size_t b_len)
{
	char *at;

	if (conn->write_ended || conn->close_write)
		return -EPIPE;
	at = buf_reserve(&conn->out, a_len + b_len);
	if (!at)
		return -ENOBUFS;
	if (a_len)
		memcpy(at, a, a_len);
	if (b_len)
		memcpy(at + a_len, b, b_len);
	buf_commit(&conn->out, a_len + b_len);
	if (!conn->flush_due) {
		conn->flush_due = true;
		loop_defer(conn->loop, on_flush, conn);
	}
	return 0;
}

int lineconn_send(struct lineconn *conn, const void *bytes, size_t len)
{
	return lineconn_send2(conn, bytes, len, NULL, 0);
}

size_t lineconn_queued(const struct lineconn *conn)
{
	return buf_len(&conn->out);
}

void lineconn_pause(struct lineconn *conn, bool paused)
{
	if (conn->paused == paused)
		return;
	conn->paused = paused;
	set_watches(conn);
	if (!paused && !conn->in_callback)
		(void)deliver(conn);
}

void lineconn_close_write(struct lineconn *conn)
{
	if (conn->write_ended)
		return;
	conn->close_write = true;
	if (buf_len(&conn->out) == 0)
		end_write(conn);
}

void lineconn_drain(struct lineconn *conn, size_t max)
{
	bool outer = enter(conn);
	size_t got = 0;
	bool ended = false;

	conn->paused = false;
	while (!conn->freed && conn->read_watch && got < max && !ended) {
		size_t n = read_some(conn, &ended);

		if (n == 0)
			break;
		got += n;
		(void)deliver(conn);
	}
	(void)leave(conn, outer);
}

void lineconn_fds(const struct lineconn *conn, int *ret_read_fd, int *ret_write_fd)
{
	*ret_read_fd = conn->options.read_fd;
	*ret_write_fd = conn->options.write_fd;
}

static void on_resume(void *arg)
{
	struct lineconn *conn = arg;
	bool outer = enter(conn);

	flush(conn);
	if (!conn->freed && conn->read_watch && !conn->paused)
		(void)deliver(conn);
	(void)leave(conn, outer);
}

void lineconn_pass(struct lineconn *conn, struct handover *h, const char *name)
{
	bool read_ended = !conn->read_watch;

	handover_begin(h, name);
	handover_bool(h, "readEnded", &read_ended);
	handover_bool(h, "closeWrite", &conn->close_write);
	handover_buf(h, "in", &conn->in);
	handover_buf(h, "out", &conn->out);
	handover_end(h);
	if (!handover_is_read(h))
		return;
	if (read_ended)
		loop_fd_free(&conn->read_watch);
	conn->flush_due = true;
	loop_defer(conn->loop, on_resume, conn);
}
