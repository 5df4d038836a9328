/* Whose limit holds which model: scopes come and go by reloads, families are their combinations. */

#include "policy/gate.h"

#include <assert.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "policy/gate_private.h"

/* Ids come from runs: more than these are looked up each time. */
#define MODELS_KEPT 4096

/* ---- params ---- */

static bool sets(const struct gate_scope_params *p, enum gate_unit u)
{
	return p->most[u] != GATE_INHERIT;
}

static struct limit_params limit_params(const struct gate_params *params, const struct gate_scope_params *p,
					enum gate_unit u)
{
	struct limit_params l = {
		.rate = p->most[u], .span_ms = LIMIT_MINUTE_MS, .ramp_ms = params->ramp_ms, .firm = p->firm[u]
	};

	if (u != GATE_REQUESTS)
		return l;
	l.burst = p->burst;
	l.span_ms = params->requests_span_ms;
	/* In a span below a minute no more than a whole number fits; one always does. */
	if (l.rate > 0 && l.rate <= LIMIT_RATE_MAX && l.span_ms > 0 && l.span_ms <= LIMIT_MINUTE_MS)
		l.rate = l.rate * l.span_ms < LIMIT_MINUTE_MS ? 1 : l.rate * l.span_ms / LIMIT_MINUTE_MS;
	return l;
}

/* What a limit may be is for policy/limit to say: one is made and thrown away. */
static bool is_possible(const struct limit_params *p)
{
	AUTO(limit_free) struct limit *l = NULL;

	return limit_new(p, 0, &l) == 0;
}

static bool is_scope(const struct gate_params *params, size_t i)
{
	const struct gate_scope_params *p = &params->scopes[i];
	int least = i ? GATE_INHERIT : 0;

	if (!p->glob != (i == 0) || p->concurrency < least)
		return false;
	for (size_t k = 1; k < i; k++)
		if (!strcmp(params->scopes[k].glob, p->glob))
			return false;
	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		struct limit_params l = limit_params(params, p, u);

		if (p->most[u] < least || (gate_is_paced(u) && sets(p, u) && !is_possible(&l)))
			return false;
	}
	return true;
}

static bool is_sound(const struct gate_params *params)
{
	for (size_t i = 0; i < params->scope_count; i++)
		if (!is_scope(params, i))
			return false;
	return params->scope_count > 0;
}

/* ---- scopes ---- */

static bool same_glob(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

/* Takes the scope of this glob out of the list; NULL when it has none. */
static struct gate_scope *pick(struct gate_scope **scopes, size_t len, const char *glob)
{
	for (size_t i = 0; i < len; i++) {
		struct gate_scope *s = scopes[i];

		if (s && same_glob(s->glob, glob)) {
			scopes[i] = NULL;
			return s;
		}
	}
	return NULL;
}

static struct gate_scope *scope_new(const char *glob)
{
	struct gate_scope *s = mem_alloc(sizeof(*s));

	s->glob = mem_strdup(glob);
	s->slots = -1;
	for (size_t d = 0; d < GATE_DAYS; d++)
		s->days[d].cap = -1;
	return s;
}

static void scope_free(struct gate_scope **s)
{
	if (!*s)
		return;
	for (size_t u = 0; u < GATE_PACED; u++)
		limit_free(&(*s)->limits[u]);
	mem_free(&(*s)->glob);
	mem_free(s);
}

/* A limit of 0 is kept too: what the provider tells and what its refusals teach has its place there. */
static void set_limit(struct gate_scope *s, enum gate_unit u, const struct limit_params *p, int64_t now_ms)
{
	int r = s->limits[u] ? limit_configure(s->limits[u], p, now_ms) : limit_new(p, now_ms, &s->limits[u]);

	assert(r == 0); /* is_sound() has tried them all */
	(void)r;
}

static void scope_configure(struct gate_scope *s, const struct gate_params *params,
			    const struct gate_scope_params *p, int64_t now_ms)
{
	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		s->sets[u] = sets(p, u);
		if (gate_is_paced(u) && s->sets[u]) {
			struct limit_params l = limit_params(params, p, u);

			set_limit(s, u, &l, now_ms);
		} else if (!gate_is_paced(u)) {
			gate_day_of(s, u)->most = s->sets[u] ? p->most[u] : 0;
		}
	}
	s->configured_ms = now_ms;
	s->sets_concurrency = p->concurrency != GATE_INHERIT;
	s->concurrency = s->sets_concurrency ? p->concurrency : 0;
	if (s->concurrency && s->learned >= s->concurrency)
		s->learned = 0;
	gate_update_granted(s);
}

/* Those that the new params have no place for; the array has room for all there ever were. */
static void keep_aside(struct gate *g, struct gate_scope **old, size_t len)
{
	size_t kept = 0;

	g->removed = mem_resize(g->removed, g->removed_count + len + 1, sizeof(*g->removed));
	for (size_t i = 0; i < g->removed_count; i++)
		if (g->removed[i])
			g->removed[kept++] = g->removed[i];
	for (size_t i = 0; i < len; i++)
		if (old[i])
			g->removed[kept++] = old[i];
	g->removed_count = kept;
}

static void set_scopes(struct gate *g, const struct gate_params *params, int64_t now_ms)
{
	struct gate_scope **old = g->scopes;
	size_t old_count = g->scope_count;

	g->scopes = mem_array(params->scope_count, sizeof(struct gate_scope *));
	g->scope_count = params->scope_count;
	for (size_t i = 0; i < params->scope_count; i++) {
		const struct gate_scope_params *p = &params->scopes[i];
		struct gate_scope *s = pick(old, old_count, p->glob);

		if (!s)
			s = pick(g->removed, g->removed_count, p->glob);
		if (!s)
			s = scope_new(p->glob);
		scope_configure(s, params, p, now_ms);
		g->scopes[i] = s;
	}
	keep_aside(g, old, old_count);
	mem_free(&old);
}

/* ---- families ---- */

static struct gate_family combine(const struct gate *g, const char *model)
{
	struct gate_scope *own = g->scopes[0];
	struct gate_family f = { .scope = NULL };

	for (size_t i = 1; i < g->scope_count; i++) {
		struct gate_scope *s = g->scopes[i];

		if (fnmatch(s->glob, model, 0))
			continue;
		if (!f.scope)
			f.scope = f.last = s;
		if (!f.slot && s->sets_concurrency)
			f.slot = f.last = s;
		for (size_t u = 0; u < GATE_UNITS; u++)
			if (!f.holds[u] && s->sets[u])
				f.holds[u] = f.last = s;
	}
	for (size_t u = 0; u < GATE_UNITS; u++)
		f.holds[u] = f.holds[u] ? f.holds[u] : own;
	f.slot = f.slot ? f.slot : own;
	f.scope = f.scope ? f.scope : own;
	f.last = f.last ? f.last : own;
	return f;
}

static struct gate_family *intern(struct gate *g, const struct gate_family *f)
{
	for (size_t i = 0; i < g->family_count; i++)
		if (!memcmp(&g->families[i], f, sizeof(*f)))
			return &g->families[i];
	if (g->family_count == GATE_FAMILIES_MAX)
		return &g->families[GATE_FAMILIES_MAX - 1];
	g->families[g->family_count] = *f;
	return &g->families[g->family_count++];
}

/* The provider's own is the first, for models that no glob matches. */
static void reset_families(struct gate *g)
{
	struct gate_family own = { .slot = g->scopes[0], .scope = g->scopes[0], .last = g->scopes[0] };

	for (size_t u = 0; u < GATE_UNITS; u++)
		own.holds[u] = g->scopes[0];
	g->family_count = 0;
	intern(g, &own);
	map_free(&g->models);
	map_new(&g->models);
}

size_t gate_family(struct gate *g, const char *model)
{
	size_t len = strlen(model);
	struct gate_family *known = map_get(g->models, model, len), found;

	if (!known) {
		found = combine(g, model);
		known = intern(g, &found);
		if (map_len(g->models) < MODELS_KEPT)
			map_set(g->models, model, len, known);
	}
	return (size_t)(known - g->families);
}

size_t gate_families(const struct gate *g)
{
	return g->family_count;
}

const char *gate_family_name(const struct gate *g, size_t family)
{
	assert(family < g->family_count);
	return g->families[family].last->glob ? g->families[family].last->glob : "";
}

/* ---- the gate ---- */

int gate_new(const struct gate_params *params, int64_t now_ms, struct gate **ret)
{
	struct gate *g = mem_alloc(sizeof(*g));
	int r = gate_configure(g, params, now_ms);

	if (r < 0)
		gate_free(&g);
	else
		*ret = g;
	return r;
}

void gate_free(struct gate **g)
{
	if (!*g)
		return;
	for (size_t i = 0; i < (*g)->scope_count; i++)
		scope_free(&(*g)->scopes[i]);
	for (size_t i = 0; i < (*g)->removed_count; i++)
		scope_free(&(*g)->removed[i]);
	mem_free(&(*g)->scopes);
	mem_free(&(*g)->removed);
	map_free(&(*g)->models);
	mem_free(&(*g)->parking.reason);
	mem_free(g);
}

int gate_configure(struct gate *g, const struct gate_params *params, int64_t now_ms)
{
	if (!is_sound(params))
		return -ERANGE;
	set_scopes(g, params, now_ms);
	reset_families(g);
	g->learns_concurrency = params->learns_concurrency;
	return 0;
}

size_t gate_scopes(const struct gate *g)
{
	return g->scope_count;
}

/* ---- grants ---- */

void gate_update_granted(struct gate_scope *s)
{
	for (size_t u = 0; u < GATE_PACED; u++) {
		struct limit_view v;

		if (!s->limits[u])
			continue;
		limit_look(s->limits[u], s->configured_ms, &v); /* its rate, whatever the time */
		if (limit_is_granted(s->limits[u]) != (s->granted && v.rate > 0))
			limit_set_granted(s->limits[u], s->granted && v.rate > 0);
	}
}

void gate_set_granted(struct gate *g, size_t index, bool granted)
{
	struct gate_scope *s = g->scopes[index];

	assert(index < g->scope_count);
	s->granted = granted;
	if (!granted) {
		s->slots = -1;
		for (size_t d = 0; d < GATE_DAYS; d++)
			s->days[d].cap = -1;
	}
	gate_update_granted(s);
}

void gate_set_slots(struct gate *g, size_t index, int slots)
{
	assert(index < g->scope_count);
	g->scopes[index]->slots = slots < 0 ? -1 : slots;
}

struct limit *gate_limit(struct gate *g, size_t index, enum gate_unit unit)
{
	assert(index < g->scope_count && unit < GATE_PACED);
	return g->scopes[index]->sets[unit] ? g->scopes[index]->limits[unit] : NULL;
}
