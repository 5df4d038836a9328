#include "row.h"

#include <stdbool.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

static void test_a_key_finds_its_value_and_no_other(void **state)
{
	AUTO(map_free) struct map *m = NULL;
	int a, b, c;

	(void)state;
	map_new(&m);
	assert_null(map_get(m, "k", 1));
	assert_null(map_set(m, "k", 1, &a));
	assert_null(map_set(m, "k\0", 2, &b));
	assert_null(map_set(m, "", 0, &c));
	assert_ptr_equal(map_get(m, "k", 1), &a);
	assert_ptr_equal(map_get(m, "k\0", 2), &b);
	assert_ptr_equal(map_get(m, "", 0), &c);
	assert_null(map_get(m, "K", 1));
	assert_int_equal(map_len(m), 3);
}

static void test_set_replaces_and_remove_returns_what_was_there(void **state)
{
	AUTO(map_free) struct map *m = NULL;
	int a, b;

	(void)state;
	map_new(&m);
	assert_null(map_set_id(m, -5, &a));
	assert_ptr_equal(map_set_id(m, -5, &b), &a);
	assert_int_equal(map_len(m), 1);
	assert_ptr_equal(map_remove_id(m, -5), &b);
	assert_null(map_remove_id(m, -5));
	assert_null(map_get_id(m, -5));
	assert_int_equal(map_len(m), 0);
}

static void test_keys_are_copied(void **state)
{
	AUTO(map_free) struct map *m = NULL;
	char key[] = "abc";
	int a;

	(void)state;
	map_new(&m);
	assert_null(map_set(m, key, 3, &a));
	memset(key, 'x', 3);
	assert_ptr_equal(map_get(m, "abc", 3), &a);
}

enum { KEYS = 2000 };

/* Against a plain array, through many sizes and with many holes. */
static void test_any_mix_of_sets_and_removes_agrees_with_an_array(void **state)
{
	AUTO(map_free) struct map *m = NULL;
	static int values[KEYS];
	static void *want[KEYS];
	uint64_t random = 4711;
	size_t held = 0;

	(void)state;
	map_new(&m);
	for (int i = 0; i < 100000; i++) {
		size_t key = row_random(&random) % (i < 50000 ? KEYS : 20);
		bool set = row_random(&random) % 100 < (i / 10000 % 2 ? 30 : 70);
		void *was = set ? map_set_id(m, (int64_t)key, &values[i % KEYS])
				: map_remove_id(m, (int64_t)key);

		expect(was == want[key], "step %d, key %zu", i, key);
		held = held + (set && !was) - (!set && was);
		want[key] = set ? &values[i % KEYS] : NULL;
		expect(map_len(m) == held, "step %d: %zu held", i, map_len(m));
	}
	for (size_t key = 0; key < KEYS; key++)
		expect(map_get_id(m, (int64_t)key) == want[key], "key %zu", key);
}

static void test_a_walk_sees_each_value_once_even_when_it_removes(void **state)
{
	AUTO(map_free) struct map *m = NULL;
	static int64_t ids[KEYS];
	int seen[KEYS] = { 0 };
	size_t cursor = 0;
	int64_t *id;

	(void)state;
	map_new(&m);
	for (size_t i = 0; i < KEYS; i++) {
		ids[i] = (int64_t)i;
		assert_null(map_set_id(m, ids[i], &ids[i]));
	}
	while ((id = map_next(m, &cursor))) {
		seen[*id]++;
		if (*id % 2)
			assert_ptr_equal(map_remove_id(m, *id), id);
	}
	for (size_t i = 0; i < KEYS; i++)
		expect(seen[i] == 1 && (map_get_id(m, ids[i]) != NULL) == (i % 2 == 0),
		       "id %zu seen %d times", i, seen[i]);
	assert_int_equal(map_len(m), KEYS / 2);
}

static void test_free_is_safe_on_nothing(void **state)
{
	struct map *m = NULL;

	(void)state;
	map_free(&m);
	map_new(&m);
	map_free(&m);
	assert_null(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_key_finds_its_value_and_no_other),
		cmocka_unit_test(test_set_replaces_and_remove_returns_what_was_there),
		cmocka_unit_test(test_keys_are_copied),
		cmocka_unit_test(test_any_mix_of_sets_and_removes_agrees_with_an_array),
		cmocka_unit_test(test_a_walk_sees_each_value_once_even_when_it_removes),
		cmocka_unit_test(test_free_is_safe_on_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
