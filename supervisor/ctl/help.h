#ifndef CTL_HELP_H
#define CTL_HELP_H

/* Help, made from the command table. */

#include <stdio.h>

#include "io/command_table.h"

/* All commands, the global options, the exit codes. */
void help_print_all(FILE *out);

/* One command. */
void help_print_command(FILE *out, const struct command *command);

/* The commands that begin with a word, "run". -ENOENT when there are none. */
int help_print_group(FILE *out, const char *word);

#endif
