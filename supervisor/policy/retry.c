#include "policy/retry.h"

#include <assert.h>
#include <stdbool.h>

#include "policy/backoff.h"

static int64_t max_ms(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t min_ms(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Without a word of the provider the pause doubles with the time already lost: the next one is about as long
 * as all before it together. */
static int64_t own_pause(const struct retry_params *params, int64_t limited_for_ms, uint32_t random)
{
	int64_t base = max_ms(params->base_delay_ms, limited_for_ms);

	return backoff_delay_ms(base, params->max_delay_ms, 1, random);
}

static struct retry_verdict decide_wait(const struct retry_params *params, const struct retry_state *state,
					int64_t retry_after_ms, uint32_t random)
{
	int64_t patience = params->rate_limit_patience_ms - state->limited_for_ms;
	struct retry_verdict verdict = { .action = RETRY_FAIL, .fails = state->fails };

	if (patience <= 0)
		return verdict;
	verdict.action = RETRY_WAIT_LANE;
	verdict.delay_ms = retry_after_ms > 0 ? retry_after_ms
					      : own_pause(params, state->limited_for_ms, random);
	verdict.delay_ms = max_ms(1, min_ms(verdict.delay_ms, patience));
	return verdict;
}

static struct retry_verdict decide_transient(const struct retry_params *params,
					     const struct retry_state *state, int64_t retry_after_ms,
					     uint32_t random)
{
	struct retry_verdict verdict = { .action = RETRY_FAIL, .fails = state->fails + 1 };

	if (verdict.fails >= params->max_tries)
		return verdict;
	verdict.action = RETRY_LATER;
	verdict.delay_ms = max_ms(min_ms(retry_after_ms, params->rate_limit_patience_ms),
				  backoff_delay_ms(params->base_delay_ms, params->max_delay_ms,
						   (unsigned)verdict.fails, random));
	return verdict;
}

/* The class of the code, unless the provider's own word makes it another. */
static enum error_class class_of(enum error_code code, enum retry_word word)
{
	enum error_class class = error_spec(code)->class;

	if (word == RETRY_SAID_NO && (class == ERROR_WAIT || class == ERROR_TRANSIENT))
		return ERROR_PERMANENT;
	if (word == RETRY_SAID_YES && class == ERROR_PERMANENT)
		return ERROR_TRANSIENT;
	return class;
}

struct retry_verdict retry_decide(const struct retry_params *params, const struct retry_state *state,
				  enum error_code code, int64_t retry_after_ms, uint32_t random)
{
	struct retry_verdict verdict = { .action = RETRY_FAIL, .fails = state->fails };

	assert(params->max_tries >= 1 && state->fails >= 0);
	switch (class_of(code, state->word)) {
	case ERROR_WAIT:
		return decide_wait(params, state, retry_after_ms, random);
	case ERROR_TRANSIENT:
		return decide_transient(params, state, retry_after_ms, random);
	case ERROR_PARK:
		verdict.action = RETRY_PARK_LANE;
		return verdict;
	case ERROR_PERMANENT:
		break;
	}
	return verdict;
}
