#ifndef POLICY_WINDOW_H
#define POLICY_WINDOW_H

/* What was spent in the last span of time, in slots: a slot counts until the whole of it is older than the
 * span. A now_ms before the latest that window_add() was told counts as that; looking, also ahead, changes
 * nothing. */

#include <stdint.h>

struct window;

/* span_ms >= slot_ms >= 1. Empty. */
void window_new(int64_t span_ms, int64_t slot_ms, int64_t now_ms, struct window **ret);
void window_free(struct window **w);

/* What is looked at from now on is not before now_ms: looking from there is fast. */
void window_advance(struct window *w, int64_t now_ms);

/* Adds `amount` at at_ms, which may be past: what is older than the span is not counted, what is ahead counts
 * as now. A negative amount takes back, at most what is there; returns what was added. */
int64_t window_add(struct window *w, int64_t now_ms, int64_t at_ms, int64_t amount);

/* What counts at now_ms, if nothing is added until then. */
int64_t window_sum(const struct window *w, int64_t now_ms);

/* Milliseconds from now_ms until the sum is `most` (>= 0) or less; 0 = it is. */
int64_t window_wait_ms(const struct window *w, int64_t now_ms, int64_t most);

#endif
