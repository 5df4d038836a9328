#ifndef CTL_COMPLETION_H
#define CTL_COMPLETION_H

/* Completion of command lines. A shell's script is short and asks this program, which knows the command table
 * and may ask the daemon. */

#include <stdio.h>

struct ctl;

/* Where words come from that only the daemon knows. */
struct completion_source {
	/* One call of `found` for each word; `about` may be "". */
	void (*ask)(void *arg, int ref, void (*found)(void *to, const char *word, const char *about),
		    void *to);
	void *arg;
};

/* The script for "bash", "zsh" or "fish". */
void completion_print_script(FILE *out, const char *shell);

/* What the last of `words` (behind the program's name) may become, a line each: "WORD", or for zsh and fish
 * "WORD<tab>what it is". The line "@files" asks the shell for paths. */
void completion_print(FILE *out, const char *shell, char **words, int count,
		      const struct completion_source *source);

#endif
