#ifndef CONFIG_CHECK_PRIVATE_H
#define CONFIG_CHECK_PRIVATE_H

/* What check.c (the rest), check_limit.c ([limit:] sections) and check_reach.c (intensities) share. */

#include <stdbool.h>

#include "config/config.h"
#include "config/keys.h"

struct checker {
	const struct config *config;
	const char *file;
	char **ret_error;
};

/* A check that failed: where, and what is wrong; takes `what`. key NULL: the section as such is wrong. Always
 * -EINVAL. */
int check_refuse(const struct checker *ch, enum key_section kind, const char *name, const char *key,
		 char *what);

/* The file gave the key. */
bool check_is_given(const struct checker *ch, enum key_section kind, const char *name, const char *key);

/* check_limit.c. */
int check_limits(const struct checker *ch) __attribute__((warn_unused_result));

/* check_reach.c. Names, parents and delays are checked by then. */
int check_reach(const struct checker *ch) __attribute__((warn_unused_result));

#endif
