#include "row.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "io/command_table.h"

static void test_every_row_is_filled(void **state)
{
	(void)state;
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *command = &command_table[i];

		expect(command->name && *command->name, "row %zu has no name", i);
		expect(command->summary && *command->summary, "%s has no summary", command->name);
		expect(command->summary[strlen(command->summary) - 1] != '.',
		       "%s: summary ends in a full stop", command->name);
		expect(command->words || command->place == COMMAND_IN_DAEMON, "%s cannot be reached",
		       command->name);
		expect(command->role != COMMAND_NONE, "%s has no role", command->name);
		expect(command_id_of(command) == (enum command_id)i, "%s", command->name);
	}
}

static void test_names_and_words_are_unique(void **state)
{
	(void)state;
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		for (size_t k = 0; k < i; k++) {
			const char *a = command_table[i].words, *b = command_table[k].words;

			expect(strcmp(command_table[i].name, command_table[k].name) != 0, "%s",
			       command_table[i].name);
			expect(!a || !b || strcmp(a, b) != 0, "%s", a);
		}
}

static bool has_positional(const struct command *command)
{
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++)
		if (arg->flags & ARG_POSITIONAL)
			return true;
	return false;
}

/* "crashes show" could mean two things if "crashes" took a word. */
static void test_a_command_that_is_the_beginning_of_another_takes_no_word(void **state)
{
	(void)state;
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		for (size_t k = 0; k < COMMAND_COUNT; k++) {
			const char *a = command_table[i].words, *b = command_table[k].words;

			if (!a || !b || i == k || !has_positional(&command_table[i]))
				continue;
			expect(strncmp(a, b, strlen(a)) != 0 || b[strlen(a)] != ' ', "%s, %s", a, b);
		}
}

static void test_every_group_is_explained(void **state)
{
	(void)state;
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const char *words = command_table[i].words;
		AUTO(mem_free_str) char *group = NULL;

		if (!words || !strchr(words, ' '))
			continue;
		group = mem_strndup(words, strcspn(words, " "));
		expect(command_group_summary(group) || command_find(group), "%s", group);
	}
	assert_null(command_group_summary("status"));
}

static void test_arguments_are_declared_sensibly(void **state)
{
	(void)state;
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *command = &command_table[i];
		bool optional = false;

		for (const struct command_arg *arg = command->args; arg && arg->name; arg++) {
			bool positional = arg->flags & ARG_POSITIONAL;

			expect(command_find_arg(command, arg->name) == arg, "%s: %s is there twice",
			       command->name, arg->name);
			expect(arg->help && *arg->help, "%s: %s has no help", command->name, arg->name);
			expect(arg->min <= arg->max, "%s: %s has no range", command->name, arg->name);
			expect(arg->type != COMMAND_JSON || (arg->flags & ARG_WIRE), "%s: %s cannot be typed",
			       command->name, arg->name);
			expect(!positional || !optional || !(arg->flags & ARG_REQUIRED),
			       "%s: %s stands behind an optional one", command->name, arg->name);
			optional = optional || (positional && !(arg->flags & ARG_REQUIRED));
		}
	}
}

static void test_find_knows_names_and_nothing_else(void **state)
{
	(void)state;
	assert_ptr_equal(command_find("run.start"), &command_table[COMMAND_RUN_START]);
	assert_null(command_find("run start"));
	assert_null(command_find("run.star"));
	assert_null(command_find(""));
}

static const struct {
	const char *command, *args;
	const char *want; /* part of the message; NULL = accepted */
} checks[] = {
	{ "status", "{}", NULL },
	{ "status", "{\"x\":1}", "status has no argument \"x\"; it takes: none" },
	{ "run.start", "{}", "definition is missing" },
	{ "run.start", "{\"definition\":\"d\"}", "models is missing" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"]}", NULL },
	{ "run.start", "{\"definition\":null,\"models\":[\"a\"]}", "definition is missing" },
	{ "run.start", "{\"definition\":\"\",\"models\":[\"a\"]}", "definition is empty" },
	{ "run.start", "{\"definition\":7,\"models\":[\"a\"]}", "definition must be a string" },
	{ "run.start", "{\"definition\":\"d\",\"models\":\"a\"}", "models must be a list of strings" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[]}", "models is empty" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\",1]}", "models: entry 2" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"\"]}", "models: entry 1" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"samplePercentage\":0}",
	  "samplePercentage must be above 0 and at most 100, not 0" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"samplePercentage\":101}", "not 101" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"samplePercentage\":100}", NULL },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"samplePercentage\":0.001}", NULL },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"samplePercentage\":\"5\"}",
	  "must be a number" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"samples\":0}",
	  "samples must be at least 1" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"samples\":1.5}",
	  "samples must be an integer" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"temperature\":2.01}",
	  "temperature must be" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"maxTurns\":1001}", "maxTurns must be" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"watch\":true}", "no argument \"watch\"" },
	{ "run.start", "{\"definition\":\"d\",\"models\":[\"a\"],\"seed\":-4}", NULL },
	{ "run.list", "{\"status\":\"RUNNING\"}", NULL },
	{ "run.list", "{\"status\":\"RUN\"}", "status must be one of PENDING|RUNNING" },
	{ "run.list", "{\"status\":\"\"}", "status must be one of" },
	{ "run.list", "{\"active\":1}", "active must be true or false" },
	{ "run.list", "{\"limit\":1001}", "limit must be at least 1 and at most 1000, not 1001" },
	{ "events", "{\"since\":\"1h\"}", "since must be an integer of milliseconds" },
	{ "providers.pause", "{\"provider\":\"openai|anthropic\"}", "provider must be one of" },
};

static void test_arguments_are_checked_by_name_type_and_range(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		json_t *args = json_loads(checks[i].args, 0, NULL);
		AUTO(mem_free_str) char *error = NULL;
		int r = command_check_args(command_find(checks[i].command), args, &error);

		json_decref(args);
		expect(r == (checks[i].want ? -EINVAL : 0), "row %zu: %d %s", i, r, error ? error : "");
		expect(!checks[i].want || strstr(error, checks[i].want), "row %zu: %s", i, error);
	}
}

static void test_over_long_texts_are_refused_unless_meant_to_be_long(void **state)
{
	AUTO(mem_free_str) char *text = mem_alloc(COMMAND_TEXT_MAX + 2);
	AUTO(mem_free_str) char *error = NULL;
	json_t *args;

	(void)state;
	memset(text, 'x', COMMAND_TEXT_MAX + 1);
	args = json_pack("{s:s}", "run", text);
	assert_int_equal(command_check_args(command_find("run.show"), args, &error), -EINVAL);
	assert_string_equal(error, "run is too long: 1001 bytes, 1000 at most");
	json_decref(args);
	mem_set_str(&error, NULL);
	args = json_pack("{s:s}", "text", text);
	assert_int_equal(command_check_args(command_find("config.check"), args, &error), 0);
	json_decref(args);
}

static void test_choices_match_whole_words(void **state)
{
	(void)state;
	assert_true(command_choice_matches("one|two|three", "one"));
	assert_true(command_choice_matches("one|two|three", "three"));
	assert_false(command_choice_matches("one|two|three", "thre"));
	assert_false(command_choice_matches("one|two|three", "wo"));
	assert_false(command_choice_matches("one|two|three", "one|two"));
	assert_false(command_choice_matches("one|two|three", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row_is_filled),
		cmocka_unit_test(test_names_and_words_are_unique),
		cmocka_unit_test(test_a_command_that_is_the_beginning_of_another_takes_no_word),
		cmocka_unit_test(test_every_group_is_explained),
		cmocka_unit_test(test_arguments_are_declared_sensibly),
		cmocka_unit_test(test_find_knows_names_and_nothing_else),
		cmocka_unit_test(test_arguments_are_checked_by_name_type_and_range),
		cmocka_unit_test(test_over_long_texts_are_refused_unless_meant_to_be_long),
		cmocka_unit_test(test_choices_match_whole_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
