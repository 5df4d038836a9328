#include "spool_place.h"

/* What is acknowledged, kept, taken back, forgotten and removed. */

enum { MODEL = 400 };

static bool is_removed(struct place *place)
{
	char names[64][64];

	return place_list(place, names, 64) == place_stat(place).segments;
}

static void test_acknowledgements_in_any_order_follow_the_model(void **state)
{
	uint64_t order[MODEL], seed = 90125;
	bool acked[MODEL + 2] = { [0] = true };
	int64_t depth_bytes;
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, MODEL);
	depth_bytes = place_stat(place).depth_bytes;
	for (uint64_t i = 0; i < MODEL; i++)
		order[i] = i + 1;
	for (size_t i = MODEL - 1; i > 0; i--) {
		size_t other = row_random(&seed) % (i + 1);
		uint64_t kept = order[i];

		order[i] = order[other];
		order[other] = kept;
	}
	for (uint64_t i = 0, front = 0; i < MODEL; i++) {
		struct spool_stat stat;

		place_ack(place, order[i]);
		place_ack(place, order[i]);
		acked[order[i]] = true;
		while (acked[front + 1])
			front++;
		stat = place_stat(place);
		expect(stat.acked == front && stat.depth == MODEL - i - 1, "after %" PRIu64, order[i]);
		expect(stat.depth_bytes < depth_bytes, "after %" PRIu64, order[i]);
		depth_bytes = stat.depth_bytes;
		if (i % 50 != 7)
			continue;
		place_read_all(place, 1, 3000);
		assert_int_equal(place->count, stat.depth);
		for (size_t k = 0; k < place->count; k++)
			assert_false(acked[place->seqs[k]]);
		assert_int_equal(place->next, MODEL + 1);
	}
	assert_int_equal(depth_bytes, 0);
	assert_int_equal(place_stat(place).oldest_at_ms, 0);
	place_free(&place);
}

static void test_numbers_never_given_are_not_acknowledged(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 3);
	place_ack(place, 0);
	place_ack(place, 4);
	place_ack(place, UINT64_MAX);
	assert_int_equal(place_stat(place).acked, 0);
	assert_int_equal(place_append(place, 5), 4);
	assert_int_equal(place_stat(place).depth, 4);
	place_free(&place);
}

static void test_a_start_replays_what_was_not_acknowledged(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 200);
	for (uint64_t seq = 1; seq <= 200; seq++)
		if (seq != 120)
			place_ack(place, seq);
	place_close(place);
	place_open(place);
	/* Those after the gap may come again: that is harmless, and spares a book of them. */
	assert_int_equal(place_stat(place).acked, 119);
	place_read_all(place, 1, 1000);
	place_expect(place, 120, 200);
	place_ack(place, 120);
	assert_int_equal(place_stat(place).acked, 120);
	for (uint64_t seq = 121; seq <= 200; seq++)
		place_ack(place, seq);
	assert_int_equal(place_stat(place).depth, 0);
	place_close(place);
	place_open(place);
	assert_int_equal(place_stat(place).depth, 0);
	assert_int_equal(place_append(place, 1), 201);
	place_free(&place);
}

static void test_the_database_is_remembered(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	assert_string_equal(spool_database(place->spool), "");
	assert_string_equal(spool_timeline(place->spool), "");
	spool_set_server(place->spool, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "00000001");
	spool_set_server(place->spool, spool_database(place->spool), "2");
	place_close(place);
	place_open(place);
	assert_string_equal(spool_database(place->spool), "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
	assert_string_equal(spool_timeline(place->spool), "2");
	spool_set_server(place->spool, "other", spool_timeline(place->spool));
	assert_string_equal(spool_database(place->spool), "other");
	assert_string_equal(spool_timeline(place->spool), "2");
	place_free(&place);
}

static void test_all_that_is_kept_can_be_read_again(void **state)
{
	struct place *place = place_new();

	(void)state;
	for (int reopened = 0; reopened < 2; reopened++) {
		uint64_t last;

		place_open(place);
		place_append_many(place, 300);
		last = place_stat(place).written;
		for (uint64_t seq = 1; seq <= last; seq++)
			if (seq != last - 5)
				place_ack(place, seq);
		assert_true(place_stat(place).kept_bytes > 0);
		if (reopened) {
			place_close(place);
			place_open(place);
		}
		assert_int_equal(spool_rewind(place->spool), 1);
		assert_int_equal(place_stat(place).acked, 0);
		assert_int_equal(place_stat(place).depth, last);
		assert_int_equal(place_stat(place).kept_bytes, 0);
		place_read_all(place, 1, 1000);
		place_expect(place, 1, last);
		for (uint64_t seq = 1; seq <= last; seq++)
			place_ack(place, seq);
		assert_int_equal(place_stat(place).depth, 0);
		assert_int_equal(place_stat(place).depth_bytes, 0);
		place_close(place);
	}
	place_free(&place);
}

static void test_a_rewind_outlives_the_process(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 100);
	for (uint64_t seq = 1; seq <= 100; seq++)
		place_ack(place, seq);
	place_close(place);
	place_open(place);
	assert_int_equal(spool_rewind(place->spool), 1);
	place_close(place);
	place_open(place);
	assert_int_equal(place_stat(place).depth, 100);
	place_free(&place);
}

static bool has_one_segment(struct place *place)
{
	return place_stat(place).segments == 1 && is_removed(place);
}

static void test_what_is_forgotten_does_not_come_back(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 300);
	for (uint64_t seq = 1; seq <= 290; seq++)
		place_ack(place, seq);
	place_close(place);
	place_open(place);
	spool_forget_kept(place->spool);
	place_wait(place, is_removed);
	assert_true(place_stat(place).segments <= 2);
	assert_int_equal(spool_rewind(place->spool), 291);
	place_read_all(place, 1, 10000);
	place_expect(place, 291, 300);
	place_close(place);
	place_open(place);
	assert_int_equal(spool_rewind(place->spool), 291);
	place_free(&place);
}

static void test_acknowledged_segments_go_when_their_time_is_over(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 300);
	for (uint64_t seq = 1; seq <= 300; seq++)
		place_ack(place, seq);
	assert_true(place_stat(place).segments > 5);
	spool_configure(place->spool, place->options.max_bytes, 20);
	place_wait(place, has_one_segment);
	assert_int_equal(place_append(place, 10), 301);
	place_read_all(place, 1, 1000);
	place_expect(place, 301, 301);
	place_free(&place);
}

static void test_a_segment_with_a_record_to_come_stays(void **state)
{
	struct place *place = place_new();

	(void)state;
	place->options.keep_ms = 0;
	place_open(place);
	place_append_many(place, 300);
	for (uint64_t seq = 2; seq <= 300; seq++)
		place_ack(place, seq);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 1);
	place_close(place);
	place_open(place);
	place_read_all(place, 1, 100000);
	place_expect(place, 1, 300);
	place_free(&place);
}

static bool has_told(struct place *place)
{
	return place->changes > 0;
}

static bool is_well(struct place *place)
{
	return !spool_trouble(place->spool) && place_stat(place).unwritten == 0;
}

static void test_too_deep_is_told_until_well_below(void **state)
{
	struct place *place = place_new();
	uint64_t seq = 0;
	struct spool_stat stat;

	(void)state;
	place->options.max_bytes = 64 * 1024;
	place_open(place);
	while (!spool_trouble(place->spool))
		place_append_many(place, 1);
	stat = place_stat(place);
	assert_true(stat.depth_bytes >= 64 * 1024 * 80 / 100 && stat.depth_bytes < 64 * 1024 * 81 / 100);
	assert_int_equal(stat.unwritten, 0);
	assert_non_null(strstr(spool_trouble(place->spool), "80 %"));
	assert_int_equal(place->changes, 0);
	place_wait(place, has_told);
	assert_int_equal(place->changes, 1);
	while (spool_trouble(place->spool))
		place_ack(place, ++seq);
	stat = place_stat(place);
	assert_true(stat.depth_bytes < 64 * 1024 * 70 / 100 && stat.depth_bytes > 64 * 1024 * 68 / 100);
	place->changes = 0;
	place_wait(place, has_told);
	assert_int_equal(place->changes, 1);
	place_free(&place);
}

static bool has_written_more(struct place *place)
{
	return place_stat(place).written > place_stat(place).acked;
}

static void test_at_the_limit_nothing_is_lost(void **state)
{
	struct place *place = place_new();
	uint64_t last;

	(void)state;
	place->options.max_bytes = 32 * 1024;
	place_open(place);
	while (!spool_is_holding(place->spool))
		place_append_many(place, 1);
	place_append_many(place, 200);
	last = place->tag_room ? place_stat(place).acked + place_stat(place).depth : 0;
	assert_true(place_stat(place).unwritten > 100);
	assert_true(place_stat(place).bytes <= 32 * 1024);
	assert_non_null(strstr(spool_trouble(place->spool), "limit"));
	place_read_all(place, 1, 1000);
	place_expect(place, 1, place_stat(place).written);
	/* As the records come to be acknowledged, kept segments make way for those that wait. */
	for (uint64_t seq = 1; seq < last; seq++) {
		if (seq > place_stat(place).written)
			place_wait(place, has_written_more);
		place_ack(place, seq);
	}
	place_wait(place, is_well);
	assert_int_equal(place_stat(place).written, last);
	assert_true(place_stat(place).bytes <= 32 * 1024);
	place_read_all(place, 1, 1000);
	place_expect(place, last, last);
	place_free(&place);
}

static void test_a_raised_limit_makes_room_at_once(void **state)
{
	struct place *place = place_new();

	(void)state;
	place->options.max_bytes = 32 * 1024;
	place_open(place);
	while (place_stat(place).unwritten < 50)
		place_append_many(place, 1);
	spool_configure(place->spool, 1 << 20, 1000);
	place_wait(place, is_well);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, place_stat(place).depth);
	place_free(&place);
}

/* All is acknowledged, and the one segment that there is takes more than the new limit. */
static void test_a_limit_below_the_present_segment_does_not_wedge(void **state)
{
	struct place *place = place_new();

	(void)state;
	place->options.segment_bytes = 1 << 20;
	place_open(place);
	place_append_many(place, 100);
	for (uint64_t seq = 1; seq <= 100; seq++)
		place_ack(place, seq);
	spool_configure(place->spool, 128 * 1024, 1000000);
	place_append_many(place, 1);
	place_wait(place, has_told);
	place_ack(place, 101);
	place_wait(place, is_well);
	place_append_many(place, 20);
	assert_true(place_stat(place).bytes <= 128 * 1024);
	place_read_all(place, 1, 1000);
	place_expect(place, 102, 121);
	place_free(&place);
}

static void test_a_record_larger_than_the_limit_does_not_wait_for_ever(void **state)
{
	struct place *place = place_new();

	(void)state;
	place->options.max_bytes = 16 * 1024;
	place_open(place);
	(void)place_append(place, 40000);
	(void)place_append(place, 50000);
	assert_int_equal(place_stat(place).written, 1);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 1);
	place_ack(place, 1);
	place_wait(place, has_written_more);
	place_read_all(place, 1, 1000);
	place_expect(place, 2, 2);
	place_ack(place, 2);
	place_wait(place, is_well);
	place_append_many(place, 5);
	assert_int_equal(place_stat(place).written, 7);
	place_free(&place);
}

/* The database may have them before there was room for them here. */
static void test_records_acknowledged_while_they_wait_leave_no_gap(void **state)
{
	struct place *place = place_new();
	uint64_t written, last;

	(void)state;
	place->options.max_bytes = 32 * 1024;
	place_open(place);
	while (place_stat(place).unwritten < 50)
		place_append_many(place, 1);
	written = place_stat(place).written;
	last = written + 50;
	for (uint64_t seq = written + 1; seq <= last; seq += 2)
		place_ack(place, seq);
	assert_int_equal(place_stat(place).unwritten, 25);
	assert_int_equal(place_stat(place).depth, written + 25);
	for (uint64_t seq = 1; seq <= written; seq++)
		place_ack(place, seq);
	place_wait(place, is_well);
	assert_int_equal(place_stat(place).written, last);
	place_read_all(place, 1, 1000);
	assert_int_equal(place->count, 25);
	for (size_t i = 0; i < 25; i++)
		assert_int_equal(place->seqs[i], written + 2 * i + 2);
	/* After a start their places are empty, and acknowledged as soon as they are met. */
	place_close(place);
	place_open(place);
	place_read_all(place, 1, 1000);
	assert_int_equal(place->count, 25);
	for (size_t i = 0; i < place->count; i++)
		place_ack(place, place->seqs[i]);
	assert_int_equal(place_stat(place).depth, 0);
	place_free(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acknowledgements_in_any_order_follow_the_model),
		cmocka_unit_test(test_numbers_never_given_are_not_acknowledged),
		cmocka_unit_test(test_a_start_replays_what_was_not_acknowledged),
		cmocka_unit_test(test_the_database_is_remembered),
		cmocka_unit_test(test_all_that_is_kept_can_be_read_again),
		cmocka_unit_test(test_a_rewind_outlives_the_process),
		cmocka_unit_test(test_what_is_forgotten_does_not_come_back),
		cmocka_unit_test(test_acknowledged_segments_go_when_their_time_is_over),
		cmocka_unit_test(test_a_segment_with_a_record_to_come_stays),
		cmocka_unit_test(test_too_deep_is_told_until_well_below),
		cmocka_unit_test(test_at_the_limit_nothing_is_lost),
		cmocka_unit_test(test_a_raised_limit_makes_room_at_once),
		cmocka_unit_test(test_a_limit_below_the_present_segment_does_not_wedge),
		cmocka_unit_test(test_a_record_larger_than_the_limit_does_not_wait_for_ever),
		cmocka_unit_test(test_records_acknowledged_while_they_wait_leave_no_gap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
