#ifndef CTL_HELP_H
#define CTL_HELP_H

/* Help, made from the command table. */

#include <stdio.h>

#include "io/command_table.h"

/* A line of a list for people. */
struct help_entry {
	const char *term; /* "--json"; NULL ends a list */
	const char *help; /* one line, no full stop */
};

extern const struct help_entry help_exit_codes[]; /* "0", "1", … */

/* All commands, the global options, the exit codes. */
void help_print_all(FILE *out);

/* One command. */
void help_print_command(FILE *out, const struct command *command);

/* The commands that begin with a word, "run". -ENOENT when there are none. */
int help_print_group(FILE *out, const char *word);

/* "proctorctl run start NAME [OPTION…]", without a newline. */
void help_print_usage(FILE *out, const struct command *command);

/* What stands for an argument's value: "RUN", "DURATION"; "" for a switch. */
const char *help_placeholder(const struct command_arg *arg);

/* " (at least 1, at most 5) [1]": the range and what holds without it; nothing where there is nothing to say.
 */
void help_print_limits(FILE *out, const struct command_arg *arg);

#endif
