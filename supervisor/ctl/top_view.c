/* How `top` looks: a head, tables that share what room there is, and a line of keys. */

#include "ctl/top.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/top_rows.h"

enum {
	HEAD_LINES = 3,
	FOOT_LINES = 1,
	TABLE_LINES = 2, /* an empty line and titles */
	WIDE = 120,	 /* columns from which bars are longer */
	BAR_NARROW = 8,
	BAR_WIDE = 20,
};

static const struct column provider_columns[] = {
	{ .title = "PROVIDER", .path = "provider" },
	{ .title = "STATE", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "FILL", .path = "fill", .kind = COLUMN_BAR },
	{ .title = "OF", .path = "fillOf", .shrinks = true, .optional = true, .minor = true },
	{ .title = "CALLS/MIN", .path = "perMinute", .kind = COLUMN_COUNT },
	{ .title = "BUSY", .path = "inFlight", .kind = COLUMN_COUNT },
	{ .title = "QUEUED", .path = "queued", .kind = COLUMN_COUNT },
	{ .title = "FAILED", .path = "failed", .kind = COLUMN_COUNT, .minor = true },
	{ .title = "WAITS FOR", .path = "waits", .shrinks = true },
	{ .title = NULL },
};

static const struct column worker_columns[] = {
	{ .title = "WORKER", .path = "worker" },
	{ .title = "STATE", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "LOAD", .path = "load", .kind = COLUMN_BAR },
	{ .title = "HELD", .path = "held", .kind = COLUMN_COUNT },
	{ .title = "DONE", .path = "jobsDone", .kind = COLUMN_COUNT },
	{ .title = "DONE/MIN", .path = "perMinute", .kind = COLUMN_COUNT, .minor = true },
	{ .title = "RESTARTS", .path = "restarts", .kind = COLUMN_COUNT },
	{ .title = "UP", .path = "upMs", .kind = COLUMN_MS },
	{ .title = "KB", .path = "rssKb", .kind = COLUMN_COUNT, .minor = true },
	{ .title = "AILS", .path = "ails", .shrinks = true },
	{ .title = NULL },
};

static const struct column run_columns[] = {
	{ .title = "RUN", .path = "id" },
	{ .title = "STATUS", .path = "status", .kind = COLUMN_STATUS },
	{ .title = "PROGRESS", .path = "share", .kind = COLUMN_BAR },
	{ .title = "LEFT", .path = "left", .kind = COLUMN_COUNT },
	{ .title = "FAILED", .path = "progress.failed", .kind = COLUMN_COUNT, .minor = true },
	{ .title = "PER MIN", .path = "perMinute", .kind = COLUMN_COUNT, .minor = true },
	{ .title = "ETA", .path = "etaMs", .kind = COLUMN_MS },
	{ .title = "COST", .path = "costUsd", .kind = COLUMN_USD, .optional = true, .minor = true },
	{ .title = "WAITS FOR", .path = "waitsFor", .shrinks = true },
	{ .title = "DEFINITION", .path = "definitionName", .shrinks = true, .minor = true },
	{ .title = NULL },
};

static const struct column event_columns[] = {
	{ .title = "WHEN", .path = "at", .kind = COLUMN_TIME },
	{ .title = "LEVEL", .path = "level", .kind = COLUMN_STATUS },
	{ .title = "EVENT", .path = "kind" },
	{ .title = "OF", .path = "whose", .shrinks = true },
	{ .title = "WHAT", .path = "data", .kind = COLUMN_JSON, .shrinks = true },
	{ .title = NULL },
};

/* In the order in which they stand in the view of all. */
static const struct {
	enum top_view view;
	const char *word;
	const struct column *columns;
	json_t *(*rows)(const struct top_picture *picture, bool all);
	const char *none;
} sections[] = {
	{ TOP_VIEW_PROVIDERS, "providers", provider_columns, top_provider_rows, "No provider has a key." },
	{ TOP_VIEW_RUNS, "runs", run_columns, top_run_rows, "No run is active." },
	{ TOP_VIEW_WORKERS, "workers", worker_columns, top_worker_rows, "There are no workers." },
	{ TOP_VIEW_EVENTS, "events", event_columns, top_event_rows, "No warnings and no errors." },
};

enum { SECTIONS = ARRAY_LEN(sections) };

enum top_view top_find_view(const char *word)
{
	for (size_t i = 0; i < SECTIONS; i++)
		if (strcmp(sections[i].word, word) == 0)
			return sections[i].view;
	return strcmp(word, "all") == 0 ? TOP_ALL : TOP_VIEW_COUNT;
}

static size_t section_of(enum top_view view)
{
	size_t i = 0;

	while (i < SECTIONS && sections[i].view != view)
		i++;
	return i;
}

size_t top_column_count(enum top_view view)
{
	size_t section = section_of(view), count = 0;

	while (section < SECTIONS && sections[section].columns[count].title)
		count++;
	return count;
}

/* ---- order ---- */

/* Texts from a to z, numbers from the most. */
static int compare(const json_t *a, const json_t *b)
{
	double of_a = json_number_value(a), of_b = json_number_value(b);

	if (json_is_string(a) || json_is_string(b))
		return strcmp(json_is_string(a) ? json_string_value(a) : "",
			      json_is_string(b) ? json_string_value(b) : "");
	return (of_b > of_a) - (of_b < of_a);
}

struct sorting {
	const char *path;
	int sign;
};

static int by_column(const void *a, const void *b, void *arg)
{
	const struct sorting *sorting = arg;
	const json_t *const *of_a = a, *const *of_b = b;

	return sorting->sign *
	       compare(table_lookup(*of_a, sorting->path), table_lookup(*of_b, sorting->path));
}

/* `rows` (taken) in the order that the user wants. */
static json_t *in_order(json_t *rows, const struct column *columns, const struct top_order *order)
{
	size_t count = json_array_size(rows);
	json_t **list = mem_array(count + 1, sizeof(*list));
	struct sorting sorting = { .sign = order->reversed ? -1 : 1 };
	json_t *sorted = json_array();

	for (size_t i = 0; i < count; i++)
		list[order->reversed && order->column == 0 ? count - 1 - i : i] = json_array_get(rows, i);
	if (order->column > 0) {
		sorting.path = columns[order->column - 1].path;
		qsort_r(list, count, sizeof(*list), by_column, &sorting);
	}
	for (size_t i = 0; i < count; i++)
		(void)json_array_append(sorted, list[i]);
	mem_free(&list);
	json_decref(rows);
	return sorted;
}

/* ---- tables ---- */

/* Rows from `first` on, and what is not shown, in `room` lines. */
static void put_rows(FILE *out, const struct table_style *style, size_t section, const json_t *rows,
		     size_t first, size_t room)
{
	size_t count = json_array_size(rows), last;
	json_t *shown = json_array();

	if (first >= count)
		first = count ? count - 1 : 0;
	last = count - first > room ? first + (room > 1 ? room - 1 : 1) : count;
	for (size_t i = first; i < last; i++)
		(void)json_array_append(shown, json_array_get(rows, i));
	table_print(out, style, sections[section].columns, shown);
	if (count == 0)
		(void)fprintf(out, "%s%s%s\n", table_dim(style), sections[section].none, table_reset(style));
	else if (last < count && room > 1)
		(void)fprintf(out, "%s… %zu more%s\n", table_dim(style), count - last, table_reset(style));
	json_decref(shown);
}

/* Lines for each section, at least one, at most what it needs; what is left over goes round. */
static void share_room(size_t room, const size_t *needs, size_t *shares)
{
	bool given = true;

	for (size_t i = 0; i < SECTIONS; i++) {
		shares[i] = 1;
		room -= room > 0;
	}
	while (given && room > 0) {
		given = false;
		for (size_t i = 0; i < SECTIONS && room > 0; i++)
			if (shares[i] < needs[i]) {
				shares[i]++;
				room--;
				given = true;
			}
	}
}

static const char *refusal(const struct top_picture *picture, enum top_view view)
{
	static const enum top_ask asks[TOP_VIEW_COUNT] = { [TOP_VIEW_PROVIDERS] = TOP_STATUS,
							   [TOP_VIEW_WORKERS] = TOP_WORKERS,
							   [TOP_VIEW_RUNS] = TOP_RUNS,
							   [TOP_VIEW_EVENTS] = TOP_EVENTS };

	return picture->now->refused[asks[view]];
}

static void put_section(FILE *out, const struct table_style *style, const struct top_picture *picture,
			size_t section, json_t *rows, size_t first, size_t room)
{
	const char *refused = refusal(picture, sections[section].view);

	(void)fputc('\n', out);
	if (refused)
		(void)fprintf(out, "%s%s:%s %s%s%s\n", table_dim(style), sections[section].word,
			      table_reset(style), table_status_color(style, "warning"), refused,
			      table_reset(style));
	else
		put_rows(out, style, section, rows, first, room);
}

static void put_all(FILE *out, const struct table_style *style, const struct top_picture *picture,
		    size_t room)
{
	json_t *rows[SECTIONS];
	size_t needs[SECTIONS], shares[SECTIONS];

	for (size_t i = 0; i < SECTIONS; i++) {
		rows[i] = in_order(sections[i].rows(picture, false), sections[i].columns,
				   &picture->orders[sections[i].view]);
		needs[i] = json_array_size(rows[i]);
	}
	share_room(room > SECTIONS * TABLE_LINES ? room - SECTIONS * TABLE_LINES : 0, needs, shares);
	for (size_t i = 0; i < SECTIONS; i++) {
		put_section(out, style, picture, i, rows[i], 0, shares[i]);
		json_decref(rows[i]);
	}
}

static void put_one(FILE *out, const struct table_style *style, const struct top_picture *picture,
		    size_t room)
{
	size_t section = section_of(picture->view);
	json_t *rows = in_order(sections[section].rows(picture, true), sections[section].columns,
				&picture->orders[picture->view]);

	put_section(out, style, picture, section, rows, picture->scroll,
		    room > TABLE_LINES ? room - TABLE_LINES : 1);
	json_decref(rows);
}

/* ---- head and foot ---- */

static void put_state(FILE *out, const struct table_style *style, const json_t *status)
{
	AUTO(mem_free_str) char *state = table_cell(style, COLUMN_TEXT, json_object_get(status, "state"));
	AUTO(mem_free_str) char *version = table_cell(style, COLUMN_TEXT, json_object_get(status, "version"));
	AUTO(mem_free_str) char *up = table_cell(style, COLUMN_MS, json_object_get(status, "uptimeMs"));
	AUTO(mem_free_str)
	char *done = table_cell(style, COLUMN_COUNT, table_lookup(status, "probes.completed"));
	AUTO(mem_free_str)
	char *failed = table_cell(style, COLUMN_COUNT, table_lookup(status, "probes.failed"));
	AUTO(mem_free_str) char *held = table_cell(style, COLUMN_COUNT, table_lookup(status, "probes.held"));
	AUTO(mem_free_str)
	char *spooled = table_cell(style, COLUMN_COUNT, table_lookup(status, "database.backlogRecords"));

	(void)fprintf(out, "%sproctord %s%s  %s%s%s  up %s  workers %lld/%lld\n", table_bold(style), version,
		      table_reset(style), table_status_color(style, state), state, table_reset(style), up,
		      (long long)json_integer_value(table_lookup(status, "workers.serving")),
		      (long long)json_integer_value(table_lookup(status, "workers.size")));
	(void)fprintf(out, "probes %s done, %s failed, %s held  spool %s waiting  database %s\n", done,
		      failed, held, spooled,
		      json_is_true(table_lookup(status, "database.ready")) ? "ready" : "away");
}

/* What an operator has to know, on one line: the first of the daemon's notes, or that it is gone. */
static void put_note(FILE *out, const struct table_style *style, const struct top_picture *picture)
{
	const json_t *notes = picture->now ? json_object_get(picture->now->data[TOP_STATUS], "notes") : NULL;
	const char *note = json_string_value(json_array_get(notes, 0));
	size_t more = json_array_size(notes) > 1 ? json_array_size(notes) - 1 : 0;
	AUTO(mem_free_str) char *trouble = text_clean_line(picture->trouble ? picture->trouble : "");
	AUTO(mem_free_str) char *clean = text_clean_line(note ? note : "");

	if (picture->trouble)
		(void)fprintf(out, "%s! trying again: %s%s\n", table_status_color(style, "error"), trouble,
			      table_reset(style));
	else if (more > 0)
		(void)fprintf(out, "%s! (and %zu more) %s%s\n", table_status_color(style, "warning"), more,
			      clean, table_reset(style));
	else if (note)
		(void)fprintf(out, "%s! %s%s\n", table_status_color(style, "warning"), clean,
			      table_reset(style));
}

static void put_head(FILE *out, const struct table_style *style, const struct top_picture *picture)
{
	if (picture->now && picture->now->data[TOP_STATUS])
		put_state(out, style, picture->now->data[TOP_STATUS]);
	else
		(void)fprintf(out, "%sproctord%s\n%s\n", table_bold(style), table_reset(style),
			      picture->trouble ? "" : "asking …");
	put_note(out, style, picture);
}

/* The keys, and what the table is sorted by. */
static void put_foot(FILE *out, const struct table_style *style, const struct top_picture *picture)
{
	static const char *const words[TOP_VIEW_COUNT] = { "all", "providers", "workers", "runs", "events" };
	const struct top_order *order = &picture->orders[picture->view];
	size_t section = section_of(picture->view);

	(void)fputs("q quit ", out);
	for (size_t i = 0; i < TOP_VIEW_COUNT; i++)
		(void)fprintf(out, " %zu %s%s%s", i + 1, i == (size_t)picture->view ? table_bold(style) : "",
			      words[i], i == (size_t)picture->view ? table_reset(style) : "");
	if (picture->view != TOP_ALL)
		(void)fprintf(out, "  s sort %s %s  r turn  j k scroll",
			      order->column ? sections[section].columns[order->column - 1].title : "",
			      order->reversed ? "↑" : "↓");
	(void)fputc('\n', out);
}

/* The text's first `height - FOOT_LINES` lines, made up to as many, and the foot below. */
static char *at_height(const struct table_style *style, size_t height, const struct top_picture *picture,
		       const char *body)
{
	size_t wanted = height - FOOT_LINES;
	size_t len;
	char *text = NULL;
	FILE *out = open_memstream(&text, &len);

	for (const char *at = body; *at && wanted > 0; wanted--) {
		size_t line = strcspn(at, "\n") + 1;

		(void)fwrite(at, 1, line, out);
		at += line;
	}
	for (; wanted > 0; wanted--)
		(void)fputc('\n', out);
	put_foot(out, style, picture);
	(void)fclose(out);
	return text;
}

char *top_draw(const struct table_style *style, size_t height, const struct top_picture *picture)
{
	struct table_style tables = *style;
	size_t fixed = HEAD_LINES + FOOT_LINES;
	size_t room = height == 0 ? SIZE_MAX : height > fixed ? height - fixed : 0;
	char *body = NULL, *text;
	size_t len;
	FILE *out = open_memstream(&body, &len);

	tables.bar_cells = style->width == 0 || style->width >= WIDE ? BAR_WIDE : BAR_NARROW;
	put_head(out, style, picture);
	if (picture->now && picture->view == TOP_ALL)
		put_all(out, &tables, picture, room);
	else if (picture->now)
		put_one(out, &tables, picture, room);
	(void)fclose(out);
	if (height == 0)
		return body;
	text = at_height(style, height, picture, body);
	free(body);
	return text;
}
