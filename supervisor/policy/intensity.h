#ifndef POLICY_INTENSITY_H
#define POLICY_INTENSITY_H

/* Restart intensity: more than `limit` restarts within `period_ms` escalate.
 * Pure: now_ms is monotonic and comes in; a clock that steps back counts as standing still. */

#include <stdbool.h>
#include <stdint.h>

struct intensity;

/* limit 0..10000 restarts are borne within period_ms >= 1. -EINVAL outside these ranges. */
int intensity_new(int limit, int64_t period_ms, struct intensity **ret) __attribute__((warn_unused_result));
void intensity_free(struct intensity **i);

/* Counts one restart now and drops those older than the period; true when the limit is exceeded. */
bool intensity_add(struct intensity *i, int64_t now_ms);

/* Restarts within the last period. Counts no further than limit + 1. */
int intensity_count(struct intensity *i, int64_t now_ms);

/* The limit of a pool of `size` slots in a group of this intensity: a burst that takes half of the pool is
 * one accident, not as many crash loops. */
int intensity_of_pool(int intensity, int size);

/* Those stamps, oldest first, for one who goes on with them by intensity_add(); 0 behind the last. */
int64_t intensity_stamp(const struct intensity *i, int index);

/* Forgets all: after an operator's word, or a canary that proved itself. */
void intensity_reset(struct intensity *i);

#endif
