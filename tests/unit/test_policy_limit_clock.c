/* A limit whose clock steps back, and one that is looked at ahead of its time. */

#include "row.h"

#include <inttypes.h>

#include "base/mem.h"
#include "policy/gate.h"
#include "policy/limit.h"

#define MINUTE LIMIT_MINUTE_MS
#define HOUR   (60 * MINUTE)

static struct limit *make(int64_t rate, int64_t burst)
{
	const struct limit_params params = { .rate = rate, .span_ms = MINUTE, .burst = burst, .firm = true };
	struct limit *l;

	assert_int_equal(limit_new(&params, 0, &l), 0);
	return l;
}

static int64_t used(const struct limit *l, int64_t now_ms)
{
	struct limit_view view;

	limit_look(l, now_ms, &view);
	return view.used;
}

/* Neither so short that the caller spins, nor longer than need be when the clock is soon set right. */
static void test_a_wait_after_a_step_back_is_neither_a_spin_nor_an_age(void **state)
{
	static const struct {
		int64_t rate, back_ms, want;
	} rows[] = {
		{ 600, 0, 100 },     { 600, 1, 101 },	    { 600, 300, 400 }, { 600, 900, 1000 },
		{ 600, 5000, 1000 }, { 600, HOUR, 1000 },   { 20, 0, 3000 },   { 20, HOUR, 3000 },
		{ 60000, 10, 11 },   { 60000, HOUR, 1000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(limit_free) struct limit *l = make(rows[i].rate, 1);
		int64_t wait_ms, room;

		/* What a late comer keeps goes first. */
		while (limit_wait_ms(l, HOUR, 1) == 0)
			(void)limit_take(l, HOUR, 1);
		room = limit_room(l, HOUR, 0);
		wait_ms = limit_wait_ms(l, HOUR - rows[i].back_ms, 1);
		expect(room == 0 && wait_ms >= rows[i].want - 50 && wait_ms <= rows[i].want,
		       "row %zu: %" PRId64, i, wait_ms);
		expect(wait_ms > 10 || rows[i].back_ms < 100, "row %zu spins", i);
		/* Nothing was earned by going back and forth. */
		expect(!limit_has_room(l, HOUR - rows[i].back_ms, 1) && !limit_has_room(l, HOUR, 1),
		       "row %zu earns", i);
	}
}

/* Its slot of time is that of the limit's clock, whatever the caller's shows. */
static void test_what_was_taken_comes_back_from_where_it_was(void **state)
{
	AUTO(limit_free) struct limit *l = make(1000, 1000);
	int64_t first_ms, second_ms;

	(void)state;
	first_ms = limit_take(l, HOUR, 100);
	assert_int_equal(first_ms, HOUR);
	assert_int_equal(limit_take(l, HOUR + 20000, 30), HOUR + 20000);
	second_ms = limit_take(l, HOUR - 5000, 7);
	assert_int_equal(second_ms, HOUR + 20000);
	limit_settle(l, HOUR - 10000, first_ms, 100, 60);
	assert_int_equal(used(l, HOUR - 10000), 97);
	assert_int_equal(used(l, HOUR + 20000), 97);
	/* The first is out of the span, and took nothing of the others with it. */
	assert_int_equal(used(l, HOUR + 61000), 37);
	limit_settle(l, HOUR + 61000, second_ms, 7, 9);
	assert_int_equal(used(l, HOUR + 61000), 39);
	assert_int_equal(used(l, HOUR + 80700), 39);
	assert_int_equal(used(l, HOUR + 80900), 0);
}

static void test_a_refusal_after_a_step_back_counts_where_its_call_did(void **state)
{
	AUTO(limit_free) struct limit *l = make(1000, 1000);
	int64_t taken_ms;

	(void)state;
	(void)limit_take(l, HOUR, 1);
	taken_ms = limit_take(l, HOUR - 30000, 1);
	limit_refused(l, HOUR + 40000, taken_ms, 1, -1);
	assert_int_equal(used(l, HOUR + 40000), 1);
}

static void test_looking_ahead_forgets_nothing(void **state)
{
	AUTO(limit_free) struct limit *l = make(600, 100);
	int64_t wait_ms;

	(void)state;
	(void)limit_take(l, HOUR, 600);
	wait_ms = limit_wait_ms(l, HOUR, 1);
	assert_int_equal(limit_wait_ms(l, 2 * HOUR, 1), 0);
	assert_true(limit_room(l, 2 * HOUR, MINUTE) > 0);
	assert_int_equal(used(l, 2 * HOUR), 0);
	assert_int_equal(used(l, HOUR), 600);
	assert_int_equal(limit_wait_ms(l, HOUR, 1), wait_ms);
}

/* A lane that is shut for long is asked for the room that it will have then; and opened before. */
static void test_what_a_pause_was_to_outlast_still_counts_when_it_is_ended(void **state)
{
	static const struct gate_scope_params own = { .most = { 600 }, .burst = 600 };
	static const struct gate_params params = { .scopes = &own,
						   .scope_count = 1,
						   .requests_span_ms = MINUTE };
	static const struct gate_told told = { { -1, -1, -1, -1 }, { -1, -1, -1, -1 } };
	static const struct gate_cost one = { .of = { 1 } };
	AUTO(gate_free) struct gate *g = NULL;
	struct gate_scope_view view;
	struct gate_ticket t;
	int entered = 0;

	(void)state;
	assert_int_equal(gate_new(&params, 0, &g), 0);
	while (gate_enter(g, 0, HOUR, &one, &t))
		entered++;
	assert_int_equal(entered, 600);
	gate_refuse(g, &t, HOUR, &told, 10 * MINUTE, 10 * MINUTE);
	assert_true(gate_room(g, 0, HOUR, 20 * MINUTE, &one) > 0);
	gate_resume(g);
	assert_false(gate_enter(g, 0, HOUR, &one, &t));
	gate_view(g, 0, HOUR, &view);
	assert_int_equal(view.unit[GATE_REQUESTS].used, 599);
	assert_int_equal(view.unit[GATE_REQUESTS].left, 0);
}

/* Calls that went while there was no limit: what they did not need was never taken from the one told since,
 * and what they did need is no debt of its pace; also while a ramp goes on. */
static void test_what_went_without_a_limit_is_neither_debt_nor_gift_of_one(void **state)
{
	static const int64_t ramps_ms[] = { 0, 10000, 10 * MINUTE };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ramps_ms); i++) {
		const struct limit_params params = { .span_ms = MINUTE, .ramp_ms = ramps_ms[i] };
		AUTO(limit_free) struct limit *l = NULL;
		struct limit_view view;
		int64_t at_ms = 2 * MINUTE, taken_ms;

		assert_int_equal(limit_new(&params, 0, &l), 0);
		taken_ms = limit_take(l, at_ms, 5000);
		limit_told(l, at_ms + 100, 6000);
		limit_settle(l, at_ms + 200, taken_ms, 5000, 10);
		limit_look(l, at_ms + 200, &view);
		expect(view.used == 10 && view.left >= 0 && view.left <= 10,
		       "ramp %zu: used %" PRId64 ", left %" PRId64, i, view.used, view.left);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_wait_after_a_step_back_is_neither_a_spin_nor_an_age),
		cmocka_unit_test(test_what_was_taken_comes_back_from_where_it_was),
		cmocka_unit_test(test_a_refusal_after_a_step_back_counts_where_its_call_did),
		cmocka_unit_test(test_looking_ahead_forgets_nothing),
		cmocka_unit_test(test_what_a_pause_was_to_outlast_still_counts_when_it_is_ended),
		cmocka_unit_test(test_what_went_without_a_limit_is_neither_debt_nor_gift_of_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
