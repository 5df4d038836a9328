#ifndef APP_METRICS_PRIVATE_H
#define APP_METRICS_PRIVATE_H

/* Shared by metrics.c (the table of where values come from), metrics_daemon.c, metrics_lanes.c and
 * metrics_pools.c (which get them). */

#include <stdint.h>

#include "policy/metric.h"

struct buf;
struct daemon;
struct lane;
struct pool;

/* Where the values of one metric come from: the one of these that is not NULL. */
struct metrics_source {
	int64_t (*value)(struct daemon *daemon); /* of a row without labels */
	int64_t (*of_lane)(const struct daemon *daemon, const struct lane *lane); /* for each provider */
	int64_t (*of_pool)(const struct pool *pool);				  /* for each pool */
	void (*write_lane)(const struct daemon *daemon, const struct lane *lane, struct buf *out,
			   enum metric_id id); /* several for each provider */
	void (*write_pool)(const struct pool *pool, struct buf *out, enum metric_id id); /* for each pool */
	void (*write)(struct daemon *daemon, struct buf *out, enum metric_id id);	 /* whatever else */
};

/* By enum metric_id; each has the rows that are its own, and the others empty. */
extern const struct metrics_source metrics_of_daemon[METRIC_COUNT];
extern const struct metrics_source metrics_of_lanes[METRIC_COUNT];
extern const struct metrics_source metrics_of_pools[METRIC_COUNT];

#endif
