#include "row.h"

#include <inttypes.h>
#include <stdbool.h>

#include "base/mem.h"
#include "policy/breaker.h"

/* 3 of the last 4 open it, for 1 s, 2 s, 4 s, at most 5 s. */
static const struct breaker_params params = {
	.window = 4, .failures = 3, .open_ms = 1000, .open_max_ms = 5000
};

enum act { BEGIN, GOOD, BAD, VOID, TRIAL_GOOD, TRIAL_BAD, TRIAL_VOID, CHECK_GOOD, CHECK_BAD, LOOK };

/* One act, and what it gives; then the state and how long a call would have to wait. */
struct step {
	int64_t at_ms;
	enum act act;
	bool want; /* BEGIN: it is the trial; others: it opened */
	enum breaker_state want_state;
	int64_t want_wait;
};

static bool act(struct breaker *b, const struct step *s)
{
	switch (s->act) {
	case BEGIN:
		return breaker_begin(b, s->at_ms);
	case GOOD:
	case TRIAL_GOOD:
		breaker_success(b, s->act == TRIAL_GOOD);
		return false;
	case BAD:
	case TRIAL_BAD:
		return breaker_failure(b, &params, s->at_ms, s->act == TRIAL_BAD, 0);
	case VOID:
	case TRIAL_VOID:
		breaker_void(b, s->act == TRIAL_VOID);
		return false;
	case CHECK_GOOD:
	case CHECK_BAD:
		return breaker_check(b, &params, s->at_ms, s->act == CHECK_GOOD, 0);
	case LOOK:
		break;
	}
	return false;
}

static void run(const char *what, const struct step *steps, size_t len)
{
	struct breaker b = { 0 };

	for (size_t i = 0; i < len; i++) {
		const struct step *s = &steps[i];
		bool got = act(&b, s);
		int64_t wait = breaker_wait_ms(&b, s->at_ms);

		expect(got == s->want && b.state == s->want_state && wait == s->want_wait,
		       "%s: step %zu: %d, state %d, wait %" PRId64, what, i, (int)got, (int)b.state, wait);
		expect(breaker_lets(&b, s->at_ms) == (wait == 0), "%s: step %zu: lets", what, i);
	}
}

#define RUN(what, ...)                                                                                       \
	do {                                                                                                 \
		static const struct step steps[] = { __VA_ARGS__ };                                          \
		run(what, steps, ARRAY_LEN(steps));                                                          \
	} while (0)

#define CLOSED BREAKER_CLOSED, 0
#define OPEN   BREAKER_OPEN
#define HALF   BREAKER_HALF_OPEN

/* Opened at 0 for 1000. */
#define OPENED                                                                                               \
	{ 0, BAD, false, CLOSED }, { 0, BAD, false, CLOSED },                                                \
	{                                                                                                    \
		0, BAD, true, OPEN, 1000                                                                     \
	}

static void test_failures_open_it_within_the_window_only(void **state)
{
	(void)state;
	RUN("three in a row", OPENED, { 400, LOOK, false, OPEN, 600 });
	RUN("three of four", { 0, BAD, false, CLOSED }, { 0, BAD, false, CLOSED }, { 0, GOOD, false, CLOSED },
	    { 0, BAD, true, OPEN, 1000 });
	RUN("three of five", { 0, BAD, false, CLOSED }, { 0, BAD, false, CLOSED }, { 0, GOOD, false, CLOSED },
	    { 0, GOOD, false, CLOSED }, { 0, BAD, false, CLOSED });
	RUN("what says nothing", { 0, BAD, false, CLOSED }, { 0, BAD, false, CLOSED },
	    { 0, VOID, false, CLOSED }, { 0, BEGIN, false, CLOSED }, { 0, BAD, true, OPEN, 1000 });
}

static void test_one_trial_at_a_time_decides(void **state)
{
	(void)state;
	RUN("good", OPENED, { 999, BEGIN, false, OPEN, 1 }, { 1000, LOOK, false, OPEN, 0 },
	    { 1000, BEGIN, true, HALF, -1 }, { 1000, BEGIN, false, HALF, -1 },
	    { 1500, TRIAL_GOOD, false, CLOSED }, { 1500, BAD, false, CLOSED }, { 1500, BAD, false, CLOSED });
	RUN("void, then another", OPENED, { 1000, BEGIN, true, HALF, -1 },
	    { 1100, TRIAL_VOID, false, HALF, 0 }, { 1200, BEGIN, true, HALF, -1 },
	    { 1200, TRIAL_GOOD, false, CLOSED });
}

static void test_failed_trials_double_the_time_up_to_the_most(void **state)
{
	(void)state;
	RUN("bad", OPENED, { 1000, BEGIN, true, HALF, -1 }, { 2000, TRIAL_BAD, true, OPEN, 2000 },
	    { 4000, BEGIN, true, HALF, -1 }, { 4000, TRIAL_BAD, true, OPEN, 4000 },
	    { 8000, BEGIN, true, HALF, -1 }, { 8000, TRIAL_BAD, true, OPEN, 5000 },
	    { 13000, BEGIN, true, HALF, -1 }, { 13000, TRIAL_BAD, true, OPEN, 5000 },
	    { 18000, BEGIN, true, HALF, -1 }, { 18000, TRIAL_GOOD, false, CLOSED },
	    /* And it begins with the shortest again. */
	    { 18000, BAD, false, CLOSED }, { 18000, BAD, false, CLOSED }, { 18000, BAD, true, OPEN, 1000 });
}

static void test_calls_from_before_it_opened_change_nothing(void **state)
{
	(void)state;
	RUN("late", OPENED, { 100, BAD, false, OPEN, 900 }, { 100, GOOD, false, OPEN, 900 },
	    { 1000, BEGIN, true, HALF, -1 }, { 1000, BAD, false, HALF, -1 }, { 1000, GOOD, false, HALF, -1 },
	    { 1000, VOID, false, HALF, -1 });
	RUN("a trial of an earlier time", { 0, TRIAL_GOOD, false, CLOSED }, { 0, TRIAL_VOID, false, CLOSED },
	    OPENED, { 100, TRIAL_BAD, false, OPEN, 900 }, { 100, TRIAL_GOOD, false, OPEN, 900 });
}

static void test_checks_from_outside_open_it_and_bring_the_trial_forward(void **state)
{
	(void)state;
	RUN("bad ones in a row", { 0, CHECK_BAD, false, CLOSED }, { 0, CHECK_BAD, false, CLOSED },
	    { 0, CHECK_GOOD, false, CLOSED }, { 0, CHECK_BAD, false, CLOSED },
	    { 0, CHECK_BAD, false, CLOSED }, { 0, CHECK_BAD, true, OPEN, 1000 },
	    { 500, CHECK_BAD, false, OPEN, 500 });
	RUN("a good one", OPENED, { 200, CHECK_GOOD, false, HALF, 0 }, { 200, BEGIN, true, HALF, -1 },
	    { 200, CHECK_GOOD, false, HALF, -1 }, { 300, CHECK_BAD, false, HALF, -1 },
	    { 300, TRIAL_BAD, true, OPEN, 2000 });
}

static void test_jitter_adds_up_to_a_quarter(void **state)
{
	static const struct {
		uint32_t random;
		int64_t want;
	} rows[] = { { 0, 1000 }, { UINT32_MAX / 2, 1125 }, { UINT32_MAX, 1250 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct breaker b = { 0 };

		for (int k = 0; k < 3; k++)
			breaker_failure(&b, &params, 0, false, rows[i].random);
		expect(breaker_wait_ms(&b, 0) == rows[i].want, "%zu: %" PRId64, i, breaker_wait_ms(&b, 0));
	}
}

static void test_a_window_of_64_is_counted_whole(void **state)
{
	static const struct breaker_params wide = {
		.window = 64, .failures = 64, .open_ms = 1, .open_max_ms = 1
	};
	struct breaker b = { 0 };

	(void)state;
	for (int k = 0; k < 63; k++)
		assert_false(breaker_failure(&b, &wide, 0, false, 0));
	assert_true(breaker_failure(&b, &wide, 0, false, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures_open_it_within_the_window_only),
		cmocka_unit_test(test_one_trial_at_a_time_decides),
		cmocka_unit_test(test_failed_trials_double_the_time_up_to_the_most),
		cmocka_unit_test(test_calls_from_before_it_opened_change_nothing),
		cmocka_unit_test(test_checks_from_outside_open_it_and_bring_the_trial_forward),
		cmocka_unit_test(test_jitter_adds_up_to_a_quarter),
		cmocka_unit_test(test_a_window_of_64_is_counted_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
