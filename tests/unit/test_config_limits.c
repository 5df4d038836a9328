/* [limit:PROVIDER/GLOB] sections, and what the file gave. */

#include "row.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"

static struct config *load(const char *text)
{
	AUTO(mem_free_str) char *error = NULL;
	struct config *c = NULL;

	expect(config_load_text("t.ini", text, strlen(text), &c, &error) == 0, "%s: %s", text, error);
	return c;
}

static void test_limits_are_read_in_the_order_of_the_file(void **state)
{
	AUTO(config_free)
	struct config *c = load(
		"[limit:openai/ft:gpt-4/*]\nrequests_per_minute = 60\nburst = 3\nconcurrency = 0\n"
		"[limit:anthropic/claude-?-opus*]\ntokens_per_minute = 1\n"
		"input_tokens_per_minute = 2\noutput_tokens_per_minute = 3\nrequests_per_day = 4\n");
	const struct config_limit *first = &c->limits[0], *second = &c->limits[1];

	(void)state;
	assert_int_equal(c->nlimits, 2);
	assert_string_equal(first->name, "openai/ft:gpt-4/*");
	assert_string_equal(first->provider, "openai");
	assert_string_equal(first->glob, "ft:gpt-4/*");
	assert_int_equal(first->requests_per_minute, 60);
	assert_int_equal(first->burst, 3);
	assert_int_equal(first->concurrency, 0);
	assert_int_equal(first->tokens_per_minute, CONFIG_INHERIT);
	assert_int_equal(first->input_tokens_per_minute, CONFIG_INHERIT);
	assert_int_equal(first->output_tokens_per_minute, CONFIG_INHERIT);
	assert_int_equal(first->requests_per_day, CONFIG_INHERIT);
	assert_string_equal(second->glob, "claude-?-opus*");
	assert_int_equal(second->requests_per_minute, CONFIG_INHERIT);
	assert_int_equal(second->tokens_per_minute, 1);
	assert_int_equal(second->input_tokens_per_minute, 2);
	assert_int_equal(second->output_tokens_per_minute, 3);
	assert_int_equal(second->requests_per_day, 4);
	assert_int_equal(second->burst, CONFIG_INHERIT);
	assert_int_equal(second->concurrency, CONFIG_INHERIT);
}

static const struct {
	const char *text;
	const char *want; /* the error */
} bad[] = {
	{ "[limit:opnai/x]\nconcurrency = 1\n",
	  "t.ini:1: [limit:opnai/x]: unknown provider; allowed are openai, anthropic, google, xai, deepseek, "
	  "mistral, simulated; the nearest: openai" },
	{ "[limit:openai]\n",
	  "t.ini:1: [limit:openai]: '' is no glob of models; allowed is text with * and ?, as in "
	  "[limit:openai/gpt-4*]" },
	{ "[limit:openai/]\n",
	  "t.ini:1: [limit:openai/]: '' is no glob of models; allowed is text with * and ?, as in "
	  "[limit:openai/gpt-4*]" },
	{ "[limit:openai/o[13]\n",
	  "t.ini:1: [limit:openai/o[13]: 'o[13' is no glob of models; allowed is text with * "
	  "and ?, as in [limit:openai/gpt-4*]" },
	{ "[limit:openai/a b]\n",
	  "t.ini:1: [limit:openai/a b]: 'a b' is no glob of models; allowed is text with * and "
	  "?, as in [limit:openai/gpt-4*]" },
	{ "[limit:]\n",
	  "t.ini:1: [limit:]: unknown provider; allowed are openai, anthropic, google, xai, deepseek, "
	  "mistral, simulated" },
	{ "[limit:openai/x]\n[retry]\n",
	  "t.ini:1: [limit:openai/x]: it sets nothing; give one of its keys a number, or remove it" },
	{ "[limit:openai/x]\nconcurrency = inherit\n",
	  "t.ini:1: [limit:openai/x]: it sets nothing; give one of its keys a number, or remove it" },
	{ "[limit:openai/x]\nrequests_per_minut = 1\n",
	  "t.ini:2: [limit:openai/x] requests_per_minut: unknown key; allowed are requests_per_minute, "
	  "tokens_per_minute, input_tokens_per_minute, output_tokens_per_minute, requests_per_day, burst, "
	  "concurrency; the nearest: requests_per_minute, requests_per_day, tokens_per_minute" },
	{ "[limit:openai/x]\nconcurrency = none\n", "t.ini:2: [limit:openai/x] concurrency: 'none' is not "
						    "inherit, or a whole number from 0 to 1000000" },
	{ "[limit:openai/x]\nconcurrency = 1\nburst = 5\n",
	  "t.ini:3: [limit:openai/x] burst: it belongs to requests_per_minute of the same section, which "
	  "sets no "
	  "limit; set one, or remove burst" },
	{ "[limit:openai/x]\nconcurrency = 1\n[retry]\n[limit:openai/x]\nconcurrency = 2\n",
	  "t.ini:4: [limit:openai/x] is there already, in line 1; put its keys together" },
	{ "[limit:openai/gpt-*]\nconcurrency = 1\n[limit:openai/gpt-4?]\nrequests_per_day = 5\nconcurrency = "
	  "2\n",
	  "t.ini:5: [limit:openai/gpt-4?] concurrency: [limit:openai/gpt-*] above matches all these models "
	  "and sets "
	  "it, so that this never counts; put the narrower section first" },
	{ "[limit:openai/*]\nrequests_per_day = 0\n[limit:openai/?pt]\nrequests_per_day = 5\n",
	  "t.ini:4: [limit:openai/?pt] requests_per_day: [limit:openai/*] above matches all these models and "
	  "sets "
	  "it, so that this never counts; put the narrower section first" },
};

static void test_a_limit_that_says_nothing_is_refused_by_name_and_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO(mem_free_str) char *error = NULL;
		struct config *c = NULL;
		int r = config_load_text("t.ini", bad[i].text, strlen(bad[i].text), &c, &error);

		expect(r == -EINVAL && !c, "%s: %d", bad[i].text, r);
		expect(!strcmp(error, bad[i].want), "%s\n%s\nwanted\n%s", bad[i].text, error, bad[i].want);
	}
}

static void test_limits_that_all_count_are_taken(void **state)
{
	static const char *const rows[] = {
		"[limit:openai/gpt-4*]\nconcurrency = 1\n[limit:openai/gpt-*]\nconcurrency = 2\n",
		"[limit:openai/gpt-*]\nconcurrency = 1\n[limit:openai/gpt-4*]\nrequests_per_day = 2\n",
		"[limit:openai/gpt-*]\nconcurrency = 1\n[limit:xai/gpt-4*]\nconcurrency = 2\n",
		"[limit:openai/gpt-?]\nconcurrency = 1\n[limit:openai/gpt-*]\nconcurrency = 2\n",
		"[limit:openai/gpt]\nconcurrency = 1\n[limit:openai/gpt-4]\nconcurrency = 2\n",
		"[limit:openai/*-mini]\nconcurrency = 1\n[limit:openai/o3*]\nconcurrency = 2\n",
		"[limit:openai/x]\nrequests_per_minute = 5\nburst = 2\n",
		"[limit:openai/x]\nconcurrency = 5\nburst = 0\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(config_free) struct config *c = load(rows[i]);

		expect(c->nlimits > 0, "row %zu", i);
	}
}

static void test_what_the_file_gave_is_told_from_a_default(void **state)
{
	AUTO(config_free)
	struct config *c = load("[provider:openai]\nrequests_per_minute = 500\n"
				"[limit:openai/gpt-4*]\nconcurrency = 3\n[daemon]\nstalled_after = 0\n");

	(void)state;
	assert_true(config_is_given(c, "provider:openai", "requests_per_minute"));
	assert_false(config_is_given(c, "provider:openai", "tokens_per_minute"));
	assert_false(config_is_given(c, "provider:xai", "requests_per_minute"));
	assert_true(config_is_given(c, "limit:openai/gpt-4*", "concurrency"));
	assert_false(config_is_given(c, "limit:openai/gpt-4*", "burst"));
	assert_true(config_is_given(c, "daemon", "stalled_after"));
	assert_int_equal(c->daemon.stalled_after_ms, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits_are_read_in_the_order_of_the_file),
		cmocka_unit_test(test_a_limit_that_says_nothing_is_refused_by_name_and_line),
		cmocka_unit_test(test_limits_that_all_count_are_taken),
		cmocka_unit_test(test_what_the_file_gave_is_told_from_a_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
