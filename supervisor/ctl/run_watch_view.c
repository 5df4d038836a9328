#include "ctl/run_watch_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ctl/table.h"
#include "ctl/text.h"

enum {
	BAR_CELLS = 24,
	BAR_CELLS_WIDE = 48,
	WIDE = 120,
	MODELS_SHOWN = 8,
	WAITS_SHOWN = 5,
	MODEL_WIDTH = 30,
};

/* ---- what is known ---- */

static int64_t number_of(const json_t *object, const char *path)
{
	return json_integer_value(table_lookup(object, path));
}

static int64_t ended(const json_t *run)
{
	return number_of(run, "progress.completed") + number_of(run, "progress.failed") +
	       number_of(run, "progress.cancelled");
}

bool run_watch_is_over(const json_t *run)
{
	const char *status = json_string_value(json_object_get(run, "status"));

	return status && (strcmp(status, "COMPLETED") == 0 || strcmp(status, "FAILED") == 0 ||
			  strcmp(status, "CANCELLED") == 0);
}

void run_watch_view_take(struct run_watch_view *view, json_t *run, int64_t now_ms)
{
	json_decref(view->run);
	view->run = json_incref(run);
	view->samples[view->sample_count++ % RUN_WATCH_SAMPLES] = (struct run_watch_sample){
		.at_ms = now_ms, .done = ended(run)
	};
}

void run_watch_view_take_models(struct run_watch_view *view, json_t *models)
{
	json_decref(view->models);
	view->models = json_incref(models);
}

void run_watch_view_clear(struct run_watch_view *view)
{
	json_decref(view->run);
	json_decref(view->models);
	*view = (struct run_watch_view){ .run = NULL };
}

/* Probes a second over the samples held; 0 when not known yet. */
static double rate(const struct run_watch_view *view)
{
	size_t held = view->sample_count < RUN_WATCH_SAMPLES ? view->sample_count : RUN_WATCH_SAMPLES;
	const struct run_watch_sample *newest = &view->samples[(view->sample_count - 1) % RUN_WATCH_SAMPLES];
	const struct run_watch_sample *oldest =
		&view->samples[(view->sample_count - held) % RUN_WATCH_SAMPLES];

	if (newest->at_ms <= oldest->at_ms)
		return 0;
	return (double)(newest->done - oldest->done) * 1000.0 / (double)(newest->at_ms - oldest->at_ms);
}

/* ---- parts ---- */

static void put_bar(struct buf *out, const struct table_style *style, size_t cells, int64_t done,
		    int64_t total)
{
	buf_puts(out, "[");
	text_put_bar(out, total > 0 ? (double)done / (double)total : 0, cells);
	buf_putf(out, "] %s%3" PRId64 "%%%s", table_bold(style), total > 0 ? done * 100 / total : 0,
		 table_reset(style));
}

static void put_count(struct buf *out, int64_t done, int64_t total)
{
	AUTO(mem_free_str) char *done_text = text_count(done);
	AUTO(mem_free_str) char *total_text = text_count(total);

	buf_putf(out, " %s/%s", done_text, total_text);
}

static void put_failed(struct buf *out, const struct table_style *style, int64_t failed)
{
	if (failed > 0)
		buf_putf(out, " · %s%" PRId64 " failed%s", table_status_color(style, "FAILED"), failed,
			 table_reset(style));
}

static void put_pace(struct buf *out, const struct run_watch_view *view, int64_t left)
{
	double per_s = rate(view);

	if (per_s <= 0)
		return;
	buf_putf(out, " · %.*f/s", per_s < 10 ? 1 : 0, per_s);
	if (left > 0) {
		AUTO(mem_free_str) char *eta = text_seconds((int64_t)((double)left / per_s * 1000.0));

		buf_putf(out, " · ETA %s", eta);
	}
}

/* What it has cost, and what it may. */
static void put_money(struct buf *out, const json_t *run)
{
	const json_t *cost = json_object_get(run, "costUsd"), *budget = json_object_get(run, "budgetUsd");
	AUTO(mem_free_str) char *spent = text_usd(json_number_value(cost));
	AUTO(mem_free_str) char *most = text_usd(json_number_value(budget));

	if (json_is_number(budget))
		buf_putf(out, " · %s of %s", spent, most);
	else if (json_is_number(cost))
		buf_putf(out, " · %s", spent);
}

static void put_sums(struct buf *out, const struct run_watch_view *view)
{
	int64_t tokens = 0;
	bool simulated = false;

	for (size_t i = 0; i < json_array_size(view->models); i++) {
		const json_t *model = json_array_get(view->models, i);

		tokens += number_of(model, "tokenCount");
		simulated = simulated || json_is_true(json_object_get(model, "simulated"));
	}
	if (view->models) {
		AUTO(mem_free_str) char *text = text_short_count(tokens);

		buf_putf(out, " · %s tokens", text);
	}
	put_money(out, view->run);
	if (simulated)
		buf_puts(out, " · simulated");
}

static void put_text(struct buf *out, const char *before, const json_t *value)
{
	const char *text = json_string_value(value);

	if (text) {
		AUTO(mem_free_str) char *clean = text_clean_line(text);

		buf_putf(out, "%s%s", before, clean);
	}
}

static void put_wait(struct buf *out, const struct table_style *style, const json_t *wait, const char *before)
{
	AUTO(mem_free_str)
	char *until = table_cell(style, COLUMN_UNTIL, json_object_get(wait, "untilMs"));

	put_text(out, before, json_object_get(wait, "lane"));
	put_text(out, " ", json_object_get(wait, "why"));
	buf_putf(out, "%s%s", *until ? " " : "", until);
}

/* The reason of a pause is told once, not for each lane. */
static const json_t *waits_of(const json_t *run)
{
	return json_is_string(json_object_get(run, "pauseReason")) ? NULL : json_object_get(run, "waiting");
}

/* ---- one line, for logs ---- */

static void put_line(struct buf *out, const struct table_style *style, const struct run_watch_view *view)
{
	int64_t total = number_of(view->run, "progress.total"), done = ended(view->run);
	const char *status = json_string_value(json_object_get(view->run, "status"));
	const json_t *waits = waits_of(view->run);

	buf_putf(out, "%s%s%s", table_status_color(style, status), status, table_reset(style));
	put_count(out, done, total);
	put_failed(out, style, number_of(view->run, "progress.failed"));
	if (!run_watch_is_over(view->run))
		put_pace(out, view, total - done);
	put_sums(out, view);
	if (run_watch_is_over(view->run))
		return;
	put_text(out, " · paused: ", json_object_get(view->run, "pauseReason"));
	put_text(out, " · stalled: ", table_lookup(view->run, "stalled.why"));
	for (size_t i = 0; i < json_array_size(waits); i++)
		put_wait(out, style, json_array_get(waits, i), i == 0 ? " · waiting: " : ", ");
}

/* ---- some lines, for people ---- */

static void put_title(struct buf *out, const struct table_style *style, const struct run_watch_view *view)
{
	const char *status = json_string_value(json_object_get(view->run, "status"));

	buf_putf(out, "%s%s%s", table_status_color(style, status), status, table_reset(style));
	put_text(out, "  ", json_object_get(view->run, "id"));
	put_text(out, "  ", json_object_get(view->run, "definitionName"));
	put_sums(out, view);
	buf_puts(out, "\n");
}

static void put_progress(struct buf *out, const struct table_style *style, const struct run_watch_view *view)
{
	int64_t total = number_of(view->run, "progress.total"), done = ended(view->run);

	put_bar(out, style, style->width >= WIDE ? BAR_CELLS_WIDE : BAR_CELLS, done, total);
	put_count(out, done, total);
	put_failed(out, style, number_of(view->run, "progress.failed"));
	if (!run_watch_is_over(view->run))
		put_pace(out, view, total - done);
	buf_puts(out, "\n");
}

static size_t name_width(const json_t *models)
{
	size_t widest = 0;

	for (size_t i = 0; i < json_array_size(models); i++) {
		const char *id = json_string_value(json_object_get(json_array_get(models, i), "modelId"));
		size_t width = id ? text_width(id) : 0;

		widest = width > widest ? width : widest;
	}
	return widest > MODEL_WIDTH ? MODEL_WIDTH : widest;
}

static void put_model(struct buf *out, const struct table_style *style, const json_t *model, size_t width)
{
	int64_t total = number_of(model, "total");
	int64_t done = number_of(model, "completed") + number_of(model, "failed") +
		       number_of(model, "cancelled");
	AUTO(mem_free_str) char *id = table_cell(style, COLUMN_TEXT, json_object_get(model, "modelId"));
	size_t fits = text_fit(id, width);

	buf_putf(out, "  %.*s%*s  ", (int)fits, id,
		 text_width(id) < width ? (int)(width - text_width(id)) : 0, "");
	put_bar(out, style, style->width >= WIDE ? BAR_CELLS : BAR_CELLS / 2, done, total);
	put_count(out, done, total);
	put_failed(out, style, number_of(model, "failed"));
	buf_puts(out, "\n");
}

/* Each model's share; nothing new is told by that of a single one. */
static void put_models(struct buf *out, const struct table_style *style, const struct run_watch_view *view)
{
	size_t count = json_array_size(view->models);
	size_t width = name_width(view->models);

	for (size_t i = 0; count > 1 && i < count && i < MODELS_SHOWN; i++)
		put_model(out, style, json_array_get(view->models, i), width);
	if (count > MODELS_SHOWN)
		buf_putf(out, "  … %zu more models\n", count - MODELS_SHOWN);
}

static void put_waits(struct buf *out, const struct table_style *style, const struct run_watch_view *view)
{
	const json_t *waits = waits_of(view->run);
	size_t count = json_array_size(waits);

	if (json_is_string(json_object_get(view->run, "pauseReason"))) {
		put_text(out, "paused: ", json_object_get(view->run, "pauseReason"));
		buf_puts(out, "\n");
	}
	if (json_is_object(json_object_get(view->run, "stalled"))) {
		put_text(out, "stalled: ", table_lookup(view->run, "stalled.why"));
		buf_puts(out, "\n");
	}
	for (size_t i = 0; i < count && i < WAITS_SHOWN; i++) {
		put_wait(out, style, json_array_get(waits, i), i == 0 ? "waiting: " : "         ");
		buf_puts(out, "\n");
	}
	if (count > WAITS_SHOWN)
		buf_putf(out, "         and %zu more\n", count - WAITS_SHOWN);
}

/* Lines that the picture there takes at this width: a narrower terminal has broken them. */
static size_t rows_drawn(const struct run_watch_view *view, size_t width)
{
	size_t rows = 0;

	for (size_t i = 0; i < view->drawn_count; i++)
		rows += view->drawn[i] > width ? (view->drawn[i] + width - 1) / width : 1;
	return rows;
}

/* Puts the lines over those of the picture before; never more than the terminal has. */
static void draw(struct run_watch_view *view, const struct table_style *style, const char *text)
{
	AUTO(buf_free) struct buf out = BUF_INIT(0);
	size_t rows = rows_drawn(view, style->width), most = style->height > 1 ? style->height - 1 : 1;

	if (rows > 0)
		buf_putf(&out, "\r\033[%zuA", rows < most ? rows : most);
	buf_puts(&out, "\033[J");
	view->drawn_count = 0;
	while (*text && view->drawn_count < most && view->drawn_count < RUN_WATCH_LINES) {
		size_t len = strcspn(text, "\n");
		AUTO(mem_free_str) char *line = mem_strndup(text, len);
		size_t fits = text_fit_colored(line, style->width - 1, &view->drawn[view->drawn_count]);

		buf_putf(&out, "%.*s%s\n", (int)fits, line, table_reset(style));
		view->drawn_count++;
		text += len + 1;
	}
	(void)fwrite(buf_bytes(&out), 1, buf_len(&out), stdout);
}

void run_watch_view_show(struct run_watch_view *view, bool color, bool terminal)
{
	/* Waits are told relative to now, and the window may have been resized. */
	const struct table_style style = table_style_of(color, terminal);
	AUTO(buf_free) struct buf text = BUF_INIT(0);

	if (!terminal) {
		put_line(&text, &style, view);
		(void)printf("%s\n", buf_bytes(&text));
	} else {
		put_title(&text, &style, view);
		put_progress(&text, &style, view);
		if (!run_watch_is_over(view->run)) {
			put_models(&text, &style, view);
			put_waits(&text, &style, view);
		}
		draw(view, &style, buf_bytes(&text));
	}
	(void)fflush(stdout);
}
