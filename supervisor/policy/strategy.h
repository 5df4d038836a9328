#ifndef POLICY_STRATEGY_H
#define POLICY_STRATEGY_H

/* Which brothers a child's death takes along: the restart strategies of a group, as OTP's supervisor has
 * them. Children are numbered in start order, from 0. */

#include <stddef.h>

enum strategy {
	STRATEGY_ONE_FOR_ONE,  /* the child alone */
	STRATEGY_ONE_FOR_ALL,  /* all of the group */
	STRATEGY_REST_FOR_ONE, /* the child and those started after it */
};

/* Back-off of a group that has failed and is started again as a whole, as policy/backoff.h has it. */
enum { STRATEGY_GROUP_DELAY_MS = 500, STRATEGY_GROUP_DELAY_MAX_MS = 60 * 1000 };

/* First and last child to be started again; those between that still run are stopped first, in reverse.
 * failed < count. */
void strategy_span(enum strategy strategy, size_t count, size_t failed, size_t *ret_first, size_t *ret_last);

/* "one_for_one", "one_for_all", "rest_for_one". */
const char *strategy_name(enum strategy strategy);

#endif
