/* The gate against a plain account of what was let in, over a million random events: a call takes from all or
 * from none, what comes back comes back where it was taken, slots are calls under way, a parked lane sends
 * nothing but its trial; and all that over reloads which add, change and remove scopes while calls are under
 * way. Time stands still within a phase, so that what a limit has in its span can be reckoned exactly. */

#include "model.h"

#include <string.h>

#include "base/mem.h"
#include "policy/gate.h"

enum { PHASES = 5000, STEPS = 200, SCOPES = 5, MODELS = 7, CALLS = 150 };

static const char *const globs[SCOPES] = { NULL, "a*", "ab*", "*z", "b*" };
static const char *const models[MODELS] = { "a", "ab", "abz", "bz", "z", "q", "b" };
static const bool matches[SCOPES][MODELS] = {
	{ true, true, true, true, true, true, true },	   { true, true, true, false, false, false, false },
	{ false, true, true, false, false, false, false }, { false, false, true, true, true, false, false },
	{ false, false, false, true, false, false, true },
};

struct call {
	struct gate_ticket ticket;
	int held_by[GATE_UNITS], slot, scope;
	int phase, day;
};

struct account {
	struct gate_scope_params params[SCOPES]; /* in their order */
	int order[SCOPES];			 /* which of `globs` each is */
	int len;
	bool known[SCOPES][GATE_PACED]; /* this limit was there before */

	int64_t used[SCOPES][GATE_UNITS]; /* paced: in this phase */
	int in_flight[SCOPES];
	bool paused[SCOPES];
	struct call calls[CALLS];
	int count;

	bool parked, by_operator, planned, due;
	struct gate_ticket *trying; /* NULL = no trial of this parking is under way */
	int phase, day;
	int64_t now_ms;
};

static struct gate *gate;
static struct account acc;
static struct {
	int entered, trials, parked, full, day, paused, unit, breaker;
} seen;

/* ---- what the account says of a model ---- */

static int holder(int model, enum gate_unit u)
{
	for (int i = 1; i < acc.len; i++)
		if (matches[acc.order[i]][model] && acc.params[i].most[u] != GATE_INHERIT)
			return i;
	return 0;
}

static int slot_of(int model)
{
	for (int i = 1; i < acc.len; i++)
		if (matches[acc.order[i]][model] && acc.params[i].concurrency != GATE_INHERIT)
			return i;
	return 0;
}

static int scope_of(int model)
{
	for (int i = 1; i < acc.len; i++)
		if (matches[acc.order[i]][model])
			return i;
	return 0;
}

/* The first thing, beside the paced limits and the breaker, that keeps the call out. */
static enum gate_why why(int model, const struct gate_cost *cost)
{
	int slot = slot_of(model), most = acc.params[slot].concurrency;

	for (enum gate_unit u = GATE_PACED; u < GATE_UNITS; u++) {
		int64_t day = acc.params[holder(model, u)].most[u];

		if (day && cost->of[u] > day)
			return GATE_NEVER;
	}
	if (acc.parked && (acc.trying || !acc.due))
		return GATE_PARKED;
	if (acc.paused[acc.order[scope_of(model)]])
		return GATE_PAUSED;
	if (most && acc.in_flight[acc.order[slot]] >= most)
		return GATE_CONCURRENCY;
	for (enum gate_unit u = GATE_PACED; u < GATE_UNITS; u++) {
		int i = holder(model, u);
		int64_t day = acc.params[i].most[u];

		if (cost->of[u] && day && acc.used[acc.order[i]][u] + cost->of[u] > day)
			return GATE_UNIT;
	}
	return GATE_OPEN;
}

/* ---- comparing ---- */

static void compare(const char *after)
{
	int in_flight = 0;

	for (int i = 0; i < acc.len; i++) {
		struct gate_scope_view v;
		int s = acc.order[i];

		gate_view(gate, (size_t)i, acc.now_ms, &v);
		agree(v.in_flight == acc.in_flight[s], "%s: phase %d: '%s' has %d under way, not %d", after,
		      acc.phase, v.glob, v.in_flight, acc.in_flight[s]);
		for (enum gate_unit u = 0; u < GATE_UNITS; u++)
			agree(!v.unit[u].set || v.unit[u].used == acc.used[s][u],
			      "%s: phase %d: '%s' used %" PRId64 " %s, not %" PRId64, after, acc.phase,
			      v.glob, v.unit[u].used, gate_unit_name(u), acc.used[s][u]);
	}
	for (int s = 0; s < SCOPES; s++)
		in_flight += acc.in_flight[s];
	agree(gate_in_flight(gate) == in_flight && in_flight == acc.count, "%s: %d under way", after,
	      gate_in_flight(gate));
	agree((gate_parked_reason(gate) != NULL) == acc.parked, "%s: parked", after);
}

/* ---- events ---- */

static struct gate_cost some_cost(void)
{
	return (struct gate_cost){ .of = { 1, model_below(30), model_below(20), model_below(20), 1,
					   model_below(50) } };
}

static void add_call(int model, const struct gate_ticket *t)
{
	struct call *c = &acc.calls[acc.count++];

	*c = (struct call){ .ticket = *t, .phase = acc.phase, .day = acc.day };
	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		c->held_by[u] = acc.order[holder(model, u)];
		acc.used[c->held_by[u]][u] += t->reserved.of[u];
	}
	c->slot = acc.order[slot_of(model)];
	c->scope = acc.order[scope_of(model)];
	acc.in_flight[c->slot]++;
}

static void count_refusal(enum gate_why w)
{
	seen.parked += w == GATE_PARKED;
	seen.paused += w == GATE_PAUSED;
	seen.full += w == GATE_CONCURRENCY;
	seen.day += w == GATE_UNIT;
}

static void enter(void)
{
	int model = model_below(MODELS);
	struct gate_cost cost = some_cost();
	size_t family = gate_family(gate, models[model]);
	enum gate_why want = why(model, &cost);
	enum gate_breaker_view breaker = gate_breaker(gate);
	struct gate_verdict v = gate_look(gate, family, acc.now_ms, &cost);
	struct gate_ticket t;
	bool entered;

	if (acc.count == CALLS)
		return;
	entered = gate_enter(gate, family, acc.now_ms, &cost, &t);
	agree(entered == (v.why == GATE_OPEN), "%s: told %d, entered %d", models[model], (int)v.why,
	      (int)entered);
	agree(!entered || want == GATE_OPEN, "%s entered in spite of %d", models[model], (int)want);
	if (!entered) {
		bool limit = (v.why == GATE_UNIT || v.why == GATE_NEVER) && v.unit < GATE_PACED;

		agree(limit || v.why == want || (v.why == GATE_BREAKER && breaker != GATE_BREAKER_CLOSED),
		      "%s: told %d for %d", models[model], (int)v.why, (int)want);
		seen.breaker += v.why == GATE_BREAKER;
		seen.unit += limit;
		count_refusal(want);
		return;
	}
	agree(t.trial == (acc.parked || breaker != GATE_BREAKER_CLOSED), "%s: trial %d", models[model],
	      (int)t.trial);
	add_call(model, &t);
	seen.entered++;
	if (acc.parked) {
		acc.trying = &acc.calls[acc.count - 1].ticket;
		seen.trials++;
	}
}

static int64_t charged(enum gate_unit u, enum gate_end end, int64_t reserved, int64_t real)
{
	if (end == GATE_ANSWERED)
		return real;
	if (end == GATE_UNSENT || (end == GATE_REFUSED && u != GATE_REQUESTS && u != GATE_REQUESTS_DAY))
		return 0;
	return reserved;
}

static void settle(const struct call *c, enum gate_end end, const struct gate_cost *real)
{
	for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
		int64_t reserved = c->ticket.reserved.of[u];
		bool same = u < GATE_PACED ? c->phase == acc.phase : c->day == acc.day;

		if (reserved && same)
			acc.used[c->held_by[u]][u] += charged(u, end, reserved, real->of[u]) - reserved;
	}
	acc.in_flight[c->slot]--;
}

static void end_trial(enum gate_end end)
{
	acc.trying = NULL;
	if (end == GATE_ANSWERED || end == GATE_REFUSED)
		acc.parked = false;
	else if (end != GATE_UNSENT)
		acc.due = false;
}

static void leave(void)
{
	struct gate_cost real = some_cost();
	/* Some phases are an outage of the provider: else no breaker would see so many failures in a row. */
	bool outage = acc.phase % 8 == 0 && model_chance(97);
	enum gate_end end = outage ? GATE_BROKEN : (enum gate_end)model_below(5);
	struct call *c, *last;

	if (!acc.count)
		return;
	c = &acc.calls[model_below(acc.count)];
	last = &acc.calls[acc.count - 1];
	if (end == GATE_REFUSED && c->ticket.reserved.of[GATE_REQUESTS] && model_chance(10)) {
		static const struct gate_told told = { { -1, -1, -1, -1 }, { -1, -1, -1, -1 } };

		gate_refuse(gate, &c->ticket, acc.now_ms, &told, 5000, 5000);
		acc.paused[c->scope] = true;
		/* A limit counts as used what got through. */
		if (c->phase == acc.phase)
			acc.used[c->held_by[GATE_REQUESTS]][GATE_REQUESTS]--;
	}
	settle(c, end, &real);
	if (acc.trying == &c->ticket)
		end_trial(end);
	gate_leave(gate, &c->ticket, acc.now_ms, end, &real, model_random());
	if (acc.trying == &last->ticket)
		acc.trying = &c->ticket;
	*c = *last;
	acc.count--;
}

static void readmit(void)
{
	int model = model_below(MODELS);
	struct gate_ticket t;

	if (acc.count == CALLS)
		return;
	gate_readmit(gate, gate_family(gate, models[model]), acc.now_ms, &t);
	add_call(model, &t);
}

static void park(void)
{
	enum gate_park kind = model_chance(20) ? GATE_PARK_OPERATOR : GATE_PARK_QUOTA;
	bool planned = model_chance(80);

	gate_park(gate, kind, "for a test", acc.now_ms, planned ? 1000 : 0, 8000);
	if (kind == GATE_PARK_OPERATOR) {
		acc.by_operator = true;
		acc.planned = acc.due = false;
		acc.trying = NULL;
	} else if (!acc.parked) {
		acc.by_operator = acc.due = false;
		acc.planned = planned;
	}
	acc.parked = true;
}

static void resume(void)
{
	gate_resume(gate);
	acc.parked = false;
	acc.trying = NULL;
	for (int i = 0; i < acc.len; i++)
		acc.paused[acc.order[i]] = false;
}

static void recheck(void)
{
	gate_recheck_now(gate, acc.now_ms);
	if (acc.parked && !acc.by_operator && !acc.trying)
		acc.due = true;
}

static void new_day(void)
{
	gate_new_day(gate, acc.now_ms + 86400000);
	acc.day++;
	for (int s = 0; s < SCOPES; s++)
		for (enum gate_unit u = GATE_PACED; u < GATE_UNITS; u++)
			acc.used[s][u] = 0;
}

static struct gate_scope_params some_params(int s)
{
	static const int64_t rates[GATE_UNITS][3] = { { 0, 60000, 600 }, { 0, 900000, 6000 },
						      { 0, 0, 900000 },	 { 0, 900000, 0 },
						      { 0, 40, 400 },	 { 0, 900, 9000 } };
	static const int slots[] = { 0, 3, 20, 60 };
	struct gate_scope_params p = { .glob = globs[s], .burst = model_chance(50) ? 0 : 100 };

	for (enum gate_unit u = 0; u < GATE_UNITS; u++)
		p.most[u] = s && model_chance(50) ? GATE_INHERIT : rates[u][model_below(3)];
	p.concurrency = s && model_chance(50) ? GATE_INHERIT : slots[model_below(4)];
	return p;
}

/* What a limit that is new or has another rate assumes to have been used is for policy/limit to say. */
static void learn_used(const int64_t before[SCOPES][GATE_PACED])
{
	for (int i = 0; i < acc.len; i++) {
		struct gate_scope_view v;
		int s = acc.order[i];

		gate_view(gate, (size_t)i, acc.now_ms, &v);
		for (enum gate_unit u = 0; u < GATE_PACED; u++) {
			if (!v.unit[u].set)
				continue;
			if (!acc.known[s][u] || before[s][u] != v.unit[u].configured)
				acc.used[s][u] = v.unit[u].used;
			acc.known[s][u] = true;
		}
	}
}

static void reload(void)
{
	struct gate_params params = { .scopes = acc.params, .requests_span_ms = 60000 };
	static int64_t configured[SCOPES][GATE_PACED];
	int order[SCOPES] = { 0, 1, 2, 3, 4 };

	for (int i = SCOPES - 1; i > 1; i--) {
		int k = 1 + model_below(i), s = order[k];

		order[k] = order[i];
		order[i] = s;
	}
	memcpy(acc.order, order, sizeof(order));
	acc.len = 1 + model_below(SCOPES);
	for (int i = 0; i < acc.len; i++)
		acc.params[i] = some_params(acc.order[i]);
	params.scope_count = (size_t)acc.len;
	if (gate)
		assert_int_equal(gate_configure(gate, &params, acc.now_ms), 0);
	else
		assert_int_equal(gate_new(&params, acc.now_ms, &gate), 0);
	learn_used(configured);
	for (int i = 0; i < acc.len; i++)
		for (enum gate_unit u = 0; u < GATE_PACED; u++)
			if (acc.params[i].most[u] != GATE_INHERIT)
				configured[acc.order[i]][u] = acc.params[i].most[u];
}

static void next_phase(void)
{
	acc.now_ms += 200000;
	acc.phase++;
	memset(acc.paused, 0, sizeof(acc.paused));
	for (int s = 0; s < SCOPES; s++)
		for (enum gate_unit u = 0; u < GATE_PACED; u++)
			acc.used[s][u] = 0;
	if (acc.parked && acc.planned && !acc.trying)
		acc.due = true;
}

static void step(void)
{
	int what = model_below(1000);

	if (what < 550)
		enter();
	else if (what < 950)
		leave();
	else if (what < 965)
		readmit();
	else if (what < 970)
		park();
	else if (what < 982)
		resume();
	else if (what < 990)
		recheck();
	else if (what < 992)
		new_day();
	else if (what < 996)
		reload();
	else
		gate_check(gate, acc.now_ms, model_chance(50), model_random());
}

static void test_the_gate_keeps_its_account(void **state)
{
	(void)state;
	acc.now_ms = 1;
	reload();
	for (int p = 0; p < PHASES; p++) {
		next_phase();
		for (int i = 0; i < STEPS; i++) {
			step();
			if (model_chance(5))
				compare("within a phase");
		}
		compare("at the end of a phase");
	}
	while (acc.count)
		leave();
	compare("in the end");
	gate_free(&gate);
	agree(seen.entered > 50000 && seen.trials > 100 && seen.parked > 10000 && seen.full > 1000 &&
		      seen.day > 1000 && seen.paused > 1000 && seen.unit > 10000 && seen.breaker > 1000,
	      "entered %d, trials %d, parked %d, full %d, day %d, paused %d, unit %d, breaker %d",
	      seen.entered, seen.trials, seen.parked, seen.full, seen.day, seen.paused, seen.unit,
	      seen.breaker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_the_gate_keeps_its_account, model_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
