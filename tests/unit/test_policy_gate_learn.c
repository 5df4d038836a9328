/* What the provider's headers and refusals change, and whose limit it is that they change. */

#include "gate_case.h"

static const struct gate_scope_params two[] = {
	{ .most = { 600, 60000, 60000, 0, 0, 0 }, .burst = 100 },
	{ .glob = "big", .most = { 300, -1, -1, 0, -1, -1 }, .burst = 100, .concurrency = GATE_INHERIT },
};

static struct gate_scope_view view(const struct gate *g, size_t index)
{
	struct gate_scope_view v;

	gate_view(g, index, LATER, &v);
	return v;
}

/* A limit learns from a refusal when enough got through before: `calls` of them, one each `every_ms`. */
static void keep_busy(struct gate *g, const char *model, int64_t from_ms, int calls, int64_t every_ms)
{
	for (int i = 0; i < calls; i++) {
		int64_t now_ms = from_ms + i * every_ms;
		struct gate_ticket t = case_enter(g, model, now_ms, COST(1, 10, 6, 4));

		case_leave(g, &t, now_ms, GATE_ANSWERED);
	}
}

/* ---- headers ---- */

static void test_a_told_limit_belongs_to_the_scope_that_holds_the_call(void **state)
{
	static const struct {
		const char *model;
		enum gate_unit unit;
		size_t want; /* index of the scope */
	} rows[] = {
		{ "small", GATE_REQUESTS, 0 },	  { "small", GATE_OUTPUT_TOKENS, 0 },
		{ "big", GATE_REQUESTS, 1 },	  { "big", GATE_TOKENS, 0 },
		{ "big", GATE_OUTPUT_TOKENS, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = case_gate(two, 2);
		struct gate_ticket t = case_enter(g, rows[i].model, LATER, COST(1));
		struct gate_told told = case_told();

		told.limit[rows[i].unit] = 120;
		gate_hear(g, &t, LATER, &told);
		for (size_t k = 0; k < 2; k++)
			for (enum gate_unit u = 0; u < GATE_PACED; u++)
				expect(view(g, k).unit[u].told ==
					       (k == rows[i].want && u == rows[i].unit ? 120 : 0),
				       "row %zu: %s of scope %zu", i, gate_unit_name(u), k);
		case_leave(g, &t, LATER, GATE_ANSWERED);
	}
}

static void test_a_limit_of_0_is_not_told(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(two, 2);
	struct gate_ticket t = case_enter(g, "small", LATER, COST(1));
	struct gate_told told = case_told();

	(void)state;
	told.limit[GATE_REQUESTS] = 0;
	gate_hear(g, &t, LATER, &told);
	assert_int_equal(view(g, 0).unit[GATE_REQUESTS].told, 0);
	assert_int_equal(view(g, 0).unit[GATE_REQUESTS].rate, 600);
}

static void test_what_remains_only_lowers(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(two, 2);
	struct gate_ticket t = case_enter(g, "small", LATER, COST(1));
	struct gate_told told = case_told();

	(void)state;
	told.remaining[GATE_REQUESTS] = 500;
	gate_hear(g, &t, LATER, &told);
	assert_int_equal(view(g, 0).unit[GATE_REQUESTS].left, 99);
	told.remaining[GATE_REQUESTS] = 4;
	gate_hear(g, &t, LATER, &told);
	assert_int_equal(view(g, 0).unit[GATE_REQUESTS].left, 4);
	assert_int_equal(view(g, 1).unit[GATE_REQUESTS].left, 100);
}

/* 600 a minute are 10 a second: what was taken since the call went is taken off what its header shows, but
 * for what was earned meanwhile. */
static void test_what_remains_is_less_by_what_the_provider_had_not_seen(void **state)
{
	static const struct {
		int before, after; /* calls */
		int64_t later_ms;
		int64_t want; /* of 50 */
	} rows[] = { { 7, 0, 0, 50 }, { 0, 7, 0, 43 }, { 3, 30, 1000, 30 }, { 0, 7, 1000, 50 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = case_gate(two, 2);
		struct gate_told told = case_told();
		struct gate_scope_view v;
		struct gate_ticket t;

		for (int k = 0; k < rows[i].before; k++)
			case_enter(g, "small", LATER, COST(1));
		t = case_enter(g, "small", LATER, COST(1));
		for (int k = 0; k < rows[i].after; k++)
			case_enter(g, "small", LATER, COST(1));
		told.remaining[GATE_REQUESTS] = 50;
		gate_hear(g, &t, LATER + rows[i].later_ms, &told);
		gate_view(g, 0, LATER + rows[i].later_ms, &v);
		expect(v.unit[GATE_REQUESTS].left == rows[i].want, "row %zu: %" PRId64, i,
		       v.unit[GATE_REQUESTS].left);
	}
}

static void test_what_remains_of_a_unit_not_taken_says_nothing(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(two, 2);
	struct gate_told told = case_told();
	struct gate_ticket t;

	(void)state;
	gate_readmit(g, 0, LATER, &t);
	told.remaining[GATE_REQUESTS] = 0;
	gate_hear(g, &t, LATER, &told);
	assert_int_equal(view(g, 0).unit[GATE_REQUESTS].left, 100);
}

/* ---- refusals ---- */

static void test_the_unit_that_is_used_up_is_to_blame(void **state)
{
	static const struct {
		const char *model;
		int64_t remaining[GATE_PACED];
		enum gate_unit unit;
		size_t scope; /* index */
	} rows[] = {
		{ "small", { -1, -1, -1, -1 }, GATE_REQUESTS, 0 },
		{ "small", { 5, 90, -1, -1 }, GATE_REQUESTS, 0 },
		{ "small", { 5, 0, -1, -1 }, GATE_TOKENS, 0 },
		{ "small", { 5, 9, 9, 9 }, GATE_TOKENS, 0 },
		{ "small", { 5, 10, 3, -1 }, GATE_INPUT_TOKENS, 0 },
		{ "small", { 5, 10, 10, 0 }, GATE_OUTPUT_TOKENS, 0 },
		{ "big", { -1, -1, -1, -1 }, GATE_REQUESTS, 1 },
		{ "big", { 5, 0, -1, -1 }, GATE_TOKENS, 0 },
		{ "big", { 5, 10, 10, 0 }, GATE_OUTPUT_TOKENS, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = case_gate(two, 2);
		struct gate_told told = case_told();
		struct gate_ticket t;

		keep_busy(g, rows[i].model, LATER - 60000, 120, 500);
		t = case_enter(g, rows[i].model, LATER, COST(1, 10, 6, 4));
		memcpy(told.remaining, rows[i].remaining, sizeof(told.remaining));
		gate_refuse(g, &t, LATER, &told, -1, 0);
		for (size_t k = 0; k < 2; k++)
			for (enum gate_unit u = 0; u < GATE_PACED; u++)
				expect((view(g, k).unit[u].learned > 0) ==
					       (k == rows[i].scope && u == rows[i].unit),
				       "row %zu: %s of scope %zu learned %" PRId64, i, gate_unit_name(u), k,
				       view(g, k).unit[u].learned);
		case_leave(g, &t, LATER, GATE_REFUSED);
	}
}

/* Calls under way together are refused together; the first of them tells why. */
static void test_a_limit_that_is_told_explains_the_refusals_before_it(void **state)
{
	AUTO(gate_free) struct gate *g = case_gate(two, 2);
	struct gate_told told = case_told(), silent = case_told();
	struct gate_ticket t[3], later;

	(void)state;
	keep_busy(g, "small", LATER - 60000, 120, 500);
	for (int i = 0; i < 3; i++)
		t[i] = case_enter(g, "small", LATER, COST(1));
	told.limit[GATE_REQUESTS] = 60;
	gate_refuse(g, &t[0], LATER + 10, &told, -1, 0);
	gate_refuse(g, &t[1], LATER + 20, &told, -1, 0);
	gate_refuse(g, &t[2], LATER + 30, &silent, -1, 0);
	assert_int_equal(view(g, 0).unit[GATE_REQUESTS].told, 60);
	assert_int_equal(view(g, 0).unit[GATE_REQUESTS].learned, 0);
	keep_busy(g, "small", LATER + 70000, 20, 2000);
	for (int64_t now_ms = LATER + 110000; now_ms < LATER + 113000; now_ms += 2000) {
		later = case_enter(g, "small", now_ms, COST(1));
		gate_refuse(g, &later, now_ms + 10, &told, -1, 0);
		case_leave(g, &later, now_ms + 10, GATE_REFUSED);
	}
	assert_true(view(g, 0).unit[GATE_REQUESTS].learned > 0);
}

static void test_a_refusal_pauses_the_calls_scope_alone_and_never_for_less(void **state)
{
	static const struct gate_scope_params scopes[] = {
		{ .most = { 0 } },
		{ .glob = "big", .most = { -1, -1, -1, -1, -1, -1 }, .concurrency = GATE_INHERIT },
	};
	AUTO(gate_free) struct gate *g = case_gate(scopes, 2);
	struct gate_ticket t = case_enter(g, "big", LATER, COST(0, 10));
	struct gate_told told = case_told();
	struct gate_verdict v;

	(void)state;
	gate_refuse(g, &t, LATER, &told, 5000, 5000);
	gate_refuse(g, &t, LATER, &told, 3000, 3000);
	gate_refuse(g, &t, LATER, &told, -1, 0);
	v = gate_look(g, gate_family(g, "big"), LATER, COST(0, 10));
	assert_true(v.why == GATE_PAUSED && v.wait_ms == 5000 && !strcmp(v.scope, "big"));
	assert_int_equal(gate_look(g, gate_family(g, "small"), LATER, COST(0, 10)).why, GATE_OPEN);
	case_enter(g, "big", LATER + 5000, COST(0, 10));
	gate_refuse(g, &t, LATER + 5000, &told, -1, 700);
	assert_int_equal(gate_look(g, gate_family(g, "big"), LATER + 5000, COST(0, 10)).wait_ms, 700);
	gate_resume(g);
	assert_int_equal(gate_look(g, gate_family(g, "big"), LATER + 5000, COST(0, 10)).why, GATE_OPEN);
}

/* ---- calls at once ---- */

static struct gate *crowd_gate(int concurrency)
{
	struct gate_scope_params scope = { .concurrency = concurrency };
	struct gate_params params = case_params(&scope, 1);
	struct gate *g = NULL;

	params.learns_concurrency = true;
	assert_int_equal(gate_new(&params, 0, &g), 0);
	return g;
}

static void test_a_refusal_without_a_word_teaches_what_is_borne_at_once(void **state)
{
	static const struct {
		const char *what;
		int under_way;
		int64_t word, remaining;
		bool learns;
		int want;
	} rows[] = {
		{ "many", 21, -1, -1, true, 18 },  { "two", 2, -1, -1, true, 1 },
		{ "alone", 1, -1, -1, true, 1 },   { "a word", 21, 500, -1, true, 0 },
		{ "used up", 21, -1, 0, true, 0 }, { "not this provider", 21, -1, -1, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = rows[i].learns ? crowd_gate(0) : case_gate(two, 2);
		struct gate_told told = case_told();
		struct gate_ticket t;

		keep_busy(g, "m", LATER - 60000, 120, 500);
		for (int k = 0; k < rows[i].under_way; k++)
			t = case_enter(g, "m", LATER, COST(1));
		told.remaining[GATE_REQUESTS] = rows[i].remaining;
		gate_refuse(g, &t, LATER, &told, rows[i].word, 0);
		expect(view(g, 0).learned_concurrency == rows[i].want, "%s: %d", rows[i].what,
		       view(g, 0).learned_concurrency);
		expect((view(g, 0).unit[GATE_REQUESTS].learned == 0) == (rows[i].want > 0), "%s: requests",
		       rows[i].what);
	}
}

/* 100 under way where 40 are borne: the refusals of one wave are enough. */
static void test_one_wave_of_refusals_finds_the_concurrency(void **state)
{
	AUTO(gate_free) struct gate *g = crowd_gate(100);
	struct gate_told told = case_told();
	struct gate_ticket t[100], more;
	int entered = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		t[i] = case_enter(g, "m", LATER, COST(1));
	for (int i = 40; i < 100; i++) {
		gate_refuse(g, &t[i], LATER + 50, &told, -1, 0);
		case_leave(g, &t[i], LATER + 50, GATE_REFUSED);
	}
	assert_int_equal(view(g, 0).learned_concurrency, 36);
	for (int i = 0; i < 40; i++)
		case_leave(g, &t[i], LATER + 100, GATE_ANSWERED);
	while (gate_enter(g, 0, LATER + 100, COST(1), &more))
		entered++;
	assert_int_equal(entered, 36);
}

/* 3 borne at once, of 5 configured; all of them under way but `idle` when one is answered and the next goes.
 */
static void test_what_was_learned_of_concurrency_recovers_while_it_is_full(void **state)
{
	static const struct {
		const char *what;
		int every_ms, answers, idle, want;
	} rows[] = {
		{ "answers are not enough", 1000, 49, 0, 3 },
		{ "time is not enough", 1, 60, 0, 3 },
		{ "both", 250, 50, 0, 4 },
		{ "not full", 250, 200, 1, 3 },
		{ "slowly", 1000, 99, 0, 4 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(gate_free) struct gate *g = crowd_gate(5);
		struct gate_told told = case_told();
		int64_t now_ms = LATER;
		struct gate_ticket t[5];

		for (int k = 0; k < 5; k++)
			t[k] = case_enter(g, "m", now_ms, COST(1));
		gate_refuse(g, &t[4], now_ms, &told, -1, 0);
		for (int k = 4; k > 2 - rows[i].idle; k--)
			case_leave(g, &t[k], now_ms, GATE_REFUSED);
		for (int k = 0; k < rows[i].answers; k++) {
			now_ms += rows[i].every_ms;
			case_leave(g, &t[0], now_ms, GATE_ANSWERED);
			t[0] = case_enter(g, "m", now_ms, COST(1));
		}
		expect(view(g, 0).learned_concurrency == rows[i].want, "%s: %d", rows[i].what,
		       view(g, 0).learned_concurrency);
	}
}

static void test_concurrency_learned_up_to_what_is_configured_is_forgotten(void **state)
{
	AUTO(gate_free) struct gate *g = crowd_gate(2);
	struct gate_told told = case_told();
	struct gate_ticket a = case_enter(g, "m", LATER, COST(1)), b = case_enter(g, "m", LATER, COST(1));
	int64_t now_ms = LATER;

	(void)state;
	gate_refuse(g, &b, now_ms, &told, -1, 0);
	case_leave(g, &b, now_ms, GATE_REFUSED);
	assert_int_equal(view(g, 0).learned_concurrency, 1);
	for (int k = 0; k < 50; k++) {
		assert_int_equal(gate_look(g, 0, now_ms, COST(1)).why, GATE_CONCURRENCY);
		case_leave(g, &a, now_ms += 200, GATE_ANSWERED);
		a = case_enter(g, "m", now_ms, COST(1));
	}
	assert_int_equal(view(g, 0).learned_concurrency, 0);
	case_enter(g, "m", now_ms, COST(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_told_limit_belongs_to_the_scope_that_holds_the_call),
		cmocka_unit_test(test_a_limit_of_0_is_not_told),
		cmocka_unit_test(test_what_remains_only_lowers),
		cmocka_unit_test(test_what_remains_is_less_by_what_the_provider_had_not_seen),
		cmocka_unit_test(test_what_remains_of_a_unit_not_taken_says_nothing),
		cmocka_unit_test(test_the_unit_that_is_used_up_is_to_blame),
		cmocka_unit_test(test_a_limit_that_is_told_explains_the_refusals_before_it),
		cmocka_unit_test(test_a_refusal_pauses_the_calls_scope_alone_and_never_for_less),
		cmocka_unit_test(test_a_refusal_without_a_word_teaches_what_is_borne_at_once),
		cmocka_unit_test(test_one_wave_of_refusals_finds_the_concurrency),
		cmocka_unit_test(test_what_was_learned_of_concurrency_recovers_while_it_is_full),
		cmocka_unit_test(test_concurrency_learned_up_to_what_is_configured_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
