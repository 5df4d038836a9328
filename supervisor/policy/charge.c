#include "policy/charge.h"

#include <string.h>

#include "base/mem.h"

struct row {
	const char *provider;
	bool by_max;	   /* tokens are charged as max(max_tokens, input), and stay so */
	bool vague_tokens; /* its `tokens` headers repeat whichever limit is nearest, of input or output */
	bool learns_concurrency;
};

static const struct row rows[] = {
	/* developers.openai.com, "Rate limits": "your rate limit is calculated as the maximum of max_tokens
	 * and the estimated number of tokens based on the character count of your request". */
	{ "openai", .by_max = true },
	/* docs.anthropic.com, "Rate limits": max_tokens does not count towards output tokens a minute, which
	 * are those generated; the anthropic-ratelimit-tokens-* headers show "the most restrictive limit
	 * currently in effect". */
	{ "anthropic", .vague_tokens = true },
	/* api-docs.deepseek.com, "Rate Limit": none a minute; what a busy server bears at once is its limit.
	 */
	{ "deepseek", .learns_concurrency = true },
};

static const struct row *row_of(const char *provider)
{
	static const struct row plain;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!strcmp(rows[i].provider, provider))
			return &rows[i];
	return &plain;
}

static struct gate_cost used(struct tokens t)
{
	return (struct gate_cost){ .of = {
					   [GATE_REQUESTS] = 1,
					   [GATE_TOKENS] = t.input + t.output,
					   [GATE_INPUT_TOKENS] = t.input,
					   [GATE_OUTPUT_TOKENS] = t.output,
					   [GATE_REQUESTS_DAY] = 1,
				   } };
}

void charge_reserve(const char *provider, struct tokens estimated, int64_t max_tokens, struct gate_cost *ret)
{
	*ret = used(estimated);
	if (max_tokens > 0 && row_of(provider)->by_max)
		ret->of[GATE_TOKENS] = max_tokens > estimated.input ? max_tokens : estimated.input;
}

void charge_settle(const char *provider, struct tokens real, int64_t max_tokens,
		   const struct gate_cost *reserved, struct gate_cost *ret)
{
	int64_t tokens = reserved->of[GATE_TOKENS];

	*ret = used(real);
	if (max_tokens > 0 && row_of(provider)->by_max)
		ret->of[GATE_TOKENS] = tokens > real.input ? tokens : real.input;
}

void charge_hear(const char *provider, struct gate_told *told)
{
	if (row_of(provider)->vague_tokens)
		told->limit[GATE_TOKENS] = told->remaining[GATE_TOKENS] = -1;
}

bool charge_learns_concurrency(const char *provider)
{
	return row_of(provider)->learns_concurrency;
}
