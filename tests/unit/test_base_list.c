#include "row.h"

#include "base/list.h"
#include "base/mem.h"

struct item {
	int number;
	struct list node;
};

static void expect_numbers(struct list *head, const int *want, size_t len)
{
	size_t n = 0;

	list_foreach (pos, head) {
		int got = list_entry(pos, struct item, node)->number;

		expect(n < len && got == want[n], "place %zu holds %d", n, got);
		expect(pos->next->prev == pos && pos->prev->next == pos, "place %zu is badly linked", n);
		n++;
	}
	expect(n == len, "%zu items, wanted %zu", n, len);
}

#define EXPECT(head, ...)                                                                                    \
	expect_numbers(head, (const int[]){ __VA_ARGS__ }, ARRAY_LEN(((const int[]){ __VA_ARGS__ })))

static void test_both_ends_take_items(void **state)
{
	struct list head = LIST_INIT(head);
	struct item a = { .number = 1 }, b = { .number = 2 }, c = { .number = 3 };

	(void)state;
	assert_true(list_is_empty(&head));
	assert_null(list_pop_front(&head));
	list_push_back(&head, &a.node);
	list_push_back(&head, &b.node);
	list_push_front(&head, &c.node);
	assert_false(list_is_empty(&head));
	EXPECT(&head, 3, 1, 2);
	assert_ptr_equal(list_pop_front(&head), &c.node);
	EXPECT(&head, 1, 2);
}

static void test_remove_unlinks_and_is_safe_twice(void **state)
{
	struct list head = LIST_INIT(head);
	struct item a = { .number = 1 }, b = { .number = 2 }, c = { .number = 3 };

	(void)state;
	list_init(&a.node);
	list_remove(&a.node);
	list_push_back(&head, &a.node);
	list_push_back(&head, &b.node);
	list_push_back(&head, &c.node);
	list_remove(&b.node);
	list_remove(&b.node);
	EXPECT(&head, 1, 3);
	assert_true(list_is_empty(&b.node));
	list_push_front(&head, &b.node);
	EXPECT(&head, 2, 1, 3);
}

static void test_a_safe_walk_may_remove(void **state)
{
	struct list head = LIST_INIT(head);
	struct item items[6];
	int seen = 0;

	(void)state;
	for (int i = 0; i < 6; i++) {
		items[i].number = i;
		list_push_back(&head, &items[i].node);
	}
	list_foreach_safe (pos, &head) {
		seen++;
		if (list_entry(pos, struct item, node)->number % 2 == 0)
			list_remove(pos);
	}
	assert_int_equal(seen, 6);
	EXPECT(&head, 1, 3, 5);
	seen = 0;
	list_foreach (pos, &head)
		seen += list_entry(pos, struct item, node)->number;
	assert_int_equal(seen, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ends_take_items),
		cmocka_unit_test(test_remove_unlinks_and_is_safe_twice),
		cmocka_unit_test(test_a_safe_walk_may_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
