/* A call's way in and out; parking, the breaker and the day. */

#include "policy/gate.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "policy/gate_private.h"

enum gate_why gate_day_why(const struct gate_day *d, int64_t cost)
{
	if (d->most && cost > d->most)
		return GATE_NEVER;
	if (d->most && cost > d->most - d->used)
		return GATE_UNIT;
	return d->cap >= 0 && cost > d->cap - d->used ? GATE_NO_GRANT : GATE_OPEN;
}

/* Never below 0, never beyond what a counter can hold. */
static void count(struct gate_day *d, int64_t more)
{
	if (more > INT64_MAX - d->used)
		d->used = INT64_MAX;
	else
		d->used = d->used + more > 0 ? d->used + more : 0;
}

static bool has_room(const struct gate_family *f, int64_t now_ms, const struct gate_cost *cost)
{
	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		struct gate_scope *s = f->holds[u];

		if (!cost->of[u])
			continue;
		if (gate_is_paced(u) ? !limit_has_room(s->limits[u], now_ms, cost->of[u])
				     : gate_day_why(gate_day_of(s, u), cost->of[u]) != GATE_OPEN)
			return false;
	}
	return true;
}

static void take(const struct gate_family *f, int64_t now_ms, struct gate_ticket *t)
{
	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		struct gate_scope *s = f->holds[u];
		int64_t cost = t->reserved.of[u];

		if (!cost)
			continue;
		if (!gate_is_paced(u)) {
			count(gate_day_of(s, u), cost);
			continue;
		}
		t->own.taken_ms[u] = limit_take(s->limits[u], now_ms, cost);
		s->taken[u] += cost;
		t->own.taken[u] = s->taken[u];
	}
}

static void take_slot(struct gate *g, const struct gate_family *f, int64_t now_ms, struct gate_ticket *t)
{
	memcpy(t->held_by, f->holds, sizeof(t->held_by));
	t->slot = f->slot;
	t->scope = f->scope;
	t->taken_ms = now_ms;
	t->own.era = g->era;
	t->own.day = g->day;
	f->slot->in_flight++;
	g->in_flight++;
}

bool gate_enter(struct gate *g, size_t family, int64_t now_ms, const struct gate_cost *cost,
		struct gate_ticket *ret)
{
	const struct gate_family *f = &g->families[family];

	assert(family < g->family_count);
	if (gate_is_shut(g, now_ms) || !breaker_lets(&g->breaker, now_ms) ||
	    now_ms < f->scope->paused_until_ms || gate_is_full(f->slot) || !has_room(f, now_ms, cost))
		return false;
	*ret = (struct gate_ticket){ .reserved = *cost };
	take(f, now_ms, ret);
	take_slot(g, f, now_ms, ret);
	ret->own.tries_breaker = breaker_begin(&g->breaker, now_ms);
	ret->own.tries_parked = g->parking.trying = g->parking.reason != NULL;
	ret->trial = ret->own.tries_breaker || ret->own.tries_parked;
	return true;
}

void gate_readmit(struct gate *g, size_t family, int64_t now_ms, struct gate_ticket *ret)
{
	assert(family < g->family_count);
	*ret = (struct gate_ticket){ .slot = NULL };
	take_slot(g, &g->families[family], now_ms, ret);
}

/* What is charged of the unit in the end. */
static int64_t charged(const struct gate_ticket *t, enum gate_unit u, enum gate_end end,
		       const struct gate_cost *real)
{
	switch (end) {
	case GATE_ANSWERED:
		return real->of[u];
	case GATE_REFUSED:
		return u == GATE_REQUESTS || u == GATE_REQUESTS_DAY ? t->reserved.of[u] : 0;
	case GATE_UNSENT:
		return 0;
	case GATE_BROKEN:
	case GATE_FAILED:
		break;
	}
	return t->reserved.of[u];
}

static void settle(struct gate *g, const struct gate_ticket *t, int64_t now_ms, enum gate_end end,
		   const struct gate_cost *real)
{
	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		struct gate_scope *s = t->held_by[u];
		int64_t cost, reserved = t->reserved.of[u];

		if (!reserved)
			continue;
		cost = charged(t, u, end, real);
		if (!gate_is_paced(u)) {
			/* What was reserved yesterday was counted yesterday. */
			if (s && t->own.day == g->day)
				count(gate_day_of(s, u), cost - reserved);
			continue;
		}
		if (cost != reserved)
			limit_settle(s->limits[u], now_ms, t->own.taken_ms[u], reserved, cost);
		s->taken[u] += cost - reserved;
		if (end == GATE_ANSWERED)
			limit_answered(s->limits[u], now_ms);
	}
}

static void unpark(struct gate *g)
{
	mem_free(&g->parking.reason);
	g->parking = (struct gate_parking){ .reason = NULL };
}

/* The trial of a parked lane is over. A limit's refusal shows as well as an answer that the account works. */
static void end_recheck(struct gate *g, int64_t now_ms, enum gate_end end)
{
	struct gate_parking *p = &g->parking;

	p->trying = false;
	if (end == GATE_ANSWERED || end == GATE_REFUSED) {
		unpark(g);
		return;
	}
	if (end == GATE_UNSENT)
		return; /* it has tried nothing: the next one may */
	p->recheck_ms = p->recheck_ms < p->recheck_max_ms / 2 ? 2 * p->recheck_ms : p->recheck_max_ms;
	p->recheck_at_ms = p->recheck_ms ? now_ms + p->recheck_ms : 0;
}

static bool tell_breaker(struct gate *g, bool trial, int64_t now_ms, enum gate_end end, uint32_t random)
{
	switch (end) {
	case GATE_ANSWERED:
	case GATE_REFUSED:
		breaker_success(&g->breaker, trial);
		return false;
	case GATE_BROKEN:
		return breaker_failure(&g->breaker, &breaker_defaults, now_ms, trial, random);
	case GATE_FAILED:
	case GATE_UNSENT:
		break;
	}
	breaker_void(&g->breaker, trial);
	return false;
}

bool gate_leave(struct gate *g, struct gate_ticket *ticket, int64_t now_ms, enum gate_end end,
		const struct gate_cost *real, uint32_t random)
{
	struct gate_scope *slot = ticket->slot;
	bool current = ticket->own.era == g->era, opened;

	assert(slot && slot->in_flight > 0 && g->in_flight > 0);
	settle(g, ticket, now_ms, end, real);
	if (end == GATE_ANSWERED)
		gate_recover_concurrency(slot, now_ms);
	slot->in_flight--;
	g->in_flight--;
	if (ticket->own.tries_parked && current && g->parking.trying)
		end_recheck(g, now_ms, end);
	opened = tell_breaker(g, ticket->own.tries_breaker && current, now_ms, end, random);
	*ticket = (struct gate_ticket){ .slot = NULL };
	return opened;
}

/* ---- park, breaker, day ---- */

void gate_park(struct gate *g, enum gate_park kind, const char *reason, int64_t now_ms, int64_t recheck_ms,
	       int64_t recheck_max_ms)
{
	struct gate_parking *p = &g->parking;
	bool first = !p->reason;

	if (first)
		p->reason = mem_strdup(reason);
	if (kind == GATE_PARK_OPERATOR) {
		/* His word stands, also above what was parked before and against a trial under way. */
		p->kind = kind;
		p->recheck_at_ms = 0;
		p->trying = false;
	} else if (first) {
		p->kind = kind;
		p->recheck_ms = recheck_ms;
		p->recheck_max_ms = recheck_max_ms > recheck_ms ? recheck_max_ms : recheck_ms;
		p->recheck_at_ms = recheck_ms > 0 ? now_ms + recheck_ms : 0;
	}
}

const char *gate_parked_reason(const struct gate *g)
{
	return g->parking.reason;
}

enum gate_park gate_parked_kind(const struct gate *g)
{
	return g->parking.kind;
}

int64_t gate_recheck_at(const struct gate *g)
{
	return g->parking.recheck_at_ms;
}

void gate_recheck_now(struct gate *g, int64_t now_ms)
{
	struct gate_parking *p = &g->parking;

	if (p->reason && p->kind != GATE_PARK_OPERATOR && !p->trying)
		p->recheck_at_ms = now_ms;
}

void gate_resume(struct gate *g)
{
	unpark(g);
	g->breaker = (struct breaker){ .state = BREAKER_CLOSED };
	g->era++;
	for (size_t i = 0; i < g->scope_count; i++) {
		g->scopes[i]->paused_until_ms = 0;
		g->scopes[i]->learned = 0;
		for (enum gate_unit u = 0; u < GATE_PACED; u++)
			if (g->scopes[i]->limits[u])
				limit_forget(g->scopes[i]->limits[u]);
	}
}

bool gate_check(struct gate *g, int64_t now_ms, bool good, uint32_t random)
{
	return breaker_check(&g->breaker, &breaker_defaults, now_ms, good, random);
}

static void empty_days(struct gate_scope *const *scopes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		for (size_t d = 0; d < GATE_DAYS; d++)
			scopes[i]->days[d].used = 0;
}

void gate_new_day(struct gate *g, int64_t end_ms)
{
	g->day++;
	g->day_ends_ms = end_ms;
	empty_days(g->scopes, g->scope_count);
	empty_days(g->removed, g->removed_count);
}

void gate_add_used(struct gate *g, size_t index, enum gate_unit unit, int64_t used)
{
	assert(index < g->scope_count && !gate_is_paced(unit) && unit < GATE_UNITS);
	count(gate_day_of(g->scopes[index], unit), used);
}

void gate_set_day_cap(struct gate *g, size_t index, enum gate_unit unit, int64_t most)
{
	assert(index < g->scope_count && !gate_is_paced(unit) && unit < GATE_UNITS);
	gate_day_of(g->scopes[index], unit)->cap = most < 0 ? -1 : most;
}
