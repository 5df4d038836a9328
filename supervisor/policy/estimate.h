#ifndef POLICY_ESTIMATE_H
#define POLICY_ESTIMATE_H

/* How many tokens a call will cost, learned from those before it: input from the size of what is sent, output
 * from what the model's answers had. Errs upward: a reservation that is too high is settled, one too low may
 * break a limit. */

#include <stdint.h>

#define ESTIMATE_OUTPUT_START 1000 /* tokens of an answer of a model of which none is known */

/* A value, of one model; all zero knows nothing. */
struct estimate {
	int64_t calls;
	double input_mean, input_var;	/* tokens a byte of what is sent; moving */
	double output_mean, output_var; /* tokens of an answer; moving */
};

struct tokens {
	int64_t input, output;
};

/* input_bytes: all that is sent, preamble and earlier turns too. max_tokens: the most the answer may have; 0
 * = no such limit is known. The output is at most that. Both at least 1. Of a model of which few calls are
 * known the answer is reckoned as long as it may be. */
struct tokens estimate_call(const struct estimate *e, int64_t input_bytes, int64_t max_tokens);

/* What it is likely to cost: for an estimate told to people, beside the most that estimate_call() gives. */
struct tokens estimate_mean(const struct estimate *e, int64_t input_bytes, int64_t max_tokens);

/* What a call did cost. Counts that no call has (none sent, negative, beyond 1e9) teach nothing. */
void estimate_learn(struct estimate *e, int64_t input_bytes, int64_t input_tokens, int64_t output_tokens);

#endif
