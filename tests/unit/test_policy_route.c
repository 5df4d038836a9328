#include "row.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "policy/route.h"

static const struct {
	const char *model_id;
	const char *want_provider; /* NULL = nobody claims it */
	const char *want_model;
} rows[] = {
	{ "gpt-4", "openai", "gpt-4" },
	{ "gpt-", "openai", "gpt-" },
	{ "ft:gpt-4:acme", "openai", "ft:gpt-4:acme" },
	{ "gpt-oss-120b", "mistral", "gpt-oss-120b" }, /* the longer prefix */
	{ "claude-3-sonnet", "anthropic", "claude-3-sonnet" },
	{ "mistral:gpt-4", "mistral", "gpt-4" },
	{ "simulated:x", "simulated", "x" },
	{ "openai:ft:gpt-4", "openai", "ft:gpt-4" },
	{ "acme:gpt-4", NULL, NULL },
	{ "openai:", NULL, NULL },
	{ ":gpt-4", NULL, NULL },
	{ "GPT-4", NULL, NULL },
	{ "gp", NULL, NULL },
	{ "x-gpt-4", NULL, NULL },
	{ "", NULL, NULL },
};

static void fill(struct route *r)
{
	assert_int_equal(route_add_prefix(r, "openai", "gpt-"), 0);
	assert_int_equal(route_add_prefix(r, "openai", "ft:gpt"), 0);
	assert_int_equal(route_add_prefix(r, "mistral", "gpt-oss"), 0);
	assert_int_equal(route_add_prefix(r, "anthropic", "claude-"), 0);
	route_add_provider(r, "simulated");
	route_add_provider(r, "simulated");
}

static void test_each_id_finds_its_provider(void **state)
{
	AUTO(route_free) struct route *r = NULL;

	(void)state;
	assert_int_equal(route_new(&r), 0);
	fill(r);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *model = "untouched";
		const char *provider = route_find(r, rows[i].model_id, &model);

		if (!rows[i].want_provider) {
			expect(!provider && !strcmp(model, "untouched"), "'%s'", rows[i].model_id);
			continue;
		}
		expect(provider && !strcmp(provider, rows[i].want_provider), "'%s' → %s", rows[i].model_id,
		       provider ? provider : "nobody");
		expect(!strcmp(model, rows[i].want_model), "'%s' → %s", rows[i].model_id, model);
		expect(route_find(r, rows[i].model_id, NULL) == provider, "'%s'", rows[i].model_id);
	}
}

static void test_a_prefix_has_one_owner(void **state)
{
	AUTO(route_free) struct route *r = NULL;

	(void)state;
	assert_int_equal(route_new(&r), 0);
	fill(r);
	assert_int_equal(route_add_prefix(r, "openai", "gpt-"), 0);
	assert_int_equal(route_add_prefix(r, "google", "gpt-"), -EEXIST);
	assert_int_equal(route_add_prefix(r, "google", ""), -EINVAL);
	assert_string_equal(route_find(r, "gpt-4", NULL), "openai");
}

static void test_providers_are_known_with_and_without_prefix(void **state)
{
	AUTO(route_free) struct route *r = NULL;

	(void)state;
	assert_int_equal(route_new(&r), 0);
	assert_false(route_has_provider(r, "openai"));
	fill(r);
	assert_true(route_has_provider(r, "openai"));
	assert_true(route_has_provider(r, "simulated"));
	assert_false(route_has_provider(r, "open"));
	assert_false(route_has_provider(r, "openai "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_id_finds_its_provider),
		cmocka_unit_test(test_a_prefix_has_one_owner),
		cmocka_unit_test(test_providers_are_known_with_and_without_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
