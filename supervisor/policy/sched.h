#ifndef POLICY_SCHED_H
#define POLICY_SCHED_H

/* Chooses from which (run, model) queues to claim, and how many jobs of each.
 * Runs take turns in proportion to their weight, not to how much they have queued. Priority is that weight:
 * the highest priority of those that have work counts 64, one step below it 16, two steps 4, three and
 * more 1. So a high one is soon done, and nobody starves: with n runs at work in a lane, each gets one job of
 * any 65 n there. What one cannot use goes to the others. Within a run, its models share evenly. `served` is
 * a virtual time that the caller keeps in its pairs from call to call, so that turns are fair over time as
 * well. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHED_UNIT	1024 /* virtual time of one job of the highest priority */
#define SCHED_STEP	4    /* one priority lower, as many times less often */
#define SCHED_STEPS_MAX 3    /* further below counts as this far */

struct sched_pair {
	const char *run_id;
	const char *model_id;
	int lane;	  /* index into lane_want */
	int priority;	  /* of the run; the same in all its pairs */
	bool maybe_ready; /* false: known to have nothing to claim */
	uint64_t served;  /* in and out: 0 for a new pair; it then joins at the least of its peers */
};

struct sched_pick {
	size_t pair;   /* index into pairs */
	int n;	       /* at least 1 */
	uint32_t step; /* virtual time of one job of its run: those of a lower priority come as much later */
};

/* Fills picks (room for npairs) and returns how many there are, at most one per pair.
 * The pairs of a run stand together. lane_want[lane]: jobs that the lane can take, <= 0 none; it is not
 * changed. total: jobs in all. O(n + total log n) for n pairs; total is best bounded by the claim's batch. */
size_t sched_choose(struct sched_pair *pairs, size_t npairs, const int *lane_want, size_t nlanes, int total,
		    struct sched_pick *picks) __attribute__((warn_unused_result));

#endif
