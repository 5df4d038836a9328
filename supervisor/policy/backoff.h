#ifndef POLICY_BACKOFF_H
#define POLICY_BACKOFF_H

/* Exponential back-off with jitter: d = min(max, base * 2^(failures - 1)), then d/2 + U(0, d/2).
 * Half of the delay is certain, so that a storm never becomes a busy loop; half is random, so that what
 * failed together does not come back together. */

#include <stdint.h>

/* Milliseconds to wait after the `failures`-th failure in a row; 0 for no failure. base_ms and max_ms >= 0.
 * `random` is 32 uniform bits. Never overflows. */
int64_t backoff_delay_ms(int64_t base_ms, int64_t max_ms, unsigned failures, uint32_t random);

#endif
