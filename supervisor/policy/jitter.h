#ifndef POLICY_JITTER_H
#define POLICY_JITTER_H

/* Randomness that spreads in time what would happen together otherwise. */

#include <stdint.h>

/* A uniform share 0..span of span >= 0, by 32 uniform bits. Never overflows. */
int64_t jitter_share(int64_t span, uint32_t random);

#endif
