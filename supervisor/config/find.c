/* What stands in a config that is loaded. */

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/sections.h"

const struct config_group *config_root(const struct config *c)
{
	return &c->groups[0];
}

const char *config_child_name(const struct config *c, const struct config_child *child)
{
	switch (child->kind) {
	case CHILD_GROUP:
		return c->groups[child->index].name;
	case CHILD_POOL:
		return c->pools[child->index].name;
	case CHILD_SERVICE:
		break;
	}
	return c->services[child->index].name;
}

const char *config_child_group(const struct config *c, const struct config_child *child)
{
	switch (child->kind) {
	case CHILD_GROUP:
		return c->groups[child->index].group;
	case CHILD_POOL:
		return c->pools[child->index].group;
	case CHILD_SERVICE:
		break;
	}
	return c->services[child->index].group;
}

const struct config_pool *config_pool_of(const struct config *c, const char *provider)
{
	const struct config_pool *others = NULL;

	for (size_t i = 0; i < c->npools; i++) {
		const struct config_list *providers = &c->pools[i].providers;

		for (size_t k = 0; k < providers->len; k++) {
			if (!strcmp(providers->words[k], provider))
				return &c->pools[i];
		}
		if (!providers->len)
			others = &c->pools[i];
	}
	return others;
}

const struct config_group *config_find_group(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->ngroups; i++) {
		if (!strcmp(c->groups[i].name, name))
			return &c->groups[i];
	}
	return NULL;
}

const struct config_pool *config_find_pool(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->npools; i++) {
		if (!strcmp(c->pools[i].name, name))
			return &c->pools[i];
	}
	return NULL;
}

const struct config_service *config_find_service(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->nservices; i++) {
		if (!strcmp(c->services[i].name, name))
			return &c->services[i];
	}
	return NULL;
}

const struct config_provider *config_find_provider(const struct config *c, const char *name)
{
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		if (!strcmp(c->providers[i].name, name))
			return &c->providers[i];
	}
	return NULL;
}

const struct config_alert *config_find_alert(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->nalerts; i++) {
		if (!strcmp(c->alerts[i].name, name))
			return &c->alerts[i];
	}
	return NULL;
}

bool config_is_given(const struct config *c, const char *section, const char *key)
{
	return sections_given(c, section, key) > 0;
}
