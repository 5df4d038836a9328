/* run watch: a run's progress until it ends; on a terminal in place, by some lines (run_watch_view.c).
 *
 * Two questions: a cheap one, often, for progress and waits; and the whole run, seldom, for tokens,
 * which the database has to add up. The longer that takes, the more seldom it is asked. */

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"
#include "ctl/run_watch_view.h"
#include "ctl/table.h"
#include "ctl/view.h"

enum {
	INTERVAL_TERMINAL_MS = 500,
	INTERVAL_PIPE_MS = 5000,
	SUMS_EVERY_MS = 4000,
	SUMS_COST_FACTOR = 20, /* at most a twentieth of the time goes into adding up */
};

struct watch {
	struct ctl *ctl;
	json_t *args; /* {"run": …, "brief": true} */
	int64_t sums_due_ms;
	struct run_watch_view view;
};

/* ---- asking ---- */

static int ask_progress(struct watch *watch)
{
	struct conn_reply reply;
	int code = ctl_ask(watch->ctl, "run.show", watch->args, &reply);

	if (code != CTL_OK)
		return code;
	run_watch_view_take(&watch->view, reply.data, clock_now_ms());
	conn_reply_clear(&reply);
	return CTL_OK;
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
	run_watch_view_take_models(&watch->view, json_object_get(reply.data, "models"));
	conn_reply_clear(&reply);
	took_ms = clock_now_ms() - before_ms;
	watch->sums_due_ms = before_ms + (took_ms * SUMS_COST_FACTOR > SUMS_EVERY_MS
						  ? took_ms * SUMS_COST_FACTOR
						  : SUMS_EVERY_MS);
	return CTL_OK;
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
		const struct table_style style = table_style_of(watch->ctl->color, watch->ctl->terminal);

		/* The table below tells the models. */
		run_watch_view_take_models(&watch->view, json_object_get(reply.data, "models"));
		run_watch_view_show(&watch->view, watch->ctl->color, watch->ctl->terminal);
		view_run_models(&style, reply.data);
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
			json_object_set(watch->args, "run", json_object_get(watch->view.run, "id"));
		if (code == CTL_OK && run_watch_is_over(watch->view.run))
			return show_end(watch);
		if (code == CTL_OK && !watch->ctl->json)
			code = ask_sums(watch);
		if (code != CTL_OK)
			return code;
		if (!watch->ctl->json)
			run_watch_view_show(&watch->view, watch->ctl->color, watch->ctl->terminal);
		if (ferror(stdout))
			return CTL_FAILED;
		(void)poll(NULL, 0, (int)interval_ms);
	}
}

int watch_run(struct ctl *ctl, const char *run, int64_t interval_ms)
{
	struct watch watch = { .ctl = ctl, .args = json_pack("{s:s, s:b}", "run", run, "brief", true) };
	int code;

	if (interval_ms <= 0)
		interval_ms = ctl->terminal ? INTERVAL_TERMINAL_MS : INTERVAL_PIPE_MS;
	/* With --json only the end is printed: wait for it closely. */
	if (ctl->json)
		interval_ms = INTERVAL_TERMINAL_MS;
	code = watch_loop(&watch, interval_ms);
	json_decref(watch.args);
	run_watch_view_clear(&watch.view);
	return code;
}

int action_run_watch(struct ctl *ctl)
{
	const json_t *interval = json_object_get(ctl->parsed->own, "interval");

	return watch_run(ctl, json_string_value(json_object_get(ctl->parsed->own, "run")),
			 json_integer_value(interval));
}
