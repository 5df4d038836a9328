#ifndef CTL_WORDS_H
#define CTL_WORDS_H

/* What the words of a command line may be, by the command table and the table of global options. */

#include <stdbool.h>
#include <stddef.h>

#include "io/command_table.h"

/* An option of every command. */
struct global_option {
	const char *name;	 /* "--socket" */
	const char *placeholder; /* NULL = it takes no value */
	const char *choices;	 /* "one|two", or NULL */
	bool file;		 /* its value is a path */
	const char *help;
};

extern const struct global_option words_global_options[];
extern const size_t words_global_option_count;

/* "--socket PATH". Fresh. */
char *words_global_term(const struct global_option *option) __attribute__((warn_unused_result));

/* Whether `words` ("run start") is a command (2, *ret is set), the beginning of one (1), or nothing (0). */
int words_match(const char *words, const struct command **ret);

/* The command that looks most like `words`; NULL when none does. */
const char *words_nearest(const char *words);

/* Whether `word` is the option `name`, with or without "=value". */
bool words_is_option(const char *word, const char *name);

/* The option of a command that `word` ("--limit", "--limit=3") names; NULL when there is none. */
const struct command_arg *words_find_option(const struct command *command, const char *word);
const struct global_option *words_find_global(const char *word);

/* The argument for the word number `number` (from 0) that is no option; NULL when no more are taken. */
const struct command_arg *words_positional(const struct command *command, int number);

#endif
