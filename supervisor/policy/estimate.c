#include "policy/estimate.h"

#include <math.h>
#include <stdbool.h>

#define COUNT_MAX    INT64_C(1000000000)
#define MEMORY	     32 /* calls that a moving mean looks back upon */
#define OUTPUT_KNOWN 5	/* calls from which the answers' length is believed */

/* Before anything is known: four bytes a token, as likely as not; and a doubt that makes it 3.2 on the safe
 * side. */
#define INPUT_MEAN 0.25
#define INPUT_VAR  (0.03125 * 0.03125)

/* A mean that looks back upon `seen` values, MEMORY at most, takes in another. */
static void move(double *mean, double *var, int64_t seen, double value)
{
	double weight = 1.0 / (double)(seen < MEMORY ? seen + 1 : MEMORY), off = value - *mean;

	*mean += weight * off;
	*var = (1 - weight) * (*var + weight * off * off);
}

static int64_t at_least_one(double tokens)
{
	if (tokens < 1)
		return 1;
	return tokens < (double)COUNT_MAX ? (int64_t)ceil(tokens) : COUNT_MAX;
}

static int64_t capped(int64_t output, int64_t max_tokens)
{
	return max_tokens > 0 && output > max_tokens ? max_tokens : output;
}

/* Twice the standard error of the mean above it: what one call differs by is settled, but a mean that is too
 * low would be wrong by as much with every call. */
static double tokens_per_byte(const struct estimate *e)
{
	double mean = e->calls ? e->input_mean : INPUT_MEAN, var = e->calls ? e->input_var : INPUT_VAR;

	return mean + 2 * sqrt(var / (double)(e->calls < MEMORY ? e->calls + 1 : MEMORY));
}

struct tokens estimate_call(const struct estimate *e, int64_t input_bytes, int64_t max_tokens)
{
	struct tokens t = { .input = at_least_one((double)input_bytes * tokens_per_byte(e)) };

	if (e->calls >= OUTPUT_KNOWN)
		t.output = at_least_one(e->output_mean + 2 * sqrt(e->output_var));
	else
		t.output = max_tokens > 0 ? max_tokens : ESTIMATE_OUTPUT_START;
	t.output = capped(t.output, max_tokens);
	return t;
}

struct tokens estimate_mean(const struct estimate *e, int64_t input_bytes, int64_t max_tokens)
{
	double per_byte = e->calls ? e->input_mean : INPUT_MEAN;
	double output = e->calls ? e->output_mean : ESTIMATE_OUTPUT_START;

	return (struct tokens){ .input = at_least_one((double)input_bytes * per_byte),
				.output = capped(at_least_one(output), max_tokens) };
}

static bool is_count(int64_t n, int64_t least)
{
	return n >= least && n <= COUNT_MAX;
}

/* What is assumed of the input weighs as one call; of the output nothing is. */
void estimate_learn(struct estimate *e, int64_t input_bytes, int64_t input_tokens, int64_t output_tokens)
{
	if (!is_count(input_bytes, 1) || !is_count(input_tokens, 1) || !is_count(output_tokens, 0))
		return;
	if (!e->calls) {
		e->input_mean = INPUT_MEAN;
		e->input_var = INPUT_VAR;
	}
	move(&e->input_mean, &e->input_var, e->calls + 1, (double)input_tokens / (double)input_bytes);
	move(&e->output_mean, &e->output_var, e->calls, (double)output_tokens);
	e->calls++;
}
