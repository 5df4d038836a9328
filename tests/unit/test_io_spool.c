#include "spool_place.h"

/* What is appended is read again, in order, now and after a start. */

static void test_what_is_appended_is_read_in_order(void **state)
{
	struct place *place = place_new();
	struct spool_stat stat;

	(void)state;
	place_open(place);
	place_append_many(place, 1000);
	stat = place_stat(place);
	assert_int_equal(stat.written, 1000);
	assert_int_equal(stat.depth, 1000);
	assert_int_equal(stat.unwritten, 0);
	assert_int_equal(stat.acked, 0);
	assert_true(stat.segments > 10);
	assert_true(llabs(clock_wall_ms() - stat.oldest_at_ms) < 60000);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 1000);
	assert_int_equal(place->next, 1001);
	place_free(&place);
}

static void test_an_empty_spool_has_nothing_and_says_so(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_read_all(place, 1, 1000);
	assert_int_equal(place->count, 0);
	assert_int_equal(place->next, 1);
	assert_int_equal(place_stat(place).oldest_at_ms, 0);
	assert_null(spool_trouble(place->spool));
	place_close(place);
	place_open(place);
	assert_int_equal(place_append(place, 10), 1);
	place_free(&place);
}

static void test_a_start_goes_on_where_the_last_one_ended(void **state)
{
	struct place *place = place_new();

	(void)state;
	for (uint64_t round = 0; round < 20; round++) {
		place_open(place);
		assert_int_equal(place_stat(place).written, round * 13);
		assert_int_equal(place_stat(place).depth, round * 13);
		place_append_many(place, 13);
		place_read_all(place, 0, 700);
		place_expect(place, 1, round * 13 + 13);
		place_close(place);
	}
	place_free(&place);
}

static bool is_synced(struct place *place)
{
	return place_stat(place).synced == place_stat(place).written;
}

static void test_what_is_written_is_synced_soon(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	for (int i = 0; i < 5; i++) {
		place_append_many(place, 50);
		assert_true(place_stat(place).synced < place_stat(place).written);
		place_wait(place, is_synced);
	}
	place_free(&place);
}

static void test_a_reader_from_the_middle_begins_there(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 300);
	for (uint64_t from = 1; from <= 301; from += 23) {
		place_read_all(place, from, 5000);
		place_expect(place, from, 300);
	}
	place_free(&place);
}

static void test_a_reader_follows_what_is_appended(void **state)
{
	struct place *place = place_new();
	struct spool_reader *reader;

	(void)state;
	place_open(place);
	spool_reader_new(place->spool, 1, &reader);
	for (int round = 0; round < 60; round++) {
		place_append_many(place, 1 + round % 9);
		if (round % 3 == 0)
			(void)place_read_once(place, reader, 500);
	}
	while (place_read_once(place, reader, 500) > 0)
		continue;
	place_expect(place, 1, place_stat(place).written);
	spool_reader_free(&reader);
	place_free(&place);
}

static void never(void *arg, const struct spool_record *records, size_t count, uint64_t next)
{
	(void)arg;
	(void)records;
	(void)count;
	(void)next;
	fail_msg("a forgotten read was told");
}

static void test_a_read_under_way_is_forgotten_with_its_reader(void **state)
{
	struct place *place = place_new();
	struct spool_reader *reader;

	(void)state;
	place_open(place);
	for (int i = 0; i < 2; i++) {
		spool_reader_new(place->spool, 1, &reader);
		spool_read(reader, 1000, never, NULL);
		spool_reader_free(&reader);
		assert_null(reader);
		place_append_many(place, 10);
	}
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 20);
	spool_reader_new(place->spool, 1, &reader);
	spool_read(reader, 1000, never, NULL);
	spool_reader_free(&reader);
	place_free(&place);
}

static void test_big_records_get_segments_of_their_size(void **state)
{
	static const size_t sizes[] = { 1, 5000, 3, 4096, 4000, 100000, 0, 5 << 20, 7, 9000, 9000 };
	struct place *place = place_new();

	(void)state;
	place_open(place);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		(void)place_append(place, sizes[i]);
	place_read_all(place, 1, 10);
	place_expect(place, 1, ARRAY_LEN(sizes));
	place_close(place);
	place_open(place);
	(void)place_append(place, 50000);
	place_read_all(place, 1, 1 << 20);
	place_expect(place, 1, ARRAY_LEN(sizes) + 1);
	place_free(&place);
}

static void test_files_are_for_their_owner_alone(void **state)
{
	struct place *place = place_new();
	char path[128];
	char names[4][64];
	struct stat st;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/spool", place->dir);
	place->options.dir = path;
	place_open(place);
	place_append_many(place, 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	(void)snprintf(place->dir + strlen(place->dir), 10, "/spool");
	assert_int_equal(place_list(place, names, 4), 1);
	assert_string_equal(names[0], "0000000000000001.spool");
	place_path(place, names[0], path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	place_path(place, "cursor", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	place_close(place);
	place_empty(place);
	assert_int_equal(rmdir(place->dir), 0);
	*strrchr(place->dir, '/') = '\0';
	place_free(&place);
}

static void test_a_second_process_is_refused(void **state)
{
	AUTO(mem_free_str) char *error = NULL;
	struct place *place = place_new();
	struct spool *second = NULL;

	(void)state;
	place_open(place);
	assert_int_equal(spool_open(place->loop, &place->options, &second, &error), -EBUSY);
	assert_non_null(strstr(error, "in use by another process"));
	assert_non_null(strstr(error, place->dir));
	assert_null(second);
	/* The refused one has done no harm. */
	place_append_many(place, 300);
	place_read_all(place, 1, 100000);
	place_expect(place, 1, 300);
	place_free(&place);
}

static void test_folders_that_cannot_be_used_are_named(void **state)
{
	AUTO(mem_free_str) char *error = NULL;
	struct place *place = place_new();
	char path[128];

	(void)state;
	place_store(place, "0file", "x", 1);
	place_path(place, "0file", path);
	place->options.dir = path;
	assert_true(place_try_open(place, &error) < 0);
	assert_non_null(strstr(error, path));
	place_free(&place);
}

static void test_a_hundred_thousand_records(void **state)
{
	struct place *place = place_new();

	(void)state;
	place->options.segment_bytes = 1 << 20;
	place_open(place);
	for (int i = 0; i < 100; i++) {
		place_append_many(place, 1000);
		place_wait(place, is_synced);
	}
	place_close(place);
	place_open(place);
	assert_int_equal(place_stat(place).depth, 100000);
	place_read_all(place, 1, 1 << 20);
	place_expect(place, 1, 100000);
	place_free(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_appended_is_read_in_order),
		cmocka_unit_test(test_an_empty_spool_has_nothing_and_says_so),
		cmocka_unit_test(test_a_start_goes_on_where_the_last_one_ended),
		cmocka_unit_test(test_what_is_written_is_synced_soon),
		cmocka_unit_test(test_a_reader_from_the_middle_begins_there),
		cmocka_unit_test(test_a_reader_follows_what_is_appended),
		cmocka_unit_test(test_a_read_under_way_is_forgotten_with_its_reader),
		cmocka_unit_test(test_big_records_get_segments_of_their_size),
		cmocka_unit_test(test_files_are_for_their_owner_alone),
		cmocka_unit_test(test_a_second_process_is_refused),
		cmocka_unit_test(test_folders_that_cannot_be_used_are_named),
		cmocka_unit_test(test_a_hundred_thousand_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
