#include "row.h"

#include <inttypes.h>

#include "base/mem.h"
#include "policy/health.h"

static const struct health_params params = { .interval_ms = 10000, .timeout_ms = 5000, .misses = 2 };

/* A row either ticks (pong = 0) or hands in a pong. */
struct step {
	int64_t at_ms;
	int64_t lag_ms;
	uint64_t pong;
	enum health_do want;
	int64_t want_next; /* of a tick */
	bool want_taken;   /* of a pong */
};

static void run(const char *what, const struct step *steps, size_t len)
{
	struct health h;

	health_init(&h, &params, 0);
	for (size_t i = 0; i < len; i++) {
		const struct step *s = &steps[i];
		enum health_do act;
		int64_t next = -1;

		if (s->pong) {
			expect(health_pong(&h, s->pong, s->at_ms) == s->want_taken, "%s: step %zu: pong",
			       what, i);
			continue;
		}
		act = health_tick(&h, &params, s->at_ms, s->lag_ms, &next);
		expect(act == s->want && next == s->want_next, "%s: step %zu: %d, next at %" PRId64, what, i,
		       (int)act, next);
	}
}

#define RUN(what, ...)                                                                                       \
	do {                                                                                                 \
		static const struct step steps[] = { __VA_ARGS__ };                                          \
		run(what, steps, ARRAY_LEN(steps));                                                          \
	} while (0)

#define TICK(at, result, next)                                                                               \
	{                                                                                                    \
		.at_ms = (at), .want = (result), .want_next = (next)                                         \
	}
#define LATE(at, lag, result, next)                                                                          \
	{                                                                                                    \
		.at_ms = (at), .lag_ms = (lag), .want = (result), .want_next = (next)                        \
	}
#define PONG(at, seq, taken)                                                                                 \
	{                                                                                                    \
		.at_ms = (at), .pong = (seq), .want_taken = (taken)                                          \
	}

static void test_two_misses_make_a_suspect(void **state)
{
	(void)state;
	RUN("two misses", TICK(0, HEALTH_NOTHING, 10000), TICK(9999, HEALTH_NOTHING, 10000),
	    TICK(10000, HEALTH_PING, 15000), TICK(14999, HEALTH_NOTHING, 15000),
	    TICK(15000, HEALTH_NOTHING, 20000), TICK(20000, HEALTH_PING, 25000),
	    TICK(25000, HEALTH_SUSPECT, 30000), TICK(25001, HEALTH_NOTHING, 30000));
}

static void test_a_suspect_is_told_once(void **state)
{
	(void)state;
	RUN("told once", TICK(10000, HEALTH_PING, 15000), TICK(15000, HEALTH_NOTHING, 20000),
	    TICK(20000, HEALTH_PING, 25000), TICK(25000, HEALTH_SUSPECT, 30000),
	    TICK(30000, HEALTH_PING, 35000), TICK(35000, HEALTH_NOTHING, 40000));
}

static void test_a_pong_clears_the_misses(void **state)
{
	(void)state;
	RUN("in time", TICK(10000, HEALTH_PING, 15000), PONG(11000, 1, true),
	    TICK(15000, HEALTH_NOTHING, 20000), TICK(20000, HEALTH_PING, 25000),
	    TICK(25000, HEALTH_NOTHING, 30000));
	RUN("late", TICK(10000, HEALTH_PING, 15000), TICK(15000, HEALTH_NOTHING, 20000), PONG(16000, 1, true),
	    TICK(20000, HEALTH_PING, 25000), TICK(25000, HEALTH_NOTHING, 30000),
	    TICK(30000, HEALTH_PING, 35000), TICK(35000, HEALTH_SUSPECT, 40000), PONG(36000, 3, true),
	    TICK(40000, HEALTH_PING, 45000), TICK(45000, HEALTH_NOTHING, 50000),
	    TICK(50000, HEALTH_PING, 55000), TICK(55000, HEALTH_SUSPECT, 60000));
}

static void test_a_pong_that_answers_nothing_is_refused(void **state)
{
	(void)state;
	RUN("wrong seq", PONG(1, 1, false), TICK(10000, HEALTH_PING, 15000), PONG(10001, 2, false),
	    PONG(10002, 1, true), PONG(10003, 1, false), TICK(20000, HEALTH_PING, 25000),
	    PONG(20001, 1, false), TICK(25000, HEALTH_NOTHING, 30000));
}

static void test_a_late_tick_gives_the_pong_as_long_again_once(void **state)
{
	(void)state;
	RUN("late once", TICK(10000, HEALTH_PING, 15000), LATE(18000, 3000, HEALTH_NOTHING, 21000),
	    TICK(20999, HEALTH_NOTHING, 21000), LATE(21004, 4, HEALTH_PING, 26004));
	RUN("late before the deadline", LATE(12000, 2000, HEALTH_PING, 17000),
	    TICK(17000, HEALTH_NOTHING, 22000));
	RUN("each ping anew", TICK(10000, HEALTH_PING, 15000), LATE(15001, 1, HEALTH_NOTHING, 15002),
	    LATE(15003, 1, HEALTH_NOTHING, 20000), LATE(20001, 1, HEALTH_PING, 25001),
	    LATE(25002, 1, HEALTH_NOTHING, 25003), LATE(25004, 1, HEALTH_SUSPECT, 30001));
	RUN("never early", TICK(10000, HEALTH_PING, 15000), LATE(15000, -5, HEALTH_NOTHING, 20000));
}

static void test_forgiving_keeps_the_numbers_of_pings(void **state)
{
	struct health h;
	int64_t next;

	(void)state;
	health_init(&h, &params, 0);
	assert_int_equal(health_tick(&h, &params, 10000, 0, &next), HEALTH_PING);
	assert_int_equal(health_tick(&h, &params, 15000, 0, &next), HEALTH_NOTHING);
	assert_int_equal(health_tick(&h, &params, 20000, 0, &next), HEALTH_PING);
	assert_int_equal(health_tick(&h, &params, 25000, 0, &next), HEALTH_SUSPECT);
	health_forgive(&h, &params, 25000);
	assert_int_equal(h.misses, 0);
	assert_true(health_pong(&h, 1, 25001));
	assert_true(health_pong(&h, 2, 25002));
	assert_int_equal(health_tick(&h, &params, 34999, 0, &next), HEALTH_NOTHING);
	assert_int_equal(next, 35000);
	assert_int_equal(health_tick(&h, &params, 35000, 0, &next), HEALTH_PING);
	assert_int_equal(health_seq(&h), 3);
}

static void test_pongs_are_remembered(void **state)
{
	struct health h;
	int64_t next;

	(void)state;
	health_init(&h, &params, 100);
	assert_int_equal(health_tick(&h, &params, 10100, 0, &next), HEALTH_PING);
	assert_int_equal(health_seq(&h), 1);
	assert_true(health_pong(&h, 1, 10200));
	assert_int_equal(h.pong_ms, 10200);
	assert_int_equal(health_tick(&h, &params, 10200, 0, &next), HEALTH_NOTHING);
	assert_int_equal(next, 20100);
}

static void test_kills_are_held_when_most_of_a_pool_is_suspect(void **state)
{
	static const struct {
		int suspects, size;
		bool want;
	} rows[] = { { 1, 1, false }, { 0, 2, false }, { 1, 2, false }, { 2, 2, true },
		     { 1, 3, false }, { 2, 3, true },  { 2, 4, false }, { 3, 4, true } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect(health_hold_kills(rows[i].suspects, rows[i].size) == rows[i].want, "%d of %d",
		       rows[i].suspects, rows[i].size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_misses_make_a_suspect),
		cmocka_unit_test(test_a_suspect_is_told_once),
		cmocka_unit_test(test_a_pong_clears_the_misses),
		cmocka_unit_test(test_a_pong_that_answers_nothing_is_refused),
		cmocka_unit_test(test_a_late_tick_gives_the_pong_as_long_again_once),
		cmocka_unit_test(test_forgiving_keeps_the_numbers_of_pings),
		cmocka_unit_test(test_pongs_are_remembered),
		cmocka_unit_test(test_kills_are_held_when_most_of_a_pool_is_suspect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
