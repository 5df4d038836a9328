#ifndef POLICY_WINDOW_H
#define POLICY_WINDOW_H

/* What was spent in the last span of time, in slots: a slot counts until the whole of it is older than the
 * span. now_ms is monotonic; a clock that steps back counts as standing still. */

#include <stdint.h>

struct window;

/* span_ms >= slot_ms >= 1. Empty. */
void window_new(int64_t span_ms, int64_t slot_ms, int64_t now_ms, struct window **ret);
void window_free(struct window **w);

/* Adds `amount` at at_ms, which may be past: what is older than the span is not counted. A negative amount
 * takes back, at most what is there; returns what was added. */
int64_t window_add(struct window *w, int64_t now_ms, int64_t at_ms, int64_t amount);

/* What counts at now_ms; at later_ms, if nothing were added. */
int64_t window_sum(struct window *w, int64_t now_ms);
int64_t window_sum_later(struct window *w, int64_t now_ms, int64_t later_ms);

/* Milliseconds until the sum is `most` (>= 0) or less; 0 = it is. */
int64_t window_wait_ms(struct window *w, int64_t now_ms, int64_t most);

#endif
