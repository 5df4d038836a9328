#include "ctl/top_rows.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/top.h"

static const json_t *list_of(const struct top_look *look, enum top_ask ask, const char *key)
{
	return look ? json_object_get(look->data[ask], key) : NULL;
}

static const json_t *find_row(const json_t *rows, const char *key, const json_t *value)
{
	for (size_t i = 0; i < json_array_size(rows); i++)
		if (json_equal(json_object_get(json_array_get(rows, i), key), value))
			return json_array_get(rows, i);
	return NULL;
}

static bool is_text(const json_t *object, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value && strcmp(value, text) == 0;
}

/* How much a number has grown in a minute, by an older look; -1 where that is not known. */
static double per_minute(const struct top_picture *picture, double now, const json_t *then)
{
	int64_t span_ms = picture->then ? picture->now->at_ms - picture->then->at_ms : 0;

	if (!then || span_ms <= 0 || now < json_number_value(then))
		return -1;
	return (now - json_number_value(then)) * 60000.0 / (double)span_ms;
}

static void set_rate(json_t *row, double rate)
{
	if (rate >= 0)
		(void)json_object_set_new(row, "perMinute", json_integer((json_int_t)(rate + 0.5)));
}

/* ---- providers ---- */

/* The limit of which the largest share is used: as "fill", and which it is as "fillOf". */
static void set_fill(json_t *row, const json_t *lane)
{
	const json_t *limits = json_object_get(lane, "limits"), *fullest = NULL;
	double most = -1;

	for (size_t i = 0; i < json_array_size(limits); i++) {
		const json_t *limit = json_array_get(limits, i);
		double whole = json_number_value(json_object_get(limit, "limit"));
		double share = whole > 0 ? json_number_value(json_object_get(limit, "used")) / whole : 0;

		if (share > most) {
			most = share;
			fullest = limit;
		}
	}
	if (!fullest)
		return;
	(void)json_object_set_new(row, "fill", json_real(most > 1 ? 1 : most));
	if (is_text(fullest, "scope", "") || is_text(fullest, "scope", "*"))
		(void)json_object_set(row, "fillOf", json_object_get(fullest, "unit"));
	else
		(void)json_object_set_new(row, "fillOf",
					  json_sprintf("%s of %s",
						       json_string_value(json_object_get(fullest, "unit")),
						       json_string_value(json_object_get(fullest, "scope"))));
}

/* "tokens/min, in 12s" */
static void set_waits(const struct top_picture *picture, json_t *row, const json_t *lane)
{
	const char *why = json_string_value(json_object_get(lane, "why"));
	const json_t *until = json_object_get(lane, "untilMs");
	AUTO(mem_free_str) char *when = NULL;

	if (!why || !*why)
		return;
	if (json_is_integer(until))
		when = text_ago(json_integer_value(until), picture->now->wall_ms);
	(void)json_object_set_new(row, "waits",
				  json_sprintf("%s%s%s", why, when ? ", " : "", when ? when : ""));
}

static bool is_idle(const json_t *lane)
{
	return is_text(lane, "state", "no-key") && json_integer_value(json_object_get(lane, "queued")) == 0 &&
	       json_integer_value(json_object_get(lane, "calls")) == 0;
}

json_t *top_provider_rows(const struct top_picture *picture, bool all)
{
	const json_t *lanes = list_of(picture->now, TOP_STATUS, "providers");
	const json_t *before = list_of(picture->then, TOP_STATUS, "providers");
	json_t *rows = json_array();

	for (size_t i = 0; i < json_array_size(lanes); i++) {
		json_t *lane = json_array_get(lanes, i);
		const json_t *then = find_row(before, "provider", json_object_get(lane, "provider"));
		json_t *row;

		if (!all && is_idle(lane))
			continue;
		row = json_copy(lane);
		set_fill(row, lane);
		set_waits(picture, row, lane);
		set_rate(row, per_minute(picture, json_number_value(json_object_get(lane, "calls")),
					 json_object_get(then, "calls")));
		(void)json_array_append_new(rows, row);
	}
	return rows;
}

/* ---- workers ---- */

json_t *top_worker_rows(const struct top_picture *picture, bool all)
{
	const json_t *workers = list_of(picture->now, TOP_WORKERS, "items");
	const json_t *before = list_of(picture->then, TOP_WORKERS, "items");
	json_t *rows = json_array();

	(void)all;
	for (size_t i = 0; i < json_array_size(workers); i++) {
		json_t *worker = json_array_get(workers, i), *row = json_copy(worker);
		const json_t *then = find_row(before, "worker", json_object_get(worker, "worker"));
		double capacity = json_number_value(json_object_get(worker, "capacity"));
		double held = json_number_value(json_object_get(worker, "held"));
		json_t *ails = json_object_get(worker, "ailment");

		(void)json_object_set_new(row, "load", json_real(capacity > 0 ? held / capacity : 0));
		if (!json_is_string(ails) && !is_text(worker, "state", "ready"))
			ails = json_object_get(worker, "lastDeath");
		if (json_is_string(ails))
			(void)json_object_set(row, "ails", ails);
		set_rate(row, per_minute(picture, json_number_value(json_object_get(worker, "jobsDone")),
					 json_object_get(then, "jobsDone")));
		(void)json_array_append_new(rows, row);
	}
	return rows;
}

/* ---- runs ---- */

static double ended(const json_t *run)
{
	return json_number_value(table_lookup(run, "progress.completed")) +
	       json_number_value(table_lookup(run, "progress.failed")) +
	       json_number_value(table_lookup(run, "progress.cancelled"));
}

json_t *top_run_rows(const struct top_picture *picture, bool all)
{
	const json_t *runs = list_of(picture->now, TOP_RUNS, "items");
	const json_t *before = list_of(picture->then, TOP_RUNS, "items");
	json_t *rows = json_array();

	(void)all;
	for (size_t i = 0; i < json_array_size(runs); i++) {
		json_t *run = json_array_get(runs, i), *row = json_copy(run);
		const json_t *then = find_row(before, "id", json_object_get(run, "id"));
		json_t *done_then = then ? json_real(ended(then)) : NULL;
		double total = json_number_value(table_lookup(run, "progress.total"));
		double done = ended(run), rate = per_minute(picture, done, done_then);

		(void)json_object_set_new(row, "share", json_real(total > 0 ? done / total : 0));
		(void)json_object_set_new(row, "left", json_integer((json_int_t)(total - done)));
		set_rate(row, rate);
		if (rate > 0)
			(void)json_object_set_new(
				row, "etaMs", json_integer((json_int_t)((total - done) * 60000.0 / rate)));
		(void)json_array_append_new(rows, row);
		json_decref(done_then);
	}
	return rows;
}

/* ---- events ---- */

json_t *top_event_rows(const struct top_picture *picture, bool all)
{
	const json_t *events = list_of(picture->now, TOP_EVENTS, "items");
	json_t *rows = json_array();

	for (size_t i = json_array_size(events); i-- > 0;) {
		json_t *event = json_array_get(events, i), *row;
		json_t *subject = json_object_get(event, "subject");

		if (!all && !is_text(event, "level", "warning") && !is_text(event, "level", "error"))
			continue;
		row = json_copy(event);
		if (!json_is_string(subject))
			subject = json_object_get(event, "runId");
		(void)json_object_set(row, "whose", subject);
		(void)json_array_append_new(rows, row);
	}
	return rows;
}
