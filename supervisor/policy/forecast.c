#include "policy/forecast.h"

/* Bytes of text that make up a token: English has about four; other languages and code fewer. */
enum { BYTES_PER_TOKEN_LOW = 3, BYTES_PER_TOKEN_HIGH = 4 };

static int64_t clamped(double amount)
{
	return amount >= 9e18 ? INT64_MAX : (int64_t)amount;
}

static size_t turns_of(const struct forecast_shape *shape)
{
	size_t most = (size_t)(shape->max_turns > 0 ? shape->max_turns : FORECAST_TURNS_DEFAULT);

	return shape->followups + 1 < most ? shape->followups + 1 : most;
}

/* Bytes of questions over all conversations of one sample: each call sends all that was asked before it
 * again. */
static double asked_bytes(const struct forecast_shape *shape, size_t turns)
{
	double followups = 0, before = 0;

	for (size_t turn = 1; turn < turns; turn++) {
		before += (double)shape->followup_bytes[turn - 1];
		followups += before;
	}
	return (double)turns * ((double)shape->preamble_bytes * (double)shape->scenarios +
				(double)shape->prompt_bytes) +
	       followups * (double)shape->scenarios;
}

static void reckon_output(const struct forecast_shape *shape, int64_t seen, double *ret_low, double *ret_high,
			  enum forecast_basis *ret_basis)
{
	if (seen > 0) {
		*ret_low = (double)seen * 0.75;
		*ret_high = (double)seen * 1.25;
		*ret_basis = FORECAST_SEEN;
	} else if (shape->max_tokens > 0) {
		*ret_low = (double)shape->max_tokens / 4;
		*ret_high = (double)shape->max_tokens;
		*ret_basis = FORECAST_MAX_TOKENS;
	} else {
		*ret_low = FORECAST_OUTPUT_DEFAULT / 2.0;
		*ret_high = FORECAST_OUTPUT_DEFAULT * 2.0;
		*ret_basis = FORECAST_ASSUMED;
	}
	if (shape->max_tokens > 0 && *ret_high > (double)shape->max_tokens)
		*ret_high = (double)shape->max_tokens;
	if (*ret_low > *ret_high)
		*ret_low = *ret_high;
}

struct forecast forecast_run(const struct forecast_shape *shape, int64_t seen_output)
{
	size_t turns = turns_of(shape);
	double probes = (double)shape->scenarios * (double)shape->samples;
	double asked = asked_bytes(shape, turns) * (double)shape->samples;
	double pairs = (double)turns * (double)(turns - 1) /
		       2; /* an answer is sent again with each later call */
	double low, high;
	struct forecast f;

	reckon_output(shape, seen_output, &low, &high, &f.basis);
	f.probes = clamped(probes);
	f.calls = clamped(probes * (double)turns);
	f.input_low = clamped(asked / BYTES_PER_TOKEN_HIGH + probes * pairs * low);
	f.input_high = clamped(asked / BYTES_PER_TOKEN_LOW + probes * pairs * high);
	f.output_low = clamped(probes * (double)turns * low);
	f.output_high = clamped(probes * (double)turns * high);
	return f;
}

int64_t forecast_minutes_ms(int64_t amount, int64_t per_minute)
{
	return per_minute > 0 ? clamped((double)amount / (double)per_minute * 60000) : 0;
}
