#ifndef CTL_ARGS_H
#define CTL_ARGS_H

/* The command line of proctorctl, read by the command table: `--sample-percentage 10` is samplePercentage. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/command_table.h"

#define ARGS_TIMEOUT_DEFAULT_MS (5 * 60 * 1000)

enum args_color { ARGS_COLOR_AUTO, ARGS_COLOR_ALWAYS, ARGS_COLOR_NEVER };

struct parsed_args {
	const struct command *command; /* NULL = none was given */
	char *words;		       /* of the command line: of the command, or of a group with `help` */
	json_t *args;		       /* to be sent */
	json_t *own;		       /* the client's own: ARG_CLIENT, and all of a command of the client */
	char **rest;		       /* what stands behind --; borrowed from argv */
	int rest_count;
	bool help;
	bool version;
	const char *socket; /* NULL = not given; borrowed from argv */
	bool json;
	bool no_pager;
	json_t *columns; /* names; NULL = not given */
	enum args_color color;
	int64_t timeout_ms;
};

/* `argv` without the program's name. On -EINVAL *ret_error is one fresh line. */
int args_parse(int argc, char **argv, struct parsed_args **ret, char **ret_error)
	__attribute__((warn_unused_result));
void args_free(struct parsed_args **parsed);

/* "samplePercentage" → "sample-percentage". Fresh. */
char *args_option_name(const char *name) __attribute__((warn_unused_result));

/* "500ms", "30s", "5m", "6h", "2d"; "0". -EINVAL otherwise. */
int args_parse_duration(const char *text, int64_t *ret_ms) __attribute__((warn_unused_result));

#endif
