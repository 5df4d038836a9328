#include "config/sections.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

const char *const config_provider_names[CONFIG_PROVIDERS + 1] = {
	"openai", "anthropic", "google", "xai", "deepseek", "mistral", "simulated", NULL,
};

/* Defaults where providers differ: the entry limits that a new account is likely to have. */
static const struct {
	const char *provider, *key, *value;
} provider_defaults[] = {
	{ "openai", "key_env", "OPENAI_API_KEY" },
	{ "openai", "requests_per_minute", "500" },
	{ "openai", "tokens_per_minute", "30000" },
	{ "anthropic", "key_env", "ANTHROPIC_API_KEY" },
	{ "anthropic", "requests_per_minute", "50" },
	{ "anthropic", "input_tokens_per_minute", "40000" },
	{ "anthropic", "output_tokens_per_minute", "8000" },
	{ "google", "key_env", "GOOGLE_API_KEY" },
	{ "google", "requests_per_minute", "15" },
	{ "xai", "key_env", "XAI_API_KEY" },
	{ "xai", "requests_per_minute", "480" },
	{ "deepseek", "key_env", "DEEPSEEK_API_KEY" },
	{ "mistral", "key_env", "MISTRAL_API_KEY" },
	{ "mistral", "requests_per_minute", "60" },
	{ "mistral", "requests_window", "1s" },
};

static const char *provider_default(const struct key_spec *key, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(provider_defaults); i++) {
		if (!strcmp(provider_defaults[i].provider, name) &&
		    !strcmp(provider_defaults[i].key, key->name))
			return provider_defaults[i].value;
	}
	return key->fallback;
}

const char *sections_default(const struct key_spec *key, const char *name)
{
	if (key->section == KEY_PROVIDER && name)
		return provider_default(key, name);
	if (key->section == KEY_GROUP && name && !strcmp(name, "root") && !strcmp(key->name, "group"))
		return "";
	return key->fallback;
}

char *sections_title(enum key_section kind, const char *name)
{
	const struct key_section_spec *spec = key_section_spec(kind);

	return spec->form && name ? mem_printf("%s:%s", spec->name, name) : mem_strdup(spec->name);
}

void sections_init(enum key_section kind, const char *name, void *base)
{
	for (size_t i = 0; i < key_table_len; i++) {
		AUTO(mem_free_str) char *error = NULL;
		const struct key_spec *key = &key_table[i];
		int r;

		if (key->section != kind)
			continue;
		r = key_parse(key, base, sections_default(key, name), &error);
		assert(r == 0);
		(void)r;
	}
}

void sections_clear(enum key_section kind, void *base)
{
	for (size_t i = 0; i < key_table_len; i++) {
		if (key_table[i].section == kind)
			key_clear(&key_table[i], base);
	}
}

struct section sections_of_child(const struct config *c, const struct config_child *child)
{
	switch (child->kind) {
	case CHILD_GROUP:
		return (struct section){ KEY_GROUP, c->groups[child->index].name, &c->groups[child->index] };
	case CHILD_POOL:
		return (struct section){ KEY_POOL, c->pools[child->index].name, &c->pools[child->index] };
	case CHILD_SERVICE:
		break;
	}
	return (struct section){ KEY_SERVICE, c->services[child->index].name, &c->services[child->index] };
}

size_t sections_list(const struct config *c, struct section **ret)
{
	/* Each kind once, but for the six that have names; and the root group, which is no child. */
	size_t len = 0,
	       room = KEY_SECTION_COUNT - 6 + 1 + c->nchildren + CONFIG_PROVIDERS + c->nlimits + c->nalerts;
	struct section *list = mem_array(room, sizeof(*list));

	list[len++] = (struct section){ KEY_DAEMON, NULL, &c->daemon };
	list[len++] = (struct section){ KEY_DATABASE, NULL, &c->database };
	list[len++] = (struct section){ KEY_SPOOL, NULL, &c->spool };
	list[len++] = (struct section){ KEY_RETENTION, NULL, &c->retention };
	list[len++] = (struct section){ KEY_CONTROL, NULL, &c->control };
	list[len++] = (struct section){ KEY_GROUP, c->groups[0].name, &c->groups[0] };
	for (size_t i = 0; i < c->nchildren; i++)
		list[len++] = sections_of_child(c, &c->children[i]);
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++)
		list[len++] = (struct section){ KEY_PROVIDER, c->providers[i].name, &c->providers[i] };
	for (size_t i = 0; i < c->nlimits; i++)
		list[len++] = (struct section){ KEY_LIMIT, c->limits[i].name, &c->limits[i] };
	list[len++] = (struct section){ KEY_RETRY, NULL, &c->retry };
	list[len++] = (struct section){ KEY_METRICS, NULL, &c->metrics };
	for (size_t i = 0; i < c->nalerts; i++)
		list[len++] = (struct section){ KEY_ALERT, c->alerts[i].name, &c->alerts[i] };
	assert(len == room);
	*ret = list;
	return len;
}

static char *origin_id(const char *title, const char *key)
{
	return mem_printf("%s%s%s", title, key ? "\n" : "", key ? key : "");
}

int sections_given(const struct config *c, const char *title, const char *key)
{
	AUTO(mem_free_str) char *id = origin_id(title, key);

	return (int)(intptr_t)map_get(c->lines, id, strlen(id));
}

int sections_line(const struct config *c, enum key_section kind, const char *name, const char *key)
{
	AUTO(mem_free_str) char *title = sections_title(kind, name);

	return sections_given(c, title, key);
}

void sections_set_line(struct config *c, enum key_section kind, const char *name, const char *key, int line)
{
	AUTO(mem_free_str) char *title = sections_title(kind, name);
	AUTO(mem_free_str) char *id = origin_id(title, key);

	(void)map_set(c->lines, id, strlen(id), (void *)(intptr_t)line);
}
