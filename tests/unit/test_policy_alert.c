#include "row.h"

#include "policy/alert.h"

static const struct alert_target both[] = { { "ops", (1u << ALERT_KIND_COUNT) - 1, 0 },
					    { "pools", 1u << ALERT_POOL_DEGRADED, 500 } };

static struct alert_book *book_of(size_t targets)
{
	struct alert_book *book;

	alert_book_new(&book);
	alert_set_targets(book, both, targets);
	return book;
}

static void see(struct alert_book *book, enum alert_kind kind, const char *subject, int64_t now_ms)
{
	alert_see(book, kind, subject, "why", now_ms, 1000 + now_ms);
}

static void settle(struct alert_book *book, int64_t now_ms)
{
	(void)alert_settle(book, true, now_ms, 1000 + now_ms);
}

/* What the first target is told, and takes. */
static enum alert_message take(struct alert_book *book, int64_t now_ms)
{
	struct alert alert;
	enum alert_message message = alert_next(book, 0, now_ms, &alert);

	if (message != ALERT_NOTHING)
		alert_delivered(book, 0, NULL, now_ms, 0);
	return message;
}

static void test_a_condition_is_told_once_and_its_end_once(void **state)
{
	struct alert_book *book = book_of(1);

	(void)state;
	for (int64_t at = 0; at < 5; at++) {
		see(book, ALERT_PROVIDER_PARKED, "openai", at);
		settle(book, at);
		assert_int_equal(take(book, at), at == 0 ? ALERT_RAISED : ALERT_NOTHING);
	}
	assert_true(alert_is_open(book, ALERT_PROVIDER_PARKED, "openai"));
	settle(book, 5);
	assert_int_equal(take(book, 5), ALERT_RESOLVED);
	assert_int_equal(take(book, 6), ALERT_NOTHING);
	settle(book, 6);
	see(book, ALERT_PROVIDER_PARKED, "openai", 7);
	settle(book, 7);
	assert_int_equal(take(book, 7), ALERT_RAISED);
	alert_book_free(&book);
}

static void test_what_lasts_too_short_is_not_told(void **state)
{
	int64_t raise_ms = alert_kinds[ALERT_DATABASE_AWAY].raise_ms;
	struct alert_book *book = book_of(1);
	struct alert alert;

	(void)state;
	see(book, ALERT_DATABASE_AWAY, "database", 0);
	settle(book, 0);
	settle(book, 1000);
	see(book, ALERT_DATABASE_AWAY, "database", 2000);
	settle(book, 2000);
	see(book, ALERT_DATABASE_AWAY, "database", 2000 + raise_ms - 1);
	settle(book, 2000 + raise_ms - 1);
	assert_int_equal(take(book, 2000 + raise_ms - 1), ALERT_NOTHING);
	assert_false(alert_at(book, 0, &alert));
	see(book, ALERT_DATABASE_AWAY, "database", 2000 + raise_ms);
	settle(book, 2000 + raise_ms);
	assert_int_equal(take(book, 2000 + raise_ms), ALERT_RAISED);
	alert_book_free(&book);
}

static void test_a_failure_is_tried_again_later_and_later(void **state)
{
	struct alert_book *book = book_of(1);
	struct alert_target_view view;
	struct alert alert;
	int64_t now_ms = 0, last_ms = 0;

	(void)state;
	alert_notice(book, ALERT_RUN_FINISHED, "r1", "COMPLETED", 1);
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(alert_next(book, 0, now_ms, &alert), ALERT_NOTICE);
		assert_int_equal(alert_next(book, 0, now_ms, &alert), ALERT_NOTHING); /* under way */
		alert_delivered(book, 0, "answered 503", now_ms, UINT32_MAX);
		alert_target_look(book, 0, &view);
		assert_int_equal(view.failures, i);
		assert_string_equal(view.last_error, "answered 503");
		assert_true(view.next_ms - now_ms > last_ms);
		assert_int_equal(alert_next(book, 0, view.next_ms - 1, &alert), ALERT_NOTHING);
		last_ms = view.next_ms - now_ms;
		now_ms = view.next_ms;
		settle(book, now_ms);
	}
	assert_int_equal(take(book, now_ms), ALERT_NOTICE);
	settle(book, now_ms);
	assert_false(alert_at(book, 0, &alert));
	alert_target_look(book, 0, &view);
	assert_true(view.failures == 0 && !view.last_error && view.sent == 1 && view.owed == 0);
	alert_book_free(&book);
}

static void test_an_end_is_not_told_to_who_never_heard_of_it(void **state)
{
	struct alert_book *book = book_of(2);
	struct alert alert;

	(void)state;
	see(book, ALERT_PROVIDER_PARKED, "xai", 0);
	settle(book, 0);
	settle(book, 1);
	assert_int_equal(take(book, 1), ALERT_NOTHING);
	see(book, ALERT_PROVIDER_PARKED, "xai", 2);
	settle(book, 2);
	assert_int_equal(alert_next(book, 1, 2, &alert), ALERT_NOTHING); /* does not want it */
	assert_int_equal(alert_next(book, 0, 2, &alert), ALERT_RAISED);
	settle(book, 3); /* ends while the answer is still out */
	alert_delivered(book, 0, NULL, 3, 0);
	assert_int_equal(take(book, 3), ALERT_RESOLVED);
	alert_book_free(&book);
}

static void test_the_interval_keeps_messages_apart(void **state)
{
	struct alert_book *book = book_of(2);
	struct alert alert;

	(void)state;
	see(book, ALERT_POOL_DEGRADED, "a", 0);
	see(book, ALERT_POOL_DEGRADED, "b", 0);
	settle(book, 0);
	assert_int_equal(alert_next(book, 1, 0, &alert), ALERT_RAISED);
	assert_string_equal(alert.subject, "a");
	alert_delivered(book, 1, NULL, 0, 0);
	assert_int_equal(alert_next(book, 1, 499, &alert), ALERT_NOTHING);
	assert_int_equal(alert_next(book, 1, 500, &alert), ALERT_RAISED);
	assert_string_equal(alert.subject, "b");
	alert_book_free(&book);
}

static void test_another_life_repeats_nothing_and_forgets_no_end(void **state)
{
	struct alert_book *book = book_of(1);
	const struct alert parked = { .id = 7,
				      .kind = ALERT_PROVIDER_PARKED,
				      .subject = "xai",
				      .text = "why",
				      .since_wall_ms = 1,
				      .told = 1 };
	const struct alert ended = { .id = 8,
				     .kind = ALERT_RUN_STALLED,
				     .subject = "r",
				     .text = "why",
				     .since_wall_ms = 1,
				     .ended_wall_ms = 2,
				     .told = 1 };

	(void)state;
	alert_restore(book, &parked, 0);
	alert_restore(book, &ended, 0);
	assert_int_equal(take(book, 0), ALERT_RESOLVED);
	settle(book, ALERT_RESTORED_MS - 1);
	assert_int_equal(take(book, ALERT_RESTORED_MS - 1), ALERT_NOTHING);
	see(book, ALERT_PROVIDER_PARKED, "xai", ALERT_RESTORED_MS - 1);
	settle(book, ALERT_RESTORED_MS - 1);
	assert_int_equal(take(book, ALERT_RESTORED_MS - 1), ALERT_NOTHING);
	settle(book, ALERT_RESTORED_MS);
	assert_int_equal(take(book, ALERT_RESTORED_MS), ALERT_RESOLVED);
	alert_book_free(&book);
}

static void test_without_the_database_runs_are_not_judged(void **state)
{
	struct alert_book *book = book_of(1);

	(void)state;
	see(book, ALERT_RUN_STALLED, "r", 0);
	settle(book, 0);
	assert_int_equal(take(book, 0), ALERT_RAISED);
	(void)alert_settle(book, false, 1000, 2000);
	assert_int_equal(take(book, 1000), ALERT_NOTHING);
	settle(book, 2000);
	assert_int_equal(take(book, 2000), ALERT_RESOLVED);
	alert_book_free(&book);
}

static void test_targets_may_change_places(void **state)
{
	struct alert_book *book = book_of(2);
	const struct alert_target turned[] = { both[1], both[0] };
	struct alert alert;

	(void)state;
	see(book, ALERT_POOL_DEGRADED, "a", 0);
	settle(book, 0);
	assert_int_equal(take(book, 0), ALERT_RAISED);
	alert_set_targets(book, turned, 2);
	assert_int_equal(alert_next(book, 1, 0, &alert), ALERT_NOTHING); /* ops has it */
	assert_int_equal(alert_next(book, 0, 0, &alert), ALERT_RAISED);
	alert_book_free(&book);
}

static void test_notices_make_room_and_the_number_is_bounded(void **state)
{
	struct alert_book *book = book_of(1);
	struct alert alert;
	size_t count = 0;

	(void)state;
	for (int i = 0; i < ALERT_HELD_MAX + 10; i++)
		alert_notice(book, ALERT_RUN_FINISHED, i < 10 ? "old" : "new", "FAILED", 1);
	see(book, ALERT_SPOOL_HIGH, "spool", 0);
	settle(book, 0);
	while (alert_at(book, count, &alert)) {
		assert_string_not_equal(alert.subject, "old");
		count++;
	}
	assert_int_equal(count, ALERT_HELD_MAX);
	assert_int_equal(alert.kind, ALERT_SPOOL_HIGH);
	alert_book_free(&book);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_condition_is_told_once_and_its_end_once),
		cmocka_unit_test(test_what_lasts_too_short_is_not_told),
		cmocka_unit_test(test_a_failure_is_tried_again_later_and_later),
		cmocka_unit_test(test_an_end_is_not_told_to_who_never_heard_of_it),
		cmocka_unit_test(test_the_interval_keeps_messages_apart),
		cmocka_unit_test(test_another_life_repeats_nothing_and_forgets_no_end),
		cmocka_unit_test(test_without_the_database_runs_are_not_judged),
		cmocka_unit_test(test_targets_may_change_places),
		cmocka_unit_test(test_notices_make_room_and_the_number_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
