#ifndef GATE_CASE_H
#define GATE_CASE_H

/* For tests of the gate: made at 0, looked at from LATER on, when what a new limit assumes to have been used
 * is past. */

#include "row.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "policy/gate.h"

#define LATER INT64_C(600000)

#define COST(...) (&(const struct gate_cost){ .of = { __VA_ARGS__ } })

static inline struct gate_params case_params(const struct gate_scope_params *scopes, size_t len)
{
	return (struct gate_params){ .scopes = scopes, .scope_count = len, .requests_span_ms = 60000 };
}

static inline struct gate *case_gate(const struct gate_scope_params *scopes, size_t len)
{
	struct gate_params params = case_params(scopes, len);
	struct gate *g = NULL;

	assert_int_equal(gate_new(&params, 0, &g), 0);
	return g;
}

static inline struct gate_told case_told(void)
{
	struct gate_told told;

	for (size_t u = 0; u < GATE_PACED; u++)
		told.limit[u] = told.remaining[u] = -1;
	return told;
}

static inline int64_t case_used(const struct gate *g, size_t index, enum gate_unit unit, int64_t now_ms)
{
	struct gate_scope_view v;

	gate_view(g, index, now_ms, &v);
	return v.unit[unit].used;
}

static inline struct gate_ticket case_enter(struct gate *g, const char *model, int64_t now_ms,
					    const struct gate_cost *cost)
{
	struct gate_ticket t;

	if (!gate_enter(g, gate_family(g, model), now_ms, cost, &t)) {
		struct gate_verdict v = gate_look(g, gate_family(g, model), now_ms, cost);

		fail_msg("%s: why %d, unit %d, wait %" PRId64, model, (int)v.why, (int)v.unit, v.wait_ms);
	}
	return t;
}

static inline bool case_leave(struct gate *g, struct gate_ticket *t, int64_t now_ms, enum gate_end end)
{
	struct gate_cost real = t->reserved;

	return gate_leave(g, t, now_ms, end, &real, 0);
}

static inline enum gate_why case_why(const struct gate *g, int64_t now_ms)
{
	return gate_look(g, 0, now_ms, COST(1)).why;
}

#endif
