#ifndef POLICY_METRIC_H
#define POLICY_METRIC_H

/* The one table of metrics, and the text that Prometheus reads (exposition format 0.0.4). A row feeds name,
 * type, unit, labels, help and the reference; app/metrics.c has where its values come from.
 *
 * Labels have few values: what the configuration names, and words of ours. Models are capped (core/tally.h);
 * runs and jobs are never labels. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct buf;
struct histogram;

enum metric_id {
	/* the daemon */
	METRIC_BUILD,
	METRIC_START_TIME,
	METRIC_READY,
	METRIC_UPGRADES,
	METRIC_LOOP_LAG,
	METRIC_HEAP,
	METRIC_CLIENTS,
	METRIC_ENVIRONMENT,
	/* the store */
	METRIC_DATABASE_READY,
	METRIC_BLOCKED,
	METRIC_SPOOL_RECORDS,
	METRIC_SPOOL_BYTES,
	METRIC_SPOOL_LIMIT,
	METRIC_SPOOL_DISK,
	METRIC_SPOOL_AGE,
	METRIC_SPOOL_UNWRITTEN,
	METRIC_SPOOL_SYNC,
	METRIC_SPOOL_POISONED,
	METRIC_SPOOL_WRITTEN,
	METRIC_RECORD_DELAY,
	/* work */
	METRIC_RUNS,
	METRIC_RUNS_STALLED,
	METRIC_RUNS_FINISHED,
	METRIC_HELD,
	METRIC_CLAIMED,
	METRIC_PROBES,
	METRIC_FAILURES,
	METRIC_RETRIES,
	METRIC_CALLS_BEGUN,
	METRIC_CALLS,
	METRIC_CALL_TIME,
	METRIC_CALL_WAIT,
	METRIC_ANSWERS,
	METRIC_TOKENS,
	METRIC_COST,
	METRIC_UNPRICED,
	/* lanes */
	METRIC_LANE_QUEUED,
	METRIC_LANE_BETWEEN,
	METRIC_LANE_CALLS,
	METRIC_LANE_PARKED,
	METRIC_LANE_BREAKER,
	METRIC_LANE_PAUSE,
	METRIC_LANE_LIMIT,
	METRIC_LANE_USED,
	METRIC_LANE_BUDGET,
	METRIC_LANE_SPENT,
	METRIC_KEY_SET,
	METRIC_CHECK,
	/* what is supervised */
	METRIC_WORKERS,
	METRIC_POOL_SIZE,
	METRIC_POOL_HELD,
	METRIC_POOL_ROOM,
	METRIC_POOL_DEGRADED,
	METRIC_POOL_MEMORY,
	METRIC_EXITS,
	METRIC_HANGS,
	METRIC_SERVICE_UP,
	METRIC_SERVICE_RESTARTS,
	/* what people are told */
	METRIC_ALERTS,
	METRIC_ALERTS_OWED,
	METRIC_ALERTS_FAILURES,
	METRIC_COUNT
};

enum metric_type { METRIC_GAUGE, METRIC_COUNTER, METRIC_HISTOGRAM };

/* What a number of ours is, and so how it is written: as it is, ms as seconds, 1e-10 USD as USD. */
enum metric_unit { METRIC_PLAIN, METRIC_MS, METRIC_E10 };

enum { METRIC_LABELS_MAX = 3 };

struct metric_row {
	const char *name; /* "proctor_calls_total" */
	enum metric_type type;
	enum metric_unit unit;
	const char *labels[METRIC_LABELS_MAX]; /* names; NULL behind the last */
	const char *help;		       /* one line, no full stop */
};

extern const struct metric_row metric_table[METRIC_COUNT];

/* HELP and TYPE; its samples are to follow at once. */
void metric_begin(struct buf *out, enum metric_id id);

/* One sample. `labels`: values in the order of the row; NULL for a row without any. Below 0 counts as 0. */
void metric_put(struct buf *out, enum metric_id id, const char *const *labels, int64_t value);
void metric_put_histogram(struct buf *out, enum metric_id id, const char *const *labels,
			  const struct histogram *histogram);

#define METRIC_LABELS(...) ((const char *const[]){ __VA_ARGS__ })

#define METRIC_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* The reference of all metrics: a table in Markdown. */
void metric_write_reference(FILE *out);

#endif
