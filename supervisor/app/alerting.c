#include "app/alerting.h"

#include <unistd.h>

#include "app/daemon.h"
#include "app/program.h"
#include "app/tree.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/alerts.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/pool.h"
#include "core/store.h"
#include "io/loop.h"
#include "io/spool.h"
#include "policy/gate.h"

enum {
	STARTING_MS = 60000, /* a first start makes a database, which takes its time */
	/* Of the spool's limit; from SPOOL_HIGH_PERCENT on nothing new is begun, so it is said before. */
	HIGH_PERCENT = 60,
	LOW_PERCENT = 50,
	PERCENT = 100,
};

struct run {
	char *id;
	bool paused;
};

struct alerting {
	struct daemon *daemon;
	struct alerts *alerts;
	struct run *runs; /* that are not over, as of the last reading; one may stand in it for each model */
	size_t run_count;
	bool runs_known; /* read since the database came */
};

static const char *variable(void *arg, const char *name)
{
	return program_variable(((struct alerting *)arg)->daemon->program, name);
}

/* ---- what holds ---- */

static void see_pools(struct alerting *alerting)
{
	const struct pool *pool;

	for (size_t i = 0; (pool = tree_pool_at(alerting->daemon->tree, i)); i++)
		if (pool_degraded(pool))
			alerts_see(alerting->alerts, ALERT_POOL_DEGRADED, pool_name(pool),
				   pool_degraded(pool));
}

/* Not those that an operator has paused: he knows. */
static void see_lanes(struct alerting *alerting)
{
	size_t count;
	struct lane *const *lanes = dispatch_lanes(alerting->daemon->dispatch, &count);

	for (size_t i = 0; i < count; i++) {
		const char *reason = gate_parked_reason(lanes[i]->gate);

		if (reason && gate_parked_kind(lanes[i]->gate) != GATE_PARK_OPERATOR)
			alerts_see(alerting->alerts, ALERT_PROVIDER_PARKED, lanes[i]->name, reason);
	}
}

static void see_database(struct alerting *alerting)
{
	const struct daemon *daemon = alerting->daemon;
	bool is_starting = daemon->phase == DAEMON_STARTING &&
			   loop_now_ms(daemon->loop) - daemon->started_ms < STARTING_MS;

	if (store_is_ready(daemon->store))
		return;
	if (is_starting)
		alerts_see_again(alerting->alerts, ALERT_DATABASE_AWAY, "database");
	else
		alerts_see(alerting->alerts, ALERT_DATABASE_AWAY, "database",
			   store_why_not_ready(daemon->store));
}

static void see_spool(struct alerting *alerting)
{
	bool was_high = alert_is_open(alerts_book(alerting->alerts), ALERT_SPOOL_HIGH, "spool");
	struct spool_stat spool;
	int64_t percent;

	store_spool_stat(alerting->daemon->store, &spool);
	percent = spool.depth_bytes * PERCENT / spool.max_bytes;
	if (percent >= (was_high ? LOW_PERCENT : HIGH_PERCENT)) {
		AUTO(mem_free_str)
		char *text = mem_printf("%lld %% of it waits for the database", (long long)percent);

		alerts_see(alerting->alerts, ALERT_SPOOL_HIGH, "spool", text);
	}
}

static void see_runs(struct alerting *alerting)
{
	for (size_t i = 0; i < alerting->run_count; i++) {
		const struct run *run = &alerting->runs[i];
		int64_t since_ms;

		if (dispatch_is_stalled(alerting->daemon->dispatch, run->id, &since_ms))
			alerts_see(alerting->alerts, ALERT_RUN_STALLED, run->id,
				   "no success for long; `proctorctl run show` says what it waits for");
		if (run->paused)
			alerts_see_again(alerting->alerts, ALERT_RUN_OVER_BUDGET, run->id);
	}
}

static bool look(void *arg, struct alerts *alerts, bool *ret_has_database)
{
	struct alerting *alerting = arg;

	(void)alerts;
	if (alerting->daemon->phase == DAEMON_STOPPING)
		return false;
	if (!store_is_ready(alerting->daemon->store))
		alerting->runs_known = false;
	see_pools(alerting);
	see_lanes(alerting);
	see_database(alerting);
	see_spool(alerting);
	if (alerting->runs_known)
		see_runs(alerting);
	*ret_has_database = alerting->runs_known;
	return true;
}

/* ---- from the store ---- */

static void forget_runs(struct alerting *alerting)
{
	for (size_t i = 0; i < alerting->run_count; i++)
		mem_free(&alerting->runs[i].id);
	mem_free(&alerting->runs);
	alerting->run_count = 0;
}

void alerting_on_pairs(struct daemon *daemon, const struct store_pair *pairs, size_t count)
{
	struct alerting *alerting = daemon->alerting;

	if (!alerting)
		return;
	forget_runs(alerting);
	alerting->runs = mem_array(count + 1, sizeof(*alerting->runs));
	for (size_t i = 0; i < count; i++)
		alerting->runs[i] = (struct run){ mem_strdup(pairs[i].run_id), pairs[i].paused };
	alerting->run_count = count;
	alerting->runs_known = true;
}

void alerting_on_run_finished(struct daemon *daemon, const char *run_id, const char *status)
{
	if (daemon->alerting)
		alerts_notice(daemon->alerting->alerts, ALERT_RUN_FINISHED, run_id, status);
}

void alerting_on_over_budget(struct daemon *daemon, const char *run_id, const char *reason)
{
	if (daemon->alerting)
		alerts_see(daemon->alerting->alerts, ALERT_RUN_OVER_BUDGET, run_id, reason);
}

/* ---- making ---- */

int alerting_new(struct daemon *daemon, struct alerting **ret)
{
	struct alerting *alerting = mem_alloc(sizeof(*alerting));
	AUTO(mem_free_str) char *file = mem_printf("%s/alerts", daemon->config->daemon.state_dir);
	char host[256] = "localhost";
	const struct alerts_options options = {
		.config = daemon->config,
		.file = file,
		.node = host,
		.variable = variable,
		.look = look,
		.arg = alerting,
	};
	int r;

	alerting->daemon = daemon;
	(void)gethostname(host, sizeof(host) - 1);
	r = alerts_new(daemon->loop, &options, &alerting->alerts);
	if (r < 0) {
		mem_free(&alerting);
		return r;
	}
	*ret = alerting;
	return 0;
}

void alerting_free(struct alerting **alerting)
{
	if (!*alerting)
		return;
	alerts_free(&(*alerting)->alerts);
	forget_runs(*alerting);
	mem_free(alerting);
}

void alerting_configure(struct alerting *alerting, const struct config *config)
{
	if (alerting)
		alerts_configure(alerting->alerts, config);
}

struct alerts *alerting_alerts(struct alerting *alerting)
{
	return alerting->alerts;
}
