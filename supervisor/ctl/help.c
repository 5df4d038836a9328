#include "ctl/help.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/args.h"
#include "ctl/text.h"

enum { ARGS_WIDTH = 28 };

const struct help_entry help_options[] = {
	{ "--socket PATH",
	  "the daemon's control socket (default: $PROCTOR_SOCKET, else /run/proctor/proctor.sock)" },
	{ "--json", "print the answer as JSON, as the daemon gave it" },
	{ "--color WHEN", "auto (default), always or never" },
	{ "--timeout DURATION", "how long to wait for an answer (default: 5m)" },
	{ "-h, --help", "explain a command or a group of commands" },
	{ "--version", "print the version of this program" },
	{ NULL, NULL },
};

const struct help_entry help_exit_codes[] = {
	{ "0", "done" },
	{ "1", "what was asked for failed (a run watched ended FAILED, a check found a fault)" },
	{ "2", "the command line is wrong" },
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

void help_print_all(FILE *out)
{
	(void)fprintf(out, "Usage: proctorctl [OPTION…] COMMAND [ARGUMENT…]\n\n"
			   "Drives proctord, which runs LLM probes unattended.\n\nCommands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (command_table[i].words)
			print_command_line(out, &command_table[i]);
	(void)fprintf(out, "\nOptions:\n");
	for (const struct help_entry *entry = help_options; entry->term; entry++)
		(void)fprintf(out, "  %-20s %s\n", entry->term, entry->help);
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
	(void)fprintf(out, "%s%s", options ? " [OPTION…]" : "",
		      command_id_of(command) == COMMAND_PSQL ? " [-- PSQL ARGUMENT…]" : "");
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
	if (command->role == COMMAND_ADMIN)
		(void)fprintf(out, "\nFor root and the daemon's own user.\n");
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

/* ---- completion ---- */

/* The choices of an option, as words. */
static void print_choices(FILE *out, const char *choices)
{
	for (; *choices; choices++)
		(void)fputc(*choices == '|' ? ' ' : *choices, out);
}

/* case "run start --format" in: what may follow an option. */
static void print_value_cases(FILE *out, const struct command *command)
{
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++) {
		AUTO(mem_free_str) char *option = args_option_name(arg->name);

		if ((arg->flags & (ARG_WIRE | ARG_POSITIONAL)) || arg->type == COMMAND_BOOL)
			continue;
		(void)fprintf(out, "\t\"%s --%s\") words=\"", command->words, option);
		if (arg->choices)
			print_choices(out, arg->choices);
		(void)fprintf(out, "\" files=%s ;;\n", strcmp(arg->name, "output") == 0 ? "yes" : "no");
	}
}

static void print_option_case(FILE *out, const struct command *command)
{
	bool files = false;

	(void)fprintf(out, "\t\"%s\") words=\"--help --json", command->words);
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++) {
		AUTO(mem_free_str) char *option = args_option_name(arg->name);

		if (arg->flags & ARG_WIRE)
			continue;
		files = files || strcmp(arg->name, "file") == 0;
		if (!(arg->flags & ARG_POSITIONAL)) {
			(void)fprintf(out, " --%s", option);
		} else if (arg->choices) {
			(void)fputc(' ', out);
			print_choices(out, arg->choices);
		} else if (strcmp(arg->name, "run") == 0) {
			(void)fprintf(out, " latest");
		}
	}
	for (size_t i = 0, len = strlen(command->words); i < COMMAND_COUNT; i++) {
		const char *other = command_table[i].words;

		if (other && strncmp(other, command->words, len) == 0 && other[len] == ' ')
			(void)fprintf(out, " %s", other + len + 1);
	}
	(void)fprintf(out, "\" files=%s ;;\n", files ? "yes" : "no");
}

/* Whether an earlier row begins with the same word. */
static bool seen_before(size_t row, const char *words, size_t len)
{
	for (size_t i = 0; i < row; i++)
		if (command_table[i].words && strncmp(command_table[i].words, words, len) == 0 &&
		    (command_table[i].words[len] == ' ' || command_table[i].words[len] == '\0'))
			return true;
	return false;
}

static void print_first_words(FILE *out)
{
	(void)fprintf(out, "\t\"\") words=\"--help --json --socket --color --timeout --version");
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const char *words = command_table[i].words;
		size_t len = words ? strcspn(words, " ") : 0;

		if (words && !seen_before(i, words, len))
			(void)fprintf(out, " %.*s", (int)len, words);
	}
	(void)fprintf(out, "\" ;;\n");
}

static void print_group_case(FILE *out, size_t row)
{
	const char *words = command_table[row].words;
	size_t len = strcspn(words, " ");

	if (words[len] == '\0' || seen_before(row, words, len))
		return;
	(void)fprintf(out, "\t\"%.*s\") words=\"--help", (int)len, words);
	for (size_t i = row; i < COMMAND_COUNT; i++) {
		const char *other = command_table[i].words;

		if (other && strncmp(other, words, len + 1) == 0)
			(void)fprintf(out, " %s", other + len + 1);
	}
	(void)fprintf(out, "\" ;;\n");
}

/* A pattern of the words that another may follow; a word that stands twice in it does no harm. */
static void print_group_pattern(FILE *out)
{
	(void)fputs("''", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const char *words = command_table[i].words;
		size_t len = words ? strcspn(words, " ") : 0;

		if (words && words[len] == ' ' &&
		    (i == 0 || !command_table[i - 1].words ||
		     strncmp(command_table[i - 1].words, words, len + 1) != 0))
			(void)fprintf(out, " | %.*s", (int)len, words);
	}
}

void help_print_bash_completion(FILE *out)
{
	(void)fputs("# bash completion for proctorctl, made by `proctorctl completion bash`.\n"
		    "_proctorctl() {\n"
		    "\tlocal current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
		    "\tlocal command= word words= files=no skip=no\n"
		    "\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
		    "\t\tif [ \"$skip\" = yes ]; then skip=no; continue; fi\n"
		    "\t\tcase $word in\n"
		    "\t\t--socket | --color | --timeout) skip=yes ;;\n"
		    "\t\t-*) ;;\n"
		    "\t\t*) case \"$command\" in ",
		    out);
	print_group_pattern(out);
	(void)fputs(")\n"
		    "\t\t\tcommand=${command:+$command }$word ;;\n"
		    "\t\tesac ;;\n"
		    "\t\tesac\n"
		    "\tdone\n"
		    "\tcase \"$previous\" in\n"
		    "\t--socket) mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return ;;\n"
		    "\t--color) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- \"$current\"); "
		    "return ;;\n"
		    "\tesac\n"
		    "\tcase \"$command\" in\n",
		    out);
	print_first_words(out);
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (!command_table[i].words)
			continue;
		print_group_case(out, i);
		print_option_case(out, &command_table[i]);
	}
	(void)fputs("\tesac\n\tcase \"$command $previous\" in\n", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (command_table[i].words)
			print_value_cases(out, &command_table[i]);
	(void)fputs("\tesac\n"
		    "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
		    "\tif [ \"$files\" = yes ]; then\n"
		    "\t\tmapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"$current\")\n"
		    "\tfi\n"
		    "}\n"
		    "complete -o filenames -F _proctorctl proctorctl\n",
		    out);
}
