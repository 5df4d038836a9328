#include "policy/breaker.h"

#include "policy/jitter.h"

const struct breaker_params breaker_defaults = {
	.window = 10, .failures = 10, .open_ms = 5000, .open_max_ms = 120000
};

bool breaker_lets(const struct breaker *b, int64_t now_ms)
{
	return breaker_wait_ms(b, now_ms) == 0;
}

bool breaker_begin(struct breaker *b, int64_t now_ms)
{
	if (b->state == BREAKER_CLOSED || !breaker_lets(b, now_ms))
		return false;
	b->state = BREAKER_HALF_OPEN;
	b->trying = true;
	return true;
}

int64_t breaker_wait_ms(const struct breaker *b, int64_t now_ms)
{
	switch (b->state) {
	case BREAKER_OPEN:
		return b->until_ms > now_ms ? b->until_ms - now_ms : 0;
	case BREAKER_HALF_OPEN:
		return b->trying ? -1 : 0;
	case BREAKER_CLOSED:
		break;
	}
	return 0;
}

static void remember(struct breaker *b, bool failed)
{
	b->results = b->results << 1 | failed;
	if (b->count < 64)
		b->count++;
}

static int failures_in(const struct breaker *b, int window)
{
	int seen = b->count < window ? b->count : window;
	uint64_t mask = seen < 64 ? (UINT64_C(1) << seen) - 1 : UINT64_MAX;

	return __builtin_popcountll(b->results & mask);
}

/* Jitter spreads what other daemons at the same provider do: up to a quarter longer. */
static bool open_for(struct breaker *b, const struct breaker_params *params, int64_t now_ms, uint32_t random)
{
	int64_t open_ms = params->open_ms;

	for (int i = 0; i < b->trials && open_ms < params->open_max_ms; i++)
		open_ms *= 2;
	if (open_ms > params->open_max_ms)
		open_ms = params->open_max_ms;
	*b = (struct breaker){ .state = BREAKER_OPEN,
			       .trials = b->trials,
			       .until_ms = now_ms + open_ms + jitter_share(open_ms / 4, random) };
	return true;
}

void breaker_success(struct breaker *b, bool trial)
{
	if (b->state == BREAKER_CLOSED)
		remember(b, false);
	else if (trial && b->state == BREAKER_HALF_OPEN)
		*b = (struct breaker){ .state = BREAKER_CLOSED, .bad_checks = b->bad_checks };
}

bool breaker_failure(struct breaker *b, const struct breaker_params *params, int64_t now_ms, bool trial,
		     uint32_t random)
{
	if (b->state == BREAKER_CLOSED) {
		remember(b, true);
		return failures_in(b, params->window) >= params->failures &&
		       open_for(b, params, now_ms, random);
	}
	/* Calls from before it opened tell nothing new. */
	if (!trial || b->state != BREAKER_HALF_OPEN)
		return false;
	b->trials++;
	return open_for(b, params, now_ms, random);
}

void breaker_void(struct breaker *b, bool trial)
{
	if (trial)
		b->trying = false;
}

bool breaker_check(struct breaker *b, const struct breaker_params *params, int64_t now_ms, bool good,
		   uint32_t random)
{
	if (good) {
		b->bad_checks = 0;
		if (b->state == BREAKER_OPEN)
			b->state = BREAKER_HALF_OPEN;
		return false;
	}
	if (b->bad_checks < params->failures)
		b->bad_checks++;
	return b->state == BREAKER_CLOSED && b->bad_checks >= params->failures &&
	       open_for(b, params, now_ms, random);
}
