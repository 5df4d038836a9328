#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

enum { LINE_MAX_BYTES = 8192, RING_BYTES = 1 << 20, STOP_WAIT_MS = 1000 };

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

/* sd-daemon(3) priorities: LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG. */
static const int level_priorities[] = { 3, 4, 6, 7 };

static struct {
	atomic_int level;
	pthread_mutex_t lock;
	pthread_cond_t filled;
	pthread_cond_t emptied;
	pthread_t thread;
	bool running;
	bool stopping;
	bool writing;	  /* the thread is in write(2) with bytes already taken from the ring */
	char *ring;	  /* RING_BYTES while running */
	size_t head, len; /* of the bytes held */
	unsigned long dropped;
} state = {
	.level = LOG_LEVEL_INFO,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.filled = PTHREAD_COND_INITIALIZER,
	.emptied = PTHREAD_COND_INITIALIZER,
};

const char *log_level_name(enum log_level level)
{
	return (size_t)level < ARRAY_LEN(level_names) ? level_names[level] : NULL;
}

bool log_level_parse(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
		if (strcmp(name, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return true;
		}
	return false;
}

void log_set_level(enum log_level level)
{
	atomic_store(&state.level, (int)level);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load(&state.level);
}

static void write_out(const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		bytes += n;
		len -= (size_t)n;
	}
}

static void *writer(void *arg)
{
	char chunk[LINE_MAX_BYTES];

	(void)arg;
	(void)pthread_mutex_lock(&state.lock);
	for (;;) {
		size_t len;

		while (state.len == 0 && !state.stopping)
			(void)pthread_cond_wait(&state.filled, &state.lock);
		if (state.len == 0)
			break;
		len = RING_BYTES - state.head;
		if (len > state.len)
			len = state.len;
		if (len > sizeof(chunk))
			len = sizeof(chunk);
		memcpy(chunk, state.ring + state.head, len);
		state.head = (state.head + len) % RING_BYTES;
		state.len -= len;
		state.writing = true;
		(void)pthread_mutex_unlock(&state.lock);
		write_out(chunk, len);
		(void)pthread_mutex_lock(&state.lock);
		state.writing = false;
		(void)pthread_cond_signal(&state.emptied);
	}
	(void)pthread_mutex_unlock(&state.lock);
	return NULL;
}

int log_start(void)
{
	sigset_t all, old;
	int r;

	assert(!state.running);
	state.ring = mem_alloc(RING_BYTES);
	/* Signals are for the main thread, which may hold them back. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&state.thread, NULL, writer, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0) {
		mem_free(&state.ring);
		return -r;
	}
	state.running = true;
	return 0;
}

/* With the lock held: waits until the ring is empty, but not for ever. */
static bool wait_drained(void)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_WAIT_MS / 1000;
	(void)pthread_cond_signal(&state.filled);
	while (state.len > 0 || state.writing)
		if (pthread_cond_timedwait(&state.emptied, &state.lock, &until) != 0)
			break;
	return state.len == 0 && !state.writing;
}

void log_flush(void)
{
	if (!state.running)
		return;
	(void)pthread_mutex_lock(&state.lock);
	(void)wait_drained();
	(void)pthread_mutex_unlock(&state.lock);
}

void log_stop(void)
{
	bool drained;

	if (!state.running)
		return;
	(void)pthread_mutex_lock(&state.lock);
	state.stopping = true;
	drained = wait_drained();
	state.running = false;
	(void)pthread_mutex_unlock(&state.lock);
	/* A thread stuck in write(2) on a stalled reader is left to end with the process, and so is its ring.
	 */
	if (!drained)
		return;
	(void)pthread_join(state.thread, NULL);
	mem_free(&state.ring);
	state.stopping = false;
}

static void ring_put(const char *bytes, size_t len)
{
	size_t at = (state.head + state.len) % RING_BYTES;
	size_t first = RING_BYTES - at;

	if (first > len)
		first = len;
	memcpy(state.ring + at, bytes, first);
	memcpy(state.ring, bytes + first, len - first);
	state.len += len;
}

static void hand_over(const char *line, size_t len)
{
	(void)pthread_mutex_lock(&state.lock);
	if (!state.running) {
		(void)pthread_mutex_unlock(&state.lock);
		write_out(line, len);
		return;
	}
	if (state.dropped > 0 && state.len + len + 128 <= RING_BYTES) {
		char note[128];
		int n = snprintf(note, sizeof(note),
				 "log.dropped lines=%lu reason=\"stderr's reader stalled\"\n", state.dropped);

		ring_put(note, (size_t)n);
		state.dropped = 0;
	}
	if (state.len + len <= RING_BYTES)
		ring_put(line, len);
	else
		state.dropped++;
	(void)pthread_cond_signal(&state.filled);
	(void)pthread_mutex_unlock(&state.lock);
}

/* The journal keeps its own time; a terminal or a file needs one in front. */
static size_t put_prefix(char *line, size_t room, enum log_level level)
{
	static int journald = -1;
	struct timespec now;
	struct tm tm;
	int n;

	if (journald < 0)
		journald = getenv("JOURNAL_STREAM") != NULL;
	if (journald) {
		n = snprintf(line, room, "<%d>", level_priorities[level]);
		return (size_t)n;
	}
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	n = snprintf(line, room, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %-7s ", tm.tm_year + 1900,
		     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000,
		     level_names[level]);
	return (size_t)n;
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	const size_t room = sizeof(line) - 1; /* for the newline */
	size_t len, text;
	va_list args;
	int n;

	if ((int)level > atomic_load(&state.level))
		return;
	text = len = put_prefix(line, room, level);
	n = snprintf(line + len, room - len, "%s%s", event, *format ? " " : "");
	len += (size_t)n < room - len ? (size_t)n : room - len - 1;
	va_start(args, format);
	n = vsnprintf(line + len, room - len, format, args);
	va_end(args);
	if (n > 0)
		len += (size_t)n < room - len ? (size_t)n : room - len - 1;
	for (size_t i = text; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	hand_over(line, len);
}
