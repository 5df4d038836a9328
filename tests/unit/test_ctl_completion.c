#include "row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/completion.h"
#include "io/command_table.h"

enum { WORDS_MAX = 16 };

/* What a daemon might have. */
static void ask(void *arg, int ref, void (*found)(void *to, const char *word, const char *about), void *to)
{
	static const char *const words[REF_COUNT] = {
		[REF_RUN] = "run_1",	  [REF_DEFINITION] = "dilemmas", [REF_MODEL] = "gpt-4",
		[REF_WORKER] = "probe/1", [REF_CRASH] = "4711",		 [REF_SECTION] = "pool:probe",
	};

	(*(int *)arg)++;
	if (words[ref]) {
		found(to, words[ref], "first");
		found(to, "$(reboot)", "a word that a shell would act on");
	}
}

/* The answers to a line, in words; what is written last begins behind the last space. */
static char *complete(const char *shell, const char *line, int *asked)
{
	AUTO(mem_free_str) char *copy = mem_strdup(line);
	const struct completion_source source = { .ask = ask, .arg = asked };
	char *words[WORDS_MAX], *text = NULL;
	int count = 1;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	words[0] = copy;
	for (char *at = copy; *at; at++)
		if (*at == ' ') {
			*at = '\0';
			words[count++] = at + 1;
		}
	completion_print(out, shell, words, count, &source);
	(void)fclose(out);
	for (char *at = text; *at; at++)
		*at = *at == '\n' ? ' ' : *at;
	return text;
}

static const struct {
	const char *line, *want;
	int asked;
} rows[] = {
	{ "stat", "status ", 0 },
	{ "wor", "workers ", 0 },
	{ "run s", "start show ", 0 },
	{ "run", "run ", 0 },
	{ "--json run wa", "watch ", 0 },
	{ "--socket /x run wa", "watch ", 0 },
	{ "crashes ", "show ", 0 },
	{ "crashes show ", "4711 ", 1 },
	{ "run show r", "run_1 ", 1 },
	{ "run show x", "", 1 },
	{ "run show run_1 ", "", 0 },
	{ "run show --transcripts 5 ", "run_1 ", 1 },
	{ "run start ", "dilemmas ", 1 },
	{ "run start d --models ", "gpt-4 ", 1 },
	{ "run start d --models a,gp", "a,gpt-4 ", 1 },
	{ "run start d --models=a,", "--models=a,gpt-4 ", 1 },
	{ "run list --stat", "--status ", 0 },
	{ "run list --status PA", "PAUSED ", 0 },
	{ "run list --status=PA", "--status=PAUSED ", 0 },
	{ "run list --status PAUSED --act", "--active ", 0 },
	{ "definition append ", "", 0 },
	{ "definition import ", "@files ", 0 },
	{ "definition import --scen", "", 0 },
	{ "restore ", "@files ", 0 },
	{ "transcripts export latest --output x", "@files ", 0 },
	{ "transcripts export latest --format ", "jsonl csv ", 0 },
	{ "--socket ", "@files ", 0 },
	{ "--color a", "auto always ", 0 },
	{ "--color=n", "--color=never ", 0 },
	{ "config show pool:", "pool:probe ", 1 },
	{ "workers show probe/", "probe/1 ", 1 },
	{ "providers pause x", "xai ", 0 },
	{ "help ru", "run ", 0 },
	{ "frobnicate ", "", 0 },
	{ "psql -- ", "", 0 },
	{ "completion f", "fish ", 0 },
};

static void test_lines_are_completed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int asked = 0;
		AUTO(mem_free_str) char *text = complete("bash", rows[i].line, &asked);

		expect(strcmp(text, rows[i].want) == 0, "\"%s\": \"%s\"", rows[i].line, text);
		expect(asked == rows[i].asked, "\"%s\" asked %d times", rows[i].line, asked);
	}
}

static void test_zsh_and_fish_are_told_what_a_word_is(void **state)
{
	int asked = 0;
	AUTO(mem_free_str) char *zsh = complete("zsh", "run show ", &asked);
	AUTO(mem_free_str) char *fish = complete("fish", "stat", &asked);

	(void)state;
	assert_string_equal(zsh, "run_1\tfirst ");
	assert_non_null(strstr(fish, "status\tWhat the daemon"));
}

/* Every word of every command, every option and choice can be reached by completion alone. */
static void test_every_command_can_be_completed(void **state)
{
	(void)state;
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const char *words = command_table[i].words;
		const char *last = words ? strrchr(words, ' ') : NULL;
		int asked = 0;

		if (!words)
			continue;
		AUTO(mem_free_str) char *before = mem_strndup(words, last ? (size_t)(last + 1 - words) : 0);
		AUTO(mem_free_str) char *text = complete("bash", before, &asked);
		AUTO(mem_free_str) char *wanted = mem_printf("%s ", last ? last + 1 : words);

		expect(strstr(text, wanted) != NULL, "\"%s\" is not among \"%s\"", words, text);
	}
}

static void test_each_shell_has_a_script(void **state)
{
	static const char *const shells[] = { "bash", "zsh", "fish" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
		char *text = NULL;
		size_t len;
		FILE *out = open_memstream(&text, &len);
		AUTO(mem_free_str) char *asks = mem_printf("completion %s -- ", shells[i]);

		completion_print_script(out, shells[i]);
		(void)fclose(out);
		expect(strstr(text, asks) != NULL, "%s: %s", shells[i], text);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_are_completed),
		cmocka_unit_test(test_zsh_and_fish_are_told_what_a_word_is),
		cmocka_unit_test(test_every_command_can_be_completed),
		cmocka_unit_test(test_each_shell_has_a_script),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
