#include "row.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "io/spool_format.h"

enum { ID = 0x1234567, ROUNDS = 20000, ROOM = 512 };

static const struct spool_expect only_9 = { .id = ID, .seq_min = 9, .seq_max = 9 };

static struct spool_record record_9(const char *meta, const char *body)
{
	return (struct spool_record){
		.seq = 9,
		.at_ms = 1700000000123,
		.kind = SPOOL_TURN,
		.job_id = -5,
		.attempt = 3,
		.meta = meta,
		.meta_len = strlen(meta),
		.body = body,
		.body_len = strlen(body),
	};
}

/* Writes the record as a file has it; returns its length. */
static size_t put_record(const struct spool_record *record, unsigned char bytes[ROOM])
{
	spool_encode_record(record, ID, bytes);
	memcpy(bytes + SPOOL_RECORD_HEADER, record->meta, record->meta_len);
	bytes[SPOOL_RECORD_HEADER + record->meta_len] = '\n';
	memcpy(bytes + SPOOL_RECORD_MIN + record->meta_len, record->body, record->body_len);
	return spool_record_bytes(record);
}

/* Known answers: the check value of CRC-32C, and RFC 3720's for 32 zeros and for 32 bytes of ones. */
static void test_the_checksum_is_crc32c(void **state)
{
	unsigned char zeros[32] = { 0 }, ones[32];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(spool_crc("123456789", 9), 0xe3069283);
	assert_int_equal(spool_crc(zeros, sizeof(zeros)), 0x8a9136aa);
	assert_int_equal(spool_crc(ones, sizeof(ones)), 0x62a8ab43);
	assert_int_equal(spool_crc("", 0), 0);
}

static void test_a_record_comes_back_as_it_was(void **state)
{
	static const char *const metas[] = { "", "{}", "{\"number\":1}" };
	static const char *const bodies[] = { "", "x", "{\"text\":\"two\\nlines\"}", "a\nb\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(metas) * ARRAY_LEN(bodies); i++) {
		struct spool_record in = record_9(metas[i % ARRAY_LEN(metas)], bodies[i / ARRAY_LEN(metas)]);
		unsigned char bytes[ROOM];
		size_t len = put_record(&in, bytes), got;
		struct spool_record out;
		const char *why;

		assert_int_equal(spool_decode_record(bytes, ROOM, &only_9, &out, &got, &why), SPOOL_GOOD);
		assert_int_equal(got, len);
		assert_true(out.seq == 9 && out.at_ms == in.at_ms && out.kind == in.kind);
		assert_true(out.job_id == -5 && out.attempt == 3);
		assert_int_equal(out.meta_len, in.meta_len);
		assert_memory_equal(out.meta, in.meta, in.meta_len);
		assert_int_equal(out.body_len, in.body_len);
		assert_memory_equal(out.body, in.body, in.body_len);
	}
}

/* The layout is a promise to files that exist: this one was written by version 1. */
static void test_a_record_of_version_1_is_read_for_ever(void **state)
{
	static const unsigned char bytes[] = {
		0x06, 0,    0, 0, 0x4b, 0xe4, 0x67, 0x5f, 0x67, 0x45, 0x23, 0x01, 0,	0,
		0,    0,    9, 0, 0,	0,    0,    0,	  0,	0,    0x7b, 0x68, 0xe5, 0xcf,
		0x8b, 0x01, 0, 0, 0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3,	0,
		0,    0,    1, 0, 0,	0,    '{',  '}',  '\n', 'b',  'o',  'd',
	};
	struct spool_record out;
	const char *why = NULL;
	size_t len;

	(void)state;
	expect(spool_decode_record(bytes, sizeof(bytes), &only_9, &out, &len, &why) == SPOOL_GOOD, "%s", why);
	assert_int_equal(out.at_ms, 1700000000123);
	assert_int_equal(out.job_id, -5);
	assert_int_equal(out.kind, SPOOL_TURN);
	assert_memory_equal(out.body, "bod", 3);
}

static void test_every_flipped_bit_of_a_record_is_seen(void **state)
{
	struct spool_record in = record_9("{\"n\":1}", "{\"answer\":\"forty-two\"}"), out;
	unsigned char bytes[ROOM] = { 0 };
	size_t len = put_record(&in, bytes), got;
	const char *why;

	(void)state;
	for (size_t bit = 0; bit < len * 8; bit++) {
		enum spool_found found;

		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
		found = spool_decode_record(bytes, len, &only_9, &out, &got, &why);
		expect(found == SPOOL_BAD || found == SPOOL_MORE, "bit %zu: %d", bit, (int)found);
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	assert_int_equal(spool_decode_record(bytes, len, &only_9, &out, &got, &why), SPOOL_GOOD);
}

static void test_a_record_that_is_cut_asks_for_more(void **state)
{
	struct spool_record in = record_9("{}", "a body"), out;
	unsigned char bytes[ROOM];
	size_t len = put_record(&in, bytes), got;
	const char *why;

	(void)state;
	for (size_t have = 0; have < len; have++) {
		assert_int_equal(spool_decode_record(bytes, have, &only_9, &out, &got, &why), SPOOL_MORE);
		assert_int_equal(got, have < SPOOL_RECORD_HEADER ? SPOOL_RECORD_HEADER : len);
	}
}

struct misfit {
	const char *what;
	uint64_t id, min, max;
	enum spool_found want;
};

static void test_only_the_expected_record_is_taken(void **state)
{
	static const struct misfit rows[] = {
		{ "the one", ID, 9, 9, SPOOL_GOOD },
		{ "one of many", ID, 1, UINT64_MAX, SPOOL_GOOD },
		{ "another spool", ID + 1, 9, 9, SPOOL_BAD },
		{ "an older one", ID, 10, 20, SPOOL_BAD },
		{ "a later one", ID, 1, 8, SPOOL_BAD },
	};
	struct spool_record in = record_9("{}", ""), out;
	unsigned char bytes[ROOM];
	size_t len = put_record(&in, bytes), got;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct spool_expect wanted = { .id = rows[i].id,
					       .seq_min = rows[i].min,
					       .seq_max = rows[i].max };

		expect(spool_decode_record(bytes, len, &wanted, &out, &got, &why) == rows[i].want, "%s",
		       rows[i].what);
	}
}

static void test_zeros_are_no_record(void **state)
{
	unsigned char bytes[ROOM] = { 0 };
	struct spool_record out;
	const char *why;
	size_t len;

	(void)state;
	assert_int_equal(spool_decode_record(bytes, ROOM, &only_9, &out, &len, &why), SPOOL_ZEROS);
	/* A length of zero alone is damage: the end of what was written is all zeros. */
	bytes[SPOOL_RECORD_HEADER - 1] = 1;
	assert_int_equal(spool_decode_record(bytes, ROOM, &only_9, &out, &len, &why), SPOOL_BAD);
}

/* Nothing that came by chance is taken, whatever is asked for, and no byte beyond the end is looked at: the
 * sanitizer watches. */
static void test_garbage_is_never_a_record(void **state)
{
	uint64_t seed = 4711;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		size_t len = row_random(&seed) % 300, got;
		unsigned char *bytes = mem_array(len, 1);
		struct spool_expect any = { .id = ID, .seq_min = 1, .seq_max = UINT64_MAX };
		struct spool_segment_header header;
		struct spool_cursor cursor;
		struct spool_record out;
		const char *why;
		uint32_t version;

		for (size_t i = 0; i < len; i++)
			bytes[i] = (unsigned char)row_random(&seed);
		/* Mostly with a header that is nearly right. */
		if (len >= SPOOL_RECORD_HEADER && round % 4 != 0) {
			memset(bytes, 0, SPOOL_RECORD_HEADER);
			bytes[0] = (unsigned char)row_random(&seed);
			bytes[1] = round % 16 == 1 ? (unsigned char)row_random(&seed) : 0;
			memcpy(bytes + 8, "\x67\x45\x23\x01", 4);
			bytes[16] = 9;
		}
		assert_int_not_equal(spool_decode_record(bytes, len, &any, &out, &got, &why), SPOOL_GOOD);
		assert_int_not_equal(spool_decode_segment(bytes, len, &header, &version), SPOOL_GOOD);
		assert_int_not_equal(spool_decode_cursor(bytes, len, &cursor, &version), SPOOL_GOOD);
		mem_free(&bytes);
	}
}

/* Records changed in one place out of many, at random, then cut at random: good only if unchanged. */
static void test_mangled_records_are_never_taken(void **state)
{
	uint64_t seed = 815;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct spool_record in = record_9("{\"number\":7}", "{\"text\":\"0123456789\"}"), out;
		unsigned char bytes[ROOM] = { 0 }, before[ROOM];
		size_t len = put_record(&in, bytes), have = len, got;
		enum spool_found found;
		const char *why;

		memcpy(before, bytes, sizeof(bytes));
		for (uint32_t i = row_random(&seed) % 6; i > 0; i--)
			bytes[row_random(&seed) % len] = (unsigned char)row_random(&seed);
		if (row_random(&seed) % 2)
			have = row_random(&seed) % (len + 1);
		found = spool_decode_record(bytes, have, &only_9, &out, &got, &why);
		if (found == SPOOL_GOOD)
			assert_memory_equal(bytes, before, len);
		else if (have == len)
			assert_memory_not_equal(bytes, before, len);
	}
}

static void test_a_segment_header_comes_back_and_every_flipped_bit_is_seen(void **state)
{
	const struct spool_segment_header in = { .id = ID, .first = 77, .created_ms = 1700000000456 };
	struct spool_segment_header out = { 0 };
	unsigned char bytes[SPOOL_SEGMENT_HEADER];
	uint32_t version;

	(void)state;
	spool_encode_segment(&in, bytes);
	assert_int_equal(spool_decode_segment(bytes, sizeof(bytes), &out, &version), SPOOL_GOOD);
	assert_true(out.id == ID && out.first == 77 && out.created_ms == in.created_ms);
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
		expect(spool_decode_segment(bytes, sizeof(bytes), &out, &version) == SPOOL_BAD, "bit %zu",
		       bit);
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	for (size_t len = 0; len < sizeof(bytes); len++)
		assert_int_equal(spool_decode_segment(bytes, len, &out, &version), SPOOL_MORE);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(spool_decode_segment(bytes, sizeof(bytes), &out, &version), SPOOL_ZEROS);
}

static void test_a_newer_version_is_told_from_damage(void **state)
{
	const struct spool_segment_header header = { .id = ID, .first = 77 };
	unsigned char bytes[SPOOL_SEGMENT_HEADER];
	struct spool_segment_header out;
	uint32_t version = 0;

	(void)state;
	spool_encode_segment(&header, bytes);
	bytes[8] = 2;
	assert_int_equal(spool_decode_segment(bytes, sizeof(bytes), &out, &version), SPOOL_BAD);
	bytes[40] = 1; /* what it means only that version knows, its checksum included */
	assert_int_equal(spool_decode_segment(bytes, sizeof(bytes), &out, &version), SPOOL_NEWER);
	assert_int_equal(version, 2);
}

static void test_a_cursor_comes_back_and_every_flipped_bit_is_seen(void **state)
{
	const struct spool_cursor in = {
		.id = ID,
		.generation = 5,
		.acked = 1234,
		.floor = 1000,
		.database = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
		.timeline = "0000000A",
	};
	struct spool_cursor out;
	unsigned char bytes[SPOOL_CURSOR_SLOT];
	uint32_t version;

	(void)state;
	spool_encode_cursor(&in, bytes);
	assert_int_equal(spool_decode_cursor(bytes, sizeof(bytes), &out, &version), SPOOL_GOOD);
	assert_memory_equal(&in, &out, sizeof(in));
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
		expect(spool_decode_cursor(bytes, sizeof(bytes), &out, &version) == SPOOL_BAD, "bit %zu",
		       bit);
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
}

/* Sealed as it should be, with a number that could not be counted on from. */
static void test_a_number_beyond_the_last_is_damage(void **state)
{
	const struct spool_record record = {
		.seq = SPOOL_SEQ_MAX + 1, .kind = SPOOL_END, .meta = "{}", .meta_len = 2, .body = ""
	};
	const struct spool_expect all = { .id = ID, .seq_min = 1, .seq_max = UINT64_MAX };
	unsigned char bytes[SPOOL_CURSOR_SLOT] = { 0 };
	struct spool_segment_header segment = { .id = ID, .first = SPOOL_SEQ_MAX };
	struct spool_cursor cursors[] = {
		{ .id = ID, .generation = SPOOL_SEQ_MAX, .acked = SPOOL_SEQ_MAX, .floor = SPOOL_SEQ_MAX },
		{ .id = ID, .generation = SPOOL_SEQ_MAX + 1 },
		{ .id = ID, .acked = SPOOL_SEQ_MAX + 1 },
		{ .id = ID, .floor = SPOOL_SEQ_MAX + 1 },
	};
	struct spool_cursor cursor;
	struct spool_record out;
	const char *why = "";
	uint32_t version;
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cursors); i++) {
		spool_encode_cursor(&cursors[i], bytes);
		assert_int_equal(spool_decode_cursor(bytes, SPOOL_CURSOR_SLOT, &cursor, &version),
				 i == 0 ? SPOOL_GOOD : SPOOL_BAD);
	}
	spool_encode_segment(&segment, bytes);
	assert_int_equal(spool_decode_segment(bytes, SPOOL_SEGMENT_HEADER, &segment, &version), SPOOL_GOOD);
	segment.first++;
	spool_encode_segment(&segment, bytes);
	assert_int_equal(spool_decode_segment(bytes, SPOOL_SEGMENT_HEADER, &segment, &version), SPOOL_BAD);
	spool_encode_record(&record, ID, bytes);
	memcpy(bytes + SPOOL_RECORD_HEADER, "{}\n", 3);
	assert_int_equal(spool_decode_record(bytes, sizeof(bytes), &all, &out, &len, &why), SPOOL_BAD);
	assert_string_equal(why, "out of sequence");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_checksum_is_crc32c),
		cmocka_unit_test(test_a_record_comes_back_as_it_was),
		cmocka_unit_test(test_a_record_of_version_1_is_read_for_ever),
		cmocka_unit_test(test_every_flipped_bit_of_a_record_is_seen),
		cmocka_unit_test(test_a_record_that_is_cut_asks_for_more),
		cmocka_unit_test(test_only_the_expected_record_is_taken),
		cmocka_unit_test(test_zeros_are_no_record),
		cmocka_unit_test(test_garbage_is_never_a_record),
		cmocka_unit_test(test_mangled_records_are_never_taken),
		cmocka_unit_test(test_a_segment_header_comes_back_and_every_flipped_bit_is_seen),
		cmocka_unit_test(test_a_newer_version_is_told_from_damage),
		cmocka_unit_test(test_a_cursor_comes_back_and_every_flipped_bit_is_seen),
		cmocka_unit_test(test_a_number_beyond_the_last_is_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
