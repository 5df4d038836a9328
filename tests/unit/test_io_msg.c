#include "io/msg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "row.h"

#define DIGEST "0123456789abcdef0123456789abcdef"
#define TURN(rest)                                                                                           \
	"{\"type\":\"turn\",\"id\":7,\"attempt\":2,\"number\":1,\"last\":false,\"prev\":\"\",\"digest\":"    \
	"\"" DIGEST "\",\"latency_ms\":5,\"usage\":{\"input\":10,\"output\":20,\"reasoning\":3}" rest        \
	",\"bytes\":12}"
#define FAILURE(rest)                                                                                        \
	"{\"type\":\"result\",\"id\":7,\"attempt\":2,\"success\":false,\"error\":{\"code\":\"RATE_LIMIT\","  \
	"\"message\":\"slow down\",\"retryable\":true" rest "}}"
#define LIMITS(text) ",\"limits\":" text

static int parse(const char *line, struct msg *ret)
{
	char error[200];

	return msg_parse(line, strlen(line), ret, error, sizeof(error));
}

static bool same(struct msg_limit a, struct msg_limit b)
{
	return a.limit == b.limit && a.remaining == b.remaining && a.reset_ms == b.reset_ms;
}

static void test_a_turn_and_an_error_tell_of_limits(void **state)
{
	static const struct msg_limit untold = { -1, -1, -1 };
	static const struct {
		const char *limits;
		bool want_any;
		struct msg_limit requests, tokens, input, output;
		int64_t retry_after_ms;
	} rows[] = {
		{ "", false, untold, untold, untold, untold, -1 },
		{ LIMITS("null"), false, untold, untold, untold, untold, -1 },
		{ LIMITS("{}"), true, untold, untold, untold, untold, -1 },
		{ LIMITS("{\"retry_after_ms\":2000}"), true, untold, untold, untold, untold, 2000 },
		{ LIMITS("{\"requests\":{\"limit\":500,\"remaining\":499,\"reset_ms\":120}}"),
		  true,
		  { 500, 499, 120 },
		  untold,
		  untold,
		  untold,
		  -1 },
		{ LIMITS("{\"tokens\":{\"limit\":30000},\"requests\":null}"),
		  true,
		  untold,
		  { 30000, -1, -1 },
		  untold,
		  untold,
		  -1 },
		{ LIMITS("{\"input_tokens\":{\"remaining\":0},\"output_tokens\":{\"reset_ms\":86400000}}"),
		  true,
		  untold,
		  untold,
		  { -1, 0, -1 },
		  { -1, -1, 86400000 },
		  -1 },
		{ LIMITS("{\"requests\":{\"limit\":null,\"burst\":4},\"images\":{\"limit\":1}}"), true,
		  untold, untold, untold, untold, -1 },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		size_t row = i / 2;
		char line[600];
		struct msg msg;

		(void)snprintf(line, sizeof(line), i % 2 ? TURN("%s") : FAILURE("%s"), rows[row].limits);
		expect(parse(line, &msg) == 0, "row %zu: %s", row, line);
		expect(msg.has_limits == rows[row].want_any, "row %zu: %s", row, line);
		expect(same(msg.limits.requests, rows[row].requests), "row %zu: %s", row, line);
		expect(same(msg.limits.tokens, rows[row].tokens), "row %zu: %s", row, line);
		expect(same(msg.limits.input_tokens, rows[row].input), "row %zu: %s", row, line);
		expect(same(msg.limits.output_tokens, rows[row].output), "row %zu: %s", row, line);
		expect(msg.limits.retry_after_ms == rows[row].retry_after_ms, "row %zu: %s", row, line);
		msg_free(&msg);
	}
}

static void test_limits_of_a_bad_shape_are_refused_by_name(void **state)
{
	static const char *const rows[] = {
		"[]",
		"\"many\"",
		"500",
		"true",
		"{\"requests\":500}",
		"{\"requests\":[]}",
		"{\"requests\":{\"limit\":-1}}",
		"{\"requests\":{\"limit\":\"500\"}}",
		"{\"tokens\":{\"remaining\":1.5}}",
		"{\"tokens\":{\"remaining\":true}}",
		"{\"input_tokens\":{\"reset_ms\":-5}}",
		"{\"input_tokens\":{\"reset_ms\":9223372036854775807}}",
		"{\"output_tokens\":false}",
		"{\"retry_after_ms\":-1}",
		"{\"retry_after_ms\":\"2s\"}",
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		const char *row = rows[i / 2];
		char line[600], error[200] = "";
		struct msg msg;

		(void)snprintf(line, sizeof(line), i % 2 ? TURN(LIMITS("%s")) : FAILURE(LIMITS("%s")), row);
		expect(msg_parse(line, strlen(line), &msg, error, sizeof(error)) == -EPROTO, "%s", line);
		expect(strstr(error, "\"limits\""), "%s: %s", line, error);
	}
}

static void test_a_message_survives_being_written_and_read_again(void **state)
{
	struct msg before, after;
	char *text;

	(void)state;
	assert_int_equal(parse(TURN(LIMITS("{\"requests\":{\"limit\":5,\"remaining\":4,\"reset_ms\":3},"
					   "\"retry_after_ms\":2}")),
			       &before),
			 0);
	text = msg_text(&before);
	assert_int_equal(parse(text, &after), 0);
	assert_true(after.has_limits);
	assert_true(same(before.limits.requests, after.limits.requests));
	assert_int_equal(after.limits.retry_after_ms, 2);
	assert_int_equal(after.output_tokens, 20);
	free(text);
	msg_free(&before);
	msg_free(&after);
}

static bool is_in_range(struct msg_limit limit)
{
	return limit.limit >= -1 && limit.remaining >= -1 && limit.reset_ms >= -1;
}

static void check_damaged(const char *line, size_t len)
{
	char error[100] = "";
	struct msg msg;
	int r = msg_parse(line, len, &msg, error, sizeof(error));

	expect(r == 0 || (r == -EPROTO && error[0] != '\0'), "%.*s", (int)len, line);
	if (r != 0)
		return;
	if (msg.has_limits)
		expect(is_in_range(msg.limits.requests) && is_in_range(msg.limits.tokens) &&
			       is_in_range(msg.limits.input_tokens) &&
			       is_in_range(msg.limits.output_tokens) && msg.limits.retry_after_ms >= -1,
		       "%.*s", (int)len, line);
	msg_free(&msg);
}

/* Bytes are replaced, dropped and cut off: a line is read whole or refused with a reason. */
static void test_no_damaged_line_is_read_halfway(void **state)
{
	static const char *const lines[] = {
		TURN(LIMITS("{\"requests\":{\"limit\":500,\"remaining\":499,\"reset_ms\":120},\"tokens\":"
			    "{\"limit\":30000},\"retry_after_ms\":2000}")),
		FAILURE(LIMITS("{\"input_tokens\":{\"remaining\":0},\"output_tokens\":{\"reset_ms\":5}}")),
		"{\"type\":\"pong\",\"seq\":1,\"inflight\":0,\"rss_kb\":1000}",
	};
	static const char bytes[] = "{}[]:,\"0-9e.nullx\\\n\0\xff";
	uint64_t seed = 5;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		const char *line = lines[row_random(&seed) % ARRAY_LEN(lines)];
		size_t len = strlen(line), at = row_random(&seed) % len;
		char *copy = mem_strdup(line); /* as long as its bytes, so that ASan sees a read beyond */

		switch (row_random(&seed) % 3) {
		case 0:
			copy[at] = bytes[row_random(&seed) % sizeof(bytes)];
			break;
		case 1:
			memmove(copy + at, copy + at + 1, len - at);
			len--;
			break;
		default:
			len = at;
		}
		check_damaged(copy, len);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_turn_and_an_error_tell_of_limits),
		cmocka_unit_test(test_limits_of_a_bad_shape_are_refused_by_name),
		cmocka_unit_test(test_a_message_survives_being_written_and_read_again),
		cmocka_unit_test(test_no_damaged_line_is_read_halfway),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
