/* Why a call waits, how many could go, and what is known. */

#include "policy/gate.h"

#include <assert.h>
#include <limits.h>

#include "base/mem.h"
#include "policy/gate_private.h"

static const char *glob_of(const struct gate_scope *s)
{
	return s->glob ? s->glob : "";
}

/* ---- why ---- */

static enum gate_why paced_why(const struct limit *l, int64_t now_ms, int64_t cost, int64_t *ret_wait)
{
	int64_t wait = limit_wait_ms(l, now_ms, cost);
	struct limit_view v;

	if (!wait)
		return GATE_OPEN;
	*ret_wait = wait;
	if (!limit_is_granted(l))
		return wait < 0 ? GATE_NEVER : GATE_UNIT;
	limit_look(l, now_ms, &v);
	return v.rate && cost > v.rate ? GATE_NEVER : GATE_NO_GRANT;
}

static enum gate_why day_why(const struct gate *g, struct gate_scope *s, enum gate_unit u, int64_t now_ms,
			     int64_t cost, int64_t *ret_wait)
{
	enum gate_why why = gate_day_why(gate_day_of(s, u), cost);

	*ret_wait = why == GATE_UNIT && g->day_ends_ms > now_ms ? g->day_ends_ms - now_ms : -1;
	return why;
}

static bool is_worse(enum gate_why why, int64_t wait, const struct gate_verdict *than)
{
	if (than->why == GATE_OPEN || why != than->why)
		return than->why == GATE_OPEN || why < than->why;
	return than->wait_ms >= 0 && (wait < 0 || wait > than->wait_ms);
}

static struct gate_verdict look_at_units(const struct gate *g, const struct gate_family *f, int64_t now_ms,
					 const struct gate_cost *cost)
{
	struct gate_verdict v = { .why = GATE_OPEN, .scope = "" };

	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		struct gate_scope *s = f->holds[u];
		int64_t wait = 0;
		enum gate_why why;

		if (!cost->of[u])
			continue;
		why = gate_is_paced(u) ? paced_why(s->limits[u], now_ms, cost->of[u], &wait)
				       : day_why(g, s, u, now_ms, cost->of[u], &wait);
		if (why != GATE_OPEN && is_worse(why, wait, &v))
			v = (struct gate_verdict){
				.why = why, .unit = u, .wait_ms = wait, .scope = glob_of(s)
			};
	}
	if (v.why == GATE_NEVER)
		v.wait_ms = -1;
	return v;
}

struct gate_verdict gate_look(const struct gate *g, size_t family, int64_t now_ms,
			      const struct gate_cost *cost)
{
	const struct gate_family *f = &g->families[family];
	struct gate_verdict v;

	assert(family < g->family_count);
	v = look_at_units(g, f, now_ms, cost);
	if (v.why == GATE_NEVER)
		return v;
	if (gate_is_shut(g, now_ms)) {
		int64_t at = g->parking.recheck_at_ms;

		return (struct gate_verdict){ GATE_PARKED, 0, at > now_ms ? at - now_ms : -1, "" };
	}
	if (!breaker_lets(&g->breaker, now_ms))
		return (struct gate_verdict){ GATE_BREAKER, 0, breaker_wait_ms(&g->breaker, now_ms), "" };
	if (now_ms < f->scope->paused_until_ms)
		return (struct gate_verdict){ GATE_PAUSED, 0, f->scope->paused_until_ms - now_ms,
					      glob_of(f->scope) };
	if (gate_is_full(f->slot))
		return (struct gate_verdict){ GATE_CONCURRENCY, 0, -1, glob_of(f->slot) };
	return v;
}

const char *gate_unit_name(enum gate_unit unit)
{
	static const char *const names[GATE_UNITS] = {
		[GATE_REQUESTS] = "requests/min",	  [GATE_TOKENS] = "tokens/min",
		[GATE_INPUT_TOKENS] = "input tokens/min", [GATE_OUTPUT_TOKENS] = "output tokens/min",
		[GATE_REQUESTS_DAY] = "requests/day",	  [GATE_MONEY_DAY] = "money/day",
	};

	return (unsigned)unit < ARRAY_LEN(names) ? names[unit] : "?";
}

int gate_view_concurrency(const struct gate_scope_view *view)
{
	int configured = view->configured_concurrency, learned = view->learned_concurrency;

	return learned > 0 && (configured == 0 || learned < configured) ? learned : configured;
}

/* ---- room ---- */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* How many calls the state of the lane lets go, and from when on. */
static int64_t lane_room(const struct gate *g, const struct gate_family *f, int64_t now_ms,
			 int64_t *ret_start)
{
	int64_t start = now_ms, most = INT_MAX, wait = breaker_wait_ms(&g->breaker, now_ms);
	int slots = gate_slots(f->slot);

	if (g->parking.reason) {
		if (g->parking.trying || !g->parking.recheck_at_ms)
			return 0;
		start = g->parking.recheck_at_ms > start ? g->parking.recheck_at_ms : start;
		most = 1;
	}
	if (g->breaker.state != BREAKER_CLOSED) {
		if (wait < 0)
			return 0;
		start = now_ms + wait > start ? now_ms + wait : start;
		most = 1;
	}
	*ret_start = f->scope->paused_until_ms > start ? f->scope->paused_until_ms : start;
	if (slots >= 0)
		most = least(most, slots > f->slot->in_flight ? slots - f->slot->in_flight : 0);
	return most;
}

/* A call dearer than the burst goes when the bucket is full, so one may fit where there is no room for a
 * whole one. */
static int64_t paced_room(const struct limit *l, int64_t start_ms, int64_t horizon_ms, int64_t cost)
{
	int64_t wait = limit_wait_ms(l, start_ms, cost), room;

	if (wait < 0 || wait > horizon_ms)
		return 0;
	room = limit_room(l, start_ms, horizon_ms) / cost;
	return room > 0 ? room : 1;
}

static int64_t day_room(const struct gate_day *d, int64_t cost)
{
	int64_t left = INT64_MAX;

	if (d->most)
		left = d->most - d->used;
	if (d->cap >= 0)
		left = least(left, d->cap - d->used);
	return left > 0 ? left / cost : 0;
}

int gate_room(const struct gate *g, size_t family, int64_t now_ms, int64_t horizon_ms,
	      const struct gate_cost *cost)
{
	const struct gate_family *f = &g->families[family];
	int64_t start = now_ms, room;

	assert(family < g->family_count);
	if (horizon_ms < 0)
		horizon_ms = 0;
	room = lane_room(g, f, now_ms, &start);
	if (start > now_ms && start - now_ms >= horizon_ms)
		return 0;
	horizon_ms -= start - now_ms;
	for (enum gate_unit u = 0; u < GATE_UNITS && room > 0; u++) {
		struct gate_scope *s = f->holds[u];
		int64_t c = cost->of[u];

		if (c)
			room = least(room, gate_is_paced(u) ? paced_room(s->limits[u], start, horizon_ms, c)
							    : day_room(gate_day_of(s, u), c));
	}
	return (int)room;
}

/* ---- what is known ---- */

int gate_in_flight(const struct gate *g)
{
	return g->in_flight;
}

static void view_unit(struct gate_scope *s, enum gate_unit u, int64_t now_ms, struct gate_scope_view *ret)
{
	const struct gate_day *d;
	struct limit_view v;

	ret->unit[u].set = s->sets[u];
	if (!gate_is_paced(u)) {
		d = gate_day_of(s, u);
		ret->unit[u].configured = ret->unit[u].rate = d->most;
		ret->unit[u].used = d->used;
		ret->unit[u].left = d->most ? d->most - d->used : INT64_MAX;
	} else if (s->sets[u]) {
		limit_look(s->limits[u], now_ms, &v);
		ret->unit[u].configured = v.configured;
		ret->unit[u].told = v.told;
		ret->unit[u].learned = v.learned;
		ret->unit[u].rate = v.rate;
		ret->unit[u].used = v.used;
		ret->unit[u].left = v.left;
	}
}

void gate_view(const struct gate *g, size_t index, int64_t now_ms, struct gate_scope_view *ret)
{
	struct gate_scope *s = g->scopes[index];

	assert(index < g->scope_count);
	*ret = (struct gate_scope_view){
		.glob = glob_of(s),
		.concurrency = s->slots >= 0 ? s->slots : s->concurrency,
		.learned_concurrency = s->learned,
		.configured_concurrency = s->concurrency,
		.in_flight = s->in_flight,
		.paused_until_ms = s->paused_until_ms,
	};
	for (enum gate_unit u = 0; u < GATE_UNITS; u++)
		view_unit(s, u, now_ms, ret);
}

size_t gate_holder(const struct gate *g, size_t family, enum gate_unit unit)
{
	const struct gate_family *f = &g->families[family];
	const struct gate_scope *holder = unit == GATE_UNITS ? f->slot : f->holds[unit];
	size_t i = 0;

	assert(family < g->family_count);
	while (g->scopes[i] != holder)
		i++;
	return i;
}

enum gate_breaker_view gate_breaker(const struct gate *g)
{
	switch (g->breaker.state) {
	case BREAKER_OPEN:
		return GATE_BREAKER_OPEN;
	case BREAKER_HALF_OPEN:
		return GATE_BREAKER_HALF_OPEN;
	case BREAKER_CLOSED:
		break;
	}
	return GATE_BREAKER_CLOSED;
}

void gate_go_on(struct gate *g, size_t index, const struct gate_scope_view *from)
{
	struct gate_scope *s = g->scopes[index];

	assert(index < g->scope_count);
	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		if (!gate_is_paced(u))
			gate_day_of(s, u)->used = from->unit[u].used;
		else if (s->sets[u])
			limit_go_on(s->limits[u], from->unit[u].told, from->unit[u].learned);
	}
	s->learned = from->learned_concurrency;
	s->paused_until_ms = from->paused_until_ms;
	gate_update_granted(s);
}
