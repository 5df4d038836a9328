#include "row.h"

#include <inttypes.h>

#include "base/mem.h"
#include "policy/restart.h"

#define STABLE 60000

static const struct restart_params params = {
	.type = RESTART_PERMANENT, .base_delay_ms = 500, .max_delay_ms = 60000, .stable_after_ms = STABLE
};

static const struct {
	const char *what;
	struct restart_slot slot;
	struct restart_exit exit;
	enum restart_action want;
	int64_t want_delay; /* with the greatest random */
	bool want_counts;
	unsigned want_failures;
} rows[] = {
	{ "a crash after a healthy life costs no delay",
	  { 0 },
	  { .exit_code = 1, .lived_ms = 5000, .proven = true },
	  RESTART_NOW,
	  0,
	  false,
	  1 },
	{ "a crash without proven work waits and counts",
	  { 0 },
	  { .exit_code = 1, .lived_ms = 5000 },
	  RESTART_AFTER,
	  500,
	  true,
	  1 },
	{ "the second in a row waits longer, proven or not",
	  { .failures = 1 },
	  { .exit_code = 1, .lived_ms = 5000, .proven = true },
	  RESTART_AFTER,
	  1000,
	  false,
	  2 },
	{ "the eighth is at the maximum",
	  { .failures = 7 },
	  { .exit_code = 1 },
	  RESTART_AFTER,
	  60000,
	  true,
	  8 },
	{ "a start that failed is a failure",
	  { .failures = 2 },
	  { .failed = true, .exit_code = 1 },
	  RESTART_AFTER,
	  2000,
	  true,
	  3 },
	{ "a hang kill after proven work counts for nothing but its delay",
	  { .failures = 1 },
	  { .failed = true, .exit_code = 137, .lived_ms = 9000, .proven = true },
	  RESTART_AFTER,
	  1000,
	  false,
	  2 },
	{ "leaving with 0 unasked is a failure of a permanent child",
	  { 0 },
	  { .exit_code = 0, .lived_ms = 10 },
	  RESTART_AFTER,
	  500,
	  true,
	  1 },
	{ "a stable and proven life clears the failures",
	  { .failures = 9 },
	  { .exit_code = 1, .lived_ms = STABLE, .proven = true },
	  RESTART_NOW,
	  0,
	  false,
	  1 },
	{ "a stable life without proven work clears nothing",
	  { .failures = 1 },
	  { .exit_code = 1, .lived_ms = 10 * STABLE },
	  RESTART_AFTER,
	  1000,
	  true,
	  2 },
	{ "a proven life one ms too short clears nothing",
	  { .failures = 1 },
	  { .exit_code = 1, .lived_ms = STABLE - 1, .proven = true },
	  RESTART_AFTER,
	  1000,
	  false,
	  2 },
	{ "a life shorter than twice the last delay clears nothing",
	  { .failures = 1, .last_delay_ms = STABLE },
	  { .exit_code = 1, .lived_ms = 2 * STABLE - 1, .proven = true },
	  RESTART_AFTER,
	  1000,
	  false,
	  2 },
	{ "a life of twice the last delay clears",
	  { .failures = 1, .last_delay_ms = STABLE },
	  { .exit_code = 1, .lived_ms = 2 * STABLE, .proven = true },
	  RESTART_NOW,
	  0,
	  false,
	  1 },
	{ "a kill from outside blames no proven life",
	  { 0 },
	  { .killed_from_outside = true, .exit_code = 137, .lived_ms = 100, .proven = true },
	  RESTART_NOW,
	  0,
	  false,
	  0 },
	{ "a kill from outside blames no life longer than the base delay",
	  { 0 },
	  { .killed_from_outside = true, .exit_code = 137, .lived_ms = 500 },
	  RESTART_NOW,
	  0,
	  false,
	  0 },
	{ "a kill from outside of a short life waits, and blames it no more",
	  { 0 },
	  { .killed_from_outside = true, .exit_code = 137, .lived_ms = 499 },
	  RESTART_AFTER,
	  500,
	  false,
	  0 },
	{ "a kill from outside of a short life waits no longer than its earlier failures want",
	  { .failures = 2 },
	  { .killed_from_outside = true, .exit_code = 137, .lived_ms = 1 },
	  RESTART_AFTER,
	  1000,
	  false,
	  2 },
	{ "a kill from outside leaves earlier failures as they are",
	  { .failures = 2 },
	  { .killed_from_outside = true, .exit_code = 137, .lived_ms = 5000 },
	  RESTART_AFTER,
	  1000,
	  false,
	  2 },
	{ "our own kill for a hang is no kill from outside",
	  { 0 },
	  { .failed = true, .killed_from_outside = true, .exit_code = 137, .lived_ms = 5000 },
	  RESTART_AFTER,
	  500,
	  false,
	  1 },
	{ "planned recycling is no failure",
	  { 0 },
	  { .planned = true, .lived_ms = 30000, .proven = true },
	  RESTART_NOW,
	  0,
	  false,
	  0 },
	{ "planned recycling waits for no earlier failure",
	  { .failures = 3 },
	  { .planned = true, .lived_ms = 30000 },
	  RESTART_NOW,
	  0,
	  false,
	  3 },
	{ "planned recycling under 30 s is a failure",
	  { .failures = 1 },
	  { .planned = true, .lived_ms = 29999, .proven = true },
	  RESTART_AFTER,
	  1000,
	  false,
	  2 },
	{ "planned recycling that ended in a fault is a failure",
	  { 0 },
	  { .planned = true, .failed = true, .exit_code = 137, .lived_ms = 90000 },
	  RESTART_AFTER,
	  500,
	  true,
	  1 },
	{ "77 parks", { .failures = 1 }, { .exit_code = 77 }, RESTART_PARK, 0, false, 1 },
	{ "78 parks", { 0 }, { .exit_code = 78, .lived_ms = 5, .proven = true }, RESTART_PARK, 0, false, 0 },
	{ "125 parks", { 0 }, { .exit_code = 125 }, RESTART_PARK, 0, false, 0 },
	{ "76 does not park", { 0 }, { .exit_code = 76 }, RESTART_AFTER, 500, true, 1 },
	{ "126 does not park", { 0 }, { .exit_code = 126 }, RESTART_AFTER, 500, true, 1 },
	{ "a stop for good is one, whatever the code",
	  { .failures = 1 },
	  { .stopped = true, .exit_code = 78 },
	  RESTART_NEVER,
	  0,
	  false,
	  1 },
};

static void test_each_end_of_a_life_gets_its_verdict(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct restart_slot slot = rows[i].slot;
		struct restart_verdict got = restart_decide(&params, &slot, &rows[i].exit, UINT32_MAX);

		expect(got.action == rows[i].want, "%s: %s", rows[i].what, restart_action_name(got.action));
		expect(got.delay_ms == rows[i].want_delay, "%s: delay %" PRId64, rows[i].what, got.delay_ms);
		expect(got.counts == rows[i].want_counts, "%s: counts %d", rows[i].what, (int)got.counts);
		expect(slot.failures == rows[i].want_failures, "%s: failures %u", rows[i].what,
		       slot.failures);
		expect(slot.parked == (rows[i].want == RESTART_PARK), "%s: parked %d", rows[i].what,
		       (int)slot.parked);
	}
}

/* The nine cells of type x way of ending. */
static void test_types_differ_in_what_is_restarted(void **state)
{
	static const struct restart_exit normal = { .lived_ms = 9000, .proven = true };
	static const struct restart_exit asked = { .stopped = true, .lived_ms = 9000, .proven = true };
	static const struct restart_exit abnormal = { .exit_code = 1, .lived_ms = 9000, .proven = true };
	static const struct {
		enum restart_type type;
		const struct restart_exit *exit;
		enum restart_action want;
	} cells[] = {
		{ RESTART_PERMANENT, &normal, RESTART_NOW },
		{ RESTART_PERMANENT, &asked, RESTART_NEVER },
		{ RESTART_PERMANENT, &abnormal, RESTART_NOW },
		{ RESTART_TRANSIENT, &normal, RESTART_NEVER },
		{ RESTART_TRANSIENT, &asked, RESTART_NEVER },
		{ RESTART_TRANSIENT, &abnormal, RESTART_NOW },
		{ RESTART_TEMPORARY, &normal, RESTART_NEVER },
		{ RESTART_TEMPORARY, &asked, RESTART_NEVER },
		{ RESTART_TEMPORARY, &abnormal, RESTART_NEVER },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
		struct restart_params p = params;
		struct restart_slot slot = { 0 };
		struct restart_verdict got;

		p.type = cells[i].type;
		got = restart_decide(&p, &slot, cells[i].exit, 0);
		expect(got.action == cells[i].want, "cell %zu (%s): %s", i, restart_type_name(p.type),
		       restart_action_name(got.action));
	}
}

static void test_a_life_of_crashes_backs_off_and_recovers(void **state)
{
	static const int64_t want[] = { 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
	struct restart_exit crash = { .exit_code = 1, .lived_ms = 10 };
	struct restart_slot slot = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		struct restart_verdict got = restart_decide(&params, &slot, &crash, UINT32_MAX);

		expect(got.delay_ms == want[i] && slot.last_delay_ms == want[i], "crash %zu: %" PRId64, i,
		       got.delay_ms);
	}
	/* 119 s are not twice the 60 s that were waited. */
	crash = (struct restart_exit){ .exit_code = 1, .lived_ms = 119000, .proven = true };
	assert_int_equal(restart_decide(&params, &slot, &crash, UINT32_MAX).delay_ms, 60000);
	crash.lived_ms = 120000;
	assert_int_equal(restart_decide(&params, &slot, &crash, UINT32_MAX).action, RESTART_NOW);
	assert_int_equal(slot.failures, 1);
}

/* A stranger who kills at every turn keeps the slot busy, but not away: it is there again soon after him. */
static void test_a_storm_of_kills_from_outside_makes_the_delay_grow_a_little(void **state)
{
	static const int64_t want[] = { 500, 1000, 2000, 4000, 4000, 4000, 4000, 4000 };
	static const struct restart_exit kill = { .killed_from_outside = true,
						  .exit_code = 137,
						  .lived_ms = 3 };
	static const struct restart_exit later = { .killed_from_outside = true,
						   .exit_code = 137,
						   .lived_ms = 500 };
	static const struct restart_exit crash = { .exit_code = 1, .lived_ms = 3 };
	struct restart_slot slot = { 0 };
	struct restart_verdict got;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		got = restart_decide(&params, &slot, &kill, UINT32_MAX);
		expect(got.delay_ms == want[i] && !got.counts, "kill %zu: %" PRId64, i, got.delay_ms);
		expect(!slot.failures, "kill %zu: %u failures", i, slot.failures);
	}
	/* What lives longer than the first delay is no storm, and what it then does by itself is its first
	 * failure. */
	got = restart_decide(&params, &slot, &later, UINT32_MAX);
	assert_int_equal(got.action, RESTART_NOW);
	assert_int_equal(restart_decide(&params, &slot, &kill, UINT32_MAX).delay_ms, 500);
	assert_int_equal(restart_decide(&params, &slot, &crash, UINT32_MAX).delay_ms, 500);
	assert_int_equal(restart_decide(&params, &slot, &crash, UINT32_MAX).delay_ms, 1000);
}

static void test_unpark_starts_over(void **state)
{
	struct restart_slot slot = { .failures = 5, .last_delay_ms = 9, .parked = true };

	(void)state;
	restart_unpark(&slot);
	assert_int_equal(slot.failures, 0);
	assert_int_equal(slot.last_delay_ms, 0);
	assert_false(slot.parked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_end_of_a_life_gets_its_verdict),
		cmocka_unit_test(test_types_differ_in_what_is_restarted),
		cmocka_unit_test(test_a_life_of_crashes_backs_off_and_recovers),
		cmocka_unit_test(test_a_storm_of_kills_from_outside_makes_the_delay_grow_a_little),
		cmocka_unit_test(test_unpark_starts_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
