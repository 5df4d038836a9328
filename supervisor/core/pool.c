#include "core/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/crash.h"
#include "core/forkserver.h"
#include "io/loop.h"
#include "policy/health.h"
#include "policy/intensity.h"

enum {
	CANARY_MS = 5 * 60 * 1000,
	FORKSERVER_MS = 5000, /* how long the first start waits for the prepared parent */
};

struct pool {
	struct loop *loop;
	const struct config_pool *config;
	const struct config_group *group;
	struct pool_events events;
	char **argv, **fork_argv, **env; /* fork_argv NULL = by exec */
	struct forkserver *forkserver;
	struct loop_timer *forkserver_timer;
	bool start_due; /* the workers start when the prepared parent is there, or will not come */
	struct list workers;
	int size;	  /* wanted */
	int64_t drain_ms; /* for calls under way in a worker that is to make room for another */
	struct intensity *window;
	struct loop_timer *canary_timer;
	char *degraded; /* why; NULL while all is well */
	int rolling;	/* number of the worker being replaced in a rolling restart; 0 = none */
	int rolling_last;
	bool stopping;
	bool up_told, stopped_told;
};

/* A burst that takes half of the pool is one accident, not as many crash loops. */
static int effective_intensity(const struct pool *pool)
{
	int half = pool->size / 2;

	return pool->group->intensity > half ? pool->group->intensity : half;
}

static int make_window(struct pool *pool)
{
	struct intensity *fresh;
	int r = intensity_new(effective_intensity(pool), pool->group->period_ms, &fresh);

	if (r < 0)
		return r;
	intensity_free(&pool->window);
	pool->window = fresh;
	return 0;
}

static void tell_if_stopped(struct pool *pool)
{
	if (!pool->stopping || pool->stopped_told)
		return;
	list_foreach (at, &pool->workers) {
		if (worker_state_has_process(list_entry(at, struct worker, link)->state))
			return;
	}
	pool->stopped_told = true;
	pool->events.stopped(pool->events.arg);
}

static void tell_up(struct pool *pool)
{
	if (pool->up_told)
		return;
	pool->up_told = true;
	pool->events.up(pool->events.arg);
}

static void escalate(struct pool *pool, const struct worker *worker)
{
	if (pool->degraded)
		return;
	pool->degraded = mem_printf("%d restarts without proven work within %lld s; newest: %s",
				    effective_intensity(pool) + 1, (long long)(pool->group->period_ms / 1000),
				    worker->last_death ? worker->last_death : "unknown");
	log_error("pool.degraded", "pool=%s reason=\"%s\" next=\"one canary every %d s\"", pool->config->name,
		  pool->degraded, CANARY_MS / 1000);
	pool->events.event(pool->events.arg, "error", "pool.degraded", pool->config->name, NULL);
	list_foreach (at, &pool->workers) {
		struct worker *other = list_entry(at, struct worker, link);

		if (!worker_state_has_process(other->state))
			worker_park(other);
	}
	loop_timer_start(pool->canary_timer, CANARY_MS);
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
		restart_unpark(&worker->slot);
		worker_start(worker);
	}
}

static void on_canary(void *arg)
{
	struct pool *pool = arg;

	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (worker_state_has_process(worker->state))
			continue;
		log_info("pool.canary", "pool=%s worker=%s", pool->config->name, worker->name);
		restart_unpark(&worker->slot);
		worker_start(worker);
		break;
	}
	loop_timer_start(pool->canary_timer, CANARY_MS);
}

static void roll_on(struct pool *pool);

static void on_serving(void *arg, struct worker *worker, bool serving)
{
	struct pool *pool = arg;

	if (!serving)
		return;
	pool->events.event(pool->events.arg, "info", "worker.ready", worker->name, NULL);
	if (pool->rolling == worker->number)
		roll_on(pool);
	tell_up(pool);
	pool->events.room(pool->events.arg);
}

static void on_proven(void *arg, struct worker *worker)
{
	struct pool *pool = arg;

	(void)worker;
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

static bool on_hold_kills(void *arg, struct worker *worker)
{
	struct pool *pool = arg;
	int suspects = 1;

	list_foreach (at, &pool->workers) {
		struct worker *other = list_entry(at, struct worker, link);

		if (other != worker && (other->state == W_SUSPECT || worker_is_late(other)))
			suspects++;
	}
	if (!health_hold_kills(suspects, pool->size))
		return false;
	log_error("pool.suspects",
		  "pool=%s suspects=%d size=%d action=\"none is killed: the machine is starved\"",
		  pool->config->name, suspects, pool->size);
	pool->events.event(pool->events.arg, "error", "pool.suspects", pool->config->name, NULL);
	return true;
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
		.planned = death->planned,
		.stopped = pool->stopping || worker->retiring,
		.failed = death->faulty,
		.killed_from_outside = death->killed_from_outside,
		.exit_code = death->signo ? 128 + death->signo : death->code,
		.lived_ms = death->lived_ms,
		.proven = death->proven,
	};

	return restart_decide(&params, &worker->slot, &exit, clock_random());
}

static void retire(struct pool *pool, struct worker *worker)
{
	list_remove(&worker->link);
	loop_defer(pool->loop, worker_free_deferred, worker);
	if (pool->rolling == worker->number)
		roll_on(pool);
}

static void on_died(void *arg, struct worker *worker, const struct worker_death *death)
{
	struct pool *pool = arg;
	struct restart_verdict verdict = decide(pool, worker, death);
	AUTO(mem_free_str) char *record = crash_record(worker, death, &verdict);

	pool->events.event(pool->events.arg, death->planned ? "info" : "warning", "worker.exit", worker->name,
			   record);
	if (worker->retiring && !pool->stopping) {
		retire(pool, worker);
		return;
	}
	if (pool->stopping) {
		tell_if_stopped(pool);
		return;
	}
	if (worker->replace) {
		worker->replace = false;
		worker_start_after(worker, 0);
		return;
	}
	if (verdict.counts && intensity_add(pool->window, loop_now_ms(pool->loop)))
		escalate(pool, worker);
	if (pool->degraded && !death->planned) {
		worker_park(worker);
		return;
	}
	log_info("worker.restart", "worker=%s next=%s delay_ms=%lld failures=%u", worker->name,
		 restart_action_name(verdict.action), (long long)verdict.delay_ms, worker->slot.failures);
	switch (verdict.action) {
	case RESTART_NOW:
		worker_start_after(worker, 0);
		break;
	case RESTART_AFTER:
		worker_start_after(worker, verdict.delay_ms);
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

static void give_program(const struct pool *pool, struct worker *worker)
{
	worker_set_program(worker, (const char *const *)pool->argv, (const char *const *)pool->env);
}

static void add_worker(struct pool *pool, int number)
{
	const struct worker_events events = {
		.serving = on_serving,
		.proven = on_proven,
		.turn = on_turn,
		.result = on_result,
		.hold_kills = on_hold_kills,
		.released = on_released,
		.died = on_died,
		.arg = pool,
	};
	struct worker *worker;

	worker_new(pool->loop, pool->config, number, &events, &worker);
	give_program(pool, worker);
	worker_set_forkserver(worker, pool->forkserver);
	list_push_back(&pool->workers, &worker->link);
}

static int highest_number(const struct pool *pool)
{
	int highest = 0;

	list_foreach (at, &pool->workers) {
		int number = list_entry(at, struct worker, link)->number;

		if (number > highest)
			highest = number;
	}
	return highest;
}

static void start_workers(void *arg)
{
	struct pool *pool = arg;

	loop_timer_stop(pool->forkserver_timer);
	if (!pool->start_due)
		return;
	pool->start_due = false;
	list_foreach (at, &pool->workers) {
		worker_start(list_entry(at, struct worker, link));
	}
}

static void on_forkserver(void *arg, bool ready)
{
	(void)ready;
	start_workers(arg);
}

int pool_new(struct loop *loop, const struct config_pool *config, const struct config_group *group,
	     const struct pool_events *events, struct pool **ret)
{
	struct pool *pool = mem_alloc(sizeof(*pool));
	int r;

	pool->loop = loop;
	pool->config = config;
	pool->group = group;
	pool->events = *events;
	pool->size = config->size;
	list_init(&pool->workers);
	r = make_window(pool);
	if (r < 0) {
		mem_free(&pool);
		return r;
	}
	loop_timer_new(loop, on_canary, pool, &pool->canary_timer);
	loop_timer_new(loop, start_workers, pool, &pool->forkserver_timer);
	forkserver_new(loop, config->name, on_forkserver, pool, &pool->forkserver);
	*ret = pool;
	return 0;
}

void pool_free(struct pool **pool)
{
	struct pool *dead = *pool;

	if (!dead)
		return;
	list_foreach_safe (at, &dead->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		worker_free(&worker);
	}
	forkserver_free(&dead->forkserver);
	mem_free_words(&dead->argv);
	mem_free_words(&dead->fork_argv);
	mem_free_words(&dead->env);
	intensity_free(&dead->window);
	loop_timer_free(&dead->forkserver_timer);
	loop_timer_free(&dead->canary_timer);
	free(dead->degraded);
	mem_free(pool);
}

bool pool_set_program(struct pool *pool, const char *const *argv, const char *const *fork_argv,
		      const char *const *env)
{
	char **old[] = { pool->argv, pool->fork_argv, pool->env };

	if (pool->argv && mem_same_words((const char *const *)pool->argv, argv) &&
	    mem_same_words((const char *const *)pool->fork_argv, fork_argv) &&
	    mem_same_words((const char *const *)pool->env, env))
		return false;
	pool->argv = mem_copy_words(argv);
	pool->fork_argv = fork_argv ? mem_copy_words(fork_argv) : NULL;
	pool->env = mem_copy_words(env);
	list_foreach (at, &pool->workers) {
		give_program(pool, list_entry(at, struct worker, link));
	}
	forkserver_set_program(pool->forkserver, (const char *const *)pool->fork_argv,
			       (const char *const *)pool->env);
	for (size_t i = 0; i < ARRAY_LEN(old); i++)
		mem_free_words(&old[i]);
	return true;
}

void pool_set_drain_timeout(struct pool *pool, int64_t drain_ms)
{
	pool->drain_ms = drain_ms;
}

void pool_start(struct pool *pool)
{
	pool->stopping = pool->up_told = pool->stopped_told = false;
	while (highest_number(pool) < pool->size)
		add_worker(pool, highest_number(pool) + 1);
	pool->start_due = true;
	if (!pool->fork_argv) {
		start_workers(pool);
		return;
	}
	loop_timer_start(pool->forkserver_timer, FORKSERVER_MS);
	forkserver_start(pool->forkserver);
}

void pool_stop(struct pool *pool, int64_t grace_ms)
{
	bool again = pool->stopping;

	pool->stopping = true;
	pool->start_due = false;
	pool->rolling = 0;
	forkserver_stop(pool->forkserver);
	loop_timer_stop(pool->forkserver_timer);
	loop_timer_stop(pool->canary_timer);
	list_foreach_safe (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (again)
			worker_kill(worker);
		else
			worker_drain(worker, grace_ms);
	}
	tell_if_stopped(pool);
}

void pool_resize(struct pool *pool, int size)
{
	int number = 0;

	pool->size = size;
	(void)make_window(pool);
	list_foreach_safe (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);
		bool retiring = ++number > size;

		/* One that was to go and is wanted again drains all the same, and then lives on. */
		worker->replace = worker->replace || (worker->retiring && !retiring);
		worker->retiring = retiring;
		if (retiring && worker_state_has_process(worker->state))
			worker_drain(worker, pool->drain_ms);
		else if (retiring)
			retire(pool, worker);
	}
	for (int have = number; have < size; have++) {
		add_worker(pool, highest_number(pool) + 1);
		if (!pool->degraded)
			worker_start(list_entry(pool->workers.prev, struct worker, link));
	}
}

void pool_configure(struct pool *pool, const struct config_pool *config, const struct config_group *group)
{
	pool->config = config;
	pool->group = group;
	list_foreach (at, &pool->workers) {
		list_entry(at, struct worker, link)->config = config;
	}
	if (config->size != pool->size)
		pool_resize(pool, config->size);
	else
		(void)make_window(pool);
}

/* An operator's restart: also of a worker that is parked or waits out a delay. */
static void restart_one(struct pool *pool, struct worker *worker)
{
	if (worker_state_has_process(worker->state)) {
		worker->replace = true;
		worker_drain(worker, pool->drain_ms);
		return;
	}
	restart_unpark(&worker->slot);
	worker_start(worker);
}

static struct worker *next_after(struct pool *pool, int number)
{
	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (worker->number > number)
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
		pool->rolling_last = highest_number(pool);
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

const char *pool_name(const struct pool *pool)
{
	return pool->config->name;
}

const struct config_pool *pool_config(const struct pool *pool)
{
	return pool->config;
}

const struct list *pool_workers(const struct pool *pool)
{
	return &pool->workers;
}

struct worker *pool_find(struct pool *pool, int number)
{
	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (worker->number == number)
			return worker;
	}
	return NULL;
}

struct worker *pool_pick(struct pool *pool, bool alone)
{
	struct worker *best = NULL;

	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (!worker_has_room(worker) || (alone && worker->held > 0))
			continue;
		if (!best || worker->held < best->held)
			best = worker;
	}
	return best;
}

int pool_free_slots(const struct pool *pool)
{
	int slots = 0;

	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (worker_has_room(worker))
			slots += worker->capacity - worker->held;
	}
	return slots;
}

int pool_held(const struct pool *pool)
{
	int held = 0;

	list_foreach (at, &pool->workers) {
		held += list_entry(at, struct worker, link)->held;
	}
	return held;
}

int pool_serving(const struct pool *pool)
{
	int serving = 0;

	list_foreach (at, &pool->workers) {
		serving += worker_is_serving(list_entry(at, struct worker, link));
	}
	return serving;
}

int pool_size(const struct pool *pool)
{
	return pool->size;
}

int pool_restarts_in_window(struct pool *pool)
{
	return intensity_count(pool->window, loop_now_ms(pool->loop));
}

int pool_intensity(const struct pool *pool)
{
	return effective_intensity(pool);
}

int64_t pool_period_ms(const struct pool *pool)
{
	return pool->group->period_ms;
}

pid_t pool_forkserver_pid(const struct pool *pool)
{
	return forkserver_pid(pool->forkserver);
}

const char *pool_degraded(const struct pool *pool)
{
	return pool->degraded;
}
