/* Loading: ini entries → structs through the key table, then the checks that span several keys. */

#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "config/ini.h"
#include "config/sections.h"
#include "config/words.h"

#define CHILD_NAME_MAX 32  /* of a pool or service: shows up in logs and process names */
#define SOCKET_MAX     107 /* sun_path less its NUL */

/* Where entries go while a file is read. */
struct load {
	struct config *config;
	enum key_section kind; /* of the open section */
	const char *name;      /* its name, or NULL; owned by the config */
	void *base; /* its struct; arrays may move when a section is added, so it is set anew then */
};

static struct config *config_new(void)
{
	struct config *c = mem_alloc(sizeof(*c));

	map_new(&c->lines);
	c->path = mem_strdup("");
	c->root.name = mem_strdup("root");
	sections_init(KEY_DAEMON, NULL, &c->daemon);
	sections_init(KEY_DATABASE, NULL, &c->database);
	sections_init(KEY_CONTROL, NULL, &c->control);
	sections_init(KEY_GROUP, "root", &c->root);
	sections_init(KEY_RETRY, NULL, &c->retry);
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
	sections_clear(KEY_CONTROL, &c->control);
	sections_clear(KEY_GROUP, &c->root);
	sections_clear(KEY_RETRY, &c->retry);
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
	mem_free(&c->pools);
	mem_free(&c->services);
	mem_free(&c->root.name);
	mem_free(&c->path);
	map_free(&c->lines);
	mem_free(ret);
}

static struct config_pool *add_pool(struct config *c, const char *name)
{
	struct config_pool *pool;

	c->pools = mem_resize(c->pools, c->npools + 1, sizeof(c->pools[0]));
	pool = &c->pools[c->npools++];
	*pool = (struct config_pool){ .name = mem_strdup(name) };
	sections_init(KEY_POOL, name, pool);
	return pool;
}

static struct config_service *add_service(struct config *c, const char *name)
{
	struct config_service *service;

	c->services = mem_resize(c->services, c->nservices + 1, sizeof(c->services[0]));
	service = &c->services[c->nservices++];
	*service = (struct config_service){ .name = mem_strdup(name) };
	sections_init(KEY_SERVICE, name, service);
	return service;
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

	for (int i = 0; i < KEY_SECTION_COUNT; i++)
		names[i] = key_section_spec((enum key_section)i)->name;
	return with_nearest(mem_printf("[%s]: unknown section; allowed are [daemon], [database], [control], "
				       "[group:root], [pool:NAME], [service:NAME], [provider:NAME], [retry]",
				       section),
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
		    spec->named != (title[len] == ':'))
			continue;
		*ret_kind = (enum key_section)i;
		*ret_name = spec->named ? title + len + 1 : NULL;
		return 0;
	}
	return -EINVAL;
}

static bool is_child_name(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return len && len <= CHILD_NAME_MAX && !name[len] && isalpha((unsigned char)name[0]);
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
	} else {
		struct config_service *service = add_service(load->config, name);

		load->name = service->name;
		load->base = service;
	}
	return 0;
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
	*ret_error = with_nearest(
		mem_printf("[%s]: unknown provider; allowed are openai, anthropic, google, xai, "
			   "deepseek, mistral (and simulated, for its limits)",
			   title),
		name, config_provider_names, CONFIG_PROVIDERS);
	return -EINVAL;
}

static int open_group(struct load *load, const char *title, const char *name, char **ret_error)
{
	if (strcmp(name, "root") != 0) {
		*ret_error = mem_printf("[%s]: unknown group; allowed is [group:root]", title);
		return -EINVAL;
	}
	load->name = load->config->root.name;
	load->base = &load->config->root;
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
	case KEY_POOL:
	case KEY_SERVICE:
		return open_child(load, title, name, ret_error);
	case KEY_PROVIDER:
		return open_provider(load, title, name, ret_error);
	case KEY_GROUP:
		return open_group(load, title, name, ret_error);
	case KEY_DAEMON:
		load->base = &c->daemon;
		break;
	case KEY_DATABASE:
		load->base = &c->database;
		break;
	case KEY_CONTROL:
		load->base = &c->control;
		break;
	case KEY_RETRY:
		load->base = &c->retry;
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

/* A check that failed: where, and what is wrong; takes `what`. */
static int refuse(const struct config *c, const char *file, enum key_section kind, const char *name,
		  const char *key, char *what, char **ret_error)
{
	AUTO(mem_free_str) char *title = sections_title(kind, name);
	int line = sections_line(c, kind, name, key);

	if (!line)
		line = sections_line(c, kind, name, NULL);
	if (line)
		*ret_error = mem_printf("%s:%d: [%s] %s: %s", file, line, title, key, what);
	else
		*ret_error = mem_printf("%s: [%s] %s: %s", file, title, key, what);
	mem_free(&what);
	return -EINVAL;
}

static int check_delays(const struct config *c, const char *file, enum key_section kind, const char *name,
			const char *keys[2], int64_t delay_ms, int64_t max_ms, char **ret_error)
{
	AUTO(mem_free_str) char *delay = key_duration_text(delay_ms), *max = key_duration_text(max_ms);
	/* Told of the one that the file gave, else of the first. */
	const char *key = sections_line(c, kind, name, keys[0]) ? keys[0] : keys[1];

	if (delay_ms <= max_ms)
		return 0;
	return refuse(c, file, kind, name, key,
		      mem_printf("%s is %s and %s is %s; the first may not be above the second", keys[0],
				 delay, keys[1], max),
		      ret_error);
}

static int check_children(const struct config *c, const char *file, char **ret_error)
{
	const char *keys[2] = { "restart_delay", "restart_delay_max" };
	int r = 0;

	for (size_t i = 0; i < c->npools && r == 0; i++) {
		const struct config_pool *pool = &c->pools[i];

		r = check_delays(c, file, KEY_POOL, pool->name, keys, pool->restart_delay_ms,
				 pool->restart_delay_max_ms, ret_error);
	}
	for (size_t i = 0; i < c->nservices && r == 0; i++) {
		const struct config_service *service = &c->services[i];

		if (!service->command.len)
			return refuse(c, file, KEY_SERVICE, service->name, "command",
				      mem_strdup("empty; a service must have a program to run"), ret_error);
		r = check_delays(c, file, KEY_SERVICE, service->name, keys, service->restart_delay_ms,
				 service->restart_delay_max_ms, ret_error);
	}
	return r;
}

static int check_socket(const struct config *c, const char *file, char **ret_error)
{
	if (c->control.socket[0] || strlen(c->daemon.run_dir) + strlen("/proctor.sock") <= SOCKET_MAX)
		return 0;
	return refuse(
		c, file, KEY_DAEMON, NULL, "run_dir",
		mem_printf("too long for a socket in it, whose path has at most %d bytes; use a shorter "
			   "one, or set socket in [control]",
			   SOCKET_MAX),
		ret_error);
}

static int check(const struct config *c, const char *file, char **ret_error)
{
	const char *keys[2] = { "base_delay", "max_delay" };
	int r;

	if (c->database.shared)
		return refuse(c, file, KEY_DATABASE, NULL, "shared",
			      mem_strdup("yes is not supported yet; allowed is no"), ret_error);
	r = check_delays(c, file, KEY_RETRY, NULL, keys, c->retry.base_delay_ms, c->retry.max_delay_ms,
			 ret_error);
	if (r == 0)
		r = check_socket(c, file, ret_error);
	return r < 0 ? r : check_children(c, file, ret_error);
}

/* Completes what was read from `file` (r: how that went) and hands it over, or frees it. */
static int finish(struct config *c, const char *file, int r, struct config **ret, char **ret_error)
{
	if (r == 0 && !c->npools)
		(void)add_pool(c, "probe");
	if (r == 0)
		r = check(c, file, ret_error);
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
