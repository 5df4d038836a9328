#include "core/healthcheck.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/handover_parts.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/handover.h"
#include "io/jsontext.h"
#include "io/lineconn.h"
#include "io/loop.h"

enum { RUN_MS = 20000, OUTPUT_BYTES = 256 * 1024, TAIL_BYTES = 1000 };

struct waiter {
	void (*done)(void *arg);
	void *arg;
};

struct healthcheck {
	struct loop *loop;
	struct healthcheck_options options;
	struct loop_timer *next, *limit;
	struct child *child;
	struct lineconn *conn;
	struct errtail *tail;
	struct buf output; /* pretty-printed JSON: many lines */
	int64_t started_ms;
	struct waiter *waiters;
	size_t waiter_count;

	bool known, healthy;
	char *reason, *report;
	int64_t checked_ms, took_ms;
};

static void schedule(struct healthcheck *check)
{
	if (check->options.interval_ms > 0)
		loop_timer_start(check->next, check->options.interval_ms);
}

static void tell(struct healthcheck *check)
{
	struct waiter *waiters = check->waiters;
	size_t count = check->waiter_count;

	check->waiters = NULL;
	check->waiter_count = 0;
	for (size_t i = 0; i < count; i++)
		waiters[i].done(waiters[i].arg);
	free(waiters);
}

static void settle(struct healthcheck *check, bool healthy, char *reason)
{
	bool changed = !check->known || check->healthy != healthy;

	check->known = true;
	check->healthy = healthy;
	mem_set_str(&check->reason, reason);
	check->checked_ms = loop_now_ms(check->loop);
	check->took_ms = check->checked_ms - check->started_ms;
	if (changed && healthy)
		log_info("health.ok", "took_ms=%lld", (long long)check->took_ms);
	else if (changed)
		log_error("health.bad", "reason=\"%s\"", check->reason);
	schedule(check);
	check->options.checked(check->options.arg, healthy);
	tell(check);
}

/* The verdict of a run that ended by itself. */
static char *judge(struct healthcheck *check, const struct child_exit *exit, bool *ret_healthy)
{
	AUTO(mem_free_str) char *tail = errtail_text(check->tail, TAIL_BYTES);
	AUTO(jsontext_free) struct jsontext *json = NULL;
	const char *first;

	*ret_healthy = false;
	if (jsontext_parse(buf_bytes(&check->output), buf_len(&check->output), &json) < 0)
		return mem_printf("the health check gave no JSON object (%s): %s", child_exit_text(exit),
				  tail[0] ? jsontext_clean(tail) : "nothing on stderr");
	mem_set_str(&check->report, mem_strndup(buf_bytes(&check->output), buf_len(&check->output)));
	*ret_healthy = jsontext_is_true(json, "success");
	if (*ret_healthy)
		return mem_strdup("");
	first = jsontext_first(json, "errors");
	return mem_strdup(first ? first : "the health check reports success: false");
}

static void on_child_exit(void *arg, const struct child_exit *exit)
{
	struct healthcheck *check = arg;
	bool healthy;
	char *reason;

	check->child = NULL;
	loop_timer_stop(check->limit);
	lineconn_drain(check->conn, OUTPUT_BYTES);
	errtail_drain(check->tail, OUTPUT_BYTES);
	reason = judge(check, exit, &healthy);
	lineconn_free(&check->conn);
	errtail_free(&check->tail);
	buf_clear(&check->output, 0);
	settle(check, healthy, reason);
}

static void on_limit(void *arg)
{
	struct healthcheck *check = arg;

	child_signal_group(check->child, SIGKILL);
}

static void on_line(void *arg, char *line, size_t len)
{
	struct healthcheck *check = arg;

	/* Over the cap it will not parse, which says enough. */
	if (buf_len(&check->output) + len + 1 <= OUTPUT_BYTES) {
		buf_put(&check->output, line, len);
		buf_put(&check->output, " ", 1);
	}
}

static void on_end(void *arg, enum lineconn_end end, int error)
{
	(void)arg;
	(void)end;
	(void)error;
}

static int start(struct healthcheck *check)
{
	const struct child_spec spec = {
		.argv = check->options.argv,
		.env = check->options.env,
		.death_signal = SIGKILL,
		.want_stdin = true,
		.want_stdout = true,
	};
	struct lineconn_options options = {
		.max_line = OUTPUT_BYTES,
		.max_queued = 64,
		.on_line = on_line,
		.on_end = on_end,
		.arg = check,
	};
	struct child_fds fds;
	int r = child_spawn(check->loop, &spec, on_child_exit, check, &check->child, &fds);

	if (r < 0)
		return r;
	options.read_fd = fds.from_stdout;
	options.write_fd = fds.to_stdin;
	if (lineconn_new(check->loop, &options, &check->conn) < 0 ||
	    errtail_new(check->loop, fds.from_stderr, "check=health", &check->tail) < 0)
		abort(); /* descriptors that were just made cannot refuse O_NONBLOCK */
	if (lineconn_send(check->conn, "{}\n", 3) == 0)
		lineconn_close_write(check->conn);
	loop_timer_start(check->limit, RUN_MS);
	return 0;
}

void healthcheck_run(struct healthcheck *check, void (*done)(void *arg), void *arg)
{
	int r;

	if (done) {
		check->waiters = mem_resize(check->waiters, check->waiter_count + 1, sizeof(*check->waiters));
		check->waiters[check->waiter_count++] = (struct waiter){ .done = done, .arg = arg };
	}
	if (check->child)
		return;
	loop_timer_stop(check->next);
	check->started_ms = loop_now_ms(check->loop);
	r = start(check);
	if (r < 0)
		settle(check, false,
		       mem_printf("%s cannot be run: %s", check->options.argv[0], strerror(-r)));
}

void healthcheck_forget(struct healthcheck *check, const void *arg)
{
	size_t kept = 0;

	for (size_t i = 0; i < check->waiter_count; i++)
		if (check->waiters[i].arg != arg)
			check->waiters[kept++] = check->waiters[i];
	check->waiter_count = kept;
}

static void on_next(void *arg)
{
	healthcheck_run(arg, NULL, NULL);
}

void healthcheck_new(struct loop *loop, const struct healthcheck_options *options, struct healthcheck **ret)
{
	struct healthcheck *check = mem_alloc(sizeof(*check));

	check->loop = loop;
	check->options = *options;
	buf_init(&check->output, 0);
	loop_timer_new(loop, on_next, check, &check->next);
	loop_timer_new(loop, on_limit, check, &check->limit);
	*ret = check;
}

void healthcheck_set_program(struct healthcheck *check, const char *const *argv, const char *const *env,
			     int64_t interval_ms)
{
	check->options.argv = argv;
	check->options.env = env;
	check->options.interval_ms = interval_ms;
	loop_timer_stop(check->next);
	schedule(check);
}

void healthcheck_free(struct healthcheck **check)
{
	struct healthcheck *dead = *check;

	if (!dead)
		return;
	child_abandon(&dead->child);
	lineconn_free(&dead->conn);
	errtail_free(&dead->tail);
	loop_timer_free(&dead->next);
	loop_timer_free(&dead->limit);
	buf_free(&dead->output);
	free(dead->waiters);
	free(dead->reason);
	free(dead->report);
	mem_free(check);
}

void healthcheck_verdict(const struct healthcheck *check, struct healthcheck_verdict *ret)
{
	*ret = (struct healthcheck_verdict){
		.known = check->known,
		.healthy = check->healthy,
		.reason = check->reason ? check->reason : "",
		.report = check->report,
		.checked_ms = check->checked_ms,
		.took_ms = check->took_ms,
	};
}

void healthcheck_pass(struct healthcheck *check, struct handover *h)
{
	bool running = check->child != NULL;

	handover_bool(h, "running", &running);
	handover_bool(h, "known", &check->known);
	handover_bool(h, "healthy", &check->healthy);
	handover_text(h, "reason", &check->reason);
	handover_text(h, "report", &check->report);
	handover_time(h, "checkedMs", &check->checked_ms);
	handover_time(h, "tookMs", &check->took_ms);
	handover_timer(h, "next", check->next);
	if (handover_is_read(h) && running)
		loop_timer_start(check->next, 0);
}
