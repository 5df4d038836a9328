#include "row.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "config/models.h"

static char path[64];

static int load(const char *text, struct models **ret, char **ret_error)
{
	assert_int_equal(fd_write_file(path, text, strlen(text), 0600), 0);
	return models_load(path, ret, ret_error);
}

static void test_prefixes_and_prices_are_read(void **state)
{
	AUTO(models_free) struct models *m = NULL;
	AUTO(mem_free_str) char *error = NULL;
	struct price price;

	(void)state;
	expect(load("; a comment\n[prefixes]\nopenai = gpt- o1\n  ft:gpt\nxai = grok-\n"
		    "[model:gpt-5-mini*]\nrefuses = temperature\n"
		    "[model:gpt-5*]\ninput_usd_per_mtok = 1.25\noutput_usd_per_mtok = 10 ; list price\n",
		    &m, &error) == 0,
	       "%s", error);
	assert_string_equal(route_find(m->route, "ft:gpt-4", NULL), "openai");
	assert_string_equal(route_find(m->route, "grok-2", NULL), "xai");
	assert_null(route_find(m->route, "mistral-large", NULL));
	assert_string_equal(route_find(m->route, "mistral:mistral-large", NULL), "mistral");
	assert_string_equal(route_find(m->route, "simulated:x", NULL), "simulated");
	price = price_table_find(m->prices, "gpt-5", 20000);
	assert_true(price.known);
	assert_int_equal(price.input_e10_per_token, 12500);
	assert_int_equal(price.output_e10_per_token, 100000);
	/* The first match has no price: unknown, and not that of the broader glob below. */
	assert_false(price_table_find(m->prices, "gpt-5-mini", 20000).known);
}

static void test_prices_change_on_their_day(void **state)
{
	static const struct {
		int64_t day, want_input, want_as_of;
	} rows[] = {
		{ 0, 12500, 20468 },	 { 20604, 12500, 20468 }, { 20605, 20000, 20605 },
		{ 20634, 20000, 20605 }, { 20635, 5000, 20635 },
	};
	AUTO(models_free) struct models *m = NULL;
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	expect(load("[prefixes]\n[model:gpt-5*]\nrefuses = seed\nprices_as_of = "
		    "2026-01-15\ninput_usd_per_mtok = 1.25\n"
		    "output_usd_per_mtok = 10\n[model:gpt-*]\n"
		    "[model:gpt-5* from 2026-07-01]\ninput_usd_per_mtok = 0.5\noutput_usd_per_mtok = 1\n"
		    "[model:gpt-5* from 2026-06-01] ; dearer\ninput_usd_per_mtok = 2\noutput_usd_per_mtok = "
		    "10\n",
		    &m, &error) == 0,
	       "%s", error);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct price price = price_table_find(m->prices, "gpt-5-mini", rows[i].day);

		expect(price.known && price.input_e10_per_token == rows[i].want_input &&
			       price.as_of_day == rows[i].want_as_of,
		       "row %zu: known %d", i, (int)price.known);
	}
	assert_false(price_table_find(m->prices, "gpt-4", 20635).known);
}

#define NO_PREFIXES                                                                                          \
	": no section [prefixes], which says whose models are whose; add one with lines such as `openai = "  \
	"gpt- o1`, or an empty one"

static const struct {
	const char *text;
	const char *want; /* behind the file's name */
} bad[] = {
	{ "[prices]\n", ":1: [prices]: unknown section; allowed are [prefixes], [model:GLOB] and [model:GLOB "
			"from YYYY-MM-DD]" },
	{ "[model:]\n", ":1: [model:]: unknown section; allowed are [prefixes], [model:GLOB] and [model:GLOB "
			"from YYYY-MM-DD]" },
	{ "[model:x]\n[model:x from May]\n",
	  ":2: [model:x from May]: behind `from` stands no date, such as 2026-06-01" },
	{ "[model:x from 2026-06-01]\n",
	  ":1: [model:x from 2026-06-01]: there is none without a date for these models above it" },
	{ "[model:x]\n[model:x from 2026-06-01]\n",
	  ": [model:x from 2026-06-01]: no prices; give both, or remove it" },
	{ "[model:x]\n[model:x  from 2026-06-01]\n",
	  ":2: [model:x  from 2026-06-01]: there is none without a date for these models above it" },
	{ "[model:x]\n[model:x from 2026-06-01]\noutput_usd_per_mtok = 1\n",
	  ": [model:x from 2026-06-01]: input_usd_per_mtok and output_usd_per_mtok go together" },
	{ "[model:x]\n[model:x from 2026-06-01]\nrefuses = seed\n",
	  ":3: [model:x from 2026-06-01] refuses: a section with a date has prices only: input_usd_per_mtok, "
	  "output_usd_per_mtok" },
	{ "[model:x]\n[model:x from 2026-06-01]\nprices_as_of = 2026-06-01\n",
	  ":3: [model:x from 2026-06-01] prices_as_of: a section with a date has prices only: "
	  "input_usd_per_mtok, "
	  "output_usd_per_mtok" },
	{ "[model:x]\nprices_as_of = 2026-06-31\n",
	  ":2: [model:x] prices_as_of: '2026-06-31' is no date, such as 2026-06-01" },
	{ "[model:x]\nprices_as_of = 2026-06-01\n", ": [model:x]: prices_as_of without prices" },
	{ "[prefixes]\nacme = x-\n", ":2: [prefixes] acme: unknown provider" },
	{ "[prefixes]\nopenai = gpt-\nxai = grok- gpt-\n",
	  ":3: [prefixes] xai: 'gpt-' belongs to another provider already" },
	{ "[prefixes]\nopenai = ''\n", ":2: [prefixes] openai: '' is no prefix" },
	{ "[prefixes]\nopenai = 'gpt-\n", ":2: [prefixes] openai: a quote is not closed" },
	{ "[model:x]\ninput_usd_per_mtok = 1,5\n", ":2: [model:x] input_usd_per_mtok: '1,5' is no price; "
						   "allowed are US dollars from 0 to 1000000 with up to four "
						   "decimals, such as 2.50" },
	{ "[model:x]\noutput_usd_per_mtok = 1000001\n",
	  ":2: [model:x] output_usd_per_mtok: '1000001' is no price; allowed are US dollars from 0 to "
	  "1000000 with up to "
	  "four decimals, such as 2.50" },
	{ "[model:x]\ninput_usd_per_mtok = 1\n",
	  ": [model:x]: input_usd_per_mtok and output_usd_per_mtok go together" },
	{ "[model:x]\noutput_usd_per_mtok = 1\n[model:y]\n",
	  ":3: [model:x]: input_usd_per_mtok and output_usd_per_mtok go together" },
	{ "", NO_PREFIXES },
	{ "[model:x]\nrefuses = seed\n", NO_PREFIXES },
	{ "nonsense\n", ":1: neither [section] nor key = value" },
};

static void test_bad_models_are_refused_by_name_and_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO(mem_free_str) char *error = NULL;
		struct models *m = NULL;
		int r = load(bad[i].text, &m, &error);

		expect(r == -EINVAL && !m, "row %zu: %d", i, r);
		expect(!strncmp(error, path, strlen(path)) && !strcmp(error + strlen(path), bad[i].want),
		       "row %zu: %s", i, error);
	}
}

static void test_a_missing_file_is_named(void **state)
{
	AUTO(mem_free_str) char *error = NULL;
	struct models *m = NULL;

	(void)state;
	assert_int_equal(models_load("/nonexistent/models.ini", &m, &error), -ENOENT);
	assert_string_equal(error, "/nonexistent/models.ini: cannot be read: No such file or directory");
	assert_null(m);
}

/* Tests run wherever make was called; the source's own path leads to the top. */
static char *top_file(const char *name)
{
	const char *slash = strrchr(__FILE__, '/');

	return mem_printf("%.*s/../../%s", slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".", name);
}

static void test_the_models_of_the_first_run_have_their_providers(void **state)
{
	static const char *const rows[][2] = {
		{ "gpt-4", "openai" },		 { "claude-3-sonnet", "anthropic" },
		{ "gemini-1.5-pro", "google" },	 { "grok-2", "xai" },
		{ "deepseek-chat", "deepseek" }, { "mistral-large", "mistral" },
		{ "gpt-3.5-turbo", "openai" },
	};
	AUTO(mem_free_str) char *file = top_file("conf/models.ini");
	AUTO(models_free) struct models *m = NULL;
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	expect(models_load(file, &m, &error) == 0, "%s", error);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *provider = route_find(m->route, rows[i][0], NULL);

		expect(provider && !strcmp(provider, rows[i][1]), "%s → %s", rows[i][0],
		       provider ? provider : "nobody");
	}
	assert_true(price_table_find(m->prices, "gpt-4", 20000).known);
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(path, sizeof(path), "/tmp/test_config_models.%d", (int)getpid());
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes_and_prices_are_read),
		cmocka_unit_test(test_prices_change_on_their_day),
		cmocka_unit_test(test_bad_models_are_refused_by_name_and_line),
		cmocka_unit_test(test_a_missing_file_is_named),
		cmocka_unit_test(test_the_models_of_the_first_run_have_their_providers),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
