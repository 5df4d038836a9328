/* The supervision tree when children fail for good, come late, go, or are held by an operator. */

#include "fake_tree.h"

#include <errno.h>

static void count_gone(void *arg)
{
	++*(int *)arg;
}

/* For those who look at what is parked, however slow the machine. */
static void put_off_trials(struct fake_tree *fake)
{
	const struct suptree_pace pace = { .trial_ms = 60000, .delay_ms = 1, .delay_max_ms = 2 };

	suptree_set_pace(fake->tree, &pace);
}

/* ---- too many restarts ---- */

static void more_than_the_intensity_fails_the_group(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_ONE_FOR_ONE, 2);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	for (int i = 0; i < 2; i++) {
		fake_fail(&a[1], true);
		fake_expect(fake, "~b");
		fake_settle(fake);
	}
	assert_int_equal(suptree_restarts_in_window(group), 2);
	fake_told(fake, "up");
	/* A life that is not counted is restarted as well, but uses nothing up. */
	fake_fail(&a[0], false);
	fake_expect(fake, "~a");
	fake_settle(fake);
	fake_fail(&a[1], true);
	assert_string_equal(suptree_why(group), "b: too many restarts within the period");
	/* Its parent restarts it as a whole, with a window that begins anew. */
	fake_expect(fake, "-c -a +a +b +c");
	fake_settle(fake);
	fake_told(fake, "group.failed:group");
	assert_int_equal(a[0].forgotten + a[1].forgotten + a[2].forgotten, 3);
	assert_int_equal(suptree_state(group), SUPTREE_UP);
	assert_null(suptree_why(group));
	assert_int_equal(suptree_restarts(group), 1);
	assert_int_equal(suptree_restarts_in_window(group), 0);
	assert_int_equal(suptree_restarts_in_window(suptree_root(fake->tree)), 1);
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

static void a_failed_group_takes_its_brothers_along_by_the_strategy_above(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *outer = fake_group(fake, NULL, "outer", STRATEGY_REST_FOR_ONE, 5), *inner;
	struct fake_leaf *b;

	(void)state;
	(void)fake_leaf(fake, outer, "a");
	inner = fake_group(fake, outer, "inner", STRATEGY_ONE_FOR_ONE, 1);
	b = fake_leaf(fake, inner, "b");
	(void)fake_leaf(fake, outer, "c");
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	fake_fail(b, true);
	fake_expect(fake, "~b");
	fake_settle(fake);
	fake_fail(b, true);
	fake_expect(fake, "-c +b +c");
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

static void the_root_parks_a_child_and_tries_it_again(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 1);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	a[1].start = START_FAILS;
	fake_fail(&a[1], true);
	/* The one restart that the root bears, the one that exceeds, and a trial that fails as well. */
	fake_expect(fake, "~b +b");
	assert_int_equal(suptree_state(a[1].node), SUPTREE_PARKED);
	assert_string_equal(suptree_why(a[1].node), "more than 1 restarts in 60 s");
	assert_true(suptree_next_start_ms(a[1].node) > loop_now_ms(fake->loop));
	assert_string_equal(suptree_degraded(fake->tree), "b: more than 1 restarts in 60 s");
	fake_told(fake, "up tree.degraded:b");
	assert_true(a[1].forgotten >= 2 && !a[0].forgotten && !a[2].forgotten);
	/* Its brothers are not judged by what it did. */
	fake_fail(&a[2], true);
	a[1].start = START_LATER;
	fake_expect(fake, "~c +b");
	while (suptree_degraded(fake->tree))
		fake_settle(fake);
	fake_told(fake, "tree.recovered:");
	assert_int_equal(suptree_state(a[1].node), SUPTREE_UP);
	assert_int_equal(suptree_next_start_ms(a[1].node), 0);
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

/* ---- the first start ---- */

static void a_child_that_fails_at_boot_takes_down_those_before_it(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 1);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	put_off_trials(fake);
	(void)fake_leaf(fake, NULL, "z");
	a[2].start = START_NEVER;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	a[1].start = START_FAILS;
	fake_fail(&a[2], true);
	/* c failed; the second try fails with b; more the root does not bear. z does not wait for any of it.
	 */
	fake_expect(fake, "-b -a +z +a +b -a");
	fake_settle(fake);
	assert_string_equal(suptree_why(group), "b: it did not come up");
	assert_int_equal(suptree_state(group), SUPTREE_PARKED);
	fake_told(fake, "group.failed:group up group.failed:group tree.degraded:group");
	suptree_stop(fake->tree);
	fake_expect(fake, "-z");
	fake_free(fake);
}

static void the_root_does_not_wait_for_a_child_that_fails(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	a[0].start = START_NEVER;
	suptree_start(fake->tree);
	fake_expect(fake, "+a");
	fake_fail(&a[0], true);
	fake_expect(fake, "+b +c ~a");
	fake_settle(fake);
	fake_told(fake, "up");
	suptree_up(a[0].node);
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

/* ---- for good ---- */

static void what_has_ended_stays_down_until_its_group_starts_anew(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_ONE_FOR_ALL, 1);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	a[0].start = START_NEVER;
	suptree_start(fake->tree);
	fake_expect(fake, "+a");
	fake_end(&a[0], false);
	fake_expect(fake, "+b +c");
	fake_settle(fake);
	assert_int_equal(suptree_state(group), SUPTREE_UP);
	assert_int_equal(suptree_state(a[0].node), SUPTREE_ENDED);
	fake_fail(&a[1], true);
	fake_expect(fake, "-c +b +c");
	fake_settle(fake);
	a[0].start = START_LATER;
	fake_fail(&a[1], true);
	fake_expect(fake, "-c +a +b +c");
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

static void a_broken_child_parks_the_group_that_depends_on_it(void **state)
{
	static const struct {
		enum strategy strategy;
		const char *want;
		enum suptree_state want_group;
	} rows[] = {
		{ STRATEGY_ONE_FOR_ONE, "+a +b +c", SUPTREE_UP },
		{ STRATEGY_ONE_FOR_ALL, "+a +b -a", SUPTREE_PARKED },
		{ STRATEGY_REST_FOR_ONE, "+a +b -a", SUPTREE_PARKED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
		struct suptree_node *group = fake_group(fake, NULL, "group", rows[i].strategy, 5);
		struct fake_leaf *a = fake_three(fake, group, 'a');

		fake->row = i;
		a[1].start = START_BREAKS;
		suptree_start(fake->tree);
		fake_expect(fake, rows[i].want);
		fake_settle(fake);
		assert_int_equal(suptree_state(group), rows[i].want_group);
		assert_int_equal(suptree_state(a[1].node), SUPTREE_PARKED);
		/* Mended, and started by an operator. */
		a[1].start = START_LATER;
		assert_int_equal(suptree_release(group == NULL || rows[i].want_group == SUPTREE_UP ? a[1].node
												   : group),
				 0);
		fake_expect(fake, rows[i].want_group == SUPTREE_UP ? "+b" : "+a +b +c");
		suptree_stop(fake->tree);
		fake_expect(fake, "-c -b -a");
		fake_free(fake);
	}
}

/* ---- coming and going ---- */

static void a_removed_child_is_stopped_and_gone_while_others_stay(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');
	int gone = 0;

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	suptree_remove(a[1].node, count_gone, &gone);
	assert_int_equal(gone, 0);
	fake_expect(fake, "-b");
	fake_settle(fake);
	assert_int_equal(gone, 1);
	assert_null(suptree_find(fake->tree, "b"));
	assert_ptr_equal(suptree_child(suptree_root(fake->tree), 1), a[2].node);
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -a");
	fake_free(fake);
}

static void a_group_is_removed_with_its_children(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_ONE_FOR_ONE, 5);
	int gone = 0;

	(void)state;
	(void)fake_three(fake, group, 'a');
	(void)fake_leaf(fake, NULL, "z");
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c +z");
	fake_settle(fake);
	suptree_remove(group, count_gone, &gone);
	fake_expect(fake, "-c -b -a");
	fake_settle(fake);
	assert_int_equal(gone, 1);
	suptree_stop(fake->tree);
	fake_expect(fake, "-z");
	fake_free(fake);
}

static void one_that_waits_for_its_restart_can_be_removed(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_REST_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, group, 'a');
	int gone = 0;

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	a[2].stop = STOP_NOW;
	fake_fail(&a[1], true); /* the group waits out its delay, with b and c down */
	suptree_remove(a[1].node, count_gone, &gone);
	assert_int_equal(gone, 1);
	fake_expect(fake, "-c +c");
	fake_settle(fake);
	assert_int_equal(suptree_state(group), SUPTREE_UP);
	suptree_remove(a[0].node, count_gone, &gone);
	suptree_remove(a[2].node, count_gone, &gone);
	fake_expect(fake, "-a -c");
	fake_settle(fake);
	assert_int_equal(gone, 3);
	suptree_stop(fake->tree);
	fake_settle(fake);
	fake_told(fake, "up down");
	fake_free(fake);
}

static void a_removal_before_those_that_wait_for_their_restart_loses_none_of_them(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_REST_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, group, 'a'), *d = fake_leaf(fake, group, "d");
	int gone = 0;

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c +d");
	fake_settle(fake);
	d->stop = a[0].stop = STOP_NOW;
	fake_fail(&a[2], true);
	suptree_remove(a[0].node, count_gone, &gone);
	assert_int_equal(gone, 1);
	fake_expect(fake, "-d -a +c +d");
	suptree_stop(fake->tree);
	fake_expect(fake, "-d -c -b");
	fake_free(fake);
}

static void one_on_trial_can_be_removed(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 1);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');
	int gone = 0;

	(void)state;
	put_off_trials(fake);
	a[0].start = START_FAILS;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c ~a");
	fake_settle(fake);
	fake_told(fake, "tree.degraded:a up");
	suptree_remove(a[0].node, count_gone, &gone);
	fake_told(fake, "tree.recovered:");
	assert_null(suptree_degraded(fake->tree));
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b");
	fake_free(fake);
}

static void what_is_added_starts_alone(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_REST_FOR_ONE, 5), *fresh;
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	(void)fake_leaf(fake, group, "d");
	fresh = fake_group(fake, NULL, "fresh", STRATEGY_ONE_FOR_ONE, 5);
	(void)fake_leaf(fake, fresh, "e");
	suptree_start_added(fake->tree);
	fake_expect(fake, "+d +e");
	fake_settle(fake);
	/* Into a group that restarts just now: started with it. */
	fake_fail(&a[2], true);
	(void)fake_leaf(fake, group, "f");
	suptree_start_added(fake->tree);
	fake_expect(fake, "-d +c +d +f");
	fake_settle(fake);
	assert_int_equal(suptree_state(group), SUPTREE_UP);
	suptree_stop(fake->tree);
	fake_expect(fake, "-e -f -d -c -b -a");
	fake_free(fake);
}

/* ---- an operator ---- */

static void what_an_operator_stops_stays_down_until_he_starts_it(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_ONE_FOR_ALL, 5);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	assert_int_equal(suptree_release(a[1].node), -EBUSY);
	suptree_hold(a[1].node);
	suptree_hold(a[1].node);
	assert_int_equal(suptree_release(a[1].node), -EBUSY);
	fake_expect(fake, "-b");
	fake_settle(fake);
	suptree_hold(a[1].node);
	assert_string_equal(suptree_why(a[1].node), "stopped by an operator");
	fake_fail(&a[0], true);
	fake_expect(fake, "-c +a +c");
	fake_settle(fake);
	assert_int_equal(suptree_release(a[1].node), 0);
	fake_expect(fake, "+b");
	fake_settle(fake);
	assert_null(suptree_why(a[1].node));
	suptree_hold(group);
	fake_expect(fake, "-c -b -a");
	fake_settle(fake);
	assert_int_equal(suptree_release(a[1].node), -EAGAIN);
	assert_int_equal(suptree_release(group), 0);
	fake_expect(fake, "+a +b +c");
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

static void an_operators_stop_cancels_a_restart(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	fake_fail(&a[1], true);
	suptree_hold(a[1].node);
	fake_settle(fake);
	fake_expect(fake, "-b");
	assert_int_equal(suptree_state(a[1].node), SUPTREE_DOWN);
	assert_true(suptree_is_held(a[1].node));
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -a");
	fake_free(fake);
}

static void an_operators_stop_of_a_group_that_fails_is_the_last_word(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct suptree_node *group = fake_group(fake, NULL, "group", STRATEGY_ONE_FOR_ONE, 1);
	struct fake_leaf *a = fake_three(fake, group, 'a');

	(void)state;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	fake_settle(fake);
	fake_fail(&a[0], true);
	fake_expect(fake, "~a");
	fake_settle(fake);
	a[2].stop = STOP_WHEN_HURRIED;
	fake_fail(&a[0], true);
	assert_int_equal(suptree_state(group), SUPTREE_STOPPING);
	suptree_hold(group);
	fake_went_down(&a[2]);
	fake_expect(fake, "-c -b");
	fake_settle(fake);
	assert_int_equal(suptree_state(group), SUPTREE_DOWN);
	assert_int_equal(suptree_release(group), 0);
	fake_expect(fake, "+a +b +c");
	a[2].stop = STOP_NOW;
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_than_the_intensity_fails_the_group),
		cmocka_unit_test(a_failed_group_takes_its_brothers_along_by_the_strategy_above),
		cmocka_unit_test(the_root_parks_a_child_and_tries_it_again),
		cmocka_unit_test(a_child_that_fails_at_boot_takes_down_those_before_it),
		cmocka_unit_test(the_root_does_not_wait_for_a_child_that_fails),
		cmocka_unit_test(what_has_ended_stays_down_until_its_group_starts_anew),
		cmocka_unit_test(a_broken_child_parks_the_group_that_depends_on_it),
		cmocka_unit_test(a_removed_child_is_stopped_and_gone_while_others_stay),
		cmocka_unit_test(a_group_is_removed_with_its_children),
		cmocka_unit_test(one_that_waits_for_its_restart_can_be_removed),
		cmocka_unit_test(a_removal_before_those_that_wait_for_their_restart_loses_none_of_them),
		cmocka_unit_test(one_on_trial_can_be_removed),
		cmocka_unit_test(what_is_added_starts_alone),
		cmocka_unit_test(what_an_operator_stops_stays_down_until_he_starts_it),
		cmocka_unit_test(an_operators_stop_cancels_a_restart),
		cmocka_unit_test(an_operators_stop_of_a_group_that_fails_is_the_last_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
