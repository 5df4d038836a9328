#include "spool_place.h"

/* What a start and a reader make of files that were cut, changed, lost or brought by somebody. */

#define FIRST "0000000000000001.spool"

/* Changes one byte; the same again changes it back. */
static void flip(const struct place *place, const char *name, int64_t offset, char bits)
{
	char path[128];
	char byte;
	int fd;

	place_path(place, name, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte = (char)(byte ^ bits);
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	(void)close(fd);
}

/* How many whole records end at or before `bytes` of the only segment. */
static uint64_t whole_before(const struct place *place, size_t bytes, uint64_t last)
{
	size_t end = PLACE_HEADER;

	for (uint64_t seq = 1; seq <= last; seq++) {
		char meta[32];

		end += 48 + place_meta(meta, place->tags[seq]) + 1 + place->bodies[seq];
		if (end > bytes)
			return seq - 1;
	}
	return last;
}

/* What place_append() noted of the first records, to go back to. */
struct notes {
	int64_t tags[8];
	size_t bodies[8];
};

static void save(const struct place *place, struct notes *notes)
{
	memcpy(notes->tags, place->tags, sizeof(notes->tags));
	memcpy(notes->bodies, place->bodies, sizeof(notes->bodies));
}

static void restore(struct place *place, const struct notes *notes)
{
	memcpy(place->tags, notes->tags, sizeof(notes->tags));
	memcpy(place->bodies, notes->bodies, sizeof(notes->bodies));
}

/* Every length that a file can be cut to, as a failing machine may leave it. */
static void test_a_cut_file_has_the_whole_records_before_the_cut(void **state)
{
	struct place *place = place_new();
	AUTO(mem_free_str) char *bytes = NULL;
	struct notes notes;
	size_t len, used;

	(void)state;
	place_open(place);
	place_append_many(place, 6);
	place_close(place);
	save(place, &notes);
	bytes = place_load(place, FIRST, &len);
	for (used = len; bytes[used - 1] == '\0'; used--)
		continue;
	for (size_t cut = 0; cut <= used; cut++) {
		uint64_t want = whole_before(place, cut, 6);

		place_empty(place);
		place_store(place, FIRST, bytes, cut);
		place_open(place);
		place_read_all(place, 1, 1000);
		place_expect(place, 1, want);
		/* What is appended takes the place of what was lost, for good. */
		expect(place_append(place, 33) == want + 1, "cut at %zu", cut);
		place_close(place);
		place_open(place);
		place_read_all(place, 1, 1000);
		place_expect(place, 1, want + 1);
		place_close(place);
		restore(place, &notes);
	}
	place_free(&place);
}

/* Good records behind the cut have the numbers that the next ones will have, and might fit behind them. */
static void test_what_was_cut_off_never_comes_back(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	for (int i = 0; i < 8; i++)
		(void)place_append(place, 20);
	place_close(place);
	flip(place, FIRST, PLACE_HEADER + 2 * (48 + 9 + 1 + 20) + 60, 1);
	place_open(place);
	assert_int_equal(place_stat(place).written, 2);
	/* As long as the one that was harmed. */
	assert_int_equal(place_append(place, 20), 3);
	place_close(place);
	place_open(place);
	assert_int_equal(place_stat(place).written, 3);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 3);
	place_free(&place);
}

/* The last records, with the rest of what was allocated behind them, and one byte of anything changed. */
static void test_a_flipped_byte_never_gives_a_wrong_record(void **state)
{
	struct place *place = place_new();
	AUTO(mem_free_str) char *cursor = NULL;
	AUTO(mem_free_str) char *bytes = NULL;
	size_t len, cursor_len;

	(void)state;
	place_open(place);
	place_append_many(place, 8);
	place_close(place);
	bytes = place_load(place, FIRST, &len);
	cursor = place_load(place, "cursor", &cursor_len);
	for (size_t at = 0; at < 1400; at++) {
		uint64_t whole = at < PLACE_HEADER ? 8 : whole_before(place, at, 8);

		bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
		place_empty(place);
		place_store(place, FIRST, bytes, len);
		place_store(place, "cursor", cursor, cursor_len);
		place_open(place);
		/* Holds each record against what was appended. */
		place_read_all(place, 1, 1000);
		expect(place->count == whole, "byte %zu: %zu", at, place->count);
		place_expect(place, 1, whole);
		place_close(place);
		bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
	}
	place_free(&place);
}

/* Segments 1 to 3 or so, the first of them to be harmed. Returns the last number in it. */
static uint64_t fill_segments(struct place *place)
{
	char names[16][64];

	place_open(place);
	place_append_many(place, 80);
	place_close(place);
	assert_true(place_list(place, names, 16) >= 3);
	assert_string_equal(names[0], FIRST);
	return strtoull(names[1], NULL, 16) - 1;
}

static void test_damage_in_an_earlier_segment_costs_the_damaged_records(void **state)
{
	struct place *place = place_new();
	uint64_t last_in_first = fill_segments(place);

	(void)state;
	for (size_t at = PLACE_HEADER; at < PLACE_SMALL; at += 41) {
		uint64_t hit = whole_before(place, at, last_in_first) + 1;
		char path[128];

		flip(place, FIRST, (int64_t)at, 0x55);
		place_path(place, "cursor", path);
		assert_int_equal(unlink(path), 0);
		place_open(place);
		place_read_all(place, 1, 1000);
		if (hit > last_in_first) {
			place_expect(place, 1, 80);
		} else {
			expect(place->count == 79, "byte %zu: %zu records", at, place->count);
			for (size_t i = 0; i < 79; i++)
				assert_int_equal(place->seqs[i], i + 1 < hit ? i + 1 : i + 2);
			/* The cursor can pass what is gone. */
			assert_int_equal(place_stat(place).depth, 79);
			for (uint64_t seq = 1; seq < hit; seq++)
				place_ack(place, seq);
			assert_int_equal(place_stat(place).acked, hit);
		}
		place_close(place);
		flip(place, FIRST, (int64_t)at, 0x55);
	}
	place_free(&place);
}

/* Zeros in the middle: a page that was never written, between others that were. */
static void test_a_hole_in_an_earlier_segment_costs_what_was_in_it(void **state)
{
	struct place *place = place_new();
	uint64_t last_in_first = fill_segments(place);
	AUTO(mem_free_str) char *bytes = NULL;
	uint64_t from, to;
	size_t len;

	(void)state;
	bytes = place_load(place, FIRST, &len);
	memset(bytes + 1000, 0, 1000);
	place_store(place, FIRST, bytes, len);
	from = whole_before(place, 1000, last_in_first) + 1;
	to = whole_before(place, 1999, last_in_first) + 1;
	place_open(place);
	place_read_all(place, 1, 1000);
	assert_int_equal(place->count, 80 - (to + 1 - from));
	for (size_t i = 0; i < place->count; i++)
		assert_int_equal(place->seqs[i], i + 1 < from ? i + 1 : i + 1 + (to + 1 - from));
	assert_int_equal(place_stat(place).depth, place->count);
	place_free(&place);
}

/* Its header begins with a zero then, as the hole ends with one. */
static void test_a_record_of_256_bytes_is_found_behind_a_hole(void **state)
{
	struct place *place = place_new();
	AUTO(mem_free_str) char *bytes = NULL;
	size_t len, from, second;

	(void)state;
	place_open(place);
	(void)place_append(place, 20);
	(void)place_append(place, 20);
	(void)place_append(place, 256 - 1 - strlen("{\"tag\":3}"));
	place_append_many(place, 60);
	place_close(place);
	bytes = place_load(place, FIRST, &len);
	second = 48 + strlen("{\"tag\":2}") + 1 + 20;
	from = PLACE_HEADER + second;
	assert_int_equal(bytes[from + second], 0);
	assert_int_equal(bytes[from + second + 1], 1);
	memset(bytes + from, 0, second);
	place_store(place, FIRST, bytes, len);
	place_open(place);
	assert_true(place_stat(place).segments > 1);
	place_read_all(place, 1, 1000);
	assert_int_equal(place->count, 62);
	assert_int_equal(place->seqs[0], 1);
	assert_int_equal(place->seqs[1], 3);
	place_free(&place);
}

static void test_a_missing_segment_is_passed_over(void **state)
{
	struct place *place = place_new();
	char names[16][64], path[128];
	uint64_t from, to;

	(void)state;
	(void)fill_segments(place);
	(void)place_list(place, names, 16);
	from = strtoull(names[1], NULL, 16);
	to = strtoull(names[2], NULL, 16) - 1;
	place_path(place, names[1], path);
	assert_int_equal(unlink(path), 0);
	place_open(place);
	place_read_all(place, 1, 1000);
	assert_int_equal(place->count, 80 - (to + 1 - from));
	assert_int_equal(place_stat(place).depth, place->count);
	for (size_t i = 0; i < place->count; i++)
		place_ack(place, place->seqs[i]);
	assert_int_equal(place_stat(place).acked, 80);
	place_close(place);
	/* And one that goes while the spool is open. */
	place_open(place);
	assert_int_equal(spool_rewind(place->spool), 1);
	place_path(place, names[0], path);
	assert_int_equal(unlink(path), 0);
	place_read_all(place, 1, 1000);
	place_expect(place, to + 1, 80);
	assert_int_equal(place_stat(place).acked, to);
	place_free(&place);
}

static void test_damage_among_acknowledged_records_costs_nothing(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 10);
	for (uint64_t seq = 1; seq <= 6; seq++)
		place_ack(place, seq);
	place_close(place);
	flip(place, FIRST, PLACE_HEADER + 50, 1);
	place_open(place);
	assert_int_equal(place_append(place, 9), 11);
	place_read_all(place, 1, 1000);
	place_expect(place, 7, 11);
	place_free(&place);
}

static void test_a_lost_cursor_means_that_all_is_read_again(void **state)
{
	static const char *const ways[] = { "", "garbage", NULL };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		struct place *place = place_new();
		char path[128];

		place_open(place);
		place_append_many(place, 50);
		for (uint64_t seq = 1; seq <= 50; seq++)
			place_ack(place, seq);
		place_close(place);
		place_path(place, "cursor", path);
		if (ways[i])
			place_store(place, "cursor", ways[i], strlen(ways[i]));
		else
			assert_int_equal(unlink(path), 0);
		place_open(place);
		place_read_all(place, 1, 1000);
		place_expect(place, 1, 50);
		assert_int_equal(place_append(place, 0), 51);
		for (uint64_t seq = 1; seq <= 51; seq++)
			place_ack(place, seq);
		place_close(place);
		place_open(place);
		assert_int_equal(place_stat(place).depth, 0);
		place_free(&place);
	}
}

/* The slots take turns: with one of them damaged, what the other says is a little old, never wrong. */
static void test_one_slot_of_the_cursor_is_enough(void **state)
{
	struct place *place = place_new();

	(void)state;
	for (int slot = 0; slot < 2; slot++) {
		uint64_t acked;

		place_open(place);
		place_append_many(place, 20);
		spool_set_server(place->spool, "one", "1");
		for (uint64_t seq = 1; seq <= place_stat(place).written - 10; seq++)
			place_ack(place, seq);
		acked = place_stat(place).acked;
		spool_set_server(place->spool, "two", "2");
		place_close(place);
		flip(place, "cursor", slot * 4096 + 30, 1);
		place_open(place);
		assert_true(place_stat(place).acked <= acked);
		assert_string_equal(spool_database(place->spool), "two");
		place_close(place);
	}
	place_free(&place);
}

static void test_numbers_go_on_after_the_cursor_when_segments_are_lost(void **state)
{
	struct place *place = place_new();
	char names[16][64], path[128];
	int count;

	(void)state;
	(void)fill_segments(place);
	place_open(place);
	for (uint64_t seq = 1; seq <= 80; seq++)
		place_ack(place, seq);
	place_close(place);
	count = place_list(place, names, 16);
	place_path(place, names[count - 1], path);
	assert_int_equal(unlink(path), 0);
	place_open(place);
	assert_int_equal(place_append(place, 5), 81);
	place_close(place);
	place_open(place);
	place_read_all(place, 1, 1000);
	place_expect(place, 81, 81);
	place_close(place);
	count = place_list(place, names, 16);
	for (int i = 0; i < count; i++) {
		place_path(place, names[i], path);
		assert_int_equal(unlink(path), 0);
	}
	place_open(place);
	assert_int_equal(place_append(place, 5), 81);
	place_free(&place);
}

static void test_foreign_files_are_left_alone_or_put_aside(void **state)
{
	struct place *place = place_new(), *other = place_new();
	AUTO(mem_free_str) char *bytes = NULL;
	AUTO(mem_free_str) char *aside = NULL;
	size_t len, aside_len;

	(void)state;
	place_open(other);
	place_append_many(other, 5);
	place_close(other);
	bytes = place_load(other, FIRST, &len);
	(void)fill_segments(place);
	place_store(place, "0notes.txt", "mine", 4);
	place_store(place, "00000000000000AB.spool", "mine", 4);
	place_store(place, "0000000000000005.spool", bytes, len);
	log_set_level(LOG_LEVEL_ERROR);
	place_open(place);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 80);
	place_close(place);
	aside = place_load(place, "0000000000000005.spool.aside", &aside_len);
	assert_int_equal(aside_len, len);
	assert_memory_equal(aside, bytes, len);
	mem_free(&aside);
	aside = place_load(place, "0notes.txt", &aside_len);
	assert_string_equal(aside, "mine");
	place_free(&other);
	place_free(&place);
}

/* Its name claims numbers that the segment before it holds. */
static void test_a_file_of_nonsense_between_segments_hides_no_record(void **state)
{
	static const char *const contents[] = { "",
						"nonsense that is longer than the header of a segment would "
						"be, and then some more of it" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
		struct place *place = place_new();

		(void)fill_segments(place);
		place_store(place, "0000000000000003.spool", contents[i], strlen(contents[i]));
		place_open(place);
		place_read_all(place, 1, 1000);
		place_expect(place, 1, 80);
		place_free(&place);
	}
}

static void test_a_newer_format_is_refused_by_name(void **state)
{
	static const char *const files[] = { FIRST, "cursor" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		struct place *place = place_new();
		AUTO(mem_free_str) char *error = NULL;

		place_open(place);
		place_append_many(place, 5);
		place_close(place);
		for (int slot = 0; slot < (i == 1 ? 2 : 1); slot++) {
			flip(place, files[i], slot * 4096 + 8, 3);
			flip(place, files[i], slot * 4096 + 60, 3);
		}
		assert_int_equal(place_try_open(place, &error), -EPROTONOSUPPORT);
		assert_non_null(strstr(error, files[i]));
		assert_non_null(strstr(error, "version 2"));
		/* Nothing was touched: what the newer one made of it stays. */
		for (int slot = 0; slot < (i == 1 ? 2 : 1); slot++) {
			flip(place, files[i], slot * 4096 + 8, 3);
			flip(place, files[i], slot * 4096 + 60, 3);
		}
		place_open(place);
		place_read_all(place, 1, 1000);
		place_expect(place, 1, 5);
		place_free(&place);
	}
}

static void test_a_damaged_last_header_costs_no_record(void **state)
{
	struct place *place = place_new();
	char names[16][64];

	(void)state;
	(void)fill_segments(place);
	flip(place, names[place_list(place, names, 16) - 1], 20, 1);
	place_open(place);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 80);
	assert_int_equal(place_append(place, 5), 81);
	place_close(place);
	place_open(place);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 81);
	place_free(&place);
}

/* Named, and then the machine failed: zeros, or nothing at all. */
static void test_a_last_segment_that_never_reached_the_disk_is_removed(void **state)
{
	static const size_t sizes[] = { 0, 10, 64, 4096 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct place *place = place_new();
		char zeros[4096] = { 0 };
		char names[16][64];

		(void)fill_segments(place);
		place_store(place, "0000000000000051.spool", zeros, sizes[i]);
		place_open(place);
		assert_int_equal(place_append(place, 9), 81);
		place_read_all(place, 1, 1000);
		place_expect(place, 1, 81);
		place_close(place);
		assert_int_not_equal(place_list(place, names, 16), 0);
		place_free(&place);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_cut_file_has_the_whole_records_before_the_cut),
		cmocka_unit_test(test_what_was_cut_off_never_comes_back),
		cmocka_unit_test(test_a_flipped_byte_never_gives_a_wrong_record),
		cmocka_unit_test(test_damage_in_an_earlier_segment_costs_the_damaged_records),
		cmocka_unit_test(test_a_hole_in_an_earlier_segment_costs_what_was_in_it),
		cmocka_unit_test(test_a_record_of_256_bytes_is_found_behind_a_hole),
		cmocka_unit_test(test_a_missing_segment_is_passed_over),
		cmocka_unit_test(test_damage_among_acknowledged_records_costs_nothing),
		cmocka_unit_test(test_a_lost_cursor_means_that_all_is_read_again),
		cmocka_unit_test(test_one_slot_of_the_cursor_is_enough),
		cmocka_unit_test(test_numbers_go_on_after_the_cursor_when_segments_are_lost),
		cmocka_unit_test(test_foreign_files_are_left_alone_or_put_aside),
		cmocka_unit_test(test_a_file_of_nonsense_between_segments_hides_no_record),
		cmocka_unit_test(test_a_newer_format_is_refused_by_name),
		cmocka_unit_test(test_a_damaged_last_header_costs_no_record),
		cmocka_unit_test(test_a_last_segment_that_never_reached_the_disk_is_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
