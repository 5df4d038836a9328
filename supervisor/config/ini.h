#ifndef CONFIG_INI_H
#define CONFIG_INI_H

/* Reads ini text through inih, line by line, with every limit told instead of applied in silence.
 *
 * Syntax: `[section]`, `key = value` (or `key: value`), empty lines, and comments: a line that starts with
 * `;` or `#`, or ` ;` behind a value (a `;` with no space before it belongs to the value). An indented line
 * continues the value above it and is joined to it by one space.
 *
 * Refused with file and line: a line over INI_LINE_MAX bytes, a section or key over INI_NAME_MAX, a NUL byte,
 * a key before any section, a key given twice in a section, a section given twice, a line that is none of
 * the above. */

#include <stddef.h>

#define INI_LINE_MAX 4096
#define INI_NAME_MAX 49
#define INI_FILE_MAX (1024 * 1024)

struct ini_entry {
	const char *section;
	const char *key;   /* NULL for the section's own line */
	const char *value; /* "" when empty; NULL for the section's own line */
	int line;	   /* from 1; of the key, not of its continuation */
};

/* `each` is called in file order; strings are valid during the call. Returns 0, or -errno to stop with
 * *ret_error set to fresh text that says what is wrong; the reader puts "file:line: " before it.
 *
 * 0; -EINVAL for bad content; -errno when the file cannot be read; or what `each` returned. On an error
 * *ret_error is one fresh line for the user. */
int ini_read_file(const char *path, int (*each)(void *arg, const struct ini_entry *entry, char **ret_error),
		  void *arg, char **ret_error) __attribute__((warn_unused_result));

/* The same for text in memory; `name` stands for the file in messages. */
int ini_read_text(const char *name, const char *text, size_t len,
		  int (*each)(void *arg, const struct ini_entry *entry, char **ret_error), void *arg,
		  char **ret_error) __attribute__((warn_unused_result));

#endif
