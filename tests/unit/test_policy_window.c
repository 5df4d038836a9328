/* What a window counts, and when it lets go. */

#include "row.h"

#include <inttypes.h>

#include "base/mem.h"
#include "model.h"
#include "policy/window.h"

static struct window *make(int64_t span_ms, int64_t slot_ms, int64_t now_ms)
{
	struct window *w;

	window_new(span_ms, slot_ms, now_ms, &w);
	return w;
}

static void test_a_slot_counts_until_all_of_it_is_older_than_the_span(void **state)
{
	static const struct {
		int64_t at_ms, later_ms, want;
	} rows[] = {
		{ 0, 1099, 5 },	  { 0, 1100, 0 },   { 99, 1099, 5 },   { 99, 1100, 0 },
		{ 100, 1199, 5 }, { 100, 1200, 0 }, { 1050, 2050, 5 }, { 1050, 2100, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(window_free) struct window *w = make(1000, 100, 0);
		int64_t later, sum;

		window_add(w, rows[i].at_ms, rows[i].at_ms, 5);
		later = window_sum(w, rows[i].later_ms);
		window_advance(w, rows[i].later_ms);
		sum = window_sum(w, rows[i].later_ms);
		expect(later == rows[i].want && sum == rows[i].want, "row %zu: %" PRId64 ", %" PRId64, i,
		       later, sum);
	}
}

static void test_what_is_taken_back_is_what_was_there(void **state)
{
	AUTO(window_free) struct window *w = make(1000, 100, 0);

	(void)state;
	assert_int_equal(window_add(w, 0, 0, 10), 10);
	assert_int_equal(window_add(w, 500, 500, 7), 7);
	assert_int_equal(window_add(w, 600, 0, -4), -4);
	assert_int_equal(window_sum(w, 600), 13);
	assert_int_equal(window_add(w, 600, 0, -10), -6);
	assert_int_equal(window_sum(w, 600), 7);
	assert_int_equal(window_add(w, 1100, 0, -1), 0);
	assert_int_equal(window_add(w, 1100, 0, 9), 0);
	assert_int_equal(window_sum(w, 1100), 7);
	assert_int_equal(window_sum(w, 1600), 0);
}

static void test_a_clock_that_steps_back_hides_nothing(void **state)
{
	AUTO(window_free) struct window *w = make(1000, 100, 0);

	(void)state;
	assert_int_equal(window_add(w, 50000, 50000, 3), 3);
	assert_int_equal(window_add(w, 100, 50000, 4), 4);
	assert_int_equal(window_sum(w, 100), 7);
	assert_int_equal(window_wait_ms(w, 100, 7), 0);
	assert_int_equal(window_wait_ms(w, 100, 6), 51000);
	assert_int_equal(window_wait_ms(w, 50000, 6), 1100);
	assert_int_equal(window_sum(w, 51099), 7);
	assert_int_equal(window_sum(w, 51100), 0);
}

/* What was added by the earlier clock is taken back from where it went. */
static void test_a_clock_that_steps_back_moves_nothing(void **state)
{
	AUTO(window_free) struct window *w = make(1000, 100, 0);

	(void)state;
	assert_int_equal(window_add(w, 50000, 50000, 3), 3);
	assert_int_equal(window_add(w, 50700, 50700, 4), 4);
	assert_int_equal(window_add(w, 49000, 50000, -3), -3);
	assert_int_equal(window_sum(w, 50700), 4);
	assert_int_equal(window_sum(w, 51100), 4);
	assert_int_equal(window_add(w, 49000, 60000, 2), 2);
	assert_int_equal(window_sum(w, 51799), 6);
	assert_int_equal(window_sum(w, 51800), 0);
}

static void test_looking_ahead_changes_nothing(void **state)
{
	AUTO(window_free) struct window *w = make(1000, 100, 0);

	(void)state;
	assert_int_equal(window_add(w, 500, 500, 5), 5);
	assert_int_equal(window_sum(w, 90000), 0);
	assert_int_equal(window_wait_ms(w, 90000, 0), 0);
	assert_int_equal(window_wait_ms(w, 1000, 4), 600);
	assert_int_equal(window_sum(w, 1599), 5);
	assert_int_equal(window_add(w, 700, 500, -2), -2);
	assert_int_equal(window_sum(w, 700), 3);
}

static void test_times_before_0_are_times_as_well(void **state)
{
	AUTO(window_free) struct window *w = make(1000, 100, -250);

	(void)state;
	window_add(w, -250, -250, 2);
	window_add(w, -50, -50, 3);
	assert_int_equal(window_sum(w, 799), 5);
	assert_int_equal(window_sum(w, 800), 3);
	assert_int_equal(window_sum(w, 999), 3);
	assert_int_equal(window_sum(w, 1000), 0);
}

/* ---- against a list of all that was added ---- */

enum { ADDED = 4000 };

struct added {
	int64_t at_ms, amount;
};

/* Of a span that ends at now_ms, and of one that is longer by a slot. */
static int64_t sum_of(const struct added *all, size_t len, int64_t now_ms, int64_t span_ms)
{
	int64_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += all[i].at_ms > now_ms - span_ms ? all[i].amount : 0;
	return sum;
}

static void check_wait(struct window *w, int64_t now_ms, int64_t most)
{
	int64_t wait_ms = window_wait_ms(w, now_ms, most);

	agree((wait_ms == 0) == (window_sum(w, now_ms) <= most), "at %" PRId64, now_ms);
	agree(window_sum(w, now_ms + wait_ms) <= most, "late at %" PRId64, now_ms);
	if (wait_ms > 0)
		agree(window_sum(w, now_ms + wait_ms - 1) > most, "early at %" PRId64, now_ms);
}

static void check_against_list(int64_t span_ms, int64_t slot_ms)
{
	AUTO(window_free) struct window *w = make(span_ms, slot_ms, 0);
	struct added *all = mem_array(ADDED, sizeof(*all));
	int64_t now_ms = 0;

	for (size_t len = 0; len < ADDED; now_ms += model_below((int)(span_ms / 20))) {
		int64_t sum;

		all[len++] = (struct added){ now_ms, 1 + model_below(100) };
		window_add(w, now_ms, now_ms, all[len - 1].amount);
		if (model_chance(30)) {
			struct added *one = &all[len - 1 - (size_t)model_below(len < 50 ? (int)len : 50)];

			one->amount += window_add(w, now_ms, one->at_ms, -(one->amount / 2));
		}
		sum = window_sum(w, now_ms);
		agree(sum >= sum_of(all, len, now_ms, span_ms + 1), "less than the span at %" PRId64, now_ms);
		agree(sum <= sum_of(all, len, now_ms, span_ms + 2 * slot_ms),
		      "more than a slot too long at %" PRId64, now_ms);
		check_wait(w, now_ms, model_below(500));
	}
	mem_free(&all);
}

static void test_it_counts_the_span_and_at_most_a_slot_more(void **state)
{
	(void)state;
	check_against_list(1000, 1);
	check_against_list(1065, 100);
	check_against_list(60750, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_slot_counts_until_all_of_it_is_older_than_the_span),
		cmocka_unit_test(test_what_is_taken_back_is_what_was_there),
		cmocka_unit_test(test_a_clock_that_steps_back_hides_nothing),
		cmocka_unit_test(test_a_clock_that_steps_back_moves_nothing),
		cmocka_unit_test(test_looking_ahead_changes_nothing),
		cmocka_unit_test(test_times_before_0_are_times_as_well),
		cmocka_unit_test(test_it_counts_the_span_and_at_most_a_slot_more),
	};

	return cmocka_run_group_tests(tests, model_start, NULL);
}
