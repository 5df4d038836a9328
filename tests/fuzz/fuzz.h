#ifndef FUZZ_H
#define FUZZ_H

/* What the fuzzers share. Each is one program, fuzz_NAME.c, that libFuzzer calls with one input after the
 * other; beside what the sanitizers find, a claim that does not hold is a finding. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define claim(holds, what)                                                                                   \
	do {                                                                                                 \
		if (!(holds)) {                                                                              \
			(void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, what);       \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

/* What is told of bad input is one line. */
static inline void claim_one_line(const char *error)
{
	claim(error && *error, "a refusal says why");
	claim(!strchr(error, '\n'), "a refusal is one line");
}

#endif
