#ifndef ROW_H
#define ROW_H

/* For tests that walk a table of cases: cmocka in its required order, and a check that prints its row. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Fails the test unless `claim` holds; the rest is a printf of the row. */
#define expect(claim, ...)                                                                                   \
	do {                                                                                                 \
		if (!(claim)) {                                                                              \
			print_error(__VA_ARGS__);                                                            \
			print_error("\n");                                                                   \
			fail_msg("%s", #claim);                                                              \
		}                                                                                            \
	} while (0)

/* xorshift: the same row of numbers for the same seed, wherever the test runs. */
static inline uint32_t row_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)(*seed >> 16);
}

#endif
