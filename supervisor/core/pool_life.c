/* What the workers of a pool go through: readiness, death, restart, succession, and the pool's own giving up.
 */

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/crash.h"
#include "core/pool_private.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "policy/intensity.h"

static void roll_on(struct pool *pool);

static void tell_up(struct pool *pool)
{
	if (pool->up_told)
		return;
	pool->up_told = true;
	pool->events.up(pool->events.arg);
}

/* A life has ended and none was ready yet. When that has happened to every worker, the pool is not to be
 * waited for: it may go on like that for ever. */
static void note_failed_boot(struct pool *pool, struct worker *worker)
{
	AUTO(mem_free_str) char *why = NULL;

	worker->boot_failed = true;
	if (pool->stumbled_told)
		return;
	list_foreach (at, &pool->workers) {
		if (!list_entry(at, struct worker, link)->boot_failed)
			return;
	}
	pool->stumbled_told = true;
	why = mem_printf("no worker has come up; newest: %s",
			 worker->last_death ? worker->last_death : "unknown");
	log_warning("pool.stumbled", "pool=%s reason=\"%s\" next=\"what stands behind it is started\"",
		    pool->config->name, why);
	pool->events.event(pool->events.arg, "warning", "pool.stumbled", pool->config->name, NULL);
	pool->events.stumbled(pool->events.arg, why);
}

static void escalate(struct pool *pool, const struct worker *worker)
{
	if (pool->degraded)
		return;
	pool->degraded = mem_printf("%d restarts without proven work within %lld s; newest: %s",
				    intensity_of_pool(pool->group->intensity, pool->size) + 1,
				    (long long)(pool->group->period_ms / 1000),
				    worker->last_death ? worker->last_death : "unknown");
	log_error("pool.degraded", "pool=%s reason=\"%s\" next=\"one canary every %d s\"", pool->config->name,
		  pool->degraded, POOL_CANARY_MS / 1000);
	pool->events.event(pool->events.arg, "error", "pool.degraded", pool->config->name, NULL);
	list_foreach (at, &pool->workers) {
		struct worker *other = list_entry(at, struct worker, link);

		if (!worker_state_has_process(other->state))
			worker_park(other);
	}
	pool_arm_canary(pool);
	tell_up(pool);
}

static void recover(struct pool *pool)
{
	log_info("pool.recovered", "pool=%s", pool->config->name);
	mem_free(&pool->degraded);
	intensity_reset(pool->window);
	loop_timer_stop(pool->canary_timer);
	pool->events.event(pool->events.arg, "info", "pool.recovered", pool->config->name, NULL);
	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (worker_state_has_process(worker->state))
			continue;
		pool_slot_forgive(pool, worker);
		restart_unpark(&worker->slot);
		worker_start(worker);
	}
}

void pool_on_canary(void *arg)
{
	struct pool *pool = arg;

	if (!pool->degraded) {
		if (pool_slots_try(pool))
			pool_arm_canary(pool);
		return;
	}
	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (worker_state_has_process(worker->state))
			continue;
		log_info("pool.canary", "pool=%s worker=%s", pool->config->name, worker->name);
		restart_unpark(&worker->slot);
		worker_start(worker);
		break;
	}
	pool_arm_canary(pool);
}

static void on_proven(void *arg, struct worker *worker)
{
	struct pool *pool = arg;

	pool_slot_forgive(pool, worker);
	if (pool->degraded)
		recover(pool);
}

static void on_turn(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg)
{
	struct pool *pool = arg;

	pool->events.turn(pool->events.arg, worker, probe, msg);
}

static void on_result(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg)
{
	struct pool *pool = arg;

	pool->events.result(pool->events.arg, worker, probe, msg);
}

static void on_released(void *arg, struct worker *worker, struct probe *probe,
			const struct worker_death *death)
{
	struct pool *pool = arg;

	pool->events.released(pool->events.arg, worker, probe, death);
}

static void on_count_suspects(void *arg, const struct worker *worker, int *ret_suspects, int *ret_size)
{
	const struct pool *pool = arg;

	*ret_suspects = 1;
	*ret_size = pool->size;
	list_foreach (at, &pool->workers) {
		const struct worker *other = list_entry(at, struct worker, link);

		/* One that was spared awaits no pong for now, but has not answered either. */
		if (other != worker &&
		    (other->state == W_SUSPECT || other->verdict != HANG_NONE || worker_is_late(other)))
			(*ret_suspects)++;
	}
}

static void on_judged(void *arg, enum hang_verdict verdict)
{
	struct pool *pool = arg;

	pool->hangs[verdict]++;
}

static void on_suspect(void *arg, struct worker *worker, enum hang_verdict verdict, const char *text)
{
	struct pool *pool = arg;
	AUTO(mem_free_str)
	char *data = jsontext_pack("{s:s, s:s}", "verdict", hang_name(verdict), "reason", text);

	pool->events.event(pool->events.arg, verdict == HANG_STARVED ? "error" : "warning", "worker.suspect",
			   worker->name, data);
}

static void part(struct worker *elder)
{
	if (elder->heir)
		elder->heir->elder = NULL;
	elder->heir = NULL;
}

/* Another is started under the same name; the elder serves until it is ready. */
static void replace(struct pool *pool, struct worker *elder)
{
	struct worker *heir;

	if (elder->heir || elder->retiring || pool->stopping)
		return;
	heir = pool_add_worker(pool, elder->number);
	list_remove(&heir->link);
	list_insert(elder->link.prev, &elder->link, &heir->link);
	heir->restarts = elder->restarts + 1;
	heir->slot = elder->slot;
	heir->given_up = elder->given_up;
	heir->elder = elder;
	elder->heir = heir;
	worker_start(heir);
}

static void on_recycle(void *arg, struct worker *worker)
{
	replace(arg, worker);
}

/* The heir is ready: the elder may go. */
static void succeed(struct pool *pool, struct worker *heir)
{
	struct worker *elder = heir->elder;

	part(elder);
	elder->retiring = true;
	worker_drain(elder, pool->drain_ms);
}

static void on_serving(void *arg, struct worker *worker, bool serving)
{
	struct pool *pool = arg;

	if (!serving)
		return;
	pool->events.event(pool->events.arg, "info", "worker.ready", worker->name, NULL);
	if (worker->elder)
		succeed(pool, worker);
	if (pool->rolling == worker->number)
		roll_on(pool);
	tell_up(pool);
	pool->events.room(pool->events.arg);
}

static struct restart_verdict decide(struct pool *pool, struct worker *worker,
				     const struct worker_death *death)
{
	const struct restart_params params = {
		.type = RESTART_PERMANENT,
		.base_delay_ms = pool->config->restart_delay_ms,
		.max_delay_ms = pool->config->restart_delay_max_ms,
		.stable_after_ms = pool->config->stable_after_ms,
	};
	const struct restart_exit exit = {
		.planned = death->blame.planned,
		.stopped = pool->stopping || worker->retiring,
		.failed = death->blame.faulty,
		.killed_from_outside = death->whom == BLAME_OUTSIDE,
		.exit_code = death->blame.signo ? 128 + death->blame.signo : death->blame.exit_code,
		.lived_ms = death->lived_ms,
		.proven = death->proven,
	};

	return restart_decide(&params, &worker->slot, &exit, clock_random());
}

void pool_retire(struct pool *pool, struct worker *worker)
{
	bool was_last = pool->rolling == worker->number && !worker->heir;

	part(worker);
	if (worker->elder)
		part(worker->elder);
	list_remove(&worker->link);
	loop_defer(pool->loop, worker_free_deferred, worker);
	if (was_last && !pool_find(pool, worker->number))
		roll_on(pool);
}

/* An operator's restart: also of a worker that is parked or waits out a delay. */
static void restart_one(struct pool *pool, struct worker *worker)
{
	/* An heir that boots still was started as things were before: it is the one to begin anew. */
	if (worker->heir)
		worker = worker->heir;
	if (worker_is_serving(worker)) {
		replace(pool, worker);
		return;
	}
	if (worker_state_has_process(worker->state)) {
		worker->replace = true;
		worker_drain(worker, pool->drain_ms);
		return;
	}
	pool_slot_forgive(pool, worker);
	restart_unpark(&worker->slot);
	worker_start(worker);
}

static struct worker *next_after(struct pool *pool, int number)
{
	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (worker->number > number && !worker->retiring && !worker->elder)
			return worker;
	}
	return NULL;
}

static void roll_on(struct pool *pool)
{
	struct worker *next = next_after(pool, pool->rolling);

	if (!next || next->number > pool->rolling_last) {
		log_info("pool.rolled", "pool=%s", pool->config->name);
		pool->rolling = 0;
		return;
	}
	pool->rolling = next->number;
	restart_one(pool, next);
}

static void start_again(struct worker *worker, const struct restart_verdict *verdict)
{
	log_info("worker.restart", "worker=%s next=%s delay_ms=%lld failures=%u", worker->name,
		 restart_action_name(verdict->action), (long long)verdict->delay_ms, worker->slot.failures);
	switch (verdict->action) {
	case RESTART_NOW:
		worker_start_after(worker, 0);
		break;
	case RESTART_AFTER:
		worker_start_after(worker, verdict->delay_ms);
		break;
	case RESTART_PARK:
	case RESTART_NEVER:
		log_error(
			"worker.parked",
			"worker=%s reason=\"%s\" remedy=\"mend the cause, then: proctorctl workers restart\"",
			worker->name, worker->last_death);
		worker_park(worker);
		break;
	}
}

static void on_died(void *arg, struct worker *worker, const struct worker_death *death)
{
	struct pool *pool = arg;
	struct restart_verdict verdict = decide(pool, worker, death);
	bool slot_exceeds;
	AUTO(mem_free_str) char *record = crash_record(worker, death, &verdict);

	pool->exits[blame_cause(&death->blame)]++;
	pool->events.event(pool->events.arg, death->blame.planned ? "info" : "warning", "worker.exit",
			   worker->name, record);
	if (worker->retiring && !pool->stopping) {
		pool_retire(pool, worker);
		return;
	}
	if (pool->stopping) {
		pool_tell_if_stopped(pool);
		return;
	}
	if (worker->heir) {
		pool_retire(pool, worker); /* it died before its time; its place is taken */
		return;
	}
	if (worker->replace) {
		worker->replace = false;
		worker_start_after(worker, 0);
		return;
	}
	if (!pool->up_told)
		note_failed_boot(pool, worker);
	slot_exceeds = verdict.counts && (worker->given_up || pool_slot_exceeds(pool, worker));
	/* A trial that failed has its own pace, and says nothing about the others. */
	if (verdict.counts && !worker->given_up && intensity_add(pool->window, loop_now_ms(pool->loop)))
		escalate(pool, worker);
	if (pool->degraded && !death->blame.planned) {
		worker_park(worker);
		return;
	}
	if (slot_exceeds) {
		pool_slot_give_up(pool, worker);
		return;
	}
	start_again(worker, &verdict);
}

void pool_give_program(const struct pool *pool, struct worker *worker)
{
	worker_set_program(worker, (const char *const *)pool->argv, (const char *const *)pool->env);
}

struct worker *pool_add_worker(struct pool *pool, int number)
{
	const struct worker_events events = {
		.serving = on_serving,
		.proven = on_proven,
		.turn = on_turn,
		.result = on_result,
		.count_suspects = on_count_suspects,
		.judged = on_judged,
		.suspect = on_suspect,
		.recycle = on_recycle,
		.released = on_released,
		.died = on_died,
		.arg = pool,
	};
	struct worker *worker;

	worker_new(pool->loop, pool->config, number, &events, &worker);
	pool_give_program(pool, worker);
	worker_set_forkserver(worker, pool->forkserver);
	list_push_back(&pool->workers, &worker->link);
	return worker;
}

int pool_restart(struct pool *pool, int number)
{
	struct worker *worker;

	if (pool->stopping)
		return -ESHUTDOWN;
	if (number == 0) {
		if (pool->degraded) {
			recover(pool);
			return 0;
		}
		pool->rolling_last = pool_highest_number(pool);
		pool->rolling = 0;
		roll_on(pool);
		return 0;
	}
	worker = pool_find(pool, number);
	if (!worker)
		return -ENOENT;
	restart_one(pool, worker);
	return 0;
}
