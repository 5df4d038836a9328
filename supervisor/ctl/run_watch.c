/* run watch: a run's progress until it ends.
 *
 * Two questions: a cheap one, often, for progress and waits; and the whole run, seldom, for tokens,
 * which the database has to add up. The longer that takes, the more seldom it is asked. */

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/view.h"

enum {
	BAR_CELLS = 24,
	INTERVAL_TERMINAL_MS = 500,
	INTERVAL_PIPE_MS = 5000,
	SUMS_EVERY_MS = 4000,
	SUMS_COST_FACTOR = 20, /* at most a twentieth of the time goes into adding up */
	RATE_SAMPLES = 32,
};

/* Progress at one moment, for the rate. */
struct sample {
	int64_t at_ms, done;
};

struct watch {
	struct ctl *ctl;
	struct table_style style;
	json_t *args;	/* {"run": …, "brief": true} */
	json_t *run;	/* the last brief answer */
	int64_t tokens; /* -1 = not known yet */
	bool simulated;
	int64_t sums_due_ms;
	struct sample samples[RATE_SAMPLES]; /* a ring: the newest is at (count - 1) % RATE_SAMPLES */
	size_t sample_count;
};

static int64_t progress_of(const json_t *run, const char *key)
{
	return json_integer_value(json_object_get(json_object_get(run, "progress"), key));
}

static int64_t ended(const json_t *run)
{
	return progress_of(run, "completed") + progress_of(run, "failed") + progress_of(run, "cancelled");
}

static bool is_over(const json_t *run)
{
	const char *status = json_string_value(json_object_get(run, "status"));

	return status && (strcmp(status, "COMPLETED") == 0 || strcmp(status, "FAILED") == 0 ||
			  strcmp(status, "CANCELLED") == 0);
}

/* ---- asking ---- */

static int ask_progress(struct watch *watch)
{
	struct conn_reply reply;
	int code = ctl_ask(watch->ctl, "run.show", watch->args, &reply);
	struct sample *sample;

	if (code != CTL_OK)
		return code;
	json_decref(watch->run);
	watch->run = json_incref(reply.data);
	conn_reply_clear(&reply);
	sample = &watch->samples[watch->sample_count++ % RATE_SAMPLES];
	*sample = (struct sample){ .at_ms = clock_now_ms(), .done = ended(watch->run) };
	return CTL_OK;
}

static void add_up(struct watch *watch, const json_t *models)
{
	watch->tokens = 0;
	watch->simulated = false;
	for (size_t i = 0; i < json_array_size(models); i++) {
		const json_t *model = json_array_get(models, i);

		watch->tokens += json_integer_value(json_object_get(model, "tokenCount"));
		watch->simulated = watch->simulated || json_is_true(json_object_get(model, "simulated"));
	}
}

/* Tokens, when it is time for them. */
static int ask_sums(struct watch *watch)
{
	int64_t before_ms = clock_now_ms();
	json_t *args;
	struct conn_reply reply;
	int64_t took_ms;
	int code;

	if (before_ms < watch->sums_due_ms)
		return CTL_OK;
	args = json_pack("{s:O}", "run", json_object_get(watch->args, "run"));
	code = ctl_ask(watch->ctl, "run.show", args, &reply);
	json_decref(args);
	if (code != CTL_OK)
		return code;
	add_up(watch, json_object_get(reply.data, "models"));
	conn_reply_clear(&reply);
	took_ms = clock_now_ms() - before_ms;
	watch->sums_due_ms = before_ms + (took_ms * SUMS_COST_FACTOR > SUMS_EVERY_MS
						  ? took_ms * SUMS_COST_FACTOR
						  : SUMS_EVERY_MS);
	return CTL_OK;
}

/* ---- showing ---- */

/* Probes a second over the samples held; 0 when not known yet. */
static double rate(const struct watch *watch)
{
	size_t held = watch->sample_count < RATE_SAMPLES ? watch->sample_count : RATE_SAMPLES;
	const struct sample *newest = &watch->samples[(watch->sample_count - 1) % RATE_SAMPLES];
	const struct sample *oldest = &watch->samples[(watch->sample_count - held) % RATE_SAMPLES];

	if (newest->at_ms <= oldest->at_ms)
		return 0;
	return (double)(newest->done - oldest->done) * 1000.0 / (double)(newest->at_ms - oldest->at_ms);
}

static void put_bar(struct buf *out, const struct watch *watch, int64_t done, int64_t total)
{
	int64_t filled = total > 0 ? done * BAR_CELLS / total : 0;

	buf_puts(out, "[");
	for (int64_t i = 0; i < BAR_CELLS; i++)
		buf_puts(out, i < filled ? "█" : "░");
	buf_putf(out, "] %s%3" PRId64 "%%%s ", table_bold(&watch->style), total > 0 ? done * 100 / total : 0,
		 table_reset(&watch->style));
}

static void put_pace(struct buf *out, const struct watch *watch, int64_t left)
{
	double per_s = rate(watch);

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

static void put_sums(struct buf *out, const struct watch *watch)
{
	if (watch->tokens >= 0) {
		AUTO(mem_free_str) char *tokens = text_short_count(watch->tokens);

		buf_putf(out, " · %s tokens", tokens);
	}
	put_money(out, watch->run);
	if (watch->simulated)
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

static void put_wait(struct buf *out, const struct watch *watch, const json_t *wait, bool first)
{
	AUTO(mem_free_str)
	char *until = table_cell(&watch->style, COLUMN_UNTIL, json_object_get(wait, "untilMs"));

	put_text(out, first ? " · waiting: " : ", ", json_object_get(wait, "lane"));
	put_text(out, " ", json_object_get(wait, "why"));
	buf_putf(out, "%s%s", *until ? " " : "", until);
}

/* The reason of a pause is told once, not for each lane. */
static void put_waits(struct buf *out, const struct watch *watch)
{
	const json_t *waiting = json_object_get(watch->run, "waiting");
	const json_t *stalled = json_object_get(watch->run, "stalled");
	const json_t *paused = json_object_get(watch->run, "pauseReason");

	put_text(out, " · paused: ", paused);
	put_text(out, " · stalled: ", json_object_get(stalled, "why"));
	for (size_t i = 0; !json_is_string(paused) && i < json_array_size(waiting); i++)
		put_wait(out, watch, json_array_get(waiting, i), i == 0);
}

static void put_line(struct buf *out, const struct watch *watch)
{
	int64_t total = progress_of(watch->run, "total");
	int64_t done = ended(watch->run);
	int64_t failed = progress_of(watch->run, "failed");
	const char *status = json_string_value(json_object_get(watch->run, "status"));
	AUTO(mem_free_str) char *done_text = text_count(done);
	AUTO(mem_free_str) char *total_text = text_count(total);

	if (watch->ctl->terminal)
		put_bar(out, watch, done, total);
	buf_putf(out, "%s%s%s %s/%s", table_status_color(&watch->style, status), status,
		 table_reset(&watch->style), done_text, total_text);
	if (failed > 0)
		buf_putf(out, " · %s%" PRId64 " failed%s", table_status_color(&watch->style, "FAILED"),
			 failed, table_reset(&watch->style));
	if (!is_over(watch->run))
		put_pace(out, watch, total - done);
	put_sums(out, watch);
	if (!is_over(watch->run))
		put_waits(out, watch);
}

/* Bytes of `text` that fit into `width` columns, escape sequences taking none. */
static size_t fit_colored(const char *text, size_t width)
{
	size_t at = 0;

	while (text[at]) {
		size_t run = strcspn(text + at, "\033");
		AUTO(mem_free_str) char *plain = mem_strndup(text + at, run);
		size_t fits = text_fit(plain, width);

		at += fits;
		width -= text_width(plain) < width ? text_width(plain) : width;
		if (fits < run || !text[at])
			break;
		at += strcspn(text + at, "m");
		at += text[at] == 'm';
	}
	return at;
}

static void show(struct watch *watch)
{
	AUTO(buf_free) struct buf line = BUF_INIT(0);

	/* Waits are told relative to now, and the window may have been resized. */
	watch->style = table_style_of(watch->ctl->color, watch->ctl->terminal);
	put_line(&line, watch);
	if (watch->ctl->terminal) {
		size_t fits = fit_colored(buf_bytes(&line), watch->style.width - 1);

		(void)printf("\r\033[K%.*s%s", (int)fits, buf_bytes(&line), table_reset(&watch->style));
	} else {
		(void)printf("%s\n", buf_bytes(&line));
	}
	(void)fflush(stdout);
}

/* ---- the end ---- */

static int exit_code_of(const json_t *run)
{
	const char *status = json_string_value(json_object_get(run, "status"));

	if (strcmp(status, "COMPLETED") == 0)
		return CTL_OK;
	return strcmp(status, "CANCELLED") == 0 ? CTL_CANCELLED : CTL_FAILED;
}

/* The per-model table, or with --json the whole run. */
static int show_end(struct watch *watch)
{
	struct conn_reply reply;
	json_t *args = json_pack("{s:O}", "run", json_object_get(watch->args, "run"));
	int code = ctl_ask(watch->ctl, "run.show", args, &reply);

	json_decref(args);
	if (code != CTL_OK)
		return code;
	if (watch->ctl->json) {
		ctl_print_json(watch->ctl, &reply);
	} else {
		add_up(watch, json_object_get(reply.data, "models"));
		show(watch);
		(void)printf("%s", watch->ctl->terminal ? "\n" : "");
		view_run_models(&watch->style, reply.data);
	}
	code = exit_code_of(reply.data);
	conn_reply_clear(&reply);
	return code;
}

static int watch_loop(struct watch *watch, int64_t interval_ms)
{
	for (;;) {
		int code = ask_progress(watch);

		/* `latest` means the run that it was at first. */
		if (code == CTL_OK)
			json_object_set(watch->args, "run", json_object_get(watch->run, "id"));
		if (code == CTL_OK && is_over(watch->run))
			return show_end(watch);
		if (code == CTL_OK && !watch->ctl->json)
			code = ask_sums(watch);
		if (code != CTL_OK)
			return code;
		if (!watch->ctl->json)
			show(watch);
		if (ferror(stdout))
			return CTL_FAILED;
		(void)poll(NULL, 0, (int)interval_ms);
	}
}

int watch_run(struct ctl *ctl, const char *run, int64_t interval_ms)
{
	struct watch watch = { .ctl = ctl,
			       .args = json_pack("{s:s, s:b}", "run", run, "brief", true),
			       .tokens = -1 };
	int code;

	if (interval_ms <= 0)
		interval_ms = ctl->terminal ? INTERVAL_TERMINAL_MS : INTERVAL_PIPE_MS;
	/* With --json only the end is printed: wait for it closely. */
	if (ctl->json)
		interval_ms = INTERVAL_TERMINAL_MS;
	code = watch_loop(&watch, interval_ms);
	json_decref(watch.args);
	json_decref(watch.run);
	return code;
}

int action_run_watch(struct ctl *ctl)
{
	const json_t *interval = json_object_get(ctl->parsed->own, "interval");

	return watch_run(ctl, json_string_value(json_object_get(ctl->parsed->own, "run")),
			 json_integer_value(interval));
}
