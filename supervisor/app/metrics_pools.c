/* Pools, workers and services, measured. */

#include "app/daemon.h"
#include "app/metrics_private.h"
#include "app/tree.h"
#include "base/list.h"
#include "core/embedded.h"
#include "core/pool.h"
#include "core/service.h"
#include "core/suptree.h"
#include "core/worker.h"
#include "policy/blame.h"
#include "policy/hang.h"
#include "policy/worker_fsm.h"

/* ---- pools ---- */

static void write_workers(const struct pool *pool, struct buf *out, enum metric_id id)
{
	int64_t counts[WORKER_STATE_COUNT] = { 0 };

	list_foreach (at, pool_workers(pool)) {
		counts[list_entry(at, struct worker, link)->state]++;
	}
	for (int i = 0; i < WORKER_STATE_COUNT; i++)
		metric_put(out, id, METRIC_LABELS(pool_name(pool), worker_state_name((enum worker_state)i)),
			   counts[i]);
}

static void write_exits(const struct pool *pool, struct buf *out, enum metric_id id)
{
	for (int i = 0; i < BLAME_CAUSE_COUNT; i++)
		metric_put(out, id, METRIC_LABELS(pool_name(pool), blame_cause_name((enum blame_cause)i)),
			   pool_exits(pool, (enum blame_cause)i));
}

static void write_hangs(const struct pool *pool, struct buf *out, enum metric_id id)
{
	for (int i = HANG_NONE + 1; i < HANG_VERDICT_COUNT; i++)
		metric_put(out, id, METRIC_LABELS(pool_name(pool), hang_name((enum hang_verdict)i)),
			   pool_hangs(pool, (enum hang_verdict)i));
}

static int64_t size(const struct pool *pool)
{
	return pool_size(pool);
}

static int64_t held(const struct pool *pool)
{
	return pool_held(pool);
}

static int64_t room(const struct pool *pool)
{
	return pool_free_slots(pool);
}

static int64_t degraded(const struct pool *pool)
{
	return pool_degraded(pool) != NULL;
}

static int64_t memory(const struct pool *pool)
{
	int64_t kb = 0;

	list_foreach (at, pool_workers(pool)) {
		kb += list_entry(at, struct worker, link)->rss_kb;
	}
	return kb * 1024;
}

/* ---- services ---- */

static void put_service(struct buf *out, enum metric_id id, const struct service *service)
{
	metric_put(out, id, METRIC_LABELS(service_name(service)),
		   id == METRIC_SERVICE_UP ? service_state(service) == SERVICE_UP
					   : service_restarts(service));
}

/* One that is done, or that an operator has stopped, is not down. */
static bool is_wanted(const struct suptree_node *node)
{
	return suptree_state(node) != SUPTREE_ENDED && !suptree_is_held(node);
}

static void put_services_below(struct daemon *daemon, const struct suptree_node *node, struct buf *out,
			       enum metric_id id)
{
	const struct suptree_node *child;

	for (size_t i = 0; (child = suptree_child(node, i)); i++) {
		const struct service *service = child == daemon->postgres_node
							? embedded_service(daemon->embedded)
							: tree_service(daemon->tree, child);

		if (service && (id != METRIC_SERVICE_UP || is_wanted(child)))
			put_service(out, id, service);
		if (suptree_is_group(child))
			put_services_below(daemon, child, out, id);
	}
}

static void write_services(struct daemon *daemon, struct buf *out, enum metric_id id)
{
	put_services_below(daemon, suptree_root(tree_nodes(daemon->tree)), out, id);
}

const struct metrics_source metrics_of_pools[METRIC_COUNT] = {
	[METRIC_WORKERS] = { .write_pool = write_workers },
	[METRIC_POOL_SIZE] = { .of_pool = size },
	[METRIC_POOL_HELD] = { .of_pool = held },
	[METRIC_POOL_ROOM] = { .of_pool = room },
	[METRIC_POOL_DEGRADED] = { .of_pool = degraded },
	[METRIC_POOL_MEMORY] = { .of_pool = memory },
	[METRIC_EXITS] = { .write_pool = write_exits },
	[METRIC_HANGS] = { .write_pool = write_hangs },
	[METRIC_SERVICE_UP] = { .write = write_services },
	[METRIC_SERVICE_RESTARTS] = { .write = write_services },
};
