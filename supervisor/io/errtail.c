#include "io/errtail.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/handover.h"
#include "io/loop.h"

enum {
	TAIL_BYTES = 64 * 1024,
	READ_CHUNK = 32 * 1024, /* a wake; so that a flood does not hold the loop */
	LINE_BYTES = 1024,	/* longer lines are cut in the log, not in the tail */
	LINES_PER_S = 20,
	LINES_BURST = 100,
	DRAIN_BYTES = 256 * 1024,
};

struct errtail {
	struct loop *loop;
	struct loop_fd *watch; /* NULL at EOF */
	int fd;
	char *who;
	char ring[TAIL_BYTES];
	size_t head, len; /* of the ring */
	size_t total;	  /* bytes ever read */
	char line[LINE_BYTES];
	size_t line_len;
	int64_t tokens_milli; /* thousandths of a line that may be logged */
	int64_t refilled_ms;
	int64_t suppressed;
};

static void keep(struct errtail *tail, const char *bytes, size_t len)
{
	if (len > TAIL_BYTES) {
		bytes += len - TAIL_BYTES;
		len = TAIL_BYTES;
	}
	for (size_t done = 0; done < len;) {
		size_t at = (tail->head + tail->len) % TAIL_BYTES;
		size_t n = len - done;

		if (tail->len + n > TAIL_BYTES && tail->len < TAIL_BYTES)
			n = TAIL_BYTES - tail->len;
		if (n > TAIL_BYTES - at)
			n = TAIL_BYTES - at;
		memcpy(tail->ring + at, bytes + done, n);
		if (tail->len == TAIL_BYTES)
			tail->head = (tail->head + n) % TAIL_BYTES;
		else
			tail->len += n;
		done += n;
	}
}

static bool may_log(struct errtail *tail)
{
	int64_t now = loop_now_ms(tail->loop);

	tail->tokens_milli += (now - tail->refilled_ms) * LINES_PER_S;
	if (tail->tokens_milli > LINES_BURST * 1000)
		tail->tokens_milli = LINES_BURST * 1000;
	tail->refilled_ms = now;
	if (tail->tokens_milli < 1000) {
		tail->suppressed++;
		return false;
	}
	tail->tokens_milli -= 1000;
	return true;
}

static void log_line(struct errtail *tail)
{
	if (tail->line_len > 0 && may_log(tail)) {
		if (tail->suppressed > 0) {
			log_warning("stderr.suppressed", "%s lines=%lld", tail->who,
				    (long long)tail->suppressed);
			tail->suppressed = 0;
		}
		log_info("stderr", "%s %.*s", tail->who, (int)tail->line_len, tail->line);
	}
	tail->line_len = 0;
}

static void take(struct errtail *tail, const char *bytes, size_t len)
{
	keep(tail, bytes, len);
	tail->total += len;
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\n')
			log_line(tail);
		else if (tail->line_len < LINE_BYTES)
			tail->line[tail->line_len++] = bytes[i];
	}
}

static size_t read_some(struct errtail *tail)
{
	char chunk[READ_CHUNK];
	ssize_t n = read(tail->fd, chunk, sizeof(chunk));

	if (n > 0) {
		take(tail, chunk, (size_t)n);
		return (size_t)n;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		loop_fd_free(&tail->watch);
	return 0;
}

static void on_ready(void *arg, unsigned events)
{
	(void)events;
	(void)read_some(arg);
}

int errtail_new(struct loop *loop, int fd, const char *who, struct errtail **ret)
{
	struct errtail *tail;
	int r = fd_set_nonblock(fd);

	if (r < 0)
		return r;
	tail = mem_alloc(sizeof(*tail));
	tail->loop = loop;
	tail->fd = fd;
	tail->who = mem_strdup(who);
	tail->tokens_milli = LINES_BURST * 1000;
	tail->refilled_ms = loop_now_ms(loop);
	loop_fd_new(loop, fd, LOOP_READ, on_ready, tail, &tail->watch);
	*ret = tail;
	return 0;
}

void errtail_drain(struct errtail *tail, size_t max)
{
	size_t got = 0;

	while (tail->watch && got < max) {
		size_t n = read_some(tail);

		if (n == 0)
			break;
		got += n;
	}
}

void errtail_free(struct errtail **tail)
{
	if (!*tail)
		return;
	errtail_drain(*tail, DRAIN_BYTES);
	log_line(*tail);
	if ((*tail)->suppressed > 0)
		log_warning("stderr.suppressed", "%s lines=%lld", (*tail)->who,
			    (long long)(*tail)->suppressed);
	loop_fd_free(&(*tail)->watch);
	fd_close(&(*tail)->fd);
	mem_free(&(*tail)->who);
	mem_free(tail);
}

char *errtail_text(const struct errtail *tail, size_t max)
{
	size_t len = tail->len < max ? tail->len : max;
	size_t skip = tail->len - len;
	char *text = mem_array(1, len + 1);

	for (size_t i = 0; i < len; i++) {
		char c = tail->ring[(tail->head + skip + i) % TAIL_BYTES];

		text[i] = c ? c : '?';
	}
	return text;
}

size_t errtail_total(const struct errtail *tail)
{
	return tail->total;
}

char *errtail_text_since(const struct errtail *tail, size_t mark)
{
	return errtail_text(tail, tail->total - mark);
}

int errtail_fd(const struct errtail *tail)
{
	return tail->fd;
}

static void unroll(const struct errtail *tail, char *to)
{
	for (size_t i = 0; i < tail->len; i++)
		to[i] = tail->ring[(tail->head + i) % TAIL_BYTES];
}

void errtail_pass(struct errtail *tail, struct handover *h, const char *name)
{
	AUTO(mem_free_str) char *kept = mem_array(1, tail->len + 1);
	AUTO(mem_free_str) char *line = mem_strndup(tail->line, tail->line_len);
	size_t kept_len = tail->len, line_len = strlen(line);

	unroll(tail, kept);
	handover_begin(h, name);
	handover_size(h, "total", &tail->total);
	handover_number(h, "suppressed", &tail->suppressed);
	handover_bytes(h, "kept", &kept, &kept_len);
	handover_bytes(h, "line", &line, &line_len);
	handover_end(h);
	if (!handover_is_read(h))
		return;
	keep(tail, kept, kept_len);
	tail->line_len = line_len < LINE_BYTES ? line_len : LINE_BYTES;
	memcpy(tail->line, line, tail->line_len);
}
