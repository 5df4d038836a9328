#include "row.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/args.h"

enum { WORDS_MAX = 16 };

/* Splits at spaces; the words point into `line`. */
static int split(char *line, char **words)
{
	int count = 0;

	for (char *word = strtok(line, " "); word && count < WORDS_MAX; word = strtok(NULL, " "))
		words[count++] = word;
	return count;
}

static const struct {
	const char *line, *command; /* its name */
	const char *args, *own;	    /* JSON */
} good[] = {
	{ "status", "status", "{}", "{}" },
	{ "--json status", "status", "{}", "{}" },
	{ "status --socket=/x --timeout 30s --color never", "status", "{}", "{}" },
	{ "run start d --models a,b", "run.start", "{\"definition\":\"d\",\"models\":[\"a\",\"b\"]}", "{}" },
	{ "run start --models a --models b,,c d", "run.start",
	  "{\"definition\":\"d\",\"models\":[\"a\",\"b\",\"c\"]}", "{}" },
	{ "run start d --models=a --sample-percentage 12.5 --max-turns=3 --priority -5 --watch", "run.start",
	  "{\"definition\":\"d\",\"models\":[\"a\"],\"samplePercentage\":12.5,\"maxTurns\":3,\"priority\":-"
	  "5}",
	  "{\"watch\":true}" },
	{ "run list --active", "run.list", "{\"active\":true}", "{}" },
	{ "run list --active=false", "run.list", "{\"active\":false}", "{}" },
	{ "run watch latest --interval 2s", "run.watch", "{}", "{\"run\":\"latest\",\"interval\":2000}" },
	{ "run pause r --reason x=y", "run.pause", "{\"run\":\"r\",\"reason\":\"x=y\"}", "{}" },
	{ "definition import - --name n", "definition.import", "{\"name\":\"n\"}", "{\"file\":\"-\"}" },
	{ "transcripts export r --format csv --output f", "transcripts.export", "{\"run\":\"r\"}",
	  "{\"format\":\"csv\",\"output\":\"f\"}" },
	{ "events --since 90m", "events", "{\"since\":5400000}", "{}" },
	{ "workers scale 4", "workers.scale", "{\"size\":4}", "{}" },
	{ "jobs", "jobs", "{}", "{}" },
	{ "crashes --limit 3", "crashes", "{\"limit\":3}", "{}" },
	{ "crashes show 7", "crashes.show", "{\"id\":7}", "{}" },
	{ "help run start", "help", "{}", "{\"topic\":[\"run\",\"start\"]}" },
	{ "psql -- -c x --json", "psql", "{}", "{}" },
	{ "run start --help", "run.start", "{}", "{}" },
};

static void test_good_lines_become_arguments(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		AUTO(args_free) struct parsed_args *parsed = NULL;
		AUTO(mem_free_str) char *line = mem_strdup(good[i].line);
		AUTO(mem_free_str) char *error = NULL;
		char *words[WORDS_MAX];
		int r = args_parse(split(line, words), words, &parsed, &error);
		json_t *args = json_loads(good[i].args, 0, NULL);
		json_t *own = json_loads(good[i].own, 0, NULL);

		expect(r == 0, "%s: %s", good[i].line, error);
		expect(strcmp(parsed->command->name, good[i].command) == 0, "%s", good[i].line);
		expect(json_equal(parsed->args, args), "%s: %s", good[i].line, json_dumps(parsed->args, 0));
		expect(json_equal(parsed->own, own), "%s: %s", good[i].line, json_dumps(parsed->own, 0));
		json_decref(args);
		json_decref(own);
	}
}

static const struct {
	const char *line, *want;
} bad[] = {
	{ "frobnicate", "there is no command \"frobnicate\"" },
	{ "run strat", "did you mean \"run start\"?" },
	{ "statu", "did you mean \"status\"?" },
	{ "definition append", "there is no command" },
	{ "status now", "`status` does not take \"now\"" },
	{ "crashes shew", "`crashes` does not take \"shew\"" },
	{ "--frob status", "unknown option --frob" },
	{ "status --limit 3", "`status` has no option --limit" },
	{ "run start d", "needs --models" },
	{ "run start --models a", "needs definition" },
	{ "run start d --models", "--models needs a value" },
	{ "run start d --models a --samples x", "--samples must be a whole number, not \"x\"" },
	{ "run list --columns", "--columns needs a value" },
	{ "run list --columns ,", "--columns needs names of columns" },
	{ "completion bash extra", "does not take \"extra\"" },
	{ "run start d --models a --samples 1 --samples 2", "--samples is given twice" },
	{ "run start d --models a --temperature nan", "--temperature must be a number" },
	{ "run start d --models a --temperature 0.5x", "--temperature must be a number" },
	{ "run start d --models a --samples 99999999999999999999", "--samples must be a whole number" },
	{ "run list --status RUN", "--status must be one of" },
	{ "run list --active=maybe", "--active must be true or false" },
	{ "run show r --brief=x", "--brief must be" },
	{ "events --since 5", "--since must be a duration" },
	{ "events --since 5y", "--since must be a duration" },
	{ "events --after 5", "has no option --after" },
	{ "definition import f --scenarios []", "has no option --scenarios" },
	{ "status -- x", "takes nothing behind --" },
	{ "--color blue status", "--color must be auto, always or never" },
	{ "--timeout 0 status", "--timeout must be a duration" },
	{ "--socket", "--socket needs a value" },
};

static void test_bad_lines_are_refused_with_what_is_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct parsed_args *parsed = NULL;
		AUTO(mem_free_str) char *line = mem_strdup(bad[i].line);
		AUTO(mem_free_str) char *error = NULL;
		char *words[WORDS_MAX];
		int r = args_parse(split(line, words), words, &parsed, &error);

		expect(r == -EINVAL, "%s is accepted", bad[i].line);
		expect(strstr(error, bad[i].want) != NULL, "%s: %s", bad[i].line, error);
	}
}

static void test_global_options_are_understood_anywhere(void **state)
{
	AUTO(args_free) struct parsed_args *parsed = NULL;
	AUTO(mem_free_str) char *error = NULL;
	char line[] = "--socket /a run --json list --timeout=2m --color always --no-pager --columns a,b";
	char *words[WORDS_MAX];

	(void)state;
	assert_int_equal(args_parse(split(line, words), words, &parsed, &error), 0);
	assert_string_equal(parsed->socket, "/a");
	assert_true(parsed->json);
	assert_int_equal(parsed->timeout_ms, 120000);
	assert_int_equal(parsed->color, ARGS_COLOR_ALWAYS);
	assert_true(parsed->no_pager);
	assert_int_equal(json_array_size(parsed->columns), 2);
	assert_string_equal(parsed->words, "run list");
}

static void test_what_stands_behind_two_dashes_is_left_alone(void **state)
{
	AUTO(args_free) struct parsed_args *parsed = NULL;
	AUTO(mem_free_str) char *error = NULL;
	char line[] = "psql -- --json -c x";
	char *words[WORDS_MAX];

	(void)state;
	assert_int_equal(args_parse(split(line, words), words, &parsed, &error), 0);
	assert_false(parsed->json);
	assert_int_equal(parsed->rest_count, 3);
	assert_string_equal(parsed->rest[0], "--json");
}

static void test_option_names_are_the_arguments_with_dashes(void **state)
{
	AUTO(mem_free_str) char *name = args_option_name("samplePercentage");

	(void)state;
	assert_string_equal(name, "sample-percentage");
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		int64_t want; /* -1 = refused */
	} rows[] = {
		{ "0", 0 },
		{ "500ms", 500 },
		{ "30s", 30000 },
		{ "5m", 300000 },
		{ "2h", 7200000 },
		{ "2d", 172800000 },
		{ "5", -1 },
		{ "-5s", -1 },
		{ "s", -1 },
		{ "", -1 },
		{ "5 s", -1 },
		{ "1h30m", -1 },
		{ "9223372036854775807d", -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = -1;
		int r = args_parse_duration(rows[i].text, &ms);

		expect(r == (rows[i].want < 0 ? -EINVAL : 0) && ms == rows[i].want, "\"%s\": %lld",
		       rows[i].text, (long long)ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_lines_become_arguments),
		cmocka_unit_test(test_bad_lines_are_refused_with_what_is_wrong),
		cmocka_unit_test(test_global_options_are_understood_anywhere),
		cmocka_unit_test(test_what_stands_behind_two_dashes_is_left_alone),
		cmocka_unit_test(test_option_names_are_the_arguments_with_dashes),
		cmocka_unit_test(test_durations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
