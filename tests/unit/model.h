#ifndef MODEL_H
#define MODEL_H

/* For checks of a policy against a second one, written for the test, over random sequences of events: the
 * same each time, unless PROCTOR_SEED in the environment is another number, or "random". A failure prints the
 * seed that it had. */

#include "row.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t model_seed;
static uint64_t model_state;

/* As expect(), with the seed. */
#define agree(claim, ...)                                                                                    \
	do {                                                                                                 \
		if (!(claim)) {                                                                              \
			print_error("PROCTOR_SEED=%" PRIu64 " repeats this: ", model_seed);                  \
			print_error(__VA_ARGS__);                                                            \
			print_error("\n");                                                                   \
			fail_msg("%s", #claim);                                                              \
		}                                                                                            \
	} while (0)

/* Each test starts from the seed itself, so that it can be repeated alone. */
static inline int model_start(void **state)
{
	const char *given = getenv("PROCTOR_SEED");

	(void)state;
	if (!given)
		model_seed = 20261123;
	else if (strcmp(given, "random"))
		model_seed = strtoull(given, NULL, 10);
	else if (!model_seed && getentropy(&model_seed, sizeof(model_seed)) < 0)
		return -1;
	/* Not 0, from which xorshift would never come away. */
	model_state = model_seed ? model_seed : 1;
	print_message("PROCTOR_SEED=%" PRIu64 "\n", model_seed);
	return 0;
}

static inline uint32_t model_random(void)
{
	return row_random(&model_state);
}

/* 0 … n - 1 */
static inline int model_below(int n)
{
	return (int)(model_random() % (uint32_t)n);
}

static inline bool model_chance(int percent)
{
	return model_below(100) < percent;
}

#endif
