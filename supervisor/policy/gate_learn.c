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

static int64_t rate_of(const struct limit *l, int64_t now_ms)
{
	struct limit_view v;

	limit_look(l, now_ms, &v);
	return v.rate;
}

static void hear_limits(const struct gate_ticket *t, int64_t now_ms, const struct gate_told *told)
{
	for (enum gate_unit u = 0; u < GATE_PACED; u++) {
		struct gate_scope *s = t->held_by[u];
		int64_t before, after;

		if (told->limit[u] <= 0)
			continue;
		before = rate_of(s->limits[u], now_ms);
		limit_told(s->limits[u], now_ms, told->limit[u]);
		after = rate_of(s->limits[u], now_ms);
		if (!before || after < before)
			s->lowered_ms[u] = now_ms;
		gate_update_granted(s);
	}
}

void gate_hear(struct gate *g, const struct gate_ticket *ticket, int64_t now_ms, const struct gate_told *told)
{
	assert(g->in_flight > 0 && ticket->slot);
	hear_limits(ticket, now_ms, told);
	for (enum gate_unit u = 0; u < GATE_PACED; u++) {
		struct gate_scope *s = ticket->held_by[u];

		if (told->remaining[u] >= 0 && ticket->reserved.of[u])
			limit_told_remaining(s->limits[u], now_ms, told->remaining[u],
					     unseen(s, ticket, u, now_ms));
	}
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

/* A call that went before the provider told a lower limit was refused for what is mended by that. */
static void learn_unit(struct gate_scope *s, enum gate_unit u, const struct gate_ticket *t, int64_t now_ms,
		       int64_t word_ms)
{
	if (s->lowered_ms[u] && t->taken_ms <= s->lowered_ms[u])
		return;
	limit_refused(s->limits[u], now_ms, t->reserved.of[u] ? t->own.taken_ms[u] : t->taken_ms,
		      u == GATE_REQUESTS ? t->reserved.of[u] : 0, word_ms);
	gate_update_granted(s);
}

void gate_refuse(struct gate *g, const struct gate_ticket *ticket, int64_t now_ms,
		 const struct gate_told *told, int64_t word_ms, int64_t pause_ms)
{
	enum gate_unit u = used_up(ticket, told);

	hear_limits(ticket, now_ms, told);
	if (u == GATE_UNITS && word_ms < 0 && g->learns_concurrency) {
		gate_learn_concurrency(ticket->slot, now_ms);
	} else {
		u = u == GATE_UNITS ? GATE_REQUESTS : u;
		learn_unit(ticket->held_by[u], u, ticket, now_ms, word_ms);
	}
	if (pause_ms > 0 && now_ms + pause_ms > ticket->scope->paused_until_ms)
		ticket->scope->paused_until_ms = now_ms + pause_ms;
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
