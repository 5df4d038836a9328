/* alerts.*: what is told to webhooks, and whether they take it. */

#include <errno.h>
#include <time.h>

#include "app/alerting.h"
#include "app/cmd.h"
#include "app/daemon.h"
#include "core/alerts.h"
#include "io/loop.h"

enum { MS = 1000 };

static json_t *time_json(int64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / MS);
	char text[32];
	struct tm parts;

	if (wall_ms == 0 || !gmtime_r(&seconds, &parts) ||
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		return json_null();
	return json_string(text);
}

static json_t *alert_json(const struct alert *alert)
{
	const struct alert_kind_spec *kind = &alert_kinds[alert->kind];
	const char *state = kind->is_notice ? "notice" : alert->ended_wall_ms ? "resolved" : "active";

	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "id", (json_int_t)alert->id, "kind",
			 alert_kind_names[alert->kind], "subject", alert->subject, "severity", kind->severity,
			 "state", state, "text", alert->text, "since", time_json(alert->since_wall_ms),
			 "ended", time_json(alert->ended_wall_ms));
}

static json_t *target_json(const struct daemon *daemon, const struct alert_target_view *target)
{
	int64_t now_ms = loop_now_ms(daemon->loop);
	bool waits = target->owed > 0 && !target->sending && target->next_ms > now_ms;
	const char *state = target->sending    ? "sending"
			    : target->failures ? "failing"
			    : target->owed     ? "waiting"
					       : "ok";

	return json_pack("{s:s, s:s, s:i, s:I, s:i, s:s?, s:o}", "name", target->name, "state", state, "owed",
			 target->owed, "sent", (json_int_t)target->sent, "failures", (int)target->failures,
			 "lastError", target->last_error, "nextTryMs",
			 waits ? cmd_wall_time(daemon, target->next_ms) : json_null());
}

void cmd_alerts(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	const struct alert_book *book = alerts_book(alerting_alerts(daemon->alerting));
	json_t *items = json_array(), *targets = json_array();
	struct alert alert;

	(void)args;
	for (size_t i = 0; alert_at(book, i, &alert); i++)
		(void)json_array_append_new(items, alert_json(&alert));
	for (size_t i = 0; i < alert_target_count(book); i++) {
		struct alert_target_view target;

		alert_target_look(book, i, &target);
		(void)json_array_append_new(targets, target_json(daemon, &target));
	}
	call_ok_json(call, json_pack("{s:o, s:o}", "items", items, "targets", targets));
}

static void on_gone(void *arg)
{
	struct call *call = arg;

	alerts_forget_test(alerting_alerts(call_daemon(call)->alerting));
	call_ok_json(call, json_null());
}

static void on_tested(void *arg, const char *error)
{
	struct call *call = arg;

	call_on_gone(call, NULL, NULL);
	if (error)
		call_error(call, CALL_UNAVAILABLE, "the webhook did not take it: %s", error);
	else
		call_ok_json(call, json_pack("{s:b}", "sent", 1));
}

void cmd_alerts_test(struct call *call, const json_t *args)
{
	struct alerts *alerts = alerting_alerts(call_daemon(call)->alerting);
	const char *target = arg_text(args, "target");
	int r;

	call_on_gone(call, on_gone, call);
	r = alerts_test(alerts, target, on_tested, call);
	if (r == 0)
		return;
	call_on_gone(call, NULL, NULL);
	if (r == -ENOENT)
		call_error(call, CALL_NOT_FOUND, "there is no [alert:%s] in the configuration", target);
	else
		call_error(call, CALL_CONFLICT, "another test is under way; try again when it has ended");
}
