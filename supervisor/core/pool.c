#include "core/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/forkserver.h"
#include "core/pool_private.h"
#include "io/loop.h"
#include "policy/intensity.h"

enum {
	FORKSERVER_MS = 5000, /* how long the first start waits for the prepared parent */
};

int pool_make_window(struct pool *pool)
{
	struct intensity *fresh;
	int r = intensity_new(intensity_of_pool(pool->group->intensity, pool->size), pool->group->period_ms,
			      &fresh);

	if (r < 0)
		return r;
	intensity_free(&pool->window);
	pool->window = fresh;
	pool_slots_free(pool);
	return 0;
}

void pool_tell_if_stopped(struct pool *pool)
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

int pool_highest_number(const struct pool *pool)
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
	r = pool_make_window(pool);
	if (r < 0) {
		mem_free(&pool);
		return r;
	}
	loop_timer_new(loop, pool_on_canary, pool, &pool->canary_timer);
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
	pool_slots_free(dead);
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
		struct worker *worker = list_entry(at, struct worker, link);

		pool_give_program(pool, worker);
		worker->outdated = worker_state_has_process(worker->state);
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
	pool->stopping = pool->up_told = pool->stumbled_told = pool->stopped_told = false;
	while (pool_highest_number(pool) < pool->size)
		(void)pool_add_worker(pool, pool_highest_number(pool) + 1);
	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		worker->boot_failed = worker->given_up = false;
	}
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
	pool_tell_if_stopped(pool);
}

void pool_resize(struct pool *pool, int size)
{
	int number = 0;

	pool->size = size;
	(void)!pool_make_window(pool);
	list_foreach_safe (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);
		bool retiring;

		/* Of two under one name, the heir is the one that counts; an elder goes by itself. */
		if (worker->heir || (worker->retiring && pool_find(pool, worker->number) != worker))
			continue;
		retiring = ++number > size;

		/* One that was to go and is wanted again drains all the same, and then lives on. */
		worker->replace = worker->replace || (worker->retiring && !retiring);
		worker->retiring = retiring;
		if (retiring && worker_state_has_process(worker->state))
			worker_drain(worker, pool->drain_ms);
		else if (retiring)
			pool_retire(pool, worker);
	}
	for (int have = number; have < size; have++) {
		(void)pool_add_worker(pool, pool_highest_number(pool) + 1);
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
		(void)!pool_make_window(pool);
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

		if (worker->number == number && !worker->retiring)
			return worker;
	}
	return NULL;
}

/* Whether a worker with the present program and environment serves, or is about to for all that is known. */
static bool has_current(const struct pool *pool)
{
	list_foreach (at, &pool->workers) {
		const struct worker *worker = list_entry(at, struct worker, link);

		if (!worker->outdated && worker_state_has_process(worker->state) && !worker->retiring &&
		    (worker_is_serving(worker) || worker->slot.failures == 0))
			return true;
	}
	return false;
}

/* A conversation begun after a reload shall have the new key: outdated workers get none while another can. */
static bool takes_more(const struct worker *worker, bool current)
{
	return worker_has_room(worker) && !(worker->outdated && current);
}

struct worker *pool_pick(struct pool *pool, bool alone)
{
	bool current = has_current(pool);
	struct worker *best = NULL;

	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (!takes_more(worker, current) || (alone && worker->held > 0))
			continue;
		if (!best || worker->held < best->held)
			best = worker;
	}
	return best;
}

int pool_free_slots(const struct pool *pool)
{
	bool current = has_current(pool);
	int slots = 0;

	list_foreach (at, &pool->workers) {
		struct worker *worker = list_entry(at, struct worker, link);

		if (takes_more(worker, current))
			slots += worker->capacity - worker->held;
	}
	return slots;
}

bool pool_is_renewing(const struct pool *pool)
{
	if (pool_free_slots(pool) > 0)
		return false;
	list_foreach (at, &pool->workers) {
		if (worker_has_room(list_entry(at, struct worker, link)))
			return true;
	}
	return false;
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
	return intensity_of_pool(pool->group->intensity, pool->size);
}

int64_t pool_period_ms(const struct pool *pool)
{
	return pool->group->period_ms;
}

pid_t pool_forkserver_pid(const struct pool *pool)
{
	return forkserver_pid(pool->forkserver);
}

int64_t pool_exits(const struct pool *pool, enum blame_cause cause)
{
	return pool->exits[cause];
}

int64_t pool_hangs(const struct pool *pool, enum hang_verdict verdict)
{
	return pool->hangs[verdict];
}

const char *pool_degraded(const struct pool *pool)
{
	return pool->degraded;
}
