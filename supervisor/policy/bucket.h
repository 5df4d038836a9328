#ifndef POLICY_BUCKET_H
#define POLICY_BUCKET_H

/* Token bucket: `rate` tokens are earned evenly in per_ms, `burst` of them at most are kept, and debts are
 * borne. A value. Exact: the level is counted in parts of 1/per_ms of a token, so that what is earned depends
 * on the time alone, not on how often one looked. Beside its burst it keeps what is earned in BUCKET_LATE_MS,
 * so that who comes a little late each time loses nothing. A now_ms before the latest that it was told counts
 * as that. */

#include <stdint.h>

#define BUCKET_RATE_MAX	  INT64_C(1000000000) /* most rate, most burst, most cost */
#define BUCKET_PER_MAX_MS INT64_C(100000)
#define BUCKET_LATE_MS	  INT64_C(50)

struct bucket {
	int64_t rate;	/* 0..BUCKET_RATE_MAX */
	int64_t per_ms; /* 1..BUCKET_PER_MAX_MS */
	int64_t burst;	/* 1..BUCKET_RATE_MAX */
	int64_t level;	/* parts of 1/per_ms; nothing is earned from burst * per_ms + rate * BUCKET_LATE_MS on
			 */
	int64_t stamp_ms; /* of `level` */
	int64_t above_ms; /* since when the level is more than is earned up to; meaningful only while it is */
};

/* An empty one. */
void bucket_init(struct bucket *b, int64_t rate, int64_t per_ms, int64_t burst, int64_t now_ms);

/* From now on; what has been earned stays, capped at the new burst. */
void bucket_set_rate(struct bucket *b, int64_t rate, int64_t burst, int64_t now_ms);

/* Milliseconds, counted from the latest time that it was told if now_ms is before that, until `cost` may go:
 * when the level is min(cost, burst); 0 = now, -1 = never (nothing is earned). */
int64_t bucket_wait_ms(const struct bucket *b, int64_t now_ms, int64_t cost);

/* Takes `cost`, whatever is there. */
void bucket_take(struct bucket *b, int64_t now_ms, int64_t cost);

/* Gives back what had been taken, also beyond the burst: what waits could have had it all the time. What
 * nobody takes of that within BUCKET_LATE_MS is gone, as if it had never been taken and the bucket had been
 * full. */
void bucket_give(struct bucket *b, int64_t now_ms, int64_t amount);

/* Whole tokens at now_ms, rounded down; negative while in debt. */
int64_t bucket_level(const struct bucket *b, int64_t now_ms);

/* Whole tokens that could be taken from now_ms to now_ms + horizon_ms, each as soon as it is earned; >= 0. */
int64_t bucket_room(const struct bucket *b, int64_t now_ms, int64_t horizon_ms);

#endif
