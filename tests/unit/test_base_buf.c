#include "row.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

static void test_bytes_come_out_as_they_went_in(void **state)
{
	AUTO(buf_free) struct buf b = BUF_INIT(0);

	(void)state;
	assert_string_equal(buf_bytes(&b), "");
	buf_puts(&b, "hello ");
	buf_put(&b, "world!!", 5);
	buf_putf(&b, " %d %s", 42, "times");
	assert_string_equal(buf_bytes(&b), "hello world 42 times");
	assert_int_equal(buf_len(&b), 20);
	buf_drop(&b, 6);
	assert_string_equal(buf_bytes(&b), "world 42 times");
	buf_drop(&b, 1000);
	assert_int_equal(buf_len(&b), 0);
	assert_string_equal(buf_bytes(&b), "");
	buf_puts(&b, "again");
	assert_string_equal(buf_bytes(&b), "again");
}

static void test_a_cap_is_kept_to_the_byte(void **state)
{
	static const struct {
		size_t cap, held, add;
		int want;
	} rows[] = {
		{ 10, 0, 10, 0 },
		{ 10, 0, 11, -ENOBUFS },
		{ 10, 10, 0, 0 },
		{ 10, 10, 1, -ENOBUFS },
		{ 10, 4, 6, 0 },
		{ 10, 4, 7, -ENOBUFS },
		{ 300, 256, 44, 0 },
		{ 300, 256, 45, -ENOBUFS },
		{ 1, 0, 1, 0 },
		{ 10, 0, SIZE_MAX, -ENOBUFS },
		{ 0, 0, SIZE_MAX, -ENOBUFS },
		{ 10, 5, SIZE_MAX - 2, -ENOBUFS },
	};
	static char bytes[300];

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(buf_free) struct buf b = BUF_INIT(rows[i].cap);
		int r;

		assert_int_equal(buf_add(&b, bytes, rows[i].held), 0);
		r = buf_add(&b, bytes, rows[i].add);
		expect(r == rows[i].want, "row %zu: %d", i, r);
		expect(buf_len(&b) == rows[i].held + (r == 0 ? rows[i].add : 0), "row %zu: %zu held", i,
		       buf_len(&b));
		expect(strlen(buf_bytes(&b)) == buf_len(&b), "row %zu: no NUL behind", i);
	}
}

static void test_a_format_that_does_not_fit_changes_nothing(void **state)
{
	AUTO(buf_free) struct buf b = BUF_INIT(10);

	(void)state;
	assert_int_equal(buf_addf(&b, "%s", "123456"), 0);
	assert_int_equal(buf_addf(&b, "%05d", 7), -ENOBUFS);
	assert_string_equal(buf_bytes(&b), "123456");
	assert_int_equal(buf_addf(&b, "%04d", 7), 0);
	assert_string_equal(buf_bytes(&b), "1234560007");
}

static void test_long_formats_are_whole(void **state)
{
	AUTO(buf_free) struct buf b = BUF_INIT(0);

	(void)state;
	buf_puts(&b, "x");
	for (int width = 120; width < 140; width++)
		buf_putf(&b, "%*d", width, 1);
	assert_int_equal(buf_len(&b), 1 + (120 + 139) * 10);
	buf_putf(&b, "%5000d|", 1);
	assert_int_equal(buf_bytes(&b)[buf_len(&b) - 1], '|');
}

static void test_take_hands_over_and_leaves_an_empty_buffer(void **state)
{
	AUTO(buf_free) struct buf b = BUF_INIT(100);
	AUTO(mem_free_str) char *none = NULL;
	AUTO(mem_free_str) char *some = NULL;
	size_t len = 99;

	(void)state;
	none = buf_take(&b, &len);
	assert_string_equal(none, "");
	assert_int_equal(len, 0);
	buf_puts(&b, "drop me and keep this");
	buf_drop(&b, 12);
	some = buf_take(&b, &len);
	assert_string_equal(some, "keep this");
	assert_int_equal(len, 9);
	assert_int_equal(buf_len(&b), 0);
	assert_int_equal(b.cap, 100);
	buf_puts(&b, "again");
	assert_string_equal(buf_bytes(&b), "again");
}

static void test_clear_keeps_only_small_memory(void **state)
{
	AUTO(buf_free) struct buf b = BUF_INIT(0);

	(void)state;
	buf_puts(&b, "small");
	buf_clear(&b, 4096);
	assert_non_null(b.bytes);
	assert_int_equal(buf_len(&b), 0);
	buf_putf(&b, "%8000d", 1);
	buf_clear(&b, 4096);
	assert_null(b.bytes);
	assert_int_equal(buf_len(&b), 0);
}

static void test_reserve_and_commit_are_an_add_in_two_steps(void **state)
{
	AUTO(buf_free) struct buf b = BUF_INIT(1000);
	char *room;

	(void)state;
	room = buf_reserve(&b, 1000);
	assert_non_null(room);
	memcpy(room, "abcdef", 6);
	buf_commit(&b, 3);
	assert_string_equal(buf_bytes(&b), "abc");
	assert_null(buf_reserve(&b, 998));
	assert_string_equal(buf_bytes(&b), "abc");
	assert_non_null(buf_reserve(&b, 997));
}

/* Against a plain queue of numbered bytes: what is held is always the right stretch of them. */
static void test_any_mix_of_adds_and_drops_keeps_the_order(void **state)
{
	AUTO(buf_free) struct buf b = BUF_INIT(5000);
	uint64_t random = 77;
	uint64_t in = 0, out = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		unsigned char bytes[400];
		size_t len = row_random(&random) % sizeof(bytes);

		if (row_random(&random) % 2) {
			for (size_t k = 0; k < len; k++)
				bytes[k] = (unsigned char)((in + k) * 31);
			if (buf_add(&b, bytes, len) == 0)
				in += len;
		} else {
			len = len < buf_len(&b) ? len : buf_len(&b);
			buf_drop(&b, len);
			out += len;
		}
		expect(buf_len(&b) == in - out, "step %d: %zu held", i, buf_len(&b));
		for (size_t k = 0; k < buf_len(&b); k += 97)
			expect((unsigned char)buf_bytes(&b)[k] == (unsigned char)((out + k) * 31),
			       "step %d, byte %zu", i, k);
		expect(buf_bytes(&b)[buf_len(&b)] == '\0', "step %d: no NUL behind", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_come_out_as_they_went_in),
		cmocka_unit_test(test_a_cap_is_kept_to_the_byte),
		cmocka_unit_test(test_a_format_that_does_not_fit_changes_nothing),
		cmocka_unit_test(test_long_formats_are_whole),
		cmocka_unit_test(test_take_hands_over_and_leaves_an_empty_buffer),
		cmocka_unit_test(test_clear_keeps_only_small_memory),
		cmocka_unit_test(test_reserve_and_commit_are_an_add_in_two_steps),
		cmocka_unit_test(test_any_mix_of_adds_and_drops_keeps_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
