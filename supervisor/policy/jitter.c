#include "policy/jitter.h"

#include <assert.h>

int64_t jitter_share(int64_t span, uint32_t random)
{
	uint64_t high = (uint64_t)span >> 32, low = (uint64_t)span & UINT32_MAX;

	assert(span >= 0);
	/* random / 2^32 of the span, in two halves so that no product overflows. */
	return (int64_t)(high * random + ((low * random + UINT32_MAX / 2) >> 32));
}
