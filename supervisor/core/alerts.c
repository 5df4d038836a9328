#include "core/alerts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "io/http.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "io/offload.h"
#include "io/webhook.h"

enum {
	ROUND_MS = 1000,
	SEND_TIMEOUT_MS = 10000,
	FILE_MAX = 4 * 1024 * 1024,
	SUBJECT_MAX = 200,
	TEXT_MAX = 600,
	STATUS_OK = 200,
	STATUS_REDIRECT = 300,
	MS = 1000,
};

struct delivery {
	struct alerts *alerts;
	size_t target;
	struct http_request *request; /* NULL = none under way */
};

struct alerts {
	struct loop *loop;
	struct alerts_options options;
	const struct config *config;
	char *file, *node;
	struct alert_book *book;
	struct http *http;
	struct offload *offload;
	struct loop_timer *timer;
	struct delivery deliveries[ALERT_TARGETS_MAX];
	struct http_request *test;
	void (*test_done)(void *arg, const char *error);
	void *test_arg;
	struct save *saving; /* in the thread; NULL = nothing is */
	bool save_again;
};

/* ---- the file: a line of JSON for each ---- */

struct save {
	struct alerts *alerts;
	char *file, *text;
	size_t len;
	int result;
};

static void put_names(const struct alerts *alerts, struct buf *out, unsigned bits)
{
	for (size_t i = 0; i < alert_target_count(alerts->book); i++) {
		struct alert_target_view target;

		alert_target_look(alerts->book, i, &target);
		if (bits & 1u << i)
			buf_putf(out, "%s,", target.name);
	}
}

static char *line_of(const struct alerts *alerts, const struct alert *alert)
{
	AUTO(buf_free) struct buf told = BUF_INIT(0), told_end = BUF_INIT(0);

	put_names(alerts, &told, alert->told);
	put_names(alerts, &told_end, alert->told_end);
	return jsontext_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "id", alert->id, "kind",
			     alert_kind_names[alert->kind], "subject", alert->subject, "text", alert->text,
			     "sinceMs", alert->since_wall_ms, "endedMs", alert->ended_wall_ms, "told",
			     buf_bytes(&told), "toldEnd", buf_bytes(&told_end));
}

static void save(struct alerts *alerts);

static void save_free(struct save **task)
{
	if (!*task)
		return;
	mem_free(&(*task)->file);
	mem_free(&(*task)->text);
	mem_free(task);
}

static struct save *save_new(struct alerts *alerts)
{
	struct save *task = mem_alloc(sizeof(*task));
	struct buf text = BUF_INIT(0);
	struct alert alert;

	for (size_t i = 0; alert_at(alerts->book, i, &alert); i++) {
		AUTO(mem_free_str) char *line = line_of(alerts, &alert);

		buf_putf(&text, "%s\n", line);
	}
	task->alerts = alerts;
	task->file = mem_strdup(alerts->file);
	task->text = buf_take(&text, &task->len);
	return task;
}

/* In the thread. */
static void write_file(void *arg)
{
	struct save *task = arg;

	task->result = fd_write_file(task->file, task->text, task->len, 0600);
}

static void on_saved(void *arg)
{
	struct save *task = arg;
	struct alerts *alerts = task->alerts;

	if (task->result < 0)
		log_warning("alert.not_kept", "file=%s reason=\"%s\" effect=\"a restart may repeat alerts\"",
			    task->file, strerror(-task->result));
	save_free(&alerts->saving);
	if (alerts->save_again)
		save(alerts);
}

static void save(struct alerts *alerts)
{
	alerts->save_again = alerts->saving != NULL;
	if (alerts->saving)
		return;
	alerts->saving = save_new(alerts);
	offload_run(alerts->offload, write_file, on_saved, alerts->saving);
}

static unsigned bits_of(const struct alerts *alerts, const char *names)
{
	unsigned bits = 0;

	for (size_t i = 0; names && i < alert_target_count(alerts->book); i++) {
		AUTO(mem_free_str) char *all = mem_printf(",%s", names), *one = NULL;
		struct alert_target_view target;

		alert_target_look(alerts->book, i, &target);
		one = mem_printf(",%s,", target.name);
		if (strstr(all, one))
			bits |= 1u << i;
	}
	return bits;
}

static bool restore_line(struct alerts *alerts, const char *line, size_t len)
{
	struct jsontext *json;
	struct alert alert = { 0 };
	const char *kind;
	int found = 0;
	bool good;

	if (jsontext_parse(line, len, &json) < 0)
		return false;
	kind = jsontext_text(json, "kind");
	while (found < ALERT_KIND_COUNT && (!kind || strcmp(alert_kind_names[found], kind) != 0))
		found++;
	alert.subject = jsontext_text(json, "subject");
	alert.text = jsontext_text(json, "text");
	good = found < ALERT_KIND_COUNT && alert.subject && alert.text;
	if (good) {
		alert.id = jsontext_number(json, "id", 0);
		alert.kind = (enum alert_kind)found;
		alert.since_wall_ms = jsontext_number(json, "sinceMs", 0);
		alert.ended_wall_ms = jsontext_number(json, "endedMs", 0);
		alert.told = bits_of(alerts, jsontext_text(json, "told"));
		alert.told_end = bits_of(alerts, jsontext_text(json, "toldEnd"));
		alert_restore(alerts->book, &alert, loop_now_ms(alerts->loop));
	}
	jsontext_free(&json);
	return good;
}

/* A file that cannot be read costs a repeat of what holds: no reason not to start. */
static void restore(struct alerts *alerts)
{
	AUTO(mem_free_str) char *text = NULL;
	size_t len, bad = 0;
	int r = fd_read_file(alerts->file, FILE_MAX, &text, &len);

	if (r < 0 && r != -ENOENT)
		log_warning("alert.unreadable", "file=%s reason=\"%s\" next=\"begun anew\"", alerts->file,
			    strerror(-r));
	if (r < 0)
		return;
	for (const char *at = text; *at;) {
		size_t line = strcspn(at, "\n");

		bad += !restore_line(alerts, at, line);
		at += line + (at[line] == '\n');
	}
	if (bad > 0)
		log_warning("alert.unreadable", "file=%s lines=%zu next=\"passed over\"", alerts->file, bad);
}

/* ---- sending ---- */

static const char *const message_names[] = { [ALERT_NOTHING] = "test",
					     [ALERT_RAISED] = "raised",
					     [ALERT_RESOLVED] = "resolved",
					     [ALERT_NOTICE] = "notice" };

static char *body_of(const struct alerts *alerts, const struct config_alert *target,
		     enum alert_message message, const struct alert *alert)
{
	bool is_test = message == ALERT_NOTHING;
	const char *kind = is_test ? "test" : alert_kind_names[alert->kind];

	if (target->format == CONFIG_ALERT_SLACK) {
		AUTO(mem_free_str)
		char *text = mem_printf("[proctor %s] %s %s: %s: %s", alerts->node, message_names[message],
					kind, alert->subject, alert->text);
		return webhook_slack(text);
	}
	return jsontext_pack("{s:i, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "version", 1, "id",
			     alert->id, "node", alerts->node, "type", message_names[message], "kind", kind,
			     "subject", alert->subject, "severity",
			     is_test ? "info" : alert_kinds[alert->kind].severity, "text", alert->text,
			     "sinceMs", alert->since_wall_ms, "endedMs", alert->ended_wall_ms);
}

/* NULL, and why in *ret_error. */
static const char *url_of(const struct alerts *alerts, const struct config_alert *target, char **ret_error)
{
	const char *url = target->url;

	if (target->url_env[0])
		url = alerts->options.variable(alerts->options.arg, target->url_env);
	if (!url)
		*ret_error = mem_printf("%s is not set: put it into key_file", target->url_env);
	else if (!target->allow_insecure && !address_url_is_private(url))
		*ret_error = mem_printf("the address is neither https nor loopback: change it, or set "
					"allow_insecure = yes in [alert:%s]",
					target->name);
	else
		return url;
	return NULL;
}

/* A fresh header, NULL when nothing is to be signed or *ret_error says why it cannot be. */
static char *signature_of(const struct alerts *alerts, const struct config_alert *target, const char *body,
			  char **ret_error)
{
	const char *secret;
	char *header;

	if (!target->secret_env[0])
		return NULL;
	secret = alerts->options.variable(alerts->options.arg, target->secret_env);
	header = secret ? webhook_signature(secret, clock_wall_ms() / MS, body) : NULL;
	if (!header)
		*ret_error = secret ? mem_strdup("libcrypto cannot sign")
				    : mem_printf("%s is not set: put it into key_file", target->secret_env);
	return header;
}

/* False with *ret_error when it could not even be begun. */
static bool begin(struct alerts *alerts, const struct config_alert *target, const char *body, http_fn *fn,
		  void *arg, struct http_request **ret, char **ret_error)
{
	const char *url = url_of(alerts, target, ret_error);
	AUTO(mem_free_str) char *signature = url ? signature_of(alerts, target, body, ret_error) : NULL;
	const char *headers[] = { "Content-Type: application/json", signature, NULL };
	const struct http_spec spec = { .url = url,
					.headers = headers,
					.body = body,
					.body_len = strlen(body),
					.timeout_ms = SEND_TIMEOUT_MS };

	if (*ret_error)
		return false;
	http_start(alerts->http, &spec, fn, arg, ret);
	return true;
}

/* NULL when the target has taken it. libcurl's own words may hold the address, which may be a secret. */
static char *error_of(const struct http_answer *answer)
{
	if (answer->status >= STATUS_OK && answer->status < STATUS_REDIRECT)
		return NULL;
	if (answer->status)
		return mem_printf("answered %d", answer->status);
	return mem_strdup("no answer: it cannot be reached, or takes too long");
}

static void delivered(struct alerts *alerts, size_t index, const char *error)
{
	struct alert_target_view target;

	alert_delivered(alerts->book, index, error, loop_now_ms(alerts->loop), clock_random());
	alert_target_look(alerts->book, index, &target);
	if (!error)
		log_info("alert.sent", "target=%s", target.name);
	if (!error)
		save(alerts);
	else if (target.failures == 1)
		log_warning("alert.failed", "target=%s reason=\"%s\" next=retry", target.name, error);
}

static void on_answer(void *arg, const struct http_answer *answer)
{
	struct delivery *delivery = arg;
	AUTO(mem_free_str) char *error = error_of(answer);

	delivery->request = NULL;
	delivered(delivery->alerts, delivery->target, error);
}

static void send_owed(struct alerts *alerts, size_t index)
{
	const struct config_alert *target = &alerts->config->alerts[index];
	AUTO(mem_free_str) char *body = NULL, *error = NULL;
	struct alert alert;
	enum alert_message message = alert_next(alerts->book, index, loop_now_ms(alerts->loop), &alert);

	if (message == ALERT_NOTHING)
		return;
	body = body_of(alerts, target, message, &alert);
	if (!begin(alerts, target, body, on_answer, &alerts->deliveries[index],
		   &alerts->deliveries[index].request, &error))
		delivered(alerts, index, error);
}

static void on_round(void *arg)
{
	struct alerts *alerts = arg;
	bool has_database = false;

	if (alerts->options.look(alerts->options.arg, alerts, &has_database) &&
	    alert_settle(alerts->book, has_database, loop_now_ms(alerts->loop), clock_wall_ms()))
		save(alerts);
	for (size_t i = 0; i < alert_target_count(alerts->book); i++)
		send_owed(alerts, i);
	loop_timer_start(alerts->timer, ROUND_MS);
}

/* ---- trying a target ---- */

static void on_tested(void *arg, const struct http_answer *answer)
{
	struct alerts *alerts = arg;
	AUTO(mem_free_str) char *error = error_of(answer);

	alerts->test = NULL;
	alerts->test_done(alerts->test_arg, error);
}

int alerts_test(struct alerts *alerts, const char *name, void (*done)(void *arg, const char *error),
		void *arg)
{
	const struct config_alert *target = config_find_alert(alerts->config, name);
	const struct alert alert = { .subject = name,
				     .text = "this is a test",
				     .since_wall_ms = clock_wall_ms(),
				     .id = clock_wall_ms() };
	AUTO(mem_free_str) char *body = NULL, *error = NULL;

	if (!target)
		return -ENOENT;
	if (alerts->test)
		return -EBUSY;
	alerts->test_done = done;
	alerts->test_arg = arg;
	body = body_of(alerts, target, ALERT_NOTHING, &alert);
	if (!begin(alerts, target, body, on_tested, alerts, &alerts->test, &error))
		done(arg, error);
	return 0;
}

void alerts_forget_test(struct alerts *alerts)
{
	http_cancel(&alerts->test);
}

/* ---- what holds ---- */

static char *clipped(const char *text, size_t max)
{
	return jsontext_clean(mem_strndup(text, strnlen(text, max)));
}

void alerts_see(struct alerts *alerts, enum alert_kind kind, const char *subject, const char *text)
{
	AUTO(mem_free_str) char *name = clipped(subject, SUBJECT_MAX), *words = clipped(text, TEXT_MAX);

	alert_see(alerts->book, kind, name, words, loop_now_ms(alerts->loop), clock_wall_ms());
}

void alerts_see_again(struct alerts *alerts, enum alert_kind kind, const char *subject)
{
	alert_see_again(alerts->book, kind, subject, loop_now_ms(alerts->loop));
}

void alerts_notice(struct alerts *alerts, enum alert_kind kind, const char *subject, const char *text)
{
	AUTO(mem_free_str) char *name = clipped(subject, SUBJECT_MAX), *words = clipped(text, TEXT_MAX);

	alert_notice(alerts->book, kind, name, words, clock_wall_ms());
	save(alerts);
}

const struct alert_book *alerts_book(const struct alerts *alerts)
{
	return alerts->book;
}

/* ---- making ---- */

static unsigned kinds_of(const struct config_alert *target)
{
	unsigned kinds = 0;

	for (unsigned kind = 0; kind < ALERT_KIND_COUNT; kind++)
		for (size_t i = 0; i < target->kinds.len; i++)
			if (strcmp(target->kinds.words[i], alert_kind_names[kind]) == 0)
				kinds |= 1u << kind;
	return kinds ? kinds : (1u << ALERT_KIND_COUNT) - 1;
}

void alerts_configure(struct alerts *alerts, const struct config *config)
{
	struct alert_target targets[ALERT_TARGETS_MAX];

	for (size_t i = 0; i < ALERT_TARGETS_MAX; i++)
		http_cancel(&alerts->deliveries[i].request);
	alerts->config = config;
	for (size_t i = 0; i < config->nalerts; i++)
		targets[i] = (struct alert_target){ .name = config->alerts[i].name,
						    .kinds = kinds_of(&config->alerts[i]),
						    .min_interval_ms = config->alerts[i].min_interval_ms };
	alert_set_targets(alerts->book, targets, config->nalerts);
}

int alerts_new(struct loop *loop, const struct alerts_options *options, struct alerts **ret)
{
	struct alerts *alerts = mem_alloc(sizeof(*alerts));
	int r;

	alerts->loop = loop;
	alerts->options = *options;
	alerts->file = mem_strdup(options->file);
	alerts->node = mem_strdup(options->node);
	alert_book_new(&alerts->book);
	for (size_t i = 0; i < ALERT_TARGETS_MAX; i++)
		alerts->deliveries[i] = (struct delivery){ .alerts = alerts, .target = i };
	r = http_new(loop, &alerts->http);
	if (r == 0)
		r = offload_new(loop, &alerts->offload);
	if (r < 0) {
		alerts_free(&alerts);
		return r;
	}
	alerts_configure(alerts, options->config);
	restore(alerts);
	loop_timer_new(loop, on_round, alerts, &alerts->timer);
	/* In the loop's first turn: what an upgrade has brought over holds, though it may end in a moment. */
	loop_timer_start(alerts->timer, 0);
	*ret = alerts;
	return 0;
}

void alerts_free(struct alerts **alerts)
{
	struct alerts *dead = *alerts;

	if (!dead)
		return;
	loop_timer_free(&dead->timer);
	http_free(&dead->http);
	offload_free(&dead->offload);
	save_free(&dead->saving);
	if (dead->save_again) { /* the loop has ended: nobody waits */
		dead->saving = save_new(dead);
		write_file(dead->saving);
		save_free(&dead->saving);
	}
	alert_book_free(&dead->book);
	mem_free(&dead->file);
	mem_free(&dead->node);
	mem_free(alerts);
}
