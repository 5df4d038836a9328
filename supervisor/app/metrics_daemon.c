/* The daemon itself, its store, its runs and its alerts, measured. */

#include <string.h>

#include "app/alerting.h"
#include "app/cmd.h"
#include "app/daemon.h"
#include "app/metrics_private.h"
#include "base/clock.h"
#include "base/mem.h"
#include "core/alerts.h"
#include "core/dispatch.h"
#include "core/healthcheck.h"
#include "core/store.h"
#include "io/loop.h"
#include "io/spool.h"

static void write_build(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	(void)daemon;
	metric_put(out, id, METRIC_LABELS(PROCTOR_VERSION), 1);
}

static int64_t start_time(struct daemon *daemon)
{
	return daemon->started_wall_ms;
}

static int64_t ready(struct daemon *daemon)
{
	return strcmp(cmd_state(daemon), "ready") == 0;
}

static int64_t upgrades(struct daemon *daemon)
{
	return daemon->upgraded.count;
}

static int64_t loop_lag(struct daemon *daemon)
{
	return loop_lag_ms(daemon->loop);
}

static int64_t heap(struct daemon *daemon)
{
	(void)daemon;
	return (int64_t)mem_in_use();
}

static int64_t clients(struct daemon *daemon)
{
	return (int64_t)control_clients(daemon->commands->control);
}

static void write_environment(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	struct healthcheck_verdict verdict;

	healthcheck_verdict(daemon->health, &verdict);
	if (verdict.known)
		metric_put(out, id, NULL, verdict.healthy);
}

/* ---- the store ---- */

static int64_t database_ready(struct daemon *daemon)
{
	return store_is_ready(daemon->store);
}

static int64_t blocked(struct daemon *daemon)
{
	return store_trouble(daemon->store) != NULL;
}

static struct spool_stat spool(struct daemon *daemon)
{
	struct spool_stat stat;

	store_spool_stat(daemon->store, &stat);
	return stat;
}

static int64_t spool_records(struct daemon *daemon)
{
	return (int64_t)spool(daemon).depth;
}

static int64_t spool_bytes(struct daemon *daemon)
{
	return spool(daemon).depth_bytes;
}

static int64_t spool_limit(struct daemon *daemon)
{
	return spool(daemon).max_bytes;
}

static int64_t spool_disk(struct daemon *daemon)
{
	return spool(daemon).bytes;
}

static int64_t spool_age(struct daemon *daemon)
{
	int64_t oldest_at_ms = spool(daemon).oldest_at_ms;

	return oldest_at_ms == 0 ? 0 : clock_wall_ms() - oldest_at_ms;
}

static int64_t spool_unwritten(struct daemon *daemon)
{
	return (int64_t)spool(daemon).unwritten;
}

static int64_t spool_sync(struct daemon *daemon)
{
	return spool(daemon).sync_ms_worst;
}

static int64_t spool_poisoned(struct daemon *daemon)
{
	return spool(daemon).poisoned;
}

static int64_t spool_written(struct daemon *daemon)
{
	return (int64_t)spool(daemon).written;
}

static void write_record_delay(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	metric_put_histogram(out, id, NULL, store_record_delay(daemon->store));
}

/* ---- runs and probes ---- */

static void write_runs(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	int counts[DISPATCH_RUN_ACTIVE], stalled;

	dispatch_count_runs(daemon->dispatch, counts, &stalled);
	for (int i = 0; i < DISPATCH_RUN_ACTIVE; i++)
		metric_put(out, id, METRIC_LABELS(dispatch_run_statuses[i]), counts[i]);
}

static int64_t runs_stalled(struct daemon *daemon)
{
	int counts[DISPATCH_RUN_ACTIVE], stalled;

	dispatch_count_runs(daemon->dispatch, counts, &stalled);
	return stalled;
}

static struct dispatch_stats stats(const struct daemon *daemon)
{
	struct dispatch_stats all;

	dispatch_stats(daemon->dispatch, &all);
	return all;
}

static void write_runs_finished(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	const struct dispatch_stats all = stats(daemon);

	for (int i = DISPATCH_RUN_ACTIVE; i < DISPATCH_RUN_STATUSES; i++)
		metric_put(out, id, METRIC_LABELS(dispatch_run_statuses[i]), all.runs_ended[i]);
}

static int64_t held(struct daemon *daemon)
{
	return dispatch_held(daemon->dispatch);
}

static int64_t claimed(struct daemon *daemon)
{
	return stats(daemon).claimed;
}

/* ---- alerts ---- */

static void write_alerts(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	const struct alert_book *book = alerts_book(alerting_alerts(daemon->alerting));
	int64_t counts[ALERT_KIND_COUNT] = { 0 };
	struct alert alert;

	for (size_t i = 0; alert_at(book, i, &alert); i++)
		counts[alert.kind] += alert.ended_wall_ms == 0;
	for (int kind = 0; kind < ALERT_KIND_COUNT; kind++)
		if (!alert_kinds[kind].is_notice)
			metric_put(out, id, METRIC_LABELS(alert_kind_names[kind]), counts[kind]);
}

static void write_targets(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	const struct alert_book *book = alerts_book(alerting_alerts(daemon->alerting));

	for (size_t i = 0; i < alert_target_count(book); i++) {
		struct alert_target_view target;

		alert_target_look(book, i, &target);
		metric_put(out, id, METRIC_LABELS(target.name),
			   id == METRIC_ALERTS_OWED ? target.owed : (int64_t)target.failures);
	}
}

const struct metrics_source metrics_of_daemon[METRIC_COUNT] = {
	[METRIC_BUILD] = { .write = write_build },
	[METRIC_START_TIME] = { .value = start_time },
	[METRIC_READY] = { .value = ready },
	[METRIC_UPGRADES] = { .value = upgrades },
	[METRIC_LOOP_LAG] = { .value = loop_lag },
	[METRIC_HEAP] = { .value = heap },
	[METRIC_CLIENTS] = { .value = clients },
	[METRIC_ENVIRONMENT] = { .write = write_environment },
	[METRIC_DATABASE_READY] = { .value = database_ready },
	[METRIC_BLOCKED] = { .value = blocked },
	[METRIC_SPOOL_RECORDS] = { .value = spool_records },
	[METRIC_SPOOL_BYTES] = { .value = spool_bytes },
	[METRIC_SPOOL_LIMIT] = { .value = spool_limit },
	[METRIC_SPOOL_DISK] = { .value = spool_disk },
	[METRIC_SPOOL_AGE] = { .value = spool_age },
	[METRIC_SPOOL_UNWRITTEN] = { .value = spool_unwritten },
	[METRIC_SPOOL_SYNC] = { .value = spool_sync },
	[METRIC_SPOOL_POISONED] = { .value = spool_poisoned },
	[METRIC_SPOOL_WRITTEN] = { .value = spool_written },
	[METRIC_RECORD_DELAY] = { .write = write_record_delay },
	[METRIC_RUNS] = { .write = write_runs },
	[METRIC_RUNS_STALLED] = { .value = runs_stalled },
	[METRIC_RUNS_FINISHED] = { .write = write_runs_finished },
	[METRIC_HELD] = { .value = held },
	[METRIC_CLAIMED] = { .value = claimed },
	[METRIC_ALERTS] = { .write = write_alerts },
	[METRIC_ALERTS_OWED] = { .write = write_targets },
	[METRIC_ALERTS_FAILURES] = { .write = write_targets },
};
