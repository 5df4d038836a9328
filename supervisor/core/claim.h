#ifndef CORE_CLAIM_H
#define CORE_CLAIM_H

/* How much is claimed from the store, and of what: keeps the lanes' queues short but never dry.
 * policy/sched.h chooses between the (run, model) pairs; this file knows the pairs and asks the store. */

#include <stdbool.h>
#include <stddef.h>

struct claim;
struct lane;
struct loop;
struct store;
struct store_job;
struct store_pair;

struct claim_options {
	struct lane *const *lanes; /* read when claiming: may be filled after claim_new */
	size_t lane_count;
	struct store *store;
	void (*claimed)(void *arg, const struct store_job *jobs, size_t count);
	void *arg;
};

void claim_new(struct loop *loop, const struct claim_options *options, struct claim **ret);
void claim_free(struct claim **claim);

/* The active pairs, read anew. A pair that stays keeps its place in the round. */
void claim_set_pairs(struct claim *claim, const struct store_pair *pairs, size_t count);

/* Lanes have other families than before. */
void claim_lanes_changed(struct claim *claim);

/* New work may be ready in any pair. */
void claim_wake(struct claim *claim);

/* Claims what the lanes can take soon, unless a claim is under way already. */
void claim_more(struct claim *claim);

/* None until told otherwise. */
void claim_hold(struct claim *claim, bool hold);

enum claim_pair {
	CLAIM_ACTIVE,
	CLAIM_PAUSED, /* the run, or this model of it */
	CLAIM_GONE,   /* the run is over, or was deleted, or its start was lost in a fail-over */
};

/* The next model of the run that is not paused, and the index of its lane; NULL when there is no other. Begin
 * with *cursor = 0. */
const char *claim_next_model(const struct claim *claim, const char *run_id, size_t *cursor, size_t *ret_lane);

/* As of the last claim_set_pairs. */
enum claim_pair claim_look_up(const struct claim *claim, const char *run_id, const char *model_id);

#endif
