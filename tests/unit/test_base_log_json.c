#include "row.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_json.h"

static const char *form(const char *pairs, size_t size)
{
	static char line[8192];
	size_t len = log_json_write(line, size, "2026-03-01T12:00:00.000Z", "info", "worker.ready", pairs);

	expect(len < size, "%zu bytes in %zu for: %s", len, size, pairs);
	line[len] = '\0';
	return line;
}

#define HEAD "{\"time\":\"2026-03-01T12:00:00.000Z\",\"level\":\"info\",\"event\":\"worker.ready\""

static const struct {
	const char *pairs, *want; /* behind the head */
} rows[] = {
	{ "", "}" },
	{ "worker=probe/1 pid=812", ",\"data\":{\"worker\":\"probe/1\",\"pid\":\"812\"}}" },
	{ "why=\"it is away\" n=1", ",\"data\":{\"why\":\"it is away\",\"n\":\"1\"}}" },
	{ "why=\"no \"quotes\" here\" n=1", ",\"data\":{\"why\":\"no \\\"quotes\\\" here\",\"n\":\"1\"}}" },
	{ "path=a\\b", ",\"data\":{\"path\":\"a\\\\b\"}}" },
	{ "why=\"\"", ",\"data\":{\"why\":\"\"}}" },
	{ "service=x some words", ",\"data\":{\"service\":\"x\"},\"text\":\"some words\"}" },
	{ "service=x -- some words", ",\"data\":{\"service\":\"x\"},\"text\":\"some words\"}" },
	{ "just words", ",\"text\":\"just words\"}" },
	{ "a=1 a=2", ",\"data\":{\"a\":\"1\"}}" },
	{ "a=\xff\xc3\xa9", ",\"data\":{\"a\":\"?\xc3\xa9\"}}" },
};

static void test_pairs_become_members(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *line = form(rows[i].pairs, 4096);

		expect(strncmp(line, HEAD, strlen(HEAD)) == 0 &&
			       strcmp(line + strlen(HEAD), rows[i].want) == 0,
		       "%s\ngave   %s\nwanted %s%s", rows[i].pairs, line, HEAD, rows[i].want);
	}
}

static void test_any_bytes_in_any_room_give_an_object(void **state)
{
	static const char some[] = "ab=\"\" \\-xy_1\xc3\xa9\xff\x80{}:,";
	uint64_t seed = 88172645463325252u;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char pairs[700];
		size_t len = row_random(&seed) % (sizeof(pairs) - 1), size = 512 + row_random(&seed) % 600;
		json_error_t error;
		const char *line;
		json_t *parsed;

		for (size_t i = 0; i < len; i++)
			pairs[i] = some[row_random(&seed) % (sizeof(some) - 1)];
		pairs[len] = '\0';
		line = form(pairs, size);
		parsed = json_loads(line, JSON_REJECT_DUPLICATES, &error);
		expect(json_is_object(parsed), "round %d: %s: %s", round, error.text, line);
		json_decref(parsed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs_become_members),
		cmocka_unit_test(test_any_bytes_in_any_room_give_an_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
