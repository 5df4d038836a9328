#ifndef CORE_RUN_WATCH_H
#define CORE_RUN_WATCH_H

/* Watches that runs get on. One without a success for [daemon] stalled_after is said to be stalled, once,
 * with the reason: by the event run.stalled, and run.moving when it goes on. What it keeps is in the database
 * as well, so that nothing of it needs to be handed over. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dispatch;
struct loop;
struct run_watch;
struct store;
struct store_pair;

void run_watch_new(struct loop *loop, struct store *store, const struct dispatch *dispatch, int64_t after_ms,
		   struct run_watch **ret);
void run_watch_free(struct run_watch **watch);

/* 0 = nothing is ever stalled. */
void run_watch_configure(struct run_watch *watch, int64_t after_ms);

/* The active pairs, read anew; and a turn of a run. */
void run_watch_on_pairs(struct run_watch *watch, const struct store_pair *pairs, size_t count);
void run_watch_on_turn(struct run_watch *watch, const char *run_id);

/* Whether the run is stalled, and since when it has had no success, monotonic. */
bool run_watch_is_stalled(const struct run_watch *watch, const char *run_id, int64_t *ret_since_ms);

/* How many are. */
int run_watch_stalled(const struct run_watch *watch);

#endif
