/* health: the last verdicts, or with `now` fresh ones of the environment and the providers. */

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/tree.h"
#include "base/mem.h"
#include "core/healthcheck.h"
#include "core/provider_check.h"
#include "core/store.h"
#include "io/loop.h"

json_t *cmd_environment(struct daemon *daemon)
{
	struct healthcheck_verdict verdict;
	json_t *report;

	healthcheck_verdict(daemon->health, &verdict);
	report = verdict.report ? json_loads(verdict.report, 0, NULL) : NULL;
	return json_pack("{s:b, s:b, s:s, s:o, s:I, s:o*}", "known", verdict.known, "healthy",
			 verdict.healthy, "reason", verdict.reason ? verdict.reason : "", "checkedAgoMs",
			 verdict.known ? json_integer(loop_now_ms(daemon->loop) - verdict.checked_ms)
				       : json_null(),
			 "tookMs", (json_int_t)verdict.took_ms, "report", report);
}

static void answer_health(struct call *call)
{
	struct daemon *daemon = call_daemon(call);
	json_t *environment = cmd_environment(daemon);
	json_t *pools = cmd_pools(daemon);
	json_t *database = cmd_database(daemon);
	bool healthy = json_is_true(json_object_get(environment, "healthy")) &&
		       !tree_degraded(daemon->tree) && tree_serving(daemon->tree) > 0 &&
		       store_is_ready(daemon->store);

	call_ok_json(call, json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "healthy", healthy, "environment",
				     environment, "workers", cmd_workers(daemon), "pools", pools, "database",
				     database, "providers", cmd_provider_checks(daemon)));
}

/* With `now` it waits for the environment first, and then for the looks at the providers, begun at the same
 * time. */

/* Nobody waits any more. */
static void on_gone(void *arg)
{
	struct call *call = arg;

	healthcheck_forget(call_daemon(call)->health, call);
	provider_checks_forget(call_daemon(call)->checks, call);
	call_ok_json(call, json_null());
}

static void on_looked(void *arg)
{
	call_on_gone(arg, NULL, NULL);
	answer_health(arg);
}

static void on_checked(void *arg)
{
	provider_checks_wait(call_daemon(arg)->checks, NULL, on_looked, arg);
}

void cmd_health(struct call *call, const json_t *args)
{
	if (!arg_bool(args, "now")) {
		answer_health(call);
		return;
	}
	call_on_gone(call, on_gone, call);
	provider_checks_begin(call_daemon(call)->checks, NULL);
	healthcheck_run(call_daemon(call)->health, on_checked, call);
}
