/* The supervision tree with a child whose start fails again and again, and who tells so. */

#include "fake_tree.h"

/* Below the root: a, then a group of b, c, d of which c stumbles, then e. */
static void one_that_stumbles_is_waited_for_by_those_only_who_depend_on_it(void **state)
{
	static const struct {
		enum strategy strategy;
		const char *want, *want_later;
		enum suptree_state want_state;
		const char *want_why;
	} rows[] = {
		{ STRATEGY_ONE_FOR_ONE, "+a +b +c +d +e", "", SUPTREE_UP, NULL },
		{ STRATEGY_ONE_FOR_ALL, "+a +b +c +e", "+d", SUPTREE_STARTING, "c: it fell" },
		{ STRATEGY_REST_FOR_ONE, "+a +b +c +e", "+d", SUPTREE_STARTING, "c: it fell" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
		struct suptree_node *group;
		struct fake_leaf *b;

		fake->row = i;
		(void)fake_leaf(fake, NULL, "a");
		group = fake_group(fake, NULL, "group", rows[i].strategy, 5);
		b = fake_three(fake, group, 'b');
		(void)fake_leaf(fake, NULL, "e");
		b[1].start = START_STUMBLES;
		suptree_start(fake->tree);
		fake_expect(fake, rows[i].want);
		fake_settle(fake);
		fake_told(fake, "up");
		assert_int_equal(suptree_state(group), rows[i].want_state);
		assert_int_equal(suptree_state(b[1].node), SUPTREE_STARTING);
		assert_true(suptree_has_stumbled(b[1].node));
		assert_string_equal(suptree_why(b[1].node), "it fell");
		if (rows[i].want_why)
			assert_string_equal(suptree_why(group), rows[i].want_why);
		suptree_up(b[1].node);
		fake_settle(fake);
		fake_expect(fake, rows[i].want_later);
		assert_int_equal(suptree_state(group), SUPTREE_UP);
		assert_false(suptree_has_stumbled(b[1].node) || suptree_has_stumbled(group));
		assert_null(suptree_why(b[1].node));
		suptree_stop(fake->tree);
		fake_expect(fake, "-e -d -c -b -a");
		fake_free(fake);
	}
}

static void at_a_root_whose_children_depend_on_each_other_all_wait(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_REST_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	a[0].start = START_STUMBLES;
	suptree_start(fake->tree);
	fake_settle(fake);
	fake_expect(fake, "+a");
	suptree_up(a[0].node);
	fake_expect(fake, "+b +c");
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

static void one_that_has_stumbled_can_be_stopped_and_started(void **state)
{
	struct fake_tree *fake = fake_new(STRATEGY_ONE_FOR_ONE, 5);
	struct fake_leaf *a = fake_three(fake, NULL, 'a');

	(void)state;
	a[0].start = START_STUMBLES;
	suptree_start(fake->tree);
	fake_expect(fake, "+a +b +c");
	suptree_hold(a[0].node);
	fake_expect(fake, "-a");
	fake_settle(fake);
	assert_int_equal(suptree_state(a[0].node), SUPTREE_DOWN);
	assert_false(suptree_has_stumbled(a[0].node));
	a[0].start = START_LATER;
	assert_int_equal(suptree_release(a[0].node), 0);
	fake_expect(fake, "+a");
	fake_settle(fake);
	assert_int_equal(suptree_state(a[0].node), SUPTREE_UP);
	suptree_stop(fake->tree);
	fake_expect(fake, "-c -b -a");
	fake_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_stumbles_is_waited_for_by_those_only_who_depend_on_it),
		cmocka_unit_test(at_a_root_whose_children_depend_on_each_other_all_wait),
		cmocka_unit_test(one_that_has_stumbled_can_be_stopped_and_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
