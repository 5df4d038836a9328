/* A pool that lives on while the daemon's program is replaced: its workers, who succeeds whom, and how near
 * it is to giving up. The prepared parent is started anew: it holds nothing. */

#include <limits.h>

#include "base/mem.h"
#include "core/forkserver.h"
#include "core/handover_parts.h"
#include "core/pool_private.h"
#include "io/handover.h"
#include "io/loop.h"

static int place_of(const struct pool *pool, const struct worker *wanted)
{
	int place = 0;

	list_foreach (at, &pool->workers) {
		if (list_entry(at, struct worker, link) == wanted)
			return place;
		place++;
	}
	return -1;
}

static struct worker *at_place(const struct pool *pool, int place)
{
	list_foreach (at, &pool->workers) {
		if (place-- == 0)
			return list_entry(at, struct worker, link);
	}
	return NULL;
}

static void pass_worker(struct pool *pool, struct handover *h, struct worker *worker,
			const struct map *probes)
{
	int number = worker ? worker->number : 0;

	handover_begin(h, NULL);
	handover_int(h, "number", 1, INT_MAX, &number);
	if (!worker)
		worker = pool_add_worker(pool, number);
	worker_pass(worker, h, probes);
	handover_end(h);
}

static void pass_workers(struct pool *pool, struct handover *h, const struct map *probes)
{
	size_t count = 0;

	list_foreach (at, &pool->workers)
		count++;
	count = handover_begin_list(h, "workers", count);
	for (size_t i = 0; i < count; i++)
		pass_worker(pool, h, handover_is_read(h) ? NULL : at_place(pool, (int)i), probes);
	handover_end(h);
}

/* For each worker, where in the list it is whose place it is to take. */
static void pass_heirs(struct pool *pool, struct handover *h)
{
	size_t count = 0;
	int64_t *elders = NULL;

	list_foreach (at, &pool->workers) {
		const struct worker *worker = list_entry(at, struct worker, link);

		elders = mem_resize(elders, count + 1, sizeof(*elders));
		elders[count++] = worker->elder ? place_of(pool, worker->elder) : -1;
	}
	handover_numbers(h, "elders", &elders, &count);
	for (size_t i = 0; handover_is_read(h) && i < count; i++) {
		struct worker *heir = at_place(pool, (int)i), *elder = at_place(pool, (int)elders[i]);

		if (!heir || !elder || heir == elder)
			continue;
		heir->elder = elder;
		elder->heir = heir;
	}
	mem_free(&elders);
}

/* The budget of one place; NULL = nothing has counted there. */
static void pass_budget(struct pool *pool, struct handover *h, int number)
{
	bool used = !handover_is_read(h) && pool->slot_windows[number - 1];

	handover_begin(h, NULL);
	handover_bool(h, "used", &used);
	if (used)
		handover_intensity(h, "restarts", pool_slot_window(pool, number));
	handover_end(h);
}

static void pass_budgets(struct pool *pool, struct handover *h)
{
	size_t count = handover_begin_list(h, "places", (size_t)pool->slots);

	for (size_t i = 0; i < count; i++)
		pass_budget(pool, h, (int)i + 1);
	handover_end(h);
}

void pool_pass(struct pool *pool, struct handover *h, const struct map *probes)
{
	handover_int(h, "size", 1, INT_MAX, &pool->size);
	if (handover_is_read(h) && pool_make_window(pool) < 0)
		handover_fault(h, "its limits are out of range");
	handover_intensity(h, "restarts", pool->window);
	pass_budgets(pool, h);
	handover_counts(h, "exits", pool->exits, ARRAY_LEN(pool->exits));
	handover_counts(h, "hangs", pool->hangs, ARRAY_LEN(pool->hangs));
	handover_text(h, "degraded", &pool->degraded);
	handover_int(h, "rolling", 0, INT_MAX, &pool->rolling);
	handover_int(h, "rollingLast", 0, INT_MAX, &pool->rolling_last);
	handover_bool(h, "startDue", &pool->start_due);
	handover_bool(h, "stopping", &pool->stopping);
	handover_bool(h, "upTold", &pool->up_told);
	handover_bool(h, "stumbledTold", &pool->stumbled_told);
	handover_bool(h, "stoppedTold", &pool->stopped_told);
	pass_workers(pool, h, probes);
	pass_heirs(pool, h);
	handover_time(h, "canaryMs", &pool->canary_ms);
	handover_timer(h, "canaryTimer", pool->canary_timer);
	handover_timer(h, "forkserverTimer", pool->forkserver_timer);
}

void pool_resume(struct pool *pool)
{
	if (pool->fork_argv && !pool->stopping && !list_is_empty(&pool->workers))
		forkserver_start(pool->forkserver);
}

bool pool_is_forking(const struct pool *pool)
{
	list_foreach (at, &pool->workers) {
		if (worker_is_forking(list_entry(at, struct worker, link)))
			return true;
	}
	return false;
}

void pool_hold_back(struct pool *pool, bool hold_back)
{
	list_foreach (at, &pool->workers) {
		worker_hold_back(list_entry(at, struct worker, link), hold_back);
	}
}
