/* Loading: ini entries → structs through the key table; config/check.h then looks at them as a whole. */

#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/check.h"
#include "config/ini.h"
#include "config/sections.h"
#include "config/words.h"

#define CHILD_NAME_MAX 32 /* of a group, pool or service: shows up in logs and process names */
#define ROOT	       "root"

/* Where entries go while a file is read. */
struct load {
	struct config *config;
	enum key_section kind; /* of the open section */
	const char *name;      /* its name, or NULL; owned by the config */
	void *base; /* its struct; arrays may move when a section is added, so it is set anew then */
};

static void add_child(struct config *c, enum config_child_kind kind, size_t index)
{
	c->children = mem_resize(c->children, c->nchildren + 1, sizeof(c->children[0]));
	c->children[c->nchildren++] = (struct config_child){ .kind = kind, .index = index };
}

static struct config_group *add_group(struct config *c, const char *name)
{
	struct config_group *group;

	c->groups = mem_resize(c->groups, c->ngroups + 1, sizeof(c->groups[0]));
	group = &c->groups[c->ngroups];
	*group = (struct config_group){ .name = mem_strdup(name) };
	sections_init(KEY_GROUP, name, group);
	if (c->ngroups > 0)
		add_child(c, CHILD_GROUP, c->ngroups);
	c->ngroups++;
	return group;
}

static struct config_pool *add_pool(struct config *c, const char *name)
{
	struct config_pool *pool;

	c->pools = mem_resize(c->pools, c->npools + 1, sizeof(c->pools[0]));
	pool = &c->pools[c->npools];
	*pool = (struct config_pool){ .name = mem_strdup(name) };
	sections_init(KEY_POOL, name, pool);
	add_child(c, CHILD_POOL, c->npools++);
	return pool;
}

static struct config_service *add_service(struct config *c, const char *name)
{
	struct config_service *service;

	c->services = mem_resize(c->services, c->nservices + 1, sizeof(c->services[0]));
	service = &c->services[c->nservices];
	*service = (struct config_service){ .name = mem_strdup(name) };
	sections_init(KEY_SERVICE, name, service);
	add_child(c, CHILD_SERVICE, c->nservices++);
	return service;
}

static struct config_limit *add_limit(struct config *c, const char *name)
{
	size_t len = strcspn(name, "/");
	struct config_limit *limit;

	c->limits = mem_resize(c->limits, c->nlimits + 1, sizeof(c->limits[0]));
	limit = &c->limits[c->nlimits++];
	*limit = (struct config_limit){
		.name = mem_strdup(name),
		.provider = mem_strndup(name, len),
		.glob = mem_strdup(name[len] ? name + len + 1 : ""),
	};
	sections_init(KEY_LIMIT, name, limit);
	return limit;
}

static struct config_alert *add_alert(struct config *c, const char *name)
{
	struct config_alert *alert;

	c->alerts = mem_resize(c->alerts, c->nalerts + 1, sizeof(c->alerts[0]));
	alert = &c->alerts[c->nalerts++];
	*alert = (struct config_alert){ .name = mem_strdup(name) };
	sections_init(KEY_ALERT, name, alert);
	return alert;
}

static struct config *config_new(void)
{
	struct config *c = mem_alloc(sizeof(*c));

	map_new(&c->lines);
	c->path = mem_strdup("");
	add_group(c, ROOT);
	sections_init(KEY_DAEMON, NULL, &c->daemon);
	sections_init(KEY_DATABASE, NULL, &c->database);
	sections_init(KEY_SPOOL, NULL, &c->spool);
	sections_init(KEY_RETENTION, NULL, &c->retention);
	sections_init(KEY_CONTROL, NULL, &c->control);
	sections_init(KEY_RETRY, NULL, &c->retry);
	sections_init(KEY_METRICS, NULL, &c->metrics);
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		c->providers[i].name = mem_strdup(config_provider_names[i]);
		sections_init(KEY_PROVIDER, config_provider_names[i], &c->providers[i]);
	}
	return c;
}

void config_free(struct config **ret)
{
	struct config *c = *ret;

	if (!c)
		return;
	sections_clear(KEY_DAEMON, &c->daemon);
	sections_clear(KEY_DATABASE, &c->database);
	sections_clear(KEY_SPOOL, &c->spool);
	sections_clear(KEY_RETENTION, &c->retention);
	sections_clear(KEY_CONTROL, &c->control);
	sections_clear(KEY_RETRY, &c->retry);
	sections_clear(KEY_METRICS, &c->metrics);
	for (size_t i = 0; i < c->ngroups; i++) {
		sections_clear(KEY_GROUP, &c->groups[i]);
		mem_free(&c->groups[i].name);
	}
	for (size_t i = 0; i < c->npools; i++) {
		sections_clear(KEY_POOL, &c->pools[i]);
		mem_free(&c->pools[i].name);
	}
	for (size_t i = 0; i < c->nservices; i++) {
		sections_clear(KEY_SERVICE, &c->services[i]);
		mem_free(&c->services[i].name);
	}
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		sections_clear(KEY_PROVIDER, &c->providers[i]);
		mem_free(&c->providers[i].name);
	}
	for (size_t i = 0; i < c->nlimits; i++) {
		sections_clear(KEY_LIMIT, &c->limits[i]);
		mem_free(&c->limits[i].name);
		mem_free(&c->limits[i].provider);
		mem_free(&c->limits[i].glob);
	}
	for (size_t i = 0; i < c->nalerts; i++) {
		sections_clear(KEY_ALERT, &c->alerts[i]);
		mem_free(&c->alerts[i].name);
	}
	mem_free(&c->alerts);
	mem_free(&c->limits);
	mem_free(&c->groups);
	mem_free(&c->pools);
	mem_free(&c->services);
	mem_free(&c->children);
	mem_free(&c->path);
	map_free(&c->lines);
	mem_free(ret);
}

/* Appends "; did you mean …" when some name is near. */
static char *with_nearest(char *what, const char *name, const char *const *names, size_t len)
{
	AUTO(mem_free_str) char *nearest = words_nearest(name, names, len);

	if (*nearest)
		mem_set_str(&what, mem_printf("%s; the nearest: %s", what, nearest));
	return what;
}

static char *unknown_section(const char *section)
{
	const char *names[KEY_SECTION_COUNT];
	size_t len = strcspn(section, ":");
	AUTO(mem_free_str) char *kind = mem_strndup(section, len);
	AUTO(buf_free) struct buf allowed = BUF_INIT(0);

	for (int i = 0; i < KEY_SECTION_COUNT; i++) {
		const struct key_section_spec *spec = key_section_spec((enum key_section)i);

		names[i] = spec->name;
		buf_putf(&allowed, "%s[%s%s%s]", i > 0 ? ", " : "", spec->name, spec->form ? ":" : "",
			 spec->form ? spec->form : "");
	}
	return with_nearest(mem_printf("[%s]: unknown section; allowed are %s", section, buf_bytes(&allowed)),
			    kind, names, KEY_SECTION_COUNT);
}

/* Splits "pool:probe" into kind and name; -EINVAL when the kind is unknown or the name is where none may be.
 */
static int parse_title(const char *title, enum key_section *ret_kind, const char **ret_name)
{
	size_t len = strcspn(title, ":");

	for (int i = 0; i < KEY_SECTION_COUNT; i++) {
		const struct key_section_spec *spec = key_section_spec((enum key_section)i);

		if (strlen(spec->name) != len || strncmp(spec->name, title, len) != 0 ||
		    !spec->form == (title[len] == ':'))
			continue;
		*ret_kind = (enum key_section)i;
		*ret_name = spec->form ? title + len + 1 : NULL;
		return 0;
	}
	return -EINVAL;
}

static bool is_child_name(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return len && len <= CHILD_NAME_MAX && !name[len] && isalpha((unsigned char)name[0]);
}

static int open_alert(struct load *load, const char *title, const char *name, char **ret_error)
{
	struct config_alert *alert;

	if (!is_child_name(name)) {
		*ret_error = mem_printf("[%s]: a name has 1 to %d of a-z 0-9 _ -, a letter first", title,
					CHILD_NAME_MAX);
		return -EINVAL;
	}
	alert = add_alert(load->config, name);
	load->name = alert->name;
	load->base = alert;
	return 0;
}

static int open_child(struct load *load, const char *title, const char *name, char **ret_error)
{
	if (!is_child_name(name)) {
		*ret_error = mem_printf("[%s]: a name has 1 to %d of a-z 0-9 _ -, a letter first", title,
					CHILD_NAME_MAX);
		return -EINVAL;
	}
	if (load->kind == KEY_POOL) {
		struct config_pool *pool = add_pool(load->config, name);

		load->name = pool->name;
		load->base = pool;
	} else if (load->kind == KEY_SERVICE) {
		struct config_service *service = add_service(load->config, name);

		load->name = service->name;
		load->base = service;
	} else {
		struct config_group *group = strcmp(name, ROOT) ? add_group(load->config, name)
								: &load->config->groups[0];

		load->name = group->name;
		load->base = group;
	}
	return 0;
}

static char *unknown_provider(const char *title, const char *name)
{
	AUTO(buf_free) struct buf allowed = BUF_INIT(0);

	for (size_t i = 0; i < CONFIG_PROVIDERS; i++)
		buf_putf(&allowed, "%s%s", i > 0 ? ", " : "", config_provider_names[i]);
	return with_nearest(mem_printf("[%s]: unknown provider; allowed are %s", title, buf_bytes(&allowed)),
			    name, config_provider_names, CONFIG_PROVIDERS);
}

static int open_provider(struct load *load, const char *title, const char *name, char **ret_error)
{
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		if (strcmp(config_provider_names[i], name) != 0)
			continue;
		load->name = load->config->providers[i].name;
		load->base = &load->config->providers[i];
		return 0;
	}
	*ret_error = unknown_provider(title, name);
	return -EINVAL;
}

/* A `[` would need its `]`, which ends the section's name. */
static bool is_model_glob(const char *glob)
{
	return *glob && !strpbrk(glob, "[]\\ \t");
}

static int open_limit(struct load *load, const char *title, const char *name, char **ret_error)
{
	struct config_limit *limit = add_limit(load->config, name);

	load->name = limit->name;
	load->base = limit;
	if (!config_find_provider(load->config, limit->provider)) {
		*ret_error = unknown_provider(title, limit->provider);
		return -EINVAL;
	}
	if (!is_model_glob(limit->glob)) {
		*ret_error = mem_printf(
			"[%s]: '%s' is no glob of models; allowed is text with * and ?, as in "
			"[limit:openai/gpt-4*]",
			title, limit->glob);
		return -EINVAL;
	}
	return 0;
}

static int open_section(struct load *load, const char *title, char **ret_error)
{
	struct config *c = load->config;
	const char *name;

	if (parse_title(title, &load->kind, &name) < 0) {
		*ret_error = unknown_section(title);
		return -EINVAL;
	}
	load->name = NULL;
	switch (load->kind) {
	case KEY_GROUP:
	case KEY_POOL:
	case KEY_SERVICE:
		return open_child(load, title, name, ret_error);
	case KEY_PROVIDER:
		return open_provider(load, title, name, ret_error);
	case KEY_LIMIT:
		return open_limit(load, title, name, ret_error);
	case KEY_ALERT:
		return open_alert(load, title, name, ret_error);
	case KEY_DAEMON:
		load->base = &c->daemon;
		break;
	case KEY_DATABASE:
		load->base = &c->database;
		break;
	case KEY_SPOOL:
		load->base = &c->spool;
		break;
	case KEY_RETENTION:
		load->base = &c->retention;
		break;
	case KEY_CONTROL:
		load->base = &c->control;
		break;
	case KEY_RETRY:
		load->base = &c->retry;
		break;
	case KEY_METRICS:
		load->base = &c->metrics;
		break;
	case KEY_SECTION_COUNT:
		break;
	}
	return 0;
}

static char *unknown_key(enum key_section kind, const char *title, const char *name)
{
	const char **names = mem_array(key_table_len, sizeof(*names));
	size_t len = 0;
	char *what;

	for (size_t i = 0; i < key_table_len; i++) {
		if (key_table[i].section == kind)
			names[len++] = key_table[i].name;
	}
	what = mem_printf("[%s] %s: unknown key; allowed are ", title, name);
	for (size_t i = 0; i < len; i++)
		mem_set_str(&what, mem_printf("%s%s%s", what, i ? ", " : "", names[i]));
	what = with_nearest(what, name, names, len);
	mem_free(&names);
	return what;
}

static int on_entry(void *arg, const struct ini_entry *entry, char **ret_error)
{
	AUTO(mem_free_str) char *what = NULL;
	struct load *load = arg;
	const struct key_spec *key;

	if (!entry->key) {
		int r = open_section(load, entry->section, ret_error);

		if (r == 0)
			sections_set_line(load->config, load->kind, load->name, NULL, entry->line);
		return r;
	}
	key = key_find(load->kind, entry->key);
	if (!key) {
		*ret_error = unknown_key(load->kind, entry->section, entry->key);
		return -EINVAL;
	}
	if (key_parse(key, load->base, entry->value, &what) < 0) {
		*ret_error = mem_printf("[%s] %s: %s", entry->section, entry->key, what);
		return -EINVAL;
	}
	sections_set_line(load->config, load->kind, load->name, entry->key, entry->line);
	return 0;
}

/* Completes what was read from `file` (r: how that went) and hands it over, or frees it. */
static int finish(struct config *c, const char *file, int r, struct config **ret, char **ret_error)
{
	if (r == 0 && !c->npools)
		(void)add_pool(c, "probe");
	if (r == 0)
		r = config_check(c, file, ret_error);
	if (r < 0) {
		config_free(&c);
		return r;
	}
	mem_set_str(&c->path, mem_strdup(file));
	*ret = c;
	return 0;
}

int config_load_text(const char *name, const char *text, size_t len, struct config **ret, char **ret_error)
{
	struct load load = { .config = config_new() };
	int r = ini_read_text(name, text, len, on_entry, &load, ret_error);

	return finish(load.config, name, r, ret, ret_error);
}

int config_load(const char *path, struct config **ret, char **ret_error)
{
	struct load load = { .config = config_new() };
	const char *file = path ? path : CONFIG_DEFAULT_PATH;
	int r;

	if (!path && access(file, F_OK) < 0 && errno == ENOENT)
		return finish(load.config, "", 0, ret, ret_error);
	r = ini_read_file(file, on_entry, &load, ret_error);
	return finish(load.config, file, r, ret, ret_error);
}
