#ifndef POLICY_BUCKET_H
#define POLICY_BUCKET_H

/* Token bucket of one lane.
 * Pure: every call takes now_ms, so a test owns the time; a clock that steps back counts as standing still.
 * Exact integers: a minute gives per_min tokens to the last micro-token, whatever the calls in between.
 * A bucket starts empty. Invariant: tokens <= burst. A cost above the burst is admitted when the bucket is
 * full and leaves a debt, so that a big call waits long but not for ever. */

#include <stdbool.h>
#include <stdint.h>

#define BUCKET_RATE_MAX 1000000000 /* most per_min and most burst: a billion */

struct bucket;

/* per_min 0..BUCKET_RATE_MAX, 0 = no limit. burst 0..BUCKET_RATE_MAX, 0 = one second's worth; it is at least
 * one call and never above per_min. -ERANGE outside these ranges. */
int bucket_new(int64_t per_min, int64_t burst, int64_t now_ms, struct bucket **ret)
	__attribute__((warn_unused_result));
void bucket_free(struct bucket **b);

/* Changes the limits from now on; what has been earned stays, capped at the new burst; a debt stays.
 * Same ranges as bucket_new(); on an error nothing changes. */
int bucket_set_rate(struct bucket *b, int64_t per_min, int64_t burst, int64_t now_ms)
	__attribute__((warn_unused_result));

/* Takes `cost` (>= 0) tokens, or changes nothing and returns false. */
bool bucket_take(struct bucket *b, int64_t now_ms, int64_t cost) __attribute__((warn_unused_result));

/* Milliseconds until `cost` could succeed; 0 = now, -1 = never (above a minute's whole limit). */
int64_t bucket_wait_ms(const struct bucket *b, int64_t now_ms, int64_t cost);

/* Whole tokens now, rounded down; negative while in debt; INT64_MAX when there is no limit. */
int64_t bucket_level(const struct bucket *b, int64_t now_ms);

#endif
