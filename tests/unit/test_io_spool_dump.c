#include "spool_place.h"

#include "io/spool_format.h"

#define FIRST "0000000000000001.spool"

/* What the dump of the first segment prints; NULL when it is refused, then *ret_error is set. */
static char *dump(const struct place *place, char **ret_error)
{
	char path[128];
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	int r;

	place_path(place, FIRST, path);
	r = spool_dump(path, out, ret_error);
	(void)fclose(out);
	if (r < 0)
		mem_free(&text);
	return text;
}

static int lines(const char *text, const char *with)
{
	int count = 0;

	for (const char *at = text; (at = strstr(at, with)); at++)
		count++;
	return count;
}

static void put(struct place *place, enum spool_kind kind, const char *meta, const char *body)
{
	struct spool_record record = {
		.kind = kind,
		.job_id = 12,
		.attempt = 2,
		.meta = meta,
		.meta_len = strlen(meta),
		.body = body,
		.body_len = strlen(body),
	};

	spool_append(place->spool, &record);
}

static struct place *two_records(void)
{
	struct place *place = place_new();

	place_open(place);
	put(place, SPOOL_TURN, "{\"number\":1}", "{\"response\":\"Grüße\"}");
	put(place, SPOOL_END, "{\"fate\":0}", "");
	return place;
}

static void test_a_record_is_a_line_of_json(void **state)
{
	struct place *place = two_records();
	AUTO(mem_free_str) char *error = NULL;
	AUTO(mem_free_str) char *text = dump(place, &error);

	(void)state;
	assert_non_null(text);
	assert_int_equal(lines(text, "\n"), 3);
	assert_ptr_equal(strstr(text, "{\"seq\":1,\"at\":\"20"), text);
	assert_non_null(strstr(text, "Z\",\"kind\":\"turn\",\"job\":12,\"attempt\":2,\"meta\":{\"number\":1},"
				     "\"body\":{\"response\":\"Grüße\"}}\n"));
	assert_non_null(
		strstr(text, "Z\",\"kind\":\"end\",\"job\":12,\"attempt\":2,\"meta\":{\"fate\":0}}\n"));
	assert_non_null(strstr(text, "{\"end\":\"good\",\"byte\":206,\"records\":2,\"damages\":0}\n"));
	place_free(&place);
}

static void test_a_cut_off_record_is_told_with_its_byte(void **state)
{
	struct place *place = two_records();
	AUTO(mem_free_str) char *error = NULL;
	AUTO(mem_free_str) char *bytes = NULL;
	AUTO(mem_free_str) char *text = NULL;
	size_t len;

	(void)state;
	place_close(place);
	bytes = place_load(place, FIRST, &len);
	place_store(place, FIRST, bytes, 200);
	text = dump(place, &error);
	assert_non_null(text);
	assert_int_equal(lines(text, "\"seq\""), 1);
	assert_non_null(strstr(text, "{\"damage\":\"cut off\",\"byte\":147}\n"));
	assert_non_null(strstr(text, "{\"end\":\"cut off\",\"byte\":147,\"records\":1,\"damages\":1}\n"));
	place_free(&place);
}

static void test_records_behind_damage_are_printed(void **state)
{
	struct place *place = two_records();
	AUTO(mem_free_str) char *error = NULL;
	AUTO(mem_free_str) char *bytes = NULL;
	AUTO(mem_free_str) char *text = NULL;
	size_t len;

	(void)state;
	place_close(place);
	bytes = place_load(place, FIRST, &len);
	bytes[120] ^= 1;
	place_store(place, FIRST, bytes, len);
	text = dump(place, &error);
	assert_non_null(text);
	assert_non_null(strstr(text, "{\"damage\":\"wrong checksum\",\"byte\":64}\n{\"seq\":2,"));
	assert_non_null(strstr(text, "{\"end\":\"good\",\"byte\":206,\"records\":1,\"damages\":1}\n"));
	place_free(&place);
}

struct refusal {
	const char *bytes;
	size_t len;
	const char *want;
};

static void test_what_is_no_segment_is_refused(void **state)
{
	static const char zeros[SPOOL_SEGMENT_HEADER];
	static const struct refusal rows[] = {
		{ NULL, 0, "No such file" },
		{ "", 0, "not a segment" },
		{ "just a text", 11, "not a segment" },
		{ zeros, sizeof(zeros), "nothing was written" },
	};
	struct place *place = place_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *error = NULL;

		if (rows[i].bytes)
			place_store(place, FIRST, rows[i].bytes, rows[i].len);
		assert_null(dump(place, &error));
		expect(strstr(error, rows[i].want) && strstr(error, FIRST), "%zu: %s", i, error);
	}
	place_free(&place);
}

static void test_an_output_that_fails_is_told(void **state)
{
	struct place *place = two_records();
	AUTO(mem_free_str) char *error = NULL;
	FILE *full = fopen("/dev/full", "w");
	char path[128];

	(void)state;
	assert_non_null(full);
	place_path(place, FIRST, path);
	assert_int_equal(spool_dump(path, full, &error), -EIO);
	assert_non_null(strstr(error, "cannot be written to the output"));
	(void)fclose(full);
	place_free(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_record_is_a_line_of_json),
		cmocka_unit_test(test_a_cut_off_record_is_told_with_its_byte),
		cmocka_unit_test(test_records_behind_damage_are_printed),
		cmocka_unit_test(test_what_is_no_segment_is_refused),
		cmocka_unit_test(test_an_output_that_fails_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
