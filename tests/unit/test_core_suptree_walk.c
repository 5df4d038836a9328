/* The supervision tree under random events, held to what must be true whatever happens:
 *
 * - a leaf is started only when it does not live, and stopped only when it lives or waits (fake_tree.h
 * asserts both),
 * - once nothing fails any more, all that was not removed comes up: no child is lost,
 * - in the end the stop takes everything down, and says so once.
 *
 * PROCTOR_SEED=number repeats a walk; a failure prints its number. */

#include "fake_tree.h"

#include <stdlib.h>

enum { WALKS = 200, STEPS = 60, GROUPS = 4 };

struct walk {
	struct fake_tree *fake;
	struct suptree_node *groups[GROUPS + 1]; /* the last is the root */
	uint64_t seed;
	int gone, removed;
	bool dead[LEAVES]; /* removed */
};

static uint32_t below(struct walk *walk, uint32_t limit)
{
	return row_random(&walk->seed) % limit;
}

static void count_gone(void *arg)
{
	((struct walk *)arg)->gone++;
}

static void add_leaf(struct walk *walk)
{
	char name[4] = { (char)('a' + walk->fake->count), '\0' };
	struct fake_leaf *leaf;

	if (walk->fake->count == LEAVES)
		return;
	leaf = fake_leaf(walk->fake, walk->groups[below(walk, GROUPS + 1)], name);
	leaf->stop = below(walk, 2) ? STOP_LATER : STOP_NOW;
}

static void plant(struct walk *walk)
{
	walk->groups[GROUPS] = suptree_root(walk->fake->tree);
	for (int i = 0; i < GROUPS; i++) {
		char name[4] = { 'G', (char)('0' + i), '\0' };
		struct suptree_node *parent = i && below(walk, 2) ? walk->groups[i - 1] : NULL;

		walk->groups[i] = fake_group(walk->fake, parent, name, (enum strategy)below(walk, 3),
					     1 + (int)below(walk, 4));
	}
	for (int i = 0; i < 10; i++)
		add_leaf(walk);
}

/* Turns of the loop, a few. */
static void turn(struct walk *walk)
{
	walk->fake->wanted = "never to be seen";
	walk->fake->give_up_ms = clock_now_ms() + (int64_t)below(walk, 3);
	loop_timer_start(walk->fake->checker, 0);
	loop_run(walk->fake->loop);
	walk->fake->trace[0] = walk->fake->told[0] = '\0';
}

static void change_leaf(struct walk *walk, struct fake_leaf *leaf, size_t index)
{
	switch (below(walk, 8)) {
	case 0:
	case 1:
	case 2:
		if (leaf->running && suptree_state(leaf->node) != SUPTREE_STOPPING)
			fake_fail(leaf, below(walk, 3) > 0);
		break;
	case 3:
		leaf->start = (enum leaf_start)below(walk, 6);
		break;
	case 4:
		if (leaf->running && suptree_state(leaf->node) != SUPTREE_STOPPING)
			fake_end(leaf, below(walk, 2));
		break;
	case 5:
		suptree_hold(leaf->node);
		break;
	case 6:
		(void)!suptree_release(leaf->node);
		break;
	case 7:
		if (below(walk, 4) == 0) {
			walk->dead[index] = true;
			walk->removed++;
			suptree_remove(leaf->node, count_gone, walk);
		}
		break;
	}
}

static void step(struct walk *walk)
{
	size_t index = below(walk, (uint32_t)walk->fake->count);
	struct fake_leaf *leaf = &walk->fake->leaves[index];

	switch (below(walk, 10)) {
	case 0:
		turn(walk);
		break;
	case 1:
		add_leaf(walk);
		suptree_start_added(walk->fake->tree);
		break;
	case 2:
		suptree_hold(walk->groups[below(walk, GROUPS)]);
		break;
	case 3:
		(void)!suptree_release(walk->groups[below(walk, GROUPS)]);
		break;
	default:
		if (!walk->dead[index])
			change_leaf(walk, leaf, index);
		break;
	}
}

static bool all_up(const struct walk *walk)
{
	for (size_t i = 0; i < walk->fake->count; i++)
		if (!walk->dead[i] && suptree_state(walk->fake->leaves[i].node) != SUPTREE_UP)
			return false;
	return suptree_state(walk->groups[GROUPS]) == SUPTREE_UP;
}

/* Nothing fails any more, and an operator starts what he, or the tree, had given up on. */
static void heal(struct walk *walk)
{
	for (int i = 0; i < GROUPS; i++)
		(void)!suptree_release(walk->groups[i]);
	for (size_t i = 0; i < walk->fake->count; i++) {
		struct fake_leaf *leaf = &walk->fake->leaves[i];

		if (walk->dead[i])
			continue;
		leaf->start = START_LATER;
		if (suptree_state(leaf->node) != SUPTREE_DOWN || suptree_is_held(leaf->node))
			(void)!suptree_release(leaf->node);
		if (leaf->running)
			suptree_up(leaf->node);
	}
	suptree_start_added(walk->fake->tree);
}

static void expect_all_up_in_the_end(struct walk *walk)
{
	int64_t give_up_ms = clock_now_ms() + DEADLINE_MS;

	while (!all_up(walk) && clock_now_ms() < give_up_ms) {
		heal(walk);
		turn(walk);
	}
	for (size_t i = 0; i < walk->fake->count; i++)
		expect(walk->dead[i] || suptree_state(walk->fake->leaves[i].node) == SUPTREE_UP,
		       "leaf %s is %s", walk->fake->leaves[i].name,
		       suptree_state_name(suptree_state(walk->fake->leaves[i].node)));
}

static void stop_all(struct walk *walk)
{
	walk->fake->told[0] = walk->fake->trace[0] = '\0';
	suptree_stop(walk->fake->tree);
	walk->fake->give_up_ms = clock_now_ms() + DEADLINE_MS;
	while (!strstr(walk->fake->told, "down") && clock_now_ms() < walk->fake->give_up_ms)
		fake_settle(walk->fake);
	assert_non_null(strstr(walk->fake->told, "down"));
	assert_null(strstr(strstr(walk->fake->told, "down") + 1, "down"));
	for (size_t i = 0; i < walk->fake->count; i++) {
		assert_false(walk->fake->leaves[i].running);
		assert_false(walk->fake->leaves[i].waiting);
	}
	assert_int_equal(walk->gone, walk->removed);
}

static void walk_from(uint64_t seed)
{
	struct walk walk = { .seed = seed };

	walk.fake = fake_new((enum strategy)(seed % 3), 2);
	plant(&walk);
	suptree_start(walk.fake->tree);
	for (int i = 0; i < STEPS; i++)
		step(&walk);
	expect_all_up_in_the_end(&walk);
	stop_all(&walk);
	fake_free(walk.fake);
}

static void whatever_happens_nothing_is_lost(void **state)
{
	const char *told = getenv("PROCTOR_SEED");

	(void)state;
	if (told) {
		walk_from(strtoull(told, NULL, 10));
		return;
	}
	for (uint64_t i = 1; i <= WALKS; i++) {
		uint64_t seed = i * 0x9e3779b97f4a7c15u % 1000000007u + 1;

		print_message("PROCTOR_SEED=%llu\n", (unsigned long long)seed);
		walk_from(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(whatever_happens_nothing_is_lost) };

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
