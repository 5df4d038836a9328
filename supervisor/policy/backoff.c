#include "policy/backoff.h"

#include <assert.h>

/* A uniform share 0..span of span, without overflow: random / 2^32 of it. */
static int64_t share(int64_t span, uint32_t random)
{
	uint64_t high = (uint64_t)span >> 32, low = (uint64_t)span & UINT32_MAX;

	return (int64_t)(high * random + ((low * random + UINT32_MAX / 2) >> 32));
}

int64_t backoff_delay_ms(int64_t base_ms, int64_t max_ms, unsigned failures, uint32_t random)
{
	int64_t delay = base_ms;

	assert(base_ms >= 0 && max_ms >= 0);
	if (!failures)
		return 0;
	for (unsigned n = 1; n < failures && delay && delay < max_ms; n++)
		delay = delay > max_ms / 2 ? max_ms : delay * 2;
	if (delay > max_ms)
		delay = max_ms;
	return delay - delay / 2 + share(delay / 2, random);
}
