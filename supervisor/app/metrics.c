#include "app/metrics.h"

#include <assert.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/metrics_private.h"
#include "app/tree.h"
#include "base/address.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/pool.h"
#include "io/handover.h"
#include "io/httpserver.h"

static bool is_empty(const struct metrics_source *source)
{
	return !source->value && !source->of_lane && !source->of_pool && !source->write_lane &&
	       !source->write_pool && !source->write;
}

static const struct metrics_source *source_of(enum metric_id id)
{
	if (!is_empty(&metrics_of_daemon[id]))
		return &metrics_of_daemon[id];
	return is_empty(&metrics_of_lanes[id]) ? &metrics_of_pools[id] : &metrics_of_lanes[id];
}

static void write_lanes(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	const struct metrics_source *source = source_of(id);
	size_t count;
	struct lane *const *lanes = dispatch_lanes(daemon->dispatch, &count);

	for (size_t i = 0; i < count; i++) {
		if (source->write_lane)
			source->write_lane(daemon, lanes[i], out, id);
		else
			metric_put(out, id, METRIC_LABELS(lanes[i]->name), source->of_lane(daemon, lanes[i]));
	}
}

static void write_pools(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	const struct metrics_source *source = source_of(id);
	const struct pool *pool;

	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++) {
		if (source->write_pool)
			source->write_pool(pool, out, id);
		else
			metric_put(out, id, METRIC_LABELS(pool_name(pool)), source->of_pool(pool));
	}
}

static void write_one(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	const struct metrics_source *source = source_of(id);

	metric_begin(out, id);
	if (source->value)
		metric_put(out, id, NULL, source->value(daemon));
	else if (source->of_lane || source->write_lane)
		write_lanes(daemon, out, id);
	else if (source->of_pool || source->write_pool)
		write_pools(daemon, out, id);
	else
		source->write(daemon, out, id);
}

void metrics_write(struct daemon *daemon, struct buf *out)
{
	for (int id = 0; id < METRIC_COUNT; id++)
		write_one(daemon, out, (enum metric_id)id);
}

void cmd_metrics(struct call *call, const json_t *args)
{
	AUTO(buf_free) struct buf text = BUF_INIT(0);

	(void)args;
	metrics_write(call_daemon(call), &text);
	call_ok_json(call,
		     json_pack("{s:s, s:s}", "contentType", METRIC_CONTENT_TYPE, "text", buf_bytes(&text)));
}

/* ---- over HTTP ---- */

enum { HTTP_OK = 200, HTTP_NOT_FOUND = 404, HTTP_UNAVAILABLE = 503 };

static struct httpserver_page words(int status, const char *text)
{
	return (struct httpserver_page){
		.status = status,
		.type = "text/plain; charset=utf-8",
		.body = mem_printf("%s\n", text),
		.len = strlen(text) + 1,
	};
}

static struct httpserver_page page_of_metrics(struct daemon *daemon)
{
	struct httpserver_page page = { .status = HTTP_OK, .type = METRIC_CONTENT_TYPE };
	struct buf text = BUF_INIT(0);

	metrics_write(daemon, &text);
	page.body = buf_take(&text, &page.len);
	return page;
}

static struct httpserver_page on_get(void *arg, const char *path)
{
	struct daemon *daemon = arg;
	const char *state;

	if (strcmp(path, "/metrics") == 0)
		return page_of_metrics(daemon);
	if (strcmp(path, "/healthz") == 0)
		return words(HTTP_OK, "ok");
	if (strcmp(path, "/readyz") != 0)
		return words(HTTP_NOT_FOUND, "There is /metrics, /healthz and /readyz.");
	state = cmd_state(daemon);
	return words(strcmp(state, "ready") == 0 ? HTTP_OK : HTTP_UNAVAILABLE, state);
}

static int listen_anew(struct daemon *daemon, char **ret_error)
{
	const char *listen = daemon->config->metrics.listen;
	AUTO(mem_free_str) char *why = NULL;
	struct address address;
	int r = address_parse(listen, &address);

	assert(r == 0); /* config/check.c has seen to that */
	r = httpserver_new(daemon->loop, &address, on_get, daemon, &daemon->metrics, &why);
	if (r < 0)
		*ret_error = mem_printf("[metrics] listen = %s: %s", listen, why);
	else
		log_info("metrics.listening", "address=%s", listen);
	return r;
}

/* The socket that the former program has left; a program of an earlier version had none. */
static bool take_socket(struct daemon *daemon, struct handover *h)
{
	int r = -1;

	if (!handover_has(h, "metrics"))
		return false;
	handover_begin(h, "metrics");
	r = httpserver_take(daemon->loop, h, on_get, daemon, &daemon->metrics);
	handover_end(h);
	return r == 0;
}

int metrics_open(struct daemon *daemon, struct handover *h, char **ret_error)
{
	AUTO(mem_free_str) char *error = NULL;

	if (!daemon->config->metrics.listen[0])
		return 0;
	if (!h)
		return listen_anew(daemon, ret_error);
	if (!take_socket(daemon, h) && !daemon->rehearsal && listen_anew(daemon, &error) < 0)
		log_error("metrics.failed", "reason=\"%s\" effect=\"no metrics over HTTP\"", error);
	return 0;
}

void metrics_close(struct daemon *daemon)
{
	httpserver_free(&daemon->metrics);
}

void metrics_pass(struct daemon *daemon, struct handover *h)
{
	if (!daemon->metrics)
		return;
	handover_begin(h, "metrics");
	httpserver_pass(daemon->metrics, h);
	handover_end(h);
}
