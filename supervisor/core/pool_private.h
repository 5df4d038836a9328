#ifndef CORE_POOL_PRIVATE_H
#define CORE_POOL_PRIVATE_H

/* Shared by pool.c (making, starting, stopping, questions) and pool_life.c (what its workers go through). */

#include "core/pool.h"

struct forkserver;
struct intensity;
struct loop_timer;

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
	struct intensity **slot_windows; /* by number - 1; an entry is NULL until a restart there counts */
	int slots;
	struct loop_timer *canary_timer;
	int64_t canary_ms; /* when it fires; meaningful while it is armed */
	char *degraded;	   /* why; NULL while all is well */
	int rolling;	   /* number of the worker being replaced in a rolling restart; 0 = none */
	int rolling_last;
	int64_t exits[BLAME_CAUSE_COUNT], hangs[HANG_VERDICT_COUNT]; /* since start */
	bool stopping;
	bool up_told, stumbled_told, stopped_told;
};

/* pool.c. A fresh window for its group's limits and its size. */
int pool_make_window(struct pool *pool) __attribute__((warn_unused_result));
void pool_tell_if_stopped(struct pool *pool);
int pool_highest_number(const struct pool *pool);

/* pool_life.c */
struct worker *pool_add_worker(struct pool *pool, int number);
void pool_give_program(const struct pool *pool, struct worker *worker);
void pool_retire(struct pool *pool, struct worker *worker);
void pool_on_canary(void *arg);

/* pool_slot.c */

/* Of the place with this number, made when it is first asked for; NULL for limits out of range. */
struct intensity *pool_slot_window(struct pool *pool, int number);

/* Counts one restart there; true when it was one too many. */
bool pool_slot_exceeds(struct pool *pool, const struct worker *worker);
void pool_slot_give_up(struct pool *pool, struct worker *worker);

/* It has proven itself, or an operator wants it. */
void pool_slot_forgive(struct pool *pool, struct worker *worker);

/* The next try of what was given up on: in POOL_CANARY_MS. */
enum { POOL_CANARY_MS = 5 * 60 * 1000 };
void pool_arm_canary(struct pool *pool);

/* Starts those given up on that do not run; true when there are such, running or not. */
bool pool_slots_try(struct pool *pool);

/* Forgets what was counted. */
void pool_slots_free(struct pool *pool);

#endif
