#include "policy/backoff.h"

#include <assert.h>

#include "policy/jitter.h"

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
	return delay - delay / 2 + jitter_share(delay / 2, random);
}
