#ifndef CORE_POOL_H
#define CORE_POOL_H

/* A pool of probe workers: how many there are, and what follows when one dies.
 * Restarts are decided by policy/restart.h and policy/intensity.h. When the intensity is exceeded the pool is
 * degraded: it is parked but for one canary that is tried again every few minutes; one that proves itself
 * brings the others back. A single place of a large pool that exceeds it is parked and tried in the same way,
 * alone. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "core/worker.h"

struct config_pool;
struct config_group;
struct handover;
struct loop;
struct map;
struct pool;

struct pool_events {
	/* Once after each pool_start(): the first worker is ready, or the pool has given up for now. */
	void (*up)(void *arg);
	/* At most once, before `up`: every worker has failed to boot, and is tried again or parked. `why` is
	 * one line. */
	void (*stumbled)(void *arg, const char *why);
	/* A worker has room now that had none (ready, or a probe left it). */
	void (*room)(void *arg);
	void (*turn)(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg);
	void (*result)(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg);
	void (*released)(void *arg, struct worker *worker, struct probe *probe,
			 const struct worker_death *death);
	/* For the events table: "worker.ready", "worker.exit", "worker.suspect", "worker.given_up",
	 * "worker.restored", "pool.stumbled", "pool.degraded", "pool.recovered". `data` is a JSON object or
	 * NULL.
	 */
	void (*event)(void *arg, const char *level, const char *kind, const char *subject, const char *data);
	/* The last process has gone after pool_stop(). */
	void (*stopped)(void *arg);
	void *arg;
};

/* Needs pool_set_program() before pool_start(). What that is given is NULL-terminated and borrowed until the
 * next. */
int pool_new(struct loop *loop, const struct config_pool *config, const struct config_group *group,
	     const struct pool_events *events, struct pool **ret) __attribute__((warn_unused_result));
void pool_free(struct pool **pool);

/* How its workers are started; copied. `fork_argv`: of the prepared parent that they are forked from; NULL =
 * they start by exec. True when that is a change: workers alive were started otherwise, pool_restart()
 * replaces them. */
bool pool_set_program(struct pool *pool, const char *const *argv, const char *const *fork_argv,
		      const char *const *env);

/* How long calls under way may take to finish in a worker that is restarted or scaled away. 0 until set. */
void pool_set_drain_timeout(struct pool *pool, int64_t drain_ms);

void pool_start(struct pool *pool);

/* Drains every worker within grace_ms; `stopped` tells the end. A second call kills. */
void pool_stop(struct pool *pool, int64_t grace_ms);

/* New settings; a changed size takes effect at once, the rest with each worker's next life. */
void pool_configure(struct pool *pool, const struct config_pool *config, const struct config_group *group);

/* Live size; the newest workers go first. */
void pool_resize(struct pool *pool, int size);

/* Replaces every worker, one after another: each drains when the one before is ready again. `number` 0 = all.
 */
int pool_restart(struct pool *pool, int number) __attribute__((warn_unused_result));

const char *pool_name(const struct pool *pool);
const struct config_pool *pool_config(const struct pool *pool);

/* Workers, by `link`, in the order of their numbers. */
const struct list *pool_workers(const struct pool *pool);
struct worker *pool_find(struct pool *pool, int number); /* NULL when there is none */

/* The least loaded worker with room; NULL when none. `alone`: one that holds nothing. After a change of
 * program or environment only those started since are picked, unless none of them can be had. */
struct worker *pool_pick(struct pool *pool, bool alone);

/* Probes that could be sent now. */
int pool_free_slots(const struct pool *pool);

/* Whether there would be room but for such a change: those started since are not ready yet. */
bool pool_is_renewing(const struct pool *pool);
int pool_held(const struct pool *pool);
int pool_serving(const struct pool *pool);
int pool_size(const struct pool *pool);
int pool_restarts_in_window(struct pool *pool);
int pool_intensity(const struct pool *pool); /* restarts borne in the window: its group's, or half its size */
int64_t pool_period_ms(const struct pool *pool);

pid_t pool_forkserver_pid(const struct pool *pool); /* 0 while there is none */

/* When what was given up on, the pool or a place of it, is tried again: monotonic; 0 = nothing is. */
int64_t pool_next_try_ms(const struct pool *pool);

/* Ends of its workers' processes, and verdicts on those that did not answer, since start. */
int64_t pool_exits(const struct pool *pool, enum blame_cause cause);
int64_t pool_hangs(const struct pool *pool, enum hang_verdict verdict);

/* Degraded: why, one line; NULL when not. */
const char *pool_degraded(const struct pool *pool);

/* ---- while the daemon's program is replaced ---- */

/* All of it, either way; one that goes on has its program, was not started, and holds probes of `probes` (id
 * → struct probe). */
void pool_pass(struct pool *pool, struct handover *h, const struct map *probes);

/* Starts what does not go on by itself: the prepared parent. */
void pool_resume(struct pool *pool);

/* A worker of it is_forking. */
bool pool_is_forking(const struct pool *pool);

/* Leaves unread what its workers say, for a moment. */
void pool_hold_back(struct pool *pool, bool hold_back);

#endif
