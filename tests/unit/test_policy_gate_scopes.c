/* Whose limits hold which model, and what a reload leaves of it. */

#include "gate_case.h"

#include <errno.h>
#include <stdio.h>

#include "policy/limit.h"

#define ALL_INHERITED                                                                                        \
	{                                                                                                    \
		-1, -1, -1, -1, -1, -1                                                                       \
	}

static const struct gate_scope_params three[] = {
	{ .most = { 600, 60000, 0, 0, 1000, 0 }, .burst = 50, .concurrency = 20 },
	{ .glob = "gpt-4*", .most = { 300, -1, -1, -1, -1, -1 }, .burst = 50, .concurrency = GATE_INHERIT },
	{ .glob = "*-mini", .most = { 400, 30000, -1, -1, 0, -1 }, .burst = 50, .concurrency = 5 },
};

/* ---- families ---- */

static void test_for_each_unit_the_first_scope_that_sets_it_holds_a_model(void **state)
{
	static const struct {
		const char *model, *family;
		size_t want[GATE_UNITS], slot; /* index of the scope */
	} rows[] = {
		{ "gpt-3", "", { 0, 0, 0, 0, 0, 0 }, 0 },
		{ "gpt-4", "gpt-4*", { 1, 0, 0, 0, 0, 0 }, 0 },
		{ "gpt-4-mini", "*-mini", { 1, 2, 0, 0, 2, 0 }, 2 },
		{ "o1-mini", "*-mini", { 2, 2, 0, 0, 2, 0 }, 2 },
		{ "", "", { 0, 0, 0, 0, 0, 0 }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = case_gate(three, ARRAY_LEN(three));
		size_t family = gate_family(g, rows[i].model);
		struct gate_ticket t = case_enter(g, rows[i].model, LATER, COST(1, 1, 1, 1, 1, 1));

		assert_string_equal(gate_family_name(g, family), rows[i].family);
		for (enum gate_unit u = 0; u < GATE_UNITS; u++)
			for (size_t k = 0; k < ARRAY_LEN(three); k++)
				expect(case_used(g, k, u, LATER) == (rows[i].want[u] == k),
				       "%s: %s of scope %zu", rows[i].model, gate_unit_name(u), k);
		for (size_t k = 0; k < ARRAY_LEN(three); k++) {
			struct gate_scope_view v;

			gate_view(g, k, LATER, &v);
			expect(v.in_flight == (rows[i].slot == k), "%s: slots of scope %zu", rows[i].model,
			       k);
		}
		case_leave(g, &t, LATER, GATE_ANSWERED);
	}
}

static void test_models_that_are_held_alike_are_one_family(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(three, ARRAY_LEN(three));

	(void)state;
	assert_int_equal(gate_families(g), 1);
	assert_int_equal(gate_family(g, "gpt-3"), 0);
	assert_int_equal(gate_family(g, "gpt-4"), 1);
	assert_int_equal(gate_family(g, "gpt-4o"), 1);
	assert_int_equal(gate_family(g, "gpt-4-mini"), 2);
	assert_int_equal(gate_family(g, "o1-mini"), 3);
	assert_int_equal(gate_family(g, "davinci"), 0);
	assert_int_equal(gate_family(g, "gpt-4"), 1);
	assert_int_equal(gate_families(g), 4);
}

/* 7 globs make 128 combinations; and more models than are remembered. */
static void test_families_beyond_the_most_share_the_last(void **state)
{
	struct gate_scope_params scopes[8] = { { .most = { 0 } } };
	AUTO(gate_free) struct gate *g = NULL;
	char globs[7][8], model[24];

	(void)state;
	for (int i = 0; i < 7; i++) {
		snprintf(globs[i], sizeof(globs[i]), "*%c*", 'a' + i);
		scopes[i + 1] = (struct gate_scope_params){ .glob = globs[i],
							    .most = ALL_INHERITED,
							    .concurrency = GATE_INHERIT };
		/* Each sets something of its own, so that all combinations differ. */
		if (i < GATE_UNITS)
			scopes[i + 1].most[i] = 1;
		else
			scopes[i + 1].concurrency = 1;
	}
	g = case_gate(scopes, 8);
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < 6000; i++) {
			size_t len = 0, family;

			for (int k = 0; k < 7; k++)
				if (i >> k & 1)
					model[len++] = (char)('a' + k);
			snprintf(model + len, sizeof(model) - len, "-%d", i / 128);
			family = gate_family(g, model);
			expect(family < GATE_FAMILIES_MAX, "%s: %zu", model, family);
			expect(family == gate_family(g, model), "%s", model);
		}
		assert_int_equal(gate_families(g), GATE_FAMILIES_MAX);
	}
}

static void test_a_unit_set_to_0_is_free_of_the_providers_limit(void **state)
{
	static const struct gate_scope_params scopes[] = {
		{ .most = { 60 }, .burst = 1, .concurrency = 1 },
		{ .glob = "free", .most = { 0, -1, -1, -1, -1, -1 }, .concurrency = 0 },
	};
	AUTO(gate_free) struct gate *g = case_gate(scopes, 2);

	(void)state;
	for (int i = 0; i < 100; i++)
		case_enter(g, "free", LATER, COST(1));
	case_enter(g, "other", LATER, COST(1));
	assert_int_equal(gate_look(g, gate_family(g, "other"), LATER, COST(1)).why, GATE_CONCURRENCY);
	assert_int_equal(gate_in_flight(g), 101);
}

/* ---- params ---- */

static void test_params_out_of_range_are_refused_and_change_nothing(void **state)
{
	static const struct gate_scope_params plain = { .most = { 60 }, .burst = 2 };
	static const struct {
		const char *what;
		struct gate_scope_params scopes[3];
		size_t len;
		int64_t span;
	} rows[] = {
		{ "no scope", { { .most = { 0 } } }, 0, 60000 },
		{ "no provider", { { .glob = "a", .most = { 0 } } }, 1, 60000 },
		{ "two providers", { { .most = { 0 } }, { .most = { 0 } } }, 2, 60000 },
		{ "one glob twice", { { .most = { 0 } }, { .glob = "a" }, { .glob = "a" } }, 3, 60000 },
		{ "from whom does the provider inherit", { { .most = { 0, -1 } } }, 1, 60000 },
		{ "and slots", { { .concurrency = -1 } }, 1, 60000 },
		{ "below -1", { { .most = { 0 } }, { .glob = "a", .most = { -2 } } }, 2, 60000 },
		{ "slots below -1", { { .most = { 0 } }, { .glob = "a", .concurrency = -2 } }, 2, 60000 },
		{ "a day below 0", { { .most = { 0, 0, 0, 0, -1 } } }, 1, 60000 },
		{ "too many requests", { { .most = { LIMIT_RATE_MAX + 1 } } }, 1, 60000 },
		{ "too many tokens", { { .most = { 0, LIMIT_RATE_MAX + 1 } } }, 1, 60000 },
		{ "burst", { { .most = { 60 }, .burst = -1 } }, 1, 60000 },
		{ "span", { { .most = { 60 } } }, 1, 999 },
		{ "long span", { { .most = { 60 } } }, 1, 60001 },
	};
	AUTO(gate_free) struct gate *g = case_gate(&plain, 1);

	(void)state;
	case_enter(g, "m", LATER, COST(1));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct gate_params params = case_params(rows[i].scopes, rows[i].len);
		struct gate *none = NULL;
		struct gate_scope_view v;

		params.requests_span_ms = rows[i].span;
		expect(gate_new(&params, 0, &none) == -ERANGE && !none, "%s: new", rows[i].what);
		expect(gate_configure(g, &params, LATER) == -ERANGE, "%s: reload", rows[i].what);
		gate_view(g, 0, LATER, &v);
		expect(gate_scopes(g) == 1 && v.unit[GATE_REQUESTS].configured == 60 &&
			       v.unit[GATE_REQUESTS].used == 1 && v.in_flight == 1,
		       "%s: view", rows[i].what);
	}
	gate_free(&(struct gate *){ NULL });
}

static void test_requests_of_a_shorter_span_are_whole_and_at_least_one(void **state)
{
	static const struct {
		int64_t per_minute, span, want;
	} rows[] = { { 60, 1000, 1 }, { 90, 1000, 1 }, { 500, 1000, 8 },
		     { 5, 1000, 1 },  { 0, 1000, 0 },  { 7, 60000, 7 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct gate_scope_params scope = { .most = { rows[i].per_minute, 1000 } };
		struct gate_params params = case_params(&scope, 1);
		AUTO(gate_free) struct gate *g = NULL;
		struct gate_scope_view v;

		params.requests_span_ms = rows[i].span;
		assert_int_equal(gate_new(&params, 0, &g), 0);
		gate_view(g, 0, LATER, &v);
		expect(v.unit[GATE_REQUESTS].configured == rows[i].want &&
			       v.unit[GATE_TOKENS].configured == 1000,
		       "row %zu: %" PRId64, i, v.unit[GATE_REQUESTS].configured);
	}
}

/* ---- reload ---- */

static void reload(struct gate *g, const struct gate_scope_params *scopes, size_t len, int64_t now_ms)
{
	struct gate_params params = case_params(scopes, len);

	assert_int_equal(gate_configure(g, &params, now_ms), 0);
}

static void test_tickets_stay_good_over_reloads(void **state)
{
	static const struct gate_scope_params without[] = {
		{ .most = { 600, 60000, 0, 0, 1000, 0 }, .burst = 50, .concurrency = 20 },
		{ .glob = "*-mini", .most = { 400, -1, -1, -1, 0, -1 }, .burst = 50, .concurrency = 5 },
	};
	AUTO(gate_free) struct gate *g = case_gate(three, ARRAY_LEN(three));
	struct gate_ticket gpt = case_enter(g, "gpt-4", LATER, COST(1, 10, 0, 0, 1));
	struct gate_ticket mini = case_enter(g, "o1-mini", LATER, COST(1, 10, 0, 0, 1));
	struct gate_ticket late = case_enter(g, "gpt-4", LATER, COST(1, 10, 0, 0, 1));
	struct gate_scope_view v;

	(void)state;
	reload(g, without, ARRAY_LEN(without), LATER);
	assert_int_equal(gate_scopes(g), 2);
	assert_int_equal(gate_in_flight(g), 3);
	gate_view(g, 1, LATER, &v);
	assert_string_equal(v.glob, "*-mini");
	assert_int_equal(v.in_flight, 1);
	assert_int_equal(v.unit[GATE_REQUESTS].used, 1);
	assert_int_equal(v.unit[GATE_REQUESTS_DAY].used, 1);
	assert_false(v.unit[GATE_TOKENS].set);
	assert_null(gate_limit(g, 1, GATE_TOKENS));
	/* What was taken from a limit that is gone goes back there, and to nobody else. */
	gate_leave(g, &mini, LATER, GATE_UNSENT, NULL, 0);
	gate_leave(g, &gpt, LATER, GATE_UNSENT, NULL, 0);
	assert_int_equal(case_used(g, 0, GATE_TOKENS, LATER), 10);
	assert_int_equal(case_used(g, 1, GATE_REQUESTS, LATER), 0);
	assert_int_equal(gate_in_flight(g), 1);
	/* And it comes back with what is still under way. */
	reload(g, three, ARRAY_LEN(three), LATER);
	assert_int_equal(case_used(g, 1, GATE_REQUESTS, LATER), 1);
	assert_int_equal(case_used(g, 2, GATE_TOKENS, LATER), 0);
	case_leave(g, &late, LATER, GATE_ANSWERED);
	assert_int_equal(gate_in_flight(g), 0);
}

static void test_a_reload_changes_limits_and_leaves_what_was_spent(void **state)
{
	struct gate_scope_params scope = { .most = { 600 }, .burst = 10, .concurrency = 4 };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_ticket t[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		t[i] = case_enter(g, "m", LATER, COST(1));
	scope.concurrency = 2;
	scope.most[GATE_REQUESTS] = 60;
	scope.most[GATE_REQUESTS_DAY] = 5;
	reload(g, &scope, 1, LATER);
	assert_int_equal(case_used(g, 0, GATE_REQUESTS, LATER), 3);
	case_leave(g, &t[0], LATER, GATE_ANSWERED);
	assert_int_equal(case_why(g, LATER + 5000), GATE_CONCURRENCY);
	case_leave(g, &t[1], LATER, GATE_ANSWERED);
	assert_int_equal(case_why(g, LATER + 5000), GATE_OPEN);
	gate_add_used(g, 0, GATE_REQUESTS_DAY, 4);
	case_enter(g, "m", LATER + 5000, COST(1, 0, 0, 0, 1));
	case_leave(g, &t[2], LATER + 5000, GATE_ANSWERED);
	assert_int_equal(gate_look(g, 0, LATER + 9000, COST(1, 0, 0, 0, 1)).why, GATE_UNIT);
}

/* ---- going on, grants ---- */

static void test_a_gate_goes_on_from_what_another_had_come_to(void **state)
{
	AUTO(gate_free) struct gate *first = case_gate(three, 3), *second = case_gate(three, 3);
	struct gate_told told = case_told();
	struct gate_ticket t[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		t[i] = case_enter(first, "gpt-4-mini", LATER, COST(1, 3, 0, 0, 1, 7));
	told.limit[GATE_REQUESTS] = 200;
	gate_hear(first, &t[0], LATER, &told);
	told.remaining[GATE_TOKENS] = 0;
	gate_refuse(first, &t[1], LATER, &told, -1, 5000);
	for (size_t i = 0; i < 3; i++) {
		struct gate_scope_view a, b;

		gate_view(first, i, LATER, &a);
		gate_go_on(second, i, &a);
		gate_view(second, i, LATER, &b);
		assert_int_equal(b.paused_until_ms, i == 1 ? LATER + 5000 : 0);
		for (enum gate_unit u = 0; u < GATE_UNITS; u++) {
			expect(a.unit[u].told == b.unit[u].told && a.unit[u].learned == b.unit[u].learned &&
				       a.unit[u].rate == b.unit[u].rate,
			       "scope %zu, %s", i, gate_unit_name(u));
			expect(u < GATE_PACED || a.unit[u].used == b.unit[u].used, "scope %zu, %s", i,
			       gate_unit_name(u));
		}
	}
	assert_true(case_used(second, 2, GATE_REQUESTS_DAY, LATER) == 3);
}

static void test_a_granted_scope_spends_grants_and_slots_alone(void **state)
{
	static const struct gate_scope_params scope = { .most = { 600, 0, 0, 0, 50 },
							.burst = 9,
							.concurrency = 9 };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_verdict v;
	struct gate_ticket t;

	(void)state;
	gate_set_granted(g, 0, true);
	assert_true(limit_is_granted(gate_limit(g, 0, GATE_REQUESTS)));
	assert_false(limit_is_granted(gate_limit(g, 0, GATE_TOKENS)));
	v = gate_look(g, 0, LATER, COST(1, 10));
	assert_true(v.why == GATE_NO_GRANT && v.unit == GATE_REQUESTS);
	assert_false(gate_enter(g, 0, LATER, COST(1, 10), &t));
	limit_grant(gate_limit(g, 0, GATE_REQUESTS), LATER, 2, LATER + 1000);
	case_enter(g, "m", LATER, COST(1, 10));
	gate_set_slots(g, 0, 1);
	assert_int_equal(case_why(g, LATER), GATE_CONCURRENCY);
	gate_set_slots(g, 0, 0);
	assert_int_equal(case_why(g, LATER), GATE_CONCURRENCY);
	gate_set_slots(g, 0, -1);
	gate_set_day_cap(g, 0, GATE_REQUESTS_DAY, 3);
	gate_add_used(g, 0, GATE_REQUESTS_DAY, 3);
	v = gate_look(g, 0, LATER, COST(1, 0, 0, 0, 1));
	assert_true(v.why == GATE_NO_GRANT && v.unit == GATE_REQUESTS_DAY && v.wait_ms == -1);
	assert_int_equal(gate_room(g, 0, LATER, 0, COST(0, 0, 0, 0, 1)), 0);
	gate_set_day_cap(g, 0, GATE_REQUESTS_DAY, 4);
	case_enter(g, "m", LATER, COST(1, 10, 0, 0, 1));
	gate_set_slots(g, 0, 0);
	gate_set_granted(g, 0, false);
	case_enter(g, "m", LATER + 1000, COST(1, 10, 0, 0, 1));
}

/* It would be spent by each node in full otherwise. */
static void test_a_limit_that_is_told_while_granted_waits_for_its_grant(void **state)
{
	static const struct gate_scope_params scope = { .most = { 0 } };
	AUTO(gate_free) struct gate *g = case_gate(&scope, 1);
	struct gate_told told = case_told();
	struct gate_ticket t;

	(void)state;
	gate_set_granted(g, 0, true);
	t = case_enter(g, "m", LATER, COST(1, 10));
	told.limit[GATE_TOKENS] = 6000;
	gate_hear(g, &t, LATER, &told);
	assert_true(limit_is_granted(gate_limit(g, 0, GATE_TOKENS)));
	assert_int_equal(gate_look(g, 0, LATER + 60000, COST(1, 10)).why, GATE_NO_GRANT);
	limit_grant(gate_limit(g, 0, GATE_TOKENS), LATER + 60000, 10, LATER + 61000);
	case_enter(g, "m", LATER + 60000, COST(1, 10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_for_each_unit_the_first_scope_that_sets_it_holds_a_model),
		cmocka_unit_test(test_models_that_are_held_alike_are_one_family),
		cmocka_unit_test(test_families_beyond_the_most_share_the_last),
		cmocka_unit_test(test_a_unit_set_to_0_is_free_of_the_providers_limit),
		cmocka_unit_test(test_params_out_of_range_are_refused_and_change_nothing),
		cmocka_unit_test(test_requests_of_a_shorter_span_are_whole_and_at_least_one),
		cmocka_unit_test(test_tickets_stay_good_over_reloads),
		cmocka_unit_test(test_a_reload_changes_limits_and_leaves_what_was_spent),
		cmocka_unit_test(test_a_gate_goes_on_from_what_another_had_come_to),
		cmocka_unit_test(test_a_granted_scope_spends_grants_and_slots_alone),
		cmocka_unit_test(test_a_limit_that_is_told_while_granted_waits_for_its_grant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
