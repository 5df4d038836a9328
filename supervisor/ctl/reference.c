#include "ctl/reference.h"

#include <string.h>

#include "base/mem.h"
#include "ctl/args.h"
#include "ctl/help.h"
#include "ctl/words.h"

/* The body of a definition: a line each, so that notes keep their breaks. */
static void print_definition(FILE *out, const char *text)
{
	(void)fprintf(out, "\n: %s", text);
}

static void print_arg(FILE *out, const struct command_arg *arg)
{
	AUTO(mem_free_str) char *option = args_option_name(arg->name);

	if (arg->flags & ARG_WIRE)
		return;
	if (arg->flags & ARG_POSITIONAL)
		(void)fprintf(out, "*%s*\n", help_placeholder(arg));
	else
		(void)fprintf(out, "`--%s` *%s*\n", option, help_placeholder(arg));
	print_definition(out, arg->help);
	help_print_limits(out, arg);
	(void)fputs("\n\n", out);
}

static void print_block(FILE *out, const char *lines)
{
	(void)fprintf(out, "```\n%s\n```\n\n", lines);
}

static void print_command(FILE *out, const struct command *command)
{
	(void)fprintf(out, "## %s\n\n`", command->words);
	help_print_usage(out, command);
	(void)fprintf(out, "`\n\n%s.\n", command->summary);
	if (command->notes)
		(void)fprintf(out, "%s\n", command->notes);
	(void)fprintf(out, "\nNeeds the role %s.\n\n", command_role_name(command->role));
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++)
		print_arg(out, arg);
	if (command->examples)
		print_block(out, command->examples);
}

void reference_print(FILE *out)
{
	(void)fputs("# COMMANDS\n\n", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (command_table[i].words)
			print_command(out, &command_table[i]);
	(void)fputs("# OPTIONS\n\n", out);
	for (size_t i = 0; i < words_global_option_count; i++) {
		AUTO(mem_free_str) char *term = words_global_term(&words_global_options[i]);

		(void)fprintf(out, "`%s`\n", term);
		print_definition(out, words_global_options[i].help);
		(void)fputs("\n\n", out);
	}
	(void)fputs("# EXIT STATUS\n\n", out);
	for (const struct help_entry *entry = help_exit_codes; entry->term; entry++) {
		(void)fprintf(out, "%s\n", entry->term);
		print_definition(out, entry->help);
		(void)fputs("\n\n", out);
	}
}
