#ifndef POLICY_BUCKET_H
#define POLICY_BUCKET_H

/* Token bucket of one lane.
 * Pure: every call takes now_ms, so a test owns the time; a clock that steps back counts as standing still.
 * Exact integers: what is earned depends on the time alone, not on how often one looked.
 * A bucket starts empty. Invariant: tokens <= burst. A cost above the burst is admitted when the bucket is
 * full and leaves a debt, so that a big call waits long but not for ever.
 *
 * How much goes through. With a burst of one's own, in any window W at most per_min * W + max(burst, cost).
 * With burst 0 the bucket earns a little less than per_min, so that no window of 61 s sees more than per_min:
 * a provider that counts a sliding minute never sees too many, even when the network delays some calls by up
 * to a second more than others. That costs at most 1 token in 30. */

#include <stdbool.h>
#include <stdint.h>

#define BUCKET_RATE_MAX 1000000000 /* most per_min and most burst: a billion */

struct bucket;

/* per_min 0..BUCKET_RATE_MAX, 0 = no limit. burst 0..BUCKET_RATE_MAX, 0 = one second's worth; it is at least
 * one call and at most per_min. -ERANGE outside these ranges. */
int bucket_new(int64_t per_min, int64_t burst, int64_t now_ms, struct bucket **ret)
	__attribute__((warn_unused_result));
void bucket_free(struct bucket **b);

/* Changes the limits from now on; what has been earned stays, capped at the new burst; a debt stays.
 * Same ranges as bucket_new(); on an error nothing changes. */
int bucket_set_rate(struct bucket *b, int64_t per_min, int64_t burst, int64_t now_ms)
	__attribute__((warn_unused_result));

/* Sets what has been earned so far, as bucket_level() told it at now_ms: capped at the burst. */
void bucket_set_level(struct bucket *b, int64_t now_ms, int64_t tokens);

/* Takes `cost` (>= 0) tokens, or changes nothing and returns false. */
bool bucket_take(struct bucket *b, int64_t now_ms, int64_t cost) __attribute__((warn_unused_result));

/* Milliseconds until `cost` could succeed; 0 = now, -1 = never (above a minute's whole limit). */
int64_t bucket_wait_ms(const struct bucket *b, int64_t now_ms, int64_t cost);

/* Whole tokens that could be taken from now_ms to now_ms + horizon_ms, each as soon as it is earned;
 * 0 while in debt for longer; INT64_MAX when there is no limit. */
int64_t bucket_room(const struct bucket *b, int64_t now_ms, int64_t horizon_ms);

/* Whole tokens now, rounded down; negative while in debt; INT64_MAX when there is no limit. */
int64_t bucket_level(const struct bucket *b, int64_t now_ms);

#endif
