#include "row.h"

#include <errno.h>
#include <string.h>

#include "io/probe_input.h"

static int parse(const char *text, struct probe_input *ret)
{
	return probe_input_parse(text, strlen(text), ret);
}

static void test_sizes_are_bytes_of_what_is_sent(void **state)
{
	struct probe_input input;

	(void)state;
	assert_int_equal(
		parse("{\"modelId\":\"gpt-4\",\"scenario\":{\"preamble\":\"Be "
		      "brief.\",\"prompt\":\"h\xc3\xa9?\","
		      "\"followups\":[{\"label\":\"why\",\"prompt\":\"Why?\"},{\"prompt\":\"Really?\"}]},"
		      "\"config\":{\"maxTokens\":100,\"maxTurns\":2}}",
		      &input),
		0);
	assert_int_equal(input.first_bytes, 9 + 4);
	assert_int_equal(input.followups, 2);
	assert_int_equal(input.followup_bytes[0], 4);
	assert_int_equal(input.followup_bytes[1], 7);
	assert_int_equal(input.max_tokens, 100);
	assert_int_equal(input.max_turns, 2);
	probe_input_clear(&input);
	assert_null(input.followup_bytes);
}

static void test_what_is_not_told_is_nothing(void **state)
{
	struct probe_input input;

	(void)state;
	assert_int_equal(parse("{\"scenario\":{\"prompt\":\"Hi\",\"preamble\":null}}", &input), 0);
	assert_int_equal(input.first_bytes, 2);
	assert_int_equal(input.followups, 0);
	assert_int_equal(input.max_tokens, 0);
	assert_int_equal(input.max_turns, 0);
	probe_input_clear(&input);
}

static void test_no_input_is_refused(void **state)
{
	static const char *const texts[] = { "", "[]", "{}", "{\"scenario\":7}",
					     "{\"scenario\":{\"prompt\":\"Hi\"" };
	struct probe_input input;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(parse(texts[i], &input), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_are_bytes_of_what_is_sent),
		cmocka_unit_test(test_what_is_not_told_is_nothing),
		cmocka_unit_test(test_no_input_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
