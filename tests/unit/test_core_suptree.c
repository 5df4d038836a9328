#include "fake_tree.h"

#include <errno.h>

/* ---- order ---- */

static void children_start_in_order_and_stop_in_reverse(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	a[1].start = START_NEVER;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b");
	fake_settle(fake);
	fake_told(fake, "");
	suptree_up(a[1].node);
	fake_expect(fake, "+c");
	fake_settle(fake);
	fake_told(fake, "up");
	a[2].stop = STOP_WHEN_HURRIED;
	suptree_stop(fake->tree);
	fake_settle(fake);
	fake_expect(fake, "-c");
	fake_went_down(&a[2]);
	fake_expect(fake, "-b -a");
	fake_settle(fake);
	fake_told(fake, "down");
	fake_free(fake);
}

static void groups_start_and_stop_as_one_child(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *outer, *inner;

	(void)state;
	(void)fake_leaf(fake, NULL, "a");
	outer = fake_group(fake, NULL, "outer", STRATEGY_ONE_FOR_ALL, 5);
	(void)fake_leaf(fake, outer, "b");
	inner = fake_group(fake, outer, "inner", STRATEGY_REST_FOR_ONE, 5);
	(void)fake_leaf(fake, inner, "c");
	(void)fake_leaf(fake, inner, "d");
	(void)fake_group(fake, outer, "empty", STRATEGY_ONE_FOR_ONE, 5);
	(void)fake_leaf(fake, outer, "e");
	(void)fake_leaf(fake, NULL, "f");
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c +d +e +f");
	fake_settle(fake);
	fake_told(fake, "up");
	suptree_stop(fake->tree);
	fake_expect(fake, "-f -e -d -c -b -a");
	fake_settle(fake);
	fake_told(fake, "down");
	fake_free(fake);
}

static void answers_at_once_are_as_good_as_later_ones(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_ONE_FOR_ALL, 5);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	for (int i = 0; i < 3; i++) {
		a[i].start = START_NOW;
		a[i].stop = STOP_NOW;
	}
	suptree_start(fake->tree);
	assert_string_equal(fake->told, "up");
	fake_expect(fake, "+a +b +c");
	fake_fail(&a[1], true);
	fake_expect(fake, "-c -a +a +b +c");
	suptree_stop(fake->tree);
	assert_string_equal(fake->told, "up down");
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

static void an_empty_tree_is_up_and_down(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);

	(void)state;
	suptree_start(fake->tree);
	fake_told(fake, "up");
	suptree_stop(fake->tree);
	fake_told(fake, "down");
	fake_free(fake);
}

static void a_tree_that_never_started_stops(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);

	(void)state;
	(void)fake_three(fake, NULL, 'a');
	suptree_stop(fake->tree);
	fake_expect(fake, "");
	fake_told(fake, "down");
	fake_free(fake);
}

/* ---- strategies ---- */

static void each_strategy_takes_along_whom_it_should(void **state)
{
	static const struct {
		enum strategy strategy;
		int failed;
		const char *want;
	} rows[] = {
		{ STRATEGY_ONE_FOR_ONE, 0, "~a" },
		{ STRATEGY_ONE_FOR_ONE, 1, "~b" },
		{ STRATEGY_ONE_FOR_ONE, 2, "~c" },
		{ STRATEGY_ONE_FOR_ALL, 0, "-c -b +a +b +c" },
		{ STRATEGY_ONE_FOR_ALL, 1, "-c -a +a +b +c" },
		{ STRATEGY_ONE_FOR_ALL, 2, "-b -a +a +b +c" },
		{ STRATEGY_REST_FOR_ONE, 0, "-c -b +a +b +c" },
		{ STRATEGY_REST_FOR_ONE, 1, "-c +b +c" },
		{ STRATEGY_REST_FOR_ONE, 2, "~c" },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		size_t row = i / 2;
		struct fake_tree *fake = fake_new(i % 2 ? STRATEGY_ONE_FOR_ONE : rows[row].strategy, 5);
		/* Once at the root, and once below it. */
		struct suptree_node *group = i % 2 ? fake_group(fake, NULL, "group", rows[row].strategy, 5)
						   : NULL;
		struct fake_leaf *a = fake_three(fake, group, 'a');

		suptree_start(fake->tree);
		fake_expect(fake, "+a +b +c");
		fake_settle(fake);
		fake_fail(&a[rows[row].failed], true);
		fake->row = i;
		fake_expect(fake, rows[row].want);
		fake_settle(fake);
		for (int leaf = 0; leaf < 3; leaf++)
			assert_int_equal(suptree_state(a[leaf].node), SUPTREE_UP);
		assert_int_equal(suptree_restarts_in_window(group ? group : suptree_root(fake->tree)), 1);
		assert_int_equal(suptree_restarts(a[rows[row].failed].node), 1);
		suptree_stop(fake->tree);
		fake_expect(fake, "-c -b -a");
		fake_free(fake);
	}
}

static void a_death_during_the_stop_of_the_others_is_no_second_restart_of_them(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_REST_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	a[2].stop = STOP_WHEN_HURRIED;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	fake_fail(&a[1], true);
	fake_expect(fake, "-c");
	fake_fail(&a[0], true);
	fake_settle(fake);
	fake_went_down(&a[2]);
	fake_expect(fake, "+a +b +c");
	suptree_stop(fake->tree);
	fake_settle(fake);
	fake_went_down(&a[2]);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

static void a_restart_that_fails_leaves_alone_who_is_up_already(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_REST_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	(void)fake_leaf(fake, group, "d");
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c +d");
	fake_settle(fake);
	a[2].start = START_NEVER;
	fake_fail(&a[0], true);
	fake_expect(fake, "-d -c -b +a +b +c");
	/* b is up: only c, which fails to start, and d are tried again. */
	fake_fail(&a[2], true);
	fake_expect(fake, "+c");
	suptree_up(a[2].node);
	fake_expect(fake, "+d");
	fake_settle(fake);
	fake_fail(&a[1], true);
	fake_expect(fake, "-d -c +b +c");
	suptree_up(a[2].node);
	fake_expect(fake, "+d");
	suptree_stop(fake->tree);
	fake_expect(fake, "-d -c -b -a");
	fake_free(fake);
}

static void a_change_of_strategy_holds_for_the_next_failure(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');
	struct suptree_group group = {
		.name = "root", .strategy = STRATEGY_REST_FOR_ONE, .intensity = 3, .period_ms = 1000
	};

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	assert_int_equal(suptree_configure(suptree_root(fake->tree), &group), 0);
	fake_fail(&a[1], true);
	fake_expect(fake, "-c +b +c");
	fake_settle(fake);
	group.period_ms = 0;
	assert_int_equal(suptree_configure(suptree_root(fake->tree), &group), -EINVAL);
	assert_int_equal(suptree_intensity(suptree_root(fake->tree)), 3);
	assert_int_equal(suptree_period_ms(suptree_root(fake->tree)), 1000);
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

/* ---- stopping in the middle ---- */

static void a_stop_during_the_start_ends_it(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	a[1].start = START_NEVER;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b");
	suptree_stop(fake->tree);
	fake_expect(fake, "-b -a");
	fake_settle(fake);
	fake_told(fake, "down");
	fake_free(fake);
}

static void a_stop_during_a_delay_ends_it(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	const struct suptree_pace slow = { .trial_ms = 60000, .delay_ms = 60000, .delay_max_ms = 60000 };
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_ONE_FOR_ALL, 1);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	suptree_set_pace(fake->tree, &slow);
	a[0].start = START_FAILS;
	suptree_start(fake->tree);
	fake_expect(fake, "+a");
	assert_int_equal(suptree_state(group), SUPTREE_STARTING);
	assert_true(suptree_next_start_ms(group) > loop_now_ms(fake->loop) + 20000);
	assert_string_equal(suptree_why(group), "a: it did not come up");
	suptree_stop(fake->tree);
	fake_settle(fake);
	fake_expect(fake, "");
	fake_told(fake, "group.failed:group up down");
	fake_free(fake);
}

static void a_second_stop_hurries_all_that_follow(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	for (int i = 0; i < 3; i++)
		a[i].stop = STOP_WHEN_HURRIED;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	suptree_stop(fake->tree);
	fake_settle(fake);
	fake_expect(fake, "-c");
	suptree_stop(fake->tree);
	fake_expect(fake, "!c -b !b -a !a");
	fake_settle(fake);
	fake_told(fake, "up down");
	fake_free(fake);
}

static void a_death_while_the_tree_stops_is_no_failure(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	a[2].stop = STOP_WHEN_HURRIED;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	suptree_stop(fake->tree);
	fake_fail(&a[0], true);
	fake_fail(&a[2], true);
	fake_expect(fake, "-c -b");
	fake_settle(fake);
	assert_int_equal(suptree_restarts_in_window(suptree_root(fake->tree)), 0);
	fake_told(fake, "up down");
	fake_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(children_start_in_order_and_stop_in_reverse),
		cmocka_unit_test(groups_start_and_stop_as_one_child),
		cmocka_unit_test(answers_at_once_are_as_good_as_later_ones),
		cmocka_unit_test(an_empty_tree_is_up_and_down),
		cmocka_unit_test(a_tree_that_never_started_stops),
		cmocka_unit_test(each_strategy_takes_along_whom_it_should),
		cmocka_unit_test(a_death_during_the_stop_of_the_others_is_no_second_restart_of_them),
		cmocka_unit_test(a_restart_that_fails_leaves_alone_who_is_up_already),
		cmocka_unit_test(a_change_of_strategy_holds_for_the_next_failure),
		cmocka_unit_test(a_stop_during_the_start_ends_it),
		cmocka_unit_test(a_stop_during_a_delay_ends_it),
		cmocka_unit_test(a_second_stop_hurries_all_that_follow),
		cmocka_unit_test(a_death_while_the_tree_stops_is_no_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
