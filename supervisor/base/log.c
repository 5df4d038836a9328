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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_json.h"
#include "base/log_repeat.h"
#include "base/mem.h"

enum { LINE_MAX_BYTES = 8192, RING_BYTES = 1 << 20, STOP_WAIT_MS = 1000 };

/* sd-daemon(3) priorities: LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG. */
static const int level_priorities[] = { 3, 4, 6, 7 };

static struct {
	atomic_bool json;
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
	struct log_repeat repeats;
} state = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.filled = PTHREAD_COND_INITIALIZER,
	.emptied = PTHREAD_COND_INITIALIZER,
};

void log_set_json(bool json)
{
	atomic_store(&state.json, json);
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

/* Whether stderr is the journal, as systemd.exec(5) says: JOURNAL_STREAM names its device and inode. */
static bool is_journal(void)
{
	const char *told = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return told && sscanf(told, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

static bool under_journal(void)
{
	static atomic_int known = -1;

	if (atomic_load(&known) < 0)
		atomic_store(&known, is_journal());
	return atomic_load(&known);
}

static void put_time(char *text, size_t size)
{
	struct timespec now;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)snprintf(text, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900, tm.tm_mon + 1,
		       tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000);
}

/* The whole line with its newline; returns its length. The journal keeps time and level itself; a terminal
 * or a file needs them in front. */
static size_t form_line(char *line, enum log_level level, const char *event, const char *pairs)
{
	const size_t room = LINE_MAX_BYTES - 1; /* for the newline */
	char time[64];
	size_t len = 0;
	int n;

	put_time(time, sizeof(time));
	if (under_journal())
		len = (size_t)snprintf(line, room, "<%d>", level_priorities[level]);
	if (atomic_load(&state.json)) {
		len += log_json_write(line + len, room - len, time, log_level_name(level), event, pairs);
	} else {
		if (!under_journal())
			len = (size_t)snprintf(line, room, "%s %-7s ", time, log_level_name(level));
		n = snprintf(line + len, room - len, "%s%s%s", event, *pairs ? " " : "", pairs);
		len += (size_t)n < room - len ? (size_t)n : room - len - 1;
	}
	line[len++] = '\n';
	return len;
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

/* With the lock held. */
static void ring_take(const char *line, size_t len)
{
	if (state.dropped > 0 && state.len + len + LINE_MAX_BYTES <= RING_BYTES) {
		char note[LINE_MAX_BYTES], pairs[80];
		size_t note_len;

		(void)snprintf(pairs, sizeof(pairs), "lines=%lu reason=\"stderr's reader stalled\"",
			       state.dropped);
		note_len = form_line(note, LOG_LEVEL_WARNING, "log.dropped", pairs);
		ring_put(note, note_len);
		state.dropped = 0;
	}
	if (state.len + len <= RING_BYTES)
		ring_put(line, len);
	else
		state.dropped++;
}

/* With the lock held: how often what was folded has come. */
static void tell_repeats(bool all)
{
	const struct log_repeat_text *text;
	int64_t now_ms = clock_now_ms();

	while ((text = log_repeat_due(&state.repeats, now_ms, all))) {
		char line[LINE_MAX_BYTES], pairs[LOG_REPEAT_TEXT_MAX + 80];
		size_t len;

		(void)snprintf(pairs, sizeof(pairs), "repeated=%u in_s=%lld%s%s", text->folded,
			       (long long)((now_ms - text->since_ms + 999) / 1000), *text->pairs ? " " : "",
			       text->pairs);
		len = form_line(line, (enum log_level)text->level, text->event, pairs);
		ring_take(line, len);
	}
}

/* With the lock held: until there is a line, or a repeated one is due. */
static void wait_filled(void)
{
	int64_t wait_ms = log_repeat_wait_ms(&state.repeats, clock_now_ms());
	struct timespec until;

	if (wait_ms < 0) {
		(void)pthread_cond_wait(&state.filled, &state.lock);
		return;
	}
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += wait_ms / 1000 + 1;
	(void)pthread_cond_timedwait(&state.filled, &state.lock, &until);
	tell_repeats(false);
}

static void *writer(void *arg)
{
	char chunk[LINE_MAX_BYTES];

	(void)arg;
	(void)pthread_mutex_lock(&state.lock);
	for (;;) {
		size_t len;

		while (state.len == 0 && !state.stopping)
			wait_filled();
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

	tell_repeats(true);
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

void log_write(enum log_level level, const char *event, const char *format, ...)
{
	char line[LINE_MAX_BYTES], pairs[LINE_MAX_BYTES - 128];
	size_t len;
	va_list args;

	if (!log_is_on(level, event))
		return;
	va_start(args, format);
	(void)vsnprintf(pairs, sizeof(pairs), format, args);
	va_end(args);
	for (char *at = pairs; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	len = form_line(line, level, event, pairs);
	(void)pthread_mutex_lock(&state.lock);
	if (!state.running) {
		(void)pthread_mutex_unlock(&state.lock);
		write_out(line, len);
		return;
	}
	/* At debug every message is wanted. A worker's words have a bound of their own. */
	if (level == LOG_LEVEL_DEBUG || !strcmp(event, "stderr") ||
	    log_repeat_take(&state.repeats, clock_now_ms(), (int)level, event, pairs))
		ring_take(line, len);
	(void)pthread_cond_signal(&state.filled);
	(void)pthread_mutex_unlock(&state.lock);
}
