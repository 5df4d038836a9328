#ifndef POLICY_HISTOGRAM_H
#define POLICY_HISTOGRAM_H

/* How often a time fell into which range: cheap enough to be counted with every call. Pure.
 *
 * One row of bounds serves all: from what a database takes to what a full queue makes one wait. */

#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 15 };

/* Upper bounds in ms, inclusive, rising. */
extern const int64_t histogram_bounds_ms[HISTOGRAM_BOUNDS];

/* A value; all zero is empty. */
struct histogram {
	int64_t in[HISTOGRAM_BOUNDS + 1]; /* by bound; the last is beyond all of them */
	int64_t sum_ms;
};

/* Below 0 counts as 0. */
void histogram_add(struct histogram *histogram, int64_t ms);

/* How many were at most histogram_bounds_ms[bound]; for HISTOGRAM_BOUNDS, all. */
int64_t histogram_upto(const struct histogram *histogram, int bound);

#endif
