#include "policy/route.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

struct prefix {
	char *text;
	size_t len;
	size_t provider; /* index */
};

struct route {
	char **providers;
	size_t nproviders;
	struct prefix *prefixes;
	size_t nprefixes;
};

int route_new(struct route **ret)
{
	*ret = mem_alloc(sizeof(struct route));
	return 0;
}

void route_free(struct route **r)
{
	if (!*r)
		return;
	for (size_t i = 0; i < (*r)->nproviders; i++)
		mem_free(&(*r)->providers[i]);
	for (size_t i = 0; i < (*r)->nprefixes; i++)
		mem_free(&(*r)->prefixes[i].text);
	mem_free(&(*r)->providers);
	mem_free(&(*r)->prefixes);
	mem_free(r);
}

/* Index, or nproviders when `len` bytes of `name` are no known provider. */
static size_t find_provider(const struct route *r, const char *name, size_t len)
{
	for (size_t i = 0; i < r->nproviders; i++) {
		if (strlen(r->providers[i]) == len && !memcmp(r->providers[i], name, len))
			return i;
	}
	return r->nproviders;
}

static size_t add_provider(struct route *r, const char *provider)
{
	size_t i = find_provider(r, provider, strlen(provider));

	if (i < r->nproviders)
		return i;
	r->providers = mem_resize(r->providers, r->nproviders + 1, sizeof(r->providers[0]));
	r->providers[r->nproviders] = mem_strdup(provider);
	return r->nproviders++;
}

void route_add_provider(struct route *r, const char *provider)
{
	(void)add_provider(r, provider);
}

int route_add_prefix(struct route *r, const char *provider, const char *prefix)
{
	size_t owner = add_provider(r, provider);

	if (!*prefix)
		return -EINVAL;
	for (size_t i = 0; i < r->nprefixes; i++) {
		if (!strcmp(r->prefixes[i].text, prefix))
			return r->prefixes[i].provider == owner ? 0 : -EEXIST;
	}
	r->prefixes = mem_resize(r->prefixes, r->nprefixes + 1, sizeof(r->prefixes[0]));
	r->prefixes[r->nprefixes++] = (struct prefix){
		.text = mem_strdup(prefix),
		.len = strlen(prefix),
		.provider = owner,
	};
	return 0;
}

bool route_has_provider(const struct route *r, const char *provider)
{
	return find_provider(r, provider, strlen(provider)) < r->nproviders;
}

static const char *find_explicit(const struct route *r, const char *model_id, const char **ret_model)
{
	const char *colon = strchr(model_id, ':');
	size_t i;

	if (!colon || !colon[1])
		return NULL;
	i = find_provider(r, model_id, (size_t)(colon - model_id));
	if (i == r->nproviders)
		return NULL;
	*ret_model = colon + 1;
	return r->providers[i];
}

static const char *find_longest(const struct route *r, const char *model_id)
{
	const struct prefix *best = NULL;

	for (size_t i = 0; i < r->nprefixes; i++) {
		const struct prefix *p = &r->prefixes[i];

		if (!strncmp(model_id, p->text, p->len) && (!best || p->len > best->len))
			best = p;
	}
	return best ? r->providers[best->provider] : NULL;
}

const char *route_find(const struct route *r, const char *model_id, const char **ret_model)
{
	const char *model = model_id, *provider = find_explicit(r, model_id, &model);

	if (!provider)
		provider = find_longest(r, model_id);
	if (provider && ret_model)
		*ret_model = model;
	return provider;
}
