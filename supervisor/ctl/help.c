#include "ctl/help.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/args.h"
#include "ctl/text.h"
#include "ctl/words.h"

enum { GLOBAL_WIDTH = 20, ARGS_WIDTH = 28 };

const struct help_entry help_exit_codes[] = {
	{ "0", "done" },
	{ "1", "what was asked for failed (a run watched ended FAILED, a check found a fault)" },
	{ "2", "the command line is wrong, or an id was shortened so far that it stands for several" },
	{ "3", "no daemon answers" },
	{ "4", "the run watched was cancelled" },
	{ "5", "the daemon refused: bad argument, not found, conflict, not allowed, unavailable" },
	{ NULL, NULL },
};

static bool in_group(const struct command *command, const char *word)
{
	size_t len = strlen(word);

	return command->words && strncmp(command->words, word, len) == 0 &&
	       (command->words[len] == ' ' || command->words[len] == '\0');
}

static void print_command_line(FILE *out, const struct command *command)
{
	(void)fprintf(out, "  %-20s %s\n", command->words, command->summary);
}

static void print_global(FILE *out, const struct global_option *option)
{
	AUTO(mem_free_str) char *term = words_global_term(option);
	size_t width = text_width(term);

	(void)fprintf(out, "  %s%*s %s\n", term, width < GLOBAL_WIDTH ? (int)(GLOBAL_WIDTH - width) : 0, "",
		      option->help);
}

void help_print_all(FILE *out)
{
	(void)fprintf(out, "Usage: proctorctl [OPTION…] COMMAND [ARGUMENT…]\n\n"
			   "Drives proctord, which runs LLM probes unattended.\n\nCommands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (command_table[i].words)
			print_command_line(out, &command_table[i]);
	(void)fprintf(out, "\nOptions:\n");
	for (size_t i = 0; i < words_global_option_count; i++)
		print_global(out, &words_global_options[i]);
	(void)fprintf(out, "\nExit status:\n");
	for (const struct help_entry *entry = help_exit_codes; entry->term; entry++)
		(void)fprintf(out, "  %s  %s\n", entry->term, entry->help);
	(void)fprintf(out, "\n`proctorctl COMMAND --help` explains one command.\n");
}

const char *help_placeholder(const struct command_arg *arg)
{
	static const char *const by_type[] = {
		[COMMAND_STRING] = "TEXT", [COMMAND_INT] = "N",		[COMMAND_NUMBER] = "NUMBER",
		[COMMAND_BOOL] = "",	   [COMMAND_LIST_OF] = "A,B,…", [COMMAND_DURATION] = "DURATION",
		[COMMAND_JSON] = "JSON",
	};

	if (arg->placeholder)
		return arg->placeholder;
	return arg->choices ? arg->choices : by_type[arg->type];
}

void help_print_usage(FILE *out, const struct command *command)
{
	bool options = false;

	(void)fprintf(out, "proctorctl %s", command->words);
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++) {
		if (arg->flags & ARG_WIRE)
			continue;
		if (!(arg->flags & ARG_POSITIONAL)) {
			AUTO(mem_free_str) char *option = args_option_name(arg->name);

			options = options || !(arg->flags & ARG_REQUIRED);
			if (arg->flags & ARG_REQUIRED)
				(void)fprintf(out, " --%s %s", option, help_placeholder(arg));
			continue;
		}
		(void)fprintf(out, arg->flags & ARG_REQUIRED ? " %s" : " [%s]", help_placeholder(arg));
	}
	(void)fprintf(out, "%s%s%s%s", options ? " [OPTION…]" : "", command->rest ? " [-- " : "",
		      command->rest ? command->rest : "", command->rest ? "]" : "");
}

void help_print_limits(FILE *out, const struct command_arg *arg)
{
	bool ranged = (arg->min != 0 || arg->max != 0) && arg->type != COMMAND_DURATION;

	if (ranged)
		(void)fprintf(out, " (%s %.15g, at most %.15g)",
			      arg->flags & ARG_ABOVE_MIN ? "above" : "at least", arg->min, arg->max);
	if (arg->fallback)
		(void)fprintf(out, " [%s]", arg->fallback);
}

static void print_args(FILE *out, const struct command *command)
{
	bool any = false;

	for (const struct command_arg *arg = command->args; arg && arg->name; arg++) {
		AUTO(mem_free_str) char *option = args_option_name(arg->name);
		AUTO(mem_free_str) char *shown = NULL;
		size_t width;

		if (arg->flags & ARG_WIRE)
			continue;
		shown = arg->flags & ARG_POSITIONAL ? mem_strdup(help_placeholder(arg))
						    : mem_printf("--%s %s", option, help_placeholder(arg));
		width = text_width(shown);
		(void)fprintf(out, "%s  %s%*s %s", any ? "" : "\n", shown,
			      width < ARGS_WIDTH ? (int)(ARGS_WIDTH - width) : 0, "", arg->help);
		help_print_limits(out, arg);
		(void)fputc('\n', out);
		any = true;
	}
}

static void print_indented(FILE *out, const char *title, const char *lines)
{
	if (!lines)
		return;
	(void)fprintf(out, "\n%s\n", title);
	while (*lines) {
		size_t len = strcspn(lines, "\n");

		(void)fprintf(out, "  %.*s\n", (int)len, lines);
		lines += len + (lines[len] == '\n');
	}
}

void help_print_command(FILE *out, const struct command *command)
{
	(void)fputs("Usage: ", out);
	help_print_usage(out, command);
	(void)fprintf(out, "\n\n%s.\n", command->summary);
	if (command->notes)
		(void)fprintf(out, "%s\n", command->notes);
	print_args(out, command);
	(void)fprintf(out, "\nNeeds the role %s.\n", command_role_name(command->role));
	print_indented(out, "Examples:", command->examples);
}

int help_print_group(FILE *out, const char *word)
{
	const char *summary = command_group_summary(word);
	bool any = false;

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (!in_group(&command_table[i], word))
			continue;
		if (!any)
			(void)fprintf(out, "Usage: proctorctl %s COMMAND [ARGUMENT…]\n\n%s.\n\nCommands:\n",
				      word, summary ? summary : command_table[i].summary);
		print_command_line(out, &command_table[i]);
		any = true;
	}
	if (any)
		(void)fprintf(out, "\n`proctorctl %s COMMAND --help` explains one command.\n", word);
	return any ? 0 : -ENOENT;
}
