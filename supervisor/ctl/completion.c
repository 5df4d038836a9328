#include "ctl/completion.h"

#include <string.h>

#include "base/mem.h"
#include "ctl/args.h"
#include "ctl/text.h"
#include "ctl/words.h"

/* The command line up to the word that is being written. */
struct line {
	FILE *out;
	const char *shell;
	const struct completion_source *source;
	char *words;			  /* of command or group, "run"; owned; NULL = none yet */
	const struct command *command;	  /* NULL = not complete */
	int positionals;		  /* given so far */
	const struct command_arg *option; /* whose value is being written; NULL = none */
	const struct global_option *global;
	bool ended; /* behind --, or not understood: nothing can be told */
	const char *current;
	char *stem; /* beginning of the word that answers must keep, "--state=" or "a,"; owned */
};

/* ---- answers ---- */

static void answer(void *arg, const char *word, const char *about)
{
	struct line *line = arg;
	const char *rest = line->current + strlen(line->stem);

	if (strncmp(word, rest, strlen(rest)) != 0 || strpbrk(word, " \t\n\"'\\$`"))
		return;
	if (strcmp(line->shell, "bash") == 0)
		(void)fprintf(line->out, "%s%s\n", line->stem, word);
	else
		(void)fprintf(line->out, "%s%s\t%s\n", line->stem, word, about);
}

static void answer_choices(struct line *line, const char *choices)
{
	while (*choices) {
		size_t len = strcspn(choices, "|");
		AUTO(mem_free_str) char *word = mem_strndup(choices, len);

		answer(line, word, "");
		choices += len + (choices[len] == '|');
	}
}

/* The words that follow `before` ("run", or NULL at the beginning) in commands, each once. */
static void answer_words(struct line *line, const char *before)
{
	size_t skip = before ? strlen(before) + 1 : 0;
	AUTO(mem_free_str) char *last = mem_strdup("");

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const char *words = command_table[i].words;
		AUTO(mem_free_str) char *word = NULL;
		const char *about;
		bool group;

		if (!words || (before && (strncmp(words, before, skip - 1) != 0 || words[skip - 1] != ' ')))
			continue;
		word = mem_strndup(words + skip, strcspn(words + skip, " "));
		if (strcmp(word, last) == 0)
			continue;
		mem_set_str(&last, mem_strdup(word));
		group = words[skip + strlen(word)] == ' ';
		about = group && !before ? command_group_summary(word) : command_table[i].summary;
		answer(line, word, about ? about : "");
	}
}

/* What the argument's value may be. */
static void answer_value(struct line *line, const struct command_arg *arg)
{
	const char *comma = strrchr(line->current + strlen(line->stem), ',');

	if (arg->type == COMMAND_LIST_OF && comma) {
		char *stem = mem_strndup(line->current, (size_t)(comma + 1 - line->current));

		mem_free(&line->stem);
		line->stem = stem;
	}
	if (arg->choices)
		answer_choices(line, arg->choices);
	else if (arg->type == COMMAND_BOOL)
		answer_choices(line, "true|false");
	else if (arg->ref == REF_FILE)
		(void)fputs("@files\n", line->out);
	else if (arg->ref == REF_COMMAND)
		answer_words(line, NULL);
	else if (arg->ref != REF_NONE && line->source)
		line->source->ask(line->source->arg, (int)arg->ref, answer, line);
}

static void answer_global_value(struct line *line, const struct global_option *option)
{
	if (option->choices)
		answer_choices(line, option->choices);
	else if (option->file)
		(void)fputs("@files\n", line->out);
}

static void answer_options(struct line *line)
{
	for (const struct command_arg *arg = line->command ? line->command->args : NULL; arg && arg->name;
	     arg++) {
		AUTO(mem_free_str) char *name = args_option_name(arg->name);
		AUTO(mem_free_str) char *option = mem_printf("--%s", name);

		if (!(arg->flags & (ARG_POSITIONAL | ARG_WIRE)))
			answer(line, option, arg->help);
	}
	for (size_t i = 0; i < words_global_option_count; i++)
		answer(line, words_global_options[i].name, words_global_options[i].help);
}

/* "--state=re": what may stand behind the equals sign. */
static void answer_joined(struct line *line, const char *equals)
{
	const struct command_arg *arg = line->command ? words_find_option(line->command, line->current)
						      : NULL;
	const struct global_option *global = words_find_global(line->current);

	mem_free(&line->stem);
	line->stem = mem_strndup(line->current, (size_t)(equals + 1 - line->current));
	if (arg)
		answer_value(line, arg);
	else if (global)
		answer_global_value(line, global);
}

/* ---- reading the line ---- */

static void read_option(struct line *line, const char *word)
{
	const struct global_option *global = words_find_global(word);
	const struct command_arg *arg = line->command ? words_find_option(line->command, word) : NULL;

	if (strcmp(word, "--") == 0)
		line->ended = true;
	else if (strchr(word, '='))
		return;
	else if (global && global->placeholder)
		line->global = global;
	else if (arg && arg->type != COMMAND_BOOL)
		line->option = arg;
}

static void read_word(struct line *line, const char *word)
{
	AUTO(mem_free_str)
	char *words = line->words ? mem_printf("%s %s", line->words, word) : mem_strdup(word);
	const struct command *command = line->command;
	int match = line->positionals == 0 ? words_match(words, &command) : 0;

	if (match == 2 || (match == 1 && !line->command)) {
		mem_free(&line->words);
		line->words = mem_strdup(words);
		line->command = match == 2 ? command : NULL;
	} else if (line->command) {
		line->positionals++;
	} else {
		line->ended = true;
	}
}

static void read_next(struct line *line, const char *word)
{
	if (line->option || line->global) {
		line->option = NULL;
		line->global = NULL;
	} else if (word[0] == '-' && word[1] != '\0') {
		read_option(line, word);
	} else {
		read_word(line, word);
	}
}

static void answer_line(struct line *line)
{
	const struct command_arg *arg = line->command ? words_positional(line->command, line->positionals)
						      : NULL;
	const char *equals = strchr(line->current, '=');

	if (line->option) {
		answer_value(line, line->option);
	} else if (line->global) {
		answer_global_value(line, line->global);
	} else if (line->current[0] == '-' && equals) {
		answer_joined(line, equals);
	} else if (line->current[0] == '-') {
		answer_options(line);
	} else {
		if (line->positionals == 0)
			answer_words(line, line->words);
		if (arg)
			answer_value(line, arg);
	}
}

void completion_print(FILE *out, const char *shell, char **words, int count,
		      const struct completion_source *source)
{
	struct line line = { .out = out,
			     .shell = shell,
			     .source = source,
			     .current = count > 0 ? words[count - 1] : "",
			     .stem = mem_strdup("") };

	for (int i = 0; i + 1 < count && !line.ended; i++)
		read_next(&line, words[i]);
	if (!line.ended)
		answer_line(&line);
	mem_free(&line.words);
	mem_free(&line.stem);
}
