#ifndef CONFIG_MODELS_H
#define CONFIG_MODELS_H

/* models.ini: which provider a model id belongs to, and what its tokens cost.
 * The daemon reads [prefixes] and the prices of [model:GLOB] and [model:GLOB from YYYY-MM-DD]; the other keys
 * there are the workers'. */

#include "policy/price.h"
#include "policy/route.h"

struct models {
	struct route *route;
	struct price_table *prices;
};

/* 0; -EINVAL for bad content; -errno when unreadable. On an error *ret_error is one fresh line. The six
 * providers and `simulated` are known to the route even without a prefix. */
int models_load(const char *path, struct models **ret, char **ret_error) __attribute__((warn_unused_result));

void models_free(struct models **m);

#endif
