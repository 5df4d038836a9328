#ifndef POLICY_FORECAST_H
#define POLICY_FORECAST_H

/* What a run will ask of a model, before anything is asked: calls and tokens, from the sizes of its texts and
 * what is known of the model's answers. A range: low and high are both plausible, neither is a bound.
 * Saturating. */

#include <stddef.h>
#include <stdint.h>

#define FORECAST_TURNS_DEFAULT	10  /* a conversation's most turns, when nothing else is said */
#define FORECAST_OUTPUT_DEFAULT 500 /* tokens of an answer of which nothing is known */

struct forecast_shape {
	int64_t scenarios, samples;
	int64_t preamble_bytes;
	int64_t prompt_bytes; /* of all scenarios together */
	const int64_t *followup_bytes;
	size_t followups;
	int64_t max_turns;  /* 0 = the default */
	int64_t max_tokens; /* of an answer; 0 = not limited */
};

enum forecast_basis { FORECAST_SEEN, FORECAST_MAX_TOKENS, FORECAST_ASSUMED };

struct forecast {
	int64_t probes, calls;
	int64_t input_low, input_high, output_low, output_high; /* tokens */
	enum forecast_basis basis;				/* of the answers' length */
};

/* Of one model; seen_output: mean tokens of its answers so far, 0 = none is known. */
struct forecast forecast_run(const struct forecast_shape *shape, int64_t seen_output);

/* Milliseconds that `amount` takes at `per_minute`; 0 when that is no limit (0). */
int64_t forecast_minutes_ms(int64_t amount, int64_t per_minute);

#endif
