#include "policy/forecast.h"

#include <math.h>

#include "policy/charge.h"

#define KNOWN_CALLS 5 /* from which the answers of this daemon's own calls are believed */

static const int64_t assumed_output[FORECAST_GUESSES] = { 100, 500, 1000 };

int64_t forecast_add(int64_t a, int64_t b)
{
	return a < FORECAST_MOST - b ? a + b : FORECAST_MOST;
}

int64_t forecast_times(int64_t a, int64_t b)
{
	int64_t product;

	if (__builtin_mul_overflow(a, b, &product) || product > FORECAST_MOST)
		return FORECAST_MOST;
	return product;
}

/* a * b / c, rounded up. */
static int64_t share(int64_t a, int64_t b, int64_t c)
{
	int64_t product;

	if (__builtin_mul_overflow(a, b, &product) || product > FORECAST_MOST)
		return FORECAST_MOST;
	return product / c + (product % c > 0);
}

/* ---- one call ---- */

enum forecast_source forecast_source(const struct forecast_model *model)
{
	if (model->learned.calls >= KNOWN_CALLS)
		return FORECAST_MEASURED;
	return model->seen > 0 ? FORECAST_TRANSCRIPTS : FORECAST_ASSUMED;
}

static int64_t capped(const struct forecast_model *model, int64_t tokens)
{
	if (tokens < 1)
		tokens = 1;
	return model->max_tokens > 0 && tokens > model->max_tokens ? model->max_tokens : tokens;
}

/* The most an answer is let have, or what is long enough for most. */
static int64_t longest(const struct forecast_model *model)
{
	return model->max_tokens > 0 ? model->max_tokens : assumed_output[FORECAST_HIGH];
}

static int64_t output_known(const struct forecast_model *model, enum forecast_guess guess, double mean,
			    double deviation)
{
	int64_t high = (int64_t)ceil(mean + 2 * deviation);

	if (guess == FORECAST_LOW)
		return (int64_t)floor(mean - 2 * deviation);
	if (guess == FORECAST_LIKELY)
		return (int64_t)ceil(mean);
	return high > longest(model) ? high : longest(model);
}

static int64_t output_of(const struct forecast_model *model, enum forecast_guess guess)
{
	switch (forecast_source(model)) {
	case FORECAST_MEASURED:
		return capped(model, output_known(model, guess, model->learned.output_mean,
						  sqrt(model->learned.output_var)));
	case FORECAST_TRANSCRIPTS:
		return capped(model, output_known(model, guess, model->seen_mean, model->seen_deviation));
	case FORECAST_ASSUMED:
		break;
	}
	return capped(model, guess == FORECAST_HIGH ? longest(model) : assumed_output[guess]);
}

/* Low is as far below what is likely as the careful reservation is above it. */
static int64_t input_of(const struct forecast_model *model, enum forecast_guess guess, int64_t bytes)
{
	int64_t likely = estimate_mean(&model->learned, bytes, 0).input;
	int64_t high = estimate_call(&model->learned, bytes, 0).input;

	if (guess == FORECAST_LIKELY)
		return likely;
	if (guess == FORECAST_HIGH)
		return high;
	return 2 * likely - high > 1 ? 2 * likely - high : 1;
}

/* ---- a model ---- */

static void charge(const struct forecast_model *model, struct tokens call, int64_t cost_e10,
		   struct forecast *f)
{
	struct gate_cost reserved, cost;

	charge_reserve(model->provider, call, model->max_tokens, &reserved);
	charge_settle(model->provider, call, model->max_tokens, &reserved, &cost);
	cost.of[GATE_MONEY_DAY] = cost_e10;
	for (size_t u = 0; u < GATE_UNITS; u++) {
		f->charged.of[u] = forecast_add(f->charged.of[u], forecast_times(cost.of[u], model->probes));
		if (cost.of[u] > f->largest.of[u])
			f->largest.of[u] = cost.of[u];
	}
}

void forecast_model(const struct forecast_model *model, enum forecast_guess guess, struct forecast *ret)
{
	struct tokens call = { .input = 0, .output = output_of(model, guess) };
	int64_t context = 0;

	*ret = (struct forecast){ .calls = forecast_times(model->probes, model->turns), .cost_e10 = -1 };
	for (int i = 0; i < model->turns; i++) {
		int64_t cost_e10;

		call.input = forecast_add(context, input_of(model, guess, model->bytes[i]));
		context = forecast_add(call.input, call.output);
		cost_e10 = price_cost(&model->price, call.input, call.output);
		charge(model, call, cost_e10 < FORECAST_MOST ? cost_e10 : FORECAST_MOST, ret);
	}
	ret->tokens.input = ret->charged.of[GATE_INPUT_TOKENS];
	ret->tokens.output = ret->charged.of[GATE_OUTPUT_TOKENS];
	if (model->price.known)
		ret->cost_e10 = ret->charged.of[GATE_MONEY_DAY];
}

/* ---- time ---- */

int64_t forecast_paced_ms(int64_t amount, int64_t rate, int64_t span_ms)
{
	return share(amount, span_ms, rate);
}

int64_t forecast_day_ms(int64_t amount, int64_t most, int64_t used, int64_t rest_ms)
{
	int64_t left = used < most ? most - used : 0;

	if (amount <= left)
		return 0;
	return forecast_add(rest_ms, forecast_times(share(amount - left, 1, most) - 1, PRICE_DAY_MS));
}
