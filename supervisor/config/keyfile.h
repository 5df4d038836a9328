#ifndef CONFIG_KEYFILE_H
#define CONFIG_KEYFILE_H

/* The key file: NAME=value lines in `.env` syntax.
 *   export NAME=value      # comments behind a space; `export` is optional
 *   NAME="a \"quoted\" value"    backslash escapes \n \t \" \\ \$ within double quotes
 *   NAME='taken as it is'
 * Nothing is expanded. Values never appear in a message. */

#include <stdbool.h>
#include <stddef.h>

#define KEYFILE_LINE_MAX 8192
#define KEYFILE_MAX	 (256 * 1024)

/* `each` is called in file order, the last of equal names wins; strings are valid during the call.
 * Refuses a file that group or others may read (-EACCES; the message gives the chmod), unless it is
 * `guarded`: its folder is closed to others, whatever its own mode says. Refuses what is no regular file. 0;
 * -EINVAL for bad content, told before any call of `each`; -errno when unreadable. On an error *ret_error is
 * one fresh line. */
int keyfile_read(const char *path, bool guarded,
		 void (*each)(void *arg, const char *variable, const char *value, int line), void *arg,
		 char **ret_error) __attribute__((warn_unused_result));

#endif
