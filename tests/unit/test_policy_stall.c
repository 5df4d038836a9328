#include "row.h"

#include "base/mem.h"
#include "policy/stall.h"

enum { AFTER = 1000 };

static struct stall *with_round(const char *first, const char *second, int64_t now_ms)
{
	struct stall *stall;

	stall_new(&stall);
	stall_begin_round(stall);
	stall_end_round(stall);
	stall_begin_round(stall);
	stall_see(stall, first, now_ms);
	if (second)
		stall_see(stall, second, now_ms);
	stall_end_round(stall);
	return stall;
}

static size_t asked(const struct stall *stall, int64_t now_ms)
{
	const char **ids;
	size_t count = stall_ask(stall, now_ms, AFTER, &ids);

	mem_free(&ids);
	return count;
}

static void test_a_run_is_asked_about_when_its_time_is_over_and_stalls_once(void **state)
{
	struct stall *stall = with_round("a", "b", 0);
	int64_t since_ms = -1;

	(void)state;
	assert_int_equal(asked(stall, AFTER - 1), 0);
	assert_false(stall_succeeded(stall, "b", 500));
	assert_int_equal(asked(stall, AFTER), 1);
	assert_int_equal(stall_learn(stall, "a", -50, false, AFTER, AFTER), STALL_BEGINS);
	assert_true(stall_is(stall, "a", &since_ms));
	assert_int_equal(since_ms, 0);
	assert_int_equal(stall_count(stall), 1);
	assert_int_equal(stall_learn(stall, "a", -50, true, 2 * AFTER, AFTER), STALL_NONE);
	assert_true(stall_succeeded(stall, "a", 2 * AFTER));
	assert_false(stall_succeeded(stall, "a", 2 * AFTER));
	assert_false(stall_is(stall, "a", &since_ms));
	assert_int_equal(stall_count(stall), 0);
	stall_free(&stall);
}

static void test_what_another_node_got_counts(void **state)
{
	struct stall *stall = with_round("a", NULL, 0);
	int64_t since_ms = -1;

	(void)state;
	assert_int_equal(stall_learn(stall, "a", 700, false, AFTER, AFTER), STALL_NONE);
	assert_false(stall_is(stall, "a", &since_ms));
	assert_int_equal(stall_learn(stall, "a", 700, false, 700 + AFTER, AFTER), STALL_BEGINS);
	assert_int_equal(stall_learn(stall, "a", 1800, true, 700 + AFTER + 200, AFTER), STALL_ENDS);
	stall_free(&stall);
}

static void test_what_another_node_has_told_is_not_told_again(void **state)
{
	struct stall *stall = with_round("a", NULL, 0);
	int64_t since_ms = -1;

	(void)state;
	assert_int_equal(stall_learn(stall, "a", 0, true, AFTER, AFTER), STALL_NONE);
	assert_true(stall_is(stall, "a", &since_ms));
	stall_free(&stall);
}

/* Those of the first round were there before us. */
static struct stall *at_boot(int64_t now_ms)
{
	struct stall *stall;

	stall_new(&stall);
	stall_begin_round(stall);
	stall_see(stall, "a", now_ms);
	stall_end_round(stall);
	return stall;
}

static void test_a_run_from_before_has_the_past_that_the_database_knows(void **state)
{
	struct stall *stall = at_boot(5000);
	int64_t since_ms = -1;

	(void)state;
	assert_int_equal(asked(stall, 5000), 1);
	assert_int_equal(stall_learn(stall, "a", 100, true, 5000, AFTER), STALL_NONE);
	assert_true(stall_is(stall, "a", &since_ms));
	assert_int_equal(since_ms, 100);
	stall_free(&stall);
	stall = at_boot(5000);
	assert_int_equal(stall_learn(stall, "a", 100, false, 5000, AFTER), STALL_BEGINS);
	stall_free(&stall);
	stall = at_boot(5000);
	assert_int_equal(stall_learn(stall, "a", 4500, false, 5000, AFTER), STALL_NONE);
	assert_int_equal(asked(stall, 5499), 0);
	assert_int_equal(asked(stall, 5500), 1);
	stall_free(&stall);
}

static void test_a_success_before_the_past_is_known_ends_what_was_told(void **state)
{
	struct stall *stall = at_boot(5000);
	int64_t since_ms = -1;

	(void)state;
	assert_false(stall_succeeded(stall, "a", 5100));
	assert_int_equal(stall_learn(stall, "a", 100, true, 5200, AFTER), STALL_ENDS);
	assert_false(stall_is(stall, "a", &since_ms));
	stall_free(&stall);
}

static void test_a_run_that_is_not_seen_is_forgotten_and_begins_anew(void **state)
{
	struct stall *stall = with_round("a", NULL, 0);
	int64_t since_ms = -1;

	(void)state;
	assert_int_equal(stall_learn(stall, "a", 0, false, AFTER, AFTER), STALL_BEGINS);
	stall_begin_round(stall);
	stall_end_round(stall);
	assert_false(stall_is(stall, "a", &since_ms));
	assert_int_equal(stall_learn(stall, "a", 0, false, AFTER, AFTER), STALL_NONE);
	stall_begin_round(stall);
	stall_see(stall, "a", 3000);
	stall_end_round(stall);
	assert_int_equal(asked(stall, 3999), 0);
	stall_free(&stall);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_run_is_asked_about_when_its_time_is_over_and_stalls_once),
		cmocka_unit_test(test_what_another_node_got_counts),
		cmocka_unit_test(test_what_another_node_has_told_is_not_told_again),
		cmocka_unit_test(test_a_run_from_before_has_the_past_that_the_database_knows),
		cmocka_unit_test(test_a_success_before_the_past_is_known_ends_what_was_told),
		cmocka_unit_test(test_a_run_that_is_not_seen_is_forgotten_and_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
