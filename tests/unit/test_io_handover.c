#include "row.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "io/handover.h"

enum color { RED, GREEN, BLUE };

/* One of everything that can be passed. */
struct thing {
	bool yes;
	int small;
	unsigned natural;
	int64_t big, at_ms;
	size_t size;
	char *text, *nothing;
	char chars[8];
	char *bytes;
	size_t len;
	struct buf buf;
	int64_t *numbers;
	size_t count;
	enum color color;
	int fd;
};

static void pass(struct handover *h, struct thing *t)
{
	handover_begin(h, "thing");
	handover_bool(h, "yes", &t->yes);
	handover_int(h, "small", -5, 5, &t->small);
	handover_unsigned(h, "natural", &t->natural);
	handover_number(h, "big", &t->big);
	handover_time(h, "atMs", &t->at_ms);
	handover_size(h, "size", &t->size);
	handover_text(h, "text", &t->text);
	handover_text(h, "nothing", &t->nothing);
	handover_chars(h, "chars", t->chars, sizeof(t->chars));
	handover_bytes(h, "bytes", &t->bytes, &t->len);
	handover_buf(h, "buf", &t->buf);
	handover_numbers(h, "numbers", &t->numbers, &t->count);
	handover_enum(h, "color", BLUE, &t->color);
	handover_fd(h, "fd", &t->fd);
	handover_end(h);
}

static void free_thing(struct thing *t)
{
	free(t->text);
	free(t->nothing);
	free(t->bytes);
	free(t->numbers);
	buf_free(&t->buf);
	fd_close(&t->fd);
}

static struct thing make_thing(void)
{
	static const int64_t numbers[] = { 1, -2, INT64_MAX };
	struct thing t = {
		.yes = true,
		.small = -5,
		.natural = UINT_MAX,
		.big = INT64_MIN,
		.at_ms = INT64_MAX,
		.size = 1 << 20,
		.text = mem_strdup("Grüße \"quoted\" \n"),
		.chars = "sevenup",
		.bytes = mem_array(1, 5),
		.len = 4,
		.numbers = mem_array(3, sizeof(*numbers)),
		.count = 3,
		.color = BLUE,
		.fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
	};

	memcpy(t.bytes, "\0\xff\n", 4);
	memcpy(t.numbers, numbers, sizeof(numbers));
	buf_init(&t.buf, 0);
	buf_puts(&t.buf, "half a li");
	return t;
}

/* Written, and opened again as the next program does it. */
static struct handover *reopen(struct handover **h, bool rehearsal)
{
	struct handover *opened;
	char *error = NULL;
	int fd = -1;

	assert_int_equal(handover_seal(*h, &fd), 0);
	handover_free(h);
	expect(handover_open(fd, rehearsal, &opened, &error) == 0, "%s", error);
	return opened;
}

static void test_all_that_was_written_is_read(void **state)
{
	struct thing was = make_thing(), is = { .fd = -1 };
	int fd = was.fd;
	struct handover *h;

	(void)state;
	handover_new(&h);
	pass(h, &was);
	assert_int_equal(handover_keep_open(h, true), 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	h = reopen(&h, false);
	pass(h, &is);
	expect(!handover_error(h), "%s", handover_error(h));
	assert_true(is.yes && is.small == was.small && is.natural == was.natural && is.big == was.big &&
		    is.at_ms == was.at_ms && is.size == was.size && is.color == was.color);
	assert_string_equal(is.text, was.text);
	assert_null(is.nothing);
	assert_string_equal(is.chars, was.chars);
	assert_int_equal(is.len, was.len);
	assert_memory_equal(is.bytes, was.bytes, was.len);
	assert_string_equal(buf_bytes(&is.buf), "half a li");
	assert_int_equal(is.count, 3);
	assert_memory_equal(is.numbers, was.numbers, 3 * sizeof(int64_t));
	assert_int_equal(is.fd, fd);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	handover_free(&h);
	was.fd = -1; /* the same as the other's */
	free_thing(&was);
	free_thing(&is);
}

static void test_on_trial_descriptors_are_others(void **state)
{
	struct thing was = make_thing(), is = { .fd = -1 };
	struct handover *h;

	(void)state;
	handover_new(&h);
	pass(h, &was);
	h = reopen(&h, true);
	assert_true(handover_is_rehearsal(h));
	pass(h, &is);
	assert_null(handover_error(h));
	assert_true(is.fd >= 0 && is.fd != was.fd);
	handover_free(&h);
	assert_true(fcntl(was.fd, F_GETFD) >= 0);
	free_thing(&was);
	free_thing(&is);
}

static void test_what_nobody_takes_is_closed(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), taken = fd;
	struct handover *h;

	(void)state;
	handover_new(&h);
	handover_fd(h, "fd", &taken);
	h = reopen(&h, false);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	handover_free(&h);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_a_list_is_read_in_its_order(void **state)
{
	struct handover *h;
	int64_t value;

	(void)state;
	handover_new(&h);
	assert_int_equal(handover_begin_list(h, "list", 3), 3);
	for (value = 0; value < 3; value++) {
		handover_begin(h, NULL);
		handover_number(h, "value", &value);
		handover_end(h);
	}
	handover_end(h);
	h = reopen(&h, false);
	assert_int_equal(handover_begin_list(h, "list", 0), 3);
	for (int64_t i = 0; i < 3; i++) {
		value = -1;
		handover_begin(h, NULL);
		handover_number(h, "value", &value);
		handover_end(h);
		assert_int_equal(value, i);
	}
	handover_end(h);
	assert_null(handover_error(h));
	handover_free(&h);
}

static void test_text_that_is_no_utf8_is_mended(void **state)
{
	AUTO(mem_free_str) char *text = mem_strdup("cut \xc3");
	struct handover *h;

	(void)state;
	handover_new(&h);
	handover_text(h, "text", &text);
	h = reopen(&h, false);
	handover_text(h, "text", &text);
	assert_string_equal(text, "cut ?");
	handover_free(&h);
}

/* A file with this JSON, as one that was handed over. */
static int file_of(const char *head, const char *json)
{
	AUTO(mem_free_str) char *text = mem_printf("%s%s", head, json);
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

static struct handover *open_json(const char *json)
{
	AUTO(mem_free_str)
	char *head = mem_printf("proctor-handover %d %zu 0\n", HANDOVER_FORMAT, strlen(json));
	struct handover *h;
	char *error = NULL;

	expect(handover_open(file_of(head, json), true, &h, &error) == 0, "%s", error);
	return h;
}

static void read_all(struct handover *h)
{
	struct thing t = { .fd = -1, .small = 3 };

	pass(h, &t);
	/* Whatever was there, nothing is out of its range. */
	assert_true(t.small >= -5 && t.small <= 5 && t.color <= BLUE);
	free_thing(&t);
}

static void test_what_makes_no_sense_is_named_with_its_place(void **state)
{
	static const struct {
		const char *json, *want;
	} rows[] = {
		{ "{}", "thing is missing" },
		{ "{\"thing\":[]}", "thing is no object" },
		{ "{\"thing\":{}}", "thing: yes is missing" },
		{ "{\"thing\":{\"yes\":1}}", "thing: yes is neither true nor false" },
		{ "{\"thing\":{\"yes\":true,\"small\":6}}", "thing: small is 6, out of range" },
		{ "{\"thing\":{\"yes\":true,\"small\":\"6\"}}", "thing: small is no whole number" },
		{ "{\"thing\":{\"yes\":true,\"small\":0,\"natural\":-1}}",
		  "thing: natural is -1, out of range" },
		{ "{\"thing\":{\"yes\":true,\"small\":0,\"natural\":0,\"big\":0,\"atMs\":0,\"size\":0,"
		  "\"text\":7}}",
		  "thing: text is no text" },
		{ "{\"thing\":{\"yes\":true,\"small\":0,\"natural\":0,\"big\":0,\"atMs\":0,\"size\":0,"
		  "\"text\":null,\"nothing\":null,\"chars\":\"eightups\"}}",
		  "thing: chars is longer than 7 bytes" },
		{ "{\"thing\":{\"yes\":true,\"small\":0,\"natural\":0,\"big\":0,\"atMs\":0,\"size\":0,"
		  "\"text\":null,\"nothing\":null,\"chars\":\"\",\"bytes\":{\"offset\":0,\"length\":1}}}",
		  "thing.bytes: 0 bytes are there" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct handover *h = open_json(rows[i].json);

		read_all(h);
		expect(handover_error(h) && strcmp(handover_error(h), rows[i].want) == 0, "%s: %s",
		       rows[i].json, handover_error(h));
		handover_free(&h);
	}
}

static void test_a_place_in_a_list_is_told_by_its_number(void **state)
{
	struct handover *h = open_json("{\"list\":[{\"value\":1},{\"value\":\"x\"}]}");
	int64_t value;

	(void)state;
	assert_int_equal(handover_begin_list(h, "list", 0), 2);
	for (int i = 0; i < 2; i++) {
		handover_begin(h, NULL);
		handover_number(h, "value", &value);
		handover_end(h);
	}
	assert_string_equal(handover_error(h), "list[1]: value is no whole number");
	handover_end(h);
	handover_free(&h);
}

static void test_a_descriptor_that_was_not_handed_over_is_not_taken(void **state)
{
	AUTO(mem_free_str) char *head = mem_printf("proctor-handover %d 25 0\n", HANDOVER_FORMAT);
	struct handover *h;
	char *error = NULL;
	int fd = 7;

	(void)state;
	assert_int_equal(handover_open(file_of(head, "{\"descriptors\":[],\"fd\":0}"), false, &h, &error), 0);
	handover_fd(h, "fd", &fd);
	assert_int_equal(fd, -1);
	assert_string_equal(handover_error(h), "fd: descriptor 0 is not there");
	handover_free(&h);
}

static void test_other_files_are_refused_by_what_they_are(void **state)
{
	static const struct {
		const char *head, *json, *want;
	} rows[] = {
		{ "", "", "what was handed over cannot be read" },
		{ "hello\n", "{}", "what was handed over is no state of a daemon" },
		{ "proctor-handover 1 2 0", "{}", "what was handed over is no state of a daemon" },
		{ "proctor-handover 1 3 0\n", "{}", "what was handed over is no state of a daemon" },
		{ "proctor-handover 1 2 1\n", "{}", "what was handed over is no state of a daemon" },
		{ "proctor-handover 1 18446744073709551615 3\n", "{}",
		  "what was handed over is no state of a daemon" },
		{ "proctor-handover 9 2 0\n", "{}",
		  "its state has format 9, this program takes over format" },
		{ "proctor-handover 1 2 0\n", "{!", "what was handed over is no JSON" },
		{ "proctor-handover 1 2 0\n", "[]", "what was handed over is no JSON" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *error = NULL;
		struct handover *h = NULL;
		int r = handover_open(file_of(rows[i].head, rows[i].json), true, &h, &error);

		expect(r < 0 && error && strncmp(error, rows[i].want, strlen(rows[i].want)) == 0, "%s%s: %s",
		       rows[i].head, rows[i].json, error);
		assert_null(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_that_was_written_is_read),
		cmocka_unit_test(test_on_trial_descriptors_are_others),
		cmocka_unit_test(test_what_nobody_takes_is_closed),
		cmocka_unit_test(test_a_list_is_read_in_its_order),
		cmocka_unit_test(test_text_that_is_no_utf8_is_mended),
		cmocka_unit_test(test_what_makes_no_sense_is_named_with_its_place),
		cmocka_unit_test(test_a_place_in_a_list_is_told_by_its_number),
		cmocka_unit_test(test_a_descriptor_that_was_not_handed_over_is_not_taken),
		cmocka_unit_test(test_other_files_are_refused_by_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
