#include "ctl/words.h"

#include <string.h>

#include "base/mem.h"
#include "ctl/args.h"

const struct global_option words_global_options[] = {
	{ .name = "--socket",
	  .placeholder = "PATH",
	  .file = true,
	  .help = "the daemon's control socket (default: $PROCTOR_SOCKET, else /run/proctor/proctor.sock)" },
	{ .name = "--json", .help = "print the answer as JSON, as the daemon gave it" },
	{ .name = "--columns",
	  .placeholder = "A,B,…",
	  .help = "of a list: only these columns, in this order; a wrong name tells all there are" },
	{ .name = "--color",
	  .placeholder = "WHEN",
	  .choices = "auto|always|never",
	  .help = "auto (default), always or never" },
	{ .name = "--no-pager", .help = "never show a long answer by $PAGER" },
	{ .name = "--timeout",
	  .placeholder = "DURATION",
	  .help = "how long to wait for an answer (default: 5m)" },
	{ .name = "--help", .help = "explain a command or a group of commands; -h too" },
	{ .name = "--version", .help = "print the version of this program" },
};
const size_t words_global_option_count = ARRAY_LEN(words_global_options);

char *words_global_term(const struct global_option *option)
{
	return option->placeholder ? mem_printf("%s %s", option->name, option->placeholder)
				   : mem_strdup(option->name);
}

int words_match(const char *words, const struct command **ret)
{
	size_t len = strlen(words);
	int best = 0;

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const char *known = command_table[i].words;

		if (!known || strncmp(known, words, len) != 0)
			continue;
		if (known[len] == '\0') {
			*ret = &command_table[i];
			return 2;
		}
		if (known[len] == ' ')
			best = 1;
	}
	return best;
}

/* The letters that two words share at their beginning: enough to guess what was meant. */
static size_t common_prefix(const char *a, const char *b)
{
	size_t len = 0;

	while (a[len] && a[len] == b[len])
		len++;
	return len;
}

const char *words_nearest(const char *words)
{
	const char *nearest = NULL;
	size_t best = 1;

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const char *known = command_table[i].words;
		size_t shared = known ? common_prefix(known, words) : 0;

		if (shared > best) {
			best = shared;
			nearest = known;
		}
	}
	return nearest;
}

bool words_is_option(const char *word, const char *name)
{
	size_t len = strlen(name);

	return strncmp(word, name, len) == 0 && (word[len] == '\0' || word[len] == '=');
}

const struct command_arg *words_find_option(const struct command *command, const char *word)
{
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++) {
		AUTO(mem_free_str) char *dashed = args_option_name(arg->name);
		AUTO(mem_free_str) char *option = mem_printf("--%s", dashed);

		if (!(arg->flags & (ARG_POSITIONAL | ARG_WIRE)) && words_is_option(word, option))
			return arg;
	}
	return NULL;
}

const struct global_option *words_find_global(const char *word)
{
	for (size_t i = 0; i < words_global_option_count; i++)
		if (words_is_option(word, words_global_options[i].name))
			return &words_global_options[i];
	return NULL;
}

const struct command_arg *words_positional(const struct command *command, int number)
{
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++)
		if ((arg->flags & ARG_POSITIONAL) && (number-- == 0 || arg->type == COMMAND_LIST_OF))
			return arg;
	return NULL;
}
