#ifndef POLICY_ROUTE_H
#define POLICY_ROUTE_H

/* Model id → provider: an explicit "provider:model" of a known provider wins, else the longest prefix. */

#include <stdbool.h>
#include <stddef.h>

struct route;

int route_new(struct route **ret) __attribute__((warn_unused_result));
void route_free(struct route **r);

/* Makes a provider known, also without any prefix. Copied. Twice is once. */
void route_add_provider(struct route *r, const char *provider);

/* Adds a prefix (not "") and makes its provider known. -EEXIST when another provider has the prefix. */
int route_add_prefix(struct route *r, const char *provider, const char *prefix)
	__attribute__((warn_unused_result));

bool route_has_provider(const struct route *r, const char *provider);

/* The provider's name, owned by the route, or NULL when nobody claims the id. *ret_model (may be NULL) is
 * set on success to the id as the provider knows it: a pointer into model_id behind "provider:". */
const char *route_find(const struct route *r, const char *model_id, const char **ret_model);

#endif
