#include "core/grants.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/grants_private.h"
#include "core/lane.h"
#include "core/pool.h"
#include "core/store.h"
#include "io/loop.h"
#include "policy/limit.h"

/* ---- asking ---- */

/* What the node keeps goes on being spent while the answer is under way; what is no use to it goes back. */
static void fill_paced(struct item *item, const struct known *known, int64_t now_ms, struct store_ask *ask)
{
	if (item->wants > 0 && known->rest >= item->needs && now_ms < item->until_ms)
		ask->rest = known->rest;
	else
		ask->gives = limit_take_back(known->limit, now_ms);
	/* As much again as went since the last time: calls that find leave to go do not wait for it. */
	item->spent = item->had - ask->rest - ask->gives;
	item->had = 0;
	if (item->wants > 0)
		ask->wants = item->wants + grants_between(0, item->spent, known->rate);
}

static void fill_day(struct item *item, const struct known *known, struct store_ask *ask)
{
	if (item->wants > 0 || known->rest < 0)
		ask->rest = known->rest;
	else
		ask->gives = known->rest;
	item->has -= ask->gives;
}

static void fill_slots(const struct shared_lane *sl, size_t scope, struct item *item,
		       const struct known *known, struct store_ask *ask)
{
	ask->wants = known->keep + item->wants;
	if (item->has > ask->wants)
		item->has = ask->wants;
	/* Fewer than are under way cannot be given back yet, but no call takes the place of one that ends. */
	ask->rest = item->has > known->keep ? item->has : known->keep;
	item->had = ask->rest;
	gate_set_slots(sl->lane->gate, scope, (int)item->has);
}

static void fill(struct grants *g, const struct place *at, const struct known *known, struct store_ask *ask)
{
	const struct shared_lane *sl = &g->lanes[at->lane];
	struct item *item = &sl->items[at->scope * KINDS + at->kind];

	*ask = (struct store_ask){
		.lane = sl->lane->name,
		.scope = sl->globs[at->scope],
		.unit = at->kind == SLOTS ? "concurrency" : gate_unit_name(at->kind),
		.rate = known->rate,
		.window_ms = grants_window_ms(g, at->kind, known),
		.life_ms = at->kind < GATE_PACED ? grants_life_ms(g, known) : SLOTS_MS,
		.needs = item->needs < known->rate ? item->needs : known->rate,
		.wants = item->wants,
	};
	if (at->kind < GATE_PACED)
		fill_paced(item, known, g->sent_ms, ask);
	else if (at->kind == SLOTS)
		fill_slots(sl, at->scope, item, known, ask);
	else
		fill_day(item, known, ask);
	if (ask->life_ms < g->life_ms)
		g->life_ms = ask->life_ms;
	item->asked_ms = g->sent_ms;
	item->asking = true;
}

static bool next_place(const struct grants *g, struct place *at)
{
	for (; at->lane < g->lane_count; at->lane++, at->scope = 0, at->kind = 0) {
		const struct shared_lane *sl = &g->lanes[at->lane];

		for (; sl->lane && at->scope < sl->scope_count; at->scope++, at->kind = 0)
			if (at->kind < KINDS) {
				at->era = sl->era;
				return true;
			}
	}
	return false;
}

static struct item *item_at(const struct grants *g, const struct place *at)
{
	return &g->lanes[at->lane].items[at->scope * KINDS + at->kind];
}

/* Waits for the first thing that becomes due, while no round is under way. */
static void arm(struct grants *g)
{
	int64_t now_ms = loop_now_ms(g->loop), first = 0;

	if (g->place_count > 0)
		return;
	for (struct place at = { 0 }; next_place(g, &at); at.kind++) {
		const struct item *item = item_at(g, &at);

		if (grants_is_live(item, now_ms)) {
			struct known known = grants_know(&g->lanes[at.lane], at.scope, at.kind, now_ms);

			first = grants_earliest(first, grants_due(g, item, at.kind, &known));
		}
	}
	if (first == 0)
		loop_timer_stop(g->timer);
	else
		loop_timer_start(g->timer, first > now_ms ? first - now_ms : 0);
}

/* ---- answers ---- */

static void got_paced(struct grants *g, struct item *item, const struct known *known,
		      const struct store_grant *grant)
{
	/* From when it was asked for: how long the answer took nobody knows. */
	int64_t now_ms = loop_now_ms(g->loop), until_ms = g->sent_ms + grants_life_ms(g, known);

	if (until_ms <= now_ms || (grant->granted == 0 && known->rest == 0)) {
		item->had = known->rest;
		return;
	}
	limit_grant(known->limit, now_ms, grant->granted, until_ms);
	item->until_ms = until_ms;
	item->had = known->rest + grant->granted;
}

static void got(struct grants *g, const struct place *at, const struct store_grant *grant)
{
	const struct shared_lane *sl = &g->lanes[at->lane];
	struct item *item = item_at(g, at);
	int64_t now_ms = loop_now_ms(g->loop);
	struct known known = grants_know(sl, at->scope, at->kind, now_ms);

	item->again_ms = grant->wait_ms > 0 ? now_ms + grant->wait_ms : 0;
	item->others = grant->others;
	if (at->kind < GATE_PACED) {
		if (known.limit)
			got_paced(g, item, &known, grant);
		return;
	}
	if (at->kind != SLOTS) {
		item->has += grant->granted;
		gate_set_day_cap(sl->lane->gate, at->scope, at->kind, item->has > 0 ? item->has : 0);
		return;
	}
	item->has = item->had + grant->granted;
	gate_set_slots(sl->lane->gate, at->scope, (int)item->has);
}

static void not_got(struct grants *g, const struct place *at)
{
	struct item *item = item_at(g, at);

	item->again_ms = loop_now_ms(g->loop) + SILENT_MS;
}

/* Where the database is far away, grants that are half over before they are here would be the rule: then they
 * live longer, which costs a little of the limit. A few late ones only cost themselves. */
static void note_distance(struct grants *g)
{
	int64_t took_ms = loop_now_ms(g->loop) - g->sent_ms;

	g->late = took_ms > g->life_ms / 2 ? g->late + 1 : 0;
	g->early = took_ms < g->life_ms / 8 ? g->early + 1 : 0;
	if (g->late >= LATE_ROUNDS && g->stretch < STRETCH_MAX)
		g->stretch *= 2;
	else if (g->early >= EARLY_ROUNDS && g->stretch > 1)
		g->stretch /= 2;
	else
		return;
	g->late = g->early = 0;
	log_info("grants.stretch", "round_ms=%lld factor=%lld", (long long)took_ms, (long long)g->stretch);
}

static void on_round(void *arg, const struct store_grant *grants, size_t count)
{
	struct grants *g = arg;
	size_t asked = g->place_count;

	g->place_count = 0;
	for (size_t i = 0; i < asked; i++) {
		const struct place *at = &g->places[i];

		if (at->era != g->lanes[at->lane].era)
			continue; /* configured anew meanwhile: what came is spent */
		item_at(g, at)->asking = false;
		if (i < count)
			got(g, at, &grants[i]);
		else
			not_got(g, at);
	}
	g->silent = grants == NULL;
	if (grants)
		note_distance(g);
	arm(g);
	g->on_granted(g->arg);
}

static size_t collect(struct grants *g, struct store_ask **ret)
{
	struct store_ask *asks = NULL;
	size_t count = 0;

	for (struct place at = { 0 }; next_place(g, &at); at.kind++) {
		struct known known;
		int64_t when;

		if (!grants_is_live(item_at(g, &at), g->sent_ms))
			continue;
		known = grants_know(&g->lanes[at.lane], at.scope, at.kind, g->sent_ms);
		when = grants_due(g, item_at(g, &at), at.kind, &known);
		if (when == 0 || when > g->sent_ms + TOGETHER_MS)
			continue;
		asks = mem_resize(asks, count + 1, sizeof(*asks));
		g->places = mem_resize(g->places, count + 1, sizeof(*g->places));
		fill(g, &at, &known, &asks[count]);
		g->places[count++] = at;
	}
	*ret = asks;
	return count;
}

static void ask_due(void *arg)
{
	struct grants *g = arg;
	struct store_ask *asks;

	if (g->place_count > 0)
		return;
	g->sent_ms = loop_now_ms(g->loop);
	g->life_ms = SLOTS_MS;
	g->place_count = collect(g, &asks);
	if (g->place_count > 0 && store_take_grants(g->store, asks, g->place_count, on_round, g) != 0) {
		/* What was to be given back is lost. */
		for (size_t i = 0; i < g->place_count; i++) {
			item_at(g, &g->places[i])->asking = false;
			not_got(g, &g->places[i]);
		}
		g->place_count = 0;
		g->silent = true;
	}
	mem_free(&asks);
	arm(g);
}

/* ---- leaving ---- */

static void on_left(void *arg, const struct store_grant *grants, size_t count)
{
	(void)arg;
	(void)grants;
	(void)count;
}

void grants_leave(struct grants *g)
{
	struct store_ask *asks = NULL;
	size_t count = 0;

	g->sent_ms = loop_now_ms(g->loop);
	for (struct place at = { 0 }; next_place(g, &at); at.kind++) {
		struct item *item = item_at(g, &at);
		struct known known = grants_know(&g->lanes[at.lane], at.scope, at.kind, g->sent_ms);

		if (!known.rate || !grants_is_live(item, g->sent_ms))
			continue;
		item->wants = item->needs = 0;
		asks = mem_resize(asks, count + 1, sizeof(*asks));
		fill(g, &at, &known, &asks[count++]);
	}
	/* Without the database, the others wait for the end of the lease. */
	if (count > 0)
		(void)!store_take_grants(g->store, asks, count, on_left, NULL);
	mem_free(&asks);
}

/* ---- what waits ---- */

static void want(struct shared_lane *sl, size_t family, unsigned kind, int64_t cost, int64_t calls)
{
	size_t scope = gate_holder(sl->lane->gate, family, (enum gate_unit)kind);
	struct item *item;

	if (cost <= 0)
		return;
	item = &sl->items[scope * KINDS + kind];
	if (item->needs < cost)
		item->needs = cost;
	item->wants += cost < INT64_MAX / 2 / calls ? cost * calls : INT64_MAX / 2;
	if (item->wants > INT64_MAX / 2)
		item->wants = INT64_MAX / 2;
}

/* Only what would let calls go counts: not what waits for workers, or for the provider. */
static void want_family(struct shared_lane *sl, size_t family, int64_t calls, int64_t now_ms)
{
	const struct gate_cost *cost = &sl->lane->families[family].typical;
	struct gate_verdict verdict = gate_look(sl->lane->gate, family, now_ms, cost);

	if (calls == 0 || (verdict.why != GATE_CONCURRENCY && verdict.why != GATE_NO_GRANT))
		return;
	want(sl, family, SLOTS, 1, calls);
	for (enum gate_unit unit = 0; verdict.why == GATE_NO_GRANT && unit < GATE_UNITS; unit++)
		want(sl, family, unit, cost->of[unit], calls);
}

void grants_look(struct grants *g, const struct lane *lane)
{
	struct shared_lane *sl = &g->lanes[lane->index];
	int free_slots = lane->pool ? pool_free_slots(lane->pool) : 0;

	for (size_t i = 0; i < sl->scope_count * KINDS; i++)
		sl->items[i].needs = sl->items[i].wants = 0;
	for (size_t i = 0; i < gate_families(lane->gate) && lane->queued + lane->between_count > 0; i++) {
		const struct lane_family *family = &lane->families[i];
		int begun = family->between_count,
		    new = family->queued < free_slots ? family->queued : free_slots;

		want_family(sl, i, begun + new, loop_now_ms(g->loop));
	}
	arm(g);
}

const char *grants_why(const struct grants *g, const struct lane *lane, size_t family, enum gate_unit unit,
		       int64_t *ret_at_ms)
{
	const struct shared_lane *sl = &g->lanes[lane->index];
	const struct item *item = &sl->items[gate_holder(lane->gate, family, unit) * KINDS + (size_t)unit];

	*ret_at_ms = item->again_ms;
	if (g->silent)
		return "the database is away, and without it no limit can be shared";
	return item->others > 0 ? "other nodes have what is left" : "the next grant is under way";
}

/* ---- making and ending ---- */

static void lane_forget(struct shared_lane *sl)
{
	for (size_t i = 0; i < sl->scope_count; i++)
		mem_free(&sl->globs[i]);
	mem_free(&sl->globs);
	mem_free(&sl->items);
	sl->scope_count = 0;
}

/* What was granted before stays, by the scope's glob, but for portions of a day: these are spent. A scope
 * that is new has nothing but what is under way. */
static void adopt(const struct shared_lane *old, const struct shared_lane *sl, size_t scope,
		  const struct gate_scope_view *view)
{
	struct item *items = &sl->items[scope * KINDS];

	for (size_t i = 0; i < old->scope_count; i++)
		if (strcmp(old->globs[i], view->glob) == 0) {
			memcpy(items, &old->items[i * KINDS], KINDS * sizeof(*items));
			for (size_t kind = 0; kind < KINDS; kind++)
				items[kind].asking = false;
		}
	if (items[SLOTS].has < view->in_flight)
		items[SLOTS].has = view->in_flight;
	for (size_t kind = GATE_PACED; kind < GATE_UNITS; kind++)
		items[kind].has = view->unit[kind].used;
}

static void apply(const struct shared_lane *sl, size_t scope, const struct gate_scope_view *view)
{
	const struct item *items = &sl->items[scope * KINDS];
	struct gate *gate = sl->lane->gate;

	gate_set_granted(gate, scope, true);
	gate_set_slots(gate, scope, view->configured_concurrency ? (int)items[SLOTS].has : -1);
	for (enum gate_unit unit = GATE_PACED; unit < GATE_UNITS; unit++)
		gate_set_day_cap(gate, scope, unit,
				 view->unit[unit].set && view->unit[unit].configured ? items[unit].has : -1);
}

void grants_configure(struct grants *g, struct lane *lane)
{
	struct shared_lane *sl = &g->lanes[lane->index], old = *sl;

	sl->lane = lane;
	sl->era++;
	sl->scope_count = gate_scopes(lane->gate);
	sl->globs = mem_array(sl->scope_count, sizeof(*sl->globs));
	sl->items = mem_array(sl->scope_count * KINDS, sizeof(*sl->items));
	for (size_t i = 0; i < sl->scope_count; i++) {
		struct gate_scope_view view;

		gate_view(lane->gate, i, loop_now_ms(g->loop), &view);
		sl->globs[i] = mem_strdup(view.glob);
		adopt(&old, sl, i, &view);
		apply(sl, i, &view);
	}
	lane_forget(&old);
	arm(g);
}

void grants_new(struct loop *loop, struct store *store, size_t lane_count, void (*on_granted)(void *arg),
		void *arg, struct grants **ret)
{
	struct grants *g = mem_alloc(sizeof(*g));

	g->loop = loop;
	g->store = store;
	g->on_granted = on_granted;
	g->arg = arg;
	g->lanes = mem_array(lane_count, sizeof(*g->lanes));
	g->lane_count = lane_count;
	g->stretch = 1;
	loop_timer_new(loop, ask_due, g, &g->timer);
	*ret = g;
}

void grants_free(struct grants **grants)
{
	struct grants *g = *grants;

	if (!g)
		return;
	loop_timer_free(&g->timer);
	for (size_t i = 0; i < g->lane_count; i++)
		lane_forget(&g->lanes[i]);
	mem_free(&g->lanes);
	mem_free(&g->places);
	mem_free(grants);
}
