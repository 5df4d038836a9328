/* What the provider says, by headers and by refusals, and what is learned from it. */

#include "policy/gate.h"

#include <assert.h>

#include "policy/gate_private.h"

#define RECOVER_ANSWERS 50
#define RECOVER_MS	10000

/* A header was written when its call came in, and is read when the call is over. What was taken since, the
 * provider had not seen; but it has been earning since then, too. */
static int64_t unseen(const struct gate_scope *s, const struct gate_ticket *t, enum gate_unit u,
		      int64_t now_ms)
{
	int64_t since = s->taken[u] - t->own.taken[u], age = now_ms - t->taken_ms;
	struct limit_view v;

	limit_look(s->limits[u], now_ms, &v);
	if (age >= v.span_ms)
		since -= v.rate;
	else if (age > 0)
		since -= v.rate * age / v.span_ms;
	return since > 0 ? since : 0;
}

/* What of a refused call comes back with gate_leave() is taken off first: the provider has not charged it. */
static void hear(const struct gate_ticket *t, int64_t now_ms, const struct gate_told *told, bool refused)
{
	for (enum gate_unit u = 0; u < GATE_PACED; u++) {
		struct gate_scope *s = t->held_by[u];
		int64_t reserved = t->reserved.of[u], back = refused && u != GATE_REQUESTS ? reserved : 0;

		if (told->limit[u] > 0) {
			limit_told(s->limits[u], now_ms, told->limit[u]);
			gate_update_granted(s);
		}
		if (told->remaining[u] >= 0 && reserved)
			limit_told_remaining(s->limits[u], now_ms, told->remaining[u],
					     unseen(s, t, u, now_ms) + back);
	}
}

void gate_hear(struct gate *g, const struct gate_ticket *ticket, int64_t now_ms, const struct gate_told *told)
{
	assert(g->in_flight > 0 && ticket->slot);
	hear(ticket, now_ms, told, false);
}

/* The unit that is shown used up; GATE_UNITS when none is. */
static enum gate_unit used_up(const struct gate_ticket *t, const struct gate_told *told)
{
	for (enum gate_unit u = 0; u < GATE_PACED; u++) {
		int64_t left = told->remaining[u];

		if (left == 0 || (left > 0 && left < t->reserved.of[u]))
			return u;
	}
	return GATE_UNITS;
}

void gate_refuse(struct gate *g, const struct gate_ticket *ticket, int64_t now_ms,
		 const struct gate_told *told, int64_t word_ms, int64_t pause_ms)
{
	struct gate_scope *scope = ticket->scope;
	enum gate_unit blamed = used_up(ticket, told);

	hear(ticket, now_ms, told, true);
	if (blamed == GATE_UNITS && word_ms < 0 && g->learns_concurrency) {
		gate_learn_concurrency(ticket->slot, now_ms);
	} else {
		enum gate_unit u = blamed == GATE_UNITS ? GATE_REQUESTS : blamed;
		struct gate_scope *s = ticket->held_by[u];

		limit_refused(s->limits[u], now_ms, ticket->taken_ms, word_ms);
		gate_update_granted(s);
	}
	if (pause_ms > 0 && now_ms + pause_ms > scope->paused_until_ms)
		scope->paused_until_ms = now_ms + pause_ms;
}

/* What is under way beside the refused call is what the provider bears. It is seen shrinking while the
 * refusals of one wave come in, so the last of them teaches most. */
void gate_learn_concurrency(struct gate_scope *s, int64_t now_ms)
{
	int borne = (int)((int64_t)(s->in_flight - 1) * 9 / 10);

	assert(s->in_flight > 0);
	if (borne < 1)
		borne = 1;
	if (!s->learned || borne < s->learned)
		s->learned = borne;
	s->full_answers = 0;
	s->learned_ms = now_ms;
}

void gate_recover_concurrency(struct gate_scope *s, int64_t now_ms)
{
	if (!s->learned || s->in_flight < s->learned)
		return;
	s->full_answers++;
	if (s->full_answers < RECOVER_ANSWERS || now_ms - s->learned_ms < RECOVER_MS)
		return;
	s->learned++;
	if (s->concurrency && s->learned >= s->concurrency)
		s->learned = 0;
	s->full_answers = 0;
	s->learned_ms = now_ms;
}
