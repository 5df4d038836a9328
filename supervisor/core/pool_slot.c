/* The budget of restarts of each place in a pool. A large pool bears half its size of restarts within the
 * period, as a burst that takes many workers is one accident; one place that crashes on its own would never
 * come to so many. It is given up on by the intensity of the group itself, while the others go on, and is
 * tried now and then until a life in it proves itself. */

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/pool_private.h"
#include "io/loop.h"
#include "policy/intensity.h"

struct intensity *pool_slot_window(struct pool *pool, int number)
{
	struct intensity **window;

	while (pool->slots < number) {
		pool->slot_windows = mem_resize(pool->slot_windows, (size_t)pool->slots + 1, sizeof(*window));
		pool->slot_windows[pool->slots++] = NULL;
	}
	window = &pool->slot_windows[number - 1];
	if (!*window && intensity_new(pool->group->intensity, pool->group->period_ms, window) < 0)
		return NULL;
	return *window;
}

void pool_slots_free(struct pool *pool)
{
	for (int i = 0; i < pool->slots; i++)
		intensity_free(&pool->slot_windows[i]);
	mem_free(&pool->slot_windows);
	pool->slots = 0;
}

bool pool_slot_exceeds(struct pool *pool, const struct worker *worker)
{
	struct intensity *window;

	/* In a small pool one place can exceed what the pool bears. */
	if (pool_intensity(pool) <= pool->group->intensity)
		return false;
	window = pool_slot_window(pool, worker->number);
	return window && intensity_add(window, loop_now_ms(pool->loop));
}

void pool_arm_canary(struct pool *pool)
{
	pool->canary_ms = loop_now_ms(pool->loop) + POOL_CANARY_MS;
	loop_timer_start(pool->canary_timer, POOL_CANARY_MS);
}

int64_t pool_next_try_ms(const struct pool *pool)
{
	return loop_timer_armed(pool->canary_timer) ? pool->canary_ms : 0;
}

void pool_slot_give_up(struct pool *pool, struct worker *worker)
{
	struct intensity *window = pool_slot_window(pool, worker->number);

	if (window)
		intensity_reset(window);
	worker->given_up = true;
	log_error("worker.given_up", "worker=%s reason=\"%s\" next=\"one try every %d s\"", worker->name,
		  worker->last_death ? worker->last_death : "unknown", POOL_CANARY_MS / 1000);
	pool->events.event(pool->events.arg, "error", "worker.given_up", worker->name, NULL);
	worker_park(worker);
	if (!loop_timer_armed(pool->canary_timer))
		pool_arm_canary(pool);
}

void pool_slot_forgive(struct pool *pool, struct worker *worker)
{
	if (!worker->given_up)
		return;
	worker->given_up = false;
	log_info("worker.restored", "worker=%s", worker->name);
	pool->events.event(pool->events.arg, "info", "worker.restored", worker->name, NULL);
}

bool pool_slots_try(struct pool *pool)
{
	bool any = false;

	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (!worker->given_up)
			continue;
		any = true;
		if (worker_state_has_process(worker->state))
			continue;
		log_info("pool.canary", "pool=%s worker=%s", pool->config->name, worker->name);
		restart_unpark(&worker->slot);
		worker_start(worker);
	}
	return any;
}
