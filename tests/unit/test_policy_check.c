#include "policy/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "row.h"

static void test_pages_are_joined_to_their_base_as_workers_do(void **state)
{
	static const struct {
		const char *provider, *base_url, *want;
	} rows[] = {
		{ "openai", "", "https://api.openai.com/v1/models" },
		{ "anthropic", "", "https://api.anthropic.com/v1/models?limit=1" },
		{ "google", "", "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1" },
		{ "xai", "", "https://api.x.ai/v1/models" },
		{ "deepseek", "", "https://api.deepseek.com/user/balance" },
		{ "mistral", "", "https://api.mistral.ai/v1/models" },
		{ "mistral", "https://proxy.example.org/mistral",
		  "https://proxy.example.org/mistral/v1/models" },
		{ "openai", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/models" },
		{ "deepseek", "http://[::1]:1/x//", "http://[::1]:1/x/user/balance" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *url = check_url(check_page_of(rows[i].provider), rows[i].base_url);

		expect(strcmp(url, rows[i].want) == 0, "row %zu: %s", i, url);
	}
	assert_null(check_page_of("simulated"));
	assert_null(check_page_of(""));
}

static void test_a_key_travels_in_a_header(void **state)
{
	static const char *const bearers[] = { "openai", "xai", "deepseek", "mistral" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bearers); i++)
		assert_string_equal(check_page_of(bearers[i])->key_header, "Authorization: Bearer ");
	assert_string_equal(check_page_of("google")->key_header, "x-goog-api-key: ");
	assert_string_equal(check_page_of("anthropic")->key_header, "x-api-key: ");
	assert_string_equal(check_page_of("anthropic")->header, "anthropic-version: 2023-06-01");
}

static void test_an_answer_is_judged_as_its_provider_means_it(void **state)
{
	static const struct {
		const char *provider;
		int status;
		const char *body;
		enum check_verdict want;
	} rows[] = {
		{ "openai", 200, "{\"data\":[]}", CHECK_OK },
		{ "openai", 204, "", CHECK_OK },
		{ "openai", 0, "", CHECK_FAILING },
		{ "openai", 301, "", CHECK_UNCLEAR },
		{ "openai", 400, "", CHECK_UNCLEAR },
		{ "openai", 401, "", CHECK_KEY_REFUSED },
		{ "openai", 402, "", CHECK_NO_CREDIT },
		{ "openai", 403, "", CHECK_KEY_REFUSED },
		{ "openai", 404, "", CHECK_UNCLEAR },
		{ "openai", 408, "", CHECK_FAILING },
		{ "openai", 429, "{\"error\":{\"code\":\"rate_limit_exceeded\"}}", CHECK_UNCLEAR },
		{ "openai", 429, "{\"error\":{\"code\":\"insufficient_quota\"}}", CHECK_NO_CREDIT },
		{ "openai", 500, "", CHECK_FAILING },
		{ "openai", 503, "", CHECK_FAILING },
		{ "anthropic", 529, "", CHECK_FAILING },
		{ "anthropic", 400,
		  "{\"error\":{\"message\":\"You have reached your specified API usage limits.\"}}",
		  CHECK_NO_CREDIT },
		{ "google", 400, "{\"error\":{\"details\":[{\"reason\":\"API_KEY_INVALID\"}]}}",
		  CHECK_KEY_REFUSED },
		{ "google", 400, "{\"error\":{\"status\":\"INVALID_ARGUMENT\"}}", CHECK_UNCLEAR },
		{ "openai", 400, "API_KEY_INVALID", CHECK_UNCLEAR },
		{ "xai", 400, "{\"code\":\"x\",\"error\":\"Incorrect API key provided\"}",
		  CHECK_KEY_REFUSED },
		{ "xai", 403, "{\"error\":\"Your team has used all available credits\"}", CHECK_NO_CREDIT },
		{ "xai", 403, "{\"error\":\"forbidden\"}", CHECK_KEY_REFUSED },
		{ "xai", 429, "{\"error\":\"Your team has used all available credits\"}", CHECK_NO_CREDIT },
		{ "deepseek", 200, "{\"is_available\":true,\"balance_infos\":[]}", CHECK_OK },
		{ "deepseek", 200, "{\"is_available\": false, \"balance_infos\":[]}", CHECK_NO_CREDIT },
		{ "deepseek", 200, "{\n  \"is_available\"\n:\tfalse}", CHECK_NO_CREDIT },
		{ "deepseek", 200, "{}", CHECK_OK },
		{ "deepseek", 200, "{\"is_available\"", CHECK_OK },
		{ "deepseek", 401, "", CHECK_KEY_REFUSED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum check_verdict got = check_judge(check_page_of(rows[i].provider), rows[i].status,
						     rows[i].body);

		expect(got == rows[i].want, "row %zu: %s %d: %s", i, rows[i].provider, rows[i].status,
		       check_word(got));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_are_joined_to_their_base_as_workers_do),
		cmocka_unit_test(test_a_key_travels_in_a_header),
		cmocka_unit_test(test_an_answer_is_judged_as_its_provider_means_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
