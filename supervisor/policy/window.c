#include "policy/window.h"

#include <string.h>

#include "base/mem.h"

struct window {
	int64_t slot_ms;
	int64_t count;	 /* of slots: those of a span and the one that is under way */
	int64_t now;	 /* number of the newest slot, counted from time 0 */
	int64_t next_ms; /* when the next one begins */
	int64_t sum;
	int64_t *slots; /* slot n stands at n % count */
};

/* Rounded down, also of times before 0. */
static int64_t number_of(const struct window *w, int64_t at_ms)
{
	return at_ms >= 0 ? at_ms / w->slot_ms : -((-at_ms + w->slot_ms - 1) / w->slot_ms);
}

static int64_t *slot(const struct window *w, int64_t number)
{
	int64_t place = number % w->count;

	return &w->slots[place < 0 ? place + w->count : place];
}

void window_new(int64_t span_ms, int64_t slot_ms, int64_t now_ms, struct window **ret)
{
	struct window *w = mem_alloc(sizeof(*w));

	w->slot_ms = slot_ms;
	w->count = (span_ms + slot_ms - 1) / slot_ms + 1;
	w->slots = mem_array((size_t)w->count, sizeof(w->slots[0]));
	w->now = number_of(w, now_ms);
	w->next_ms = (w->now + 1) * slot_ms;
	*ret = w;
}

void window_free(struct window **w)
{
	if (!*w)
		return;
	mem_free(&(*w)->slots);
	mem_free(w);
}

void window_advance(struct window *w, int64_t now_ms)
{
	int64_t number;

	if (now_ms < w->next_ms)
		return;
	number = number_of(w, now_ms);
	if (number - w->now >= w->count) {
		memset(w->slots, 0, (size_t)w->count * sizeof(w->slots[0]));
		w->sum = 0;
		w->now = number;
	}
	while (w->now < number) {
		w->now++;
		w->sum -= *slot(w, w->now);
		*slot(w, w->now) = 0;
	}
	w->next_ms = (w->now + 1) * w->slot_ms;
}

int64_t window_add(struct window *w, int64_t now_ms, int64_t at_ms, int64_t amount)
{
	int64_t number = number_of(w, at_ms), *at;

	window_advance(w, now_ms);
	if (number > w->now)
		number = w->now;
	if (number <= w->now - w->count)
		return 0;
	at = slot(w, number);
	if (amount < -*at)
		amount = -*at;
	*at += amount;
	w->sum += amount;
	return amount;
}

int64_t window_sum(const struct window *w, int64_t now_ms)
{
	int64_t sum = w->sum, gone;

	if (now_ms < w->next_ms)
		return sum;
	gone = number_of(w, now_ms) - w->now;
	if (gone >= w->count)
		return 0;
	for (int64_t i = 1; i <= gone; i++)
		sum -= *slot(w, w->now + i); /* the oldest, in whose place the newer one will stand */
	return sum;
}

int64_t window_wait_ms(const struct window *w, int64_t now_ms, int64_t most)
{
	int64_t sum = window_sum(w, now_ms), last;

	if (sum <= most)
		return 0;
	last = now_ms < w->next_ms ? w->now : number_of(w, now_ms);
	while (sum > most)
		sum -= *slot(w, ++last);
	return last * w->slot_ms - now_ms;
}
