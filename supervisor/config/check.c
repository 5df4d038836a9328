#include "config/check.h"

#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/access.h"
#include "config/check_private.h"
#include "config/config.h"
#include "config/sections.h"
#include "config/words.h"
#include "policy/alert.h"

#define SOCKET_MAX 107 /* sun_path less its NUL */

/* Leaves that the daemon itself plants in the tree. */
static const char *const own_names[] = { "postgres", "store", "root" };

int check_refuse(const struct checker *ch, enum key_section kind, const char *name, const char *key,
		 char *what)
{
	AUTO(mem_free_str) char *title = sections_title(kind, name);
	AUTO(mem_free_str) char *at = NULL;
	int line = sections_line(ch->config, kind, name, key);

	if (!line)
		line = sections_line(ch->config, kind, name, NULL);
	at = line ? mem_printf("%s:%d", ch->file, line) : mem_strdup(ch->file);
	*ch->ret_error = mem_printf("%s: [%s]%s%s: %s", at, title, key ? " " : "", key ? key : "", what);
	mem_free(&what);
	return -EINVAL;
}

bool check_is_given(const struct checker *ch, enum key_section kind, const char *name, const char *key)
{
	return sections_line(ch->config, kind, name, key) > 0;
}

static int check_delays(const struct checker *ch, enum key_section kind, const char *name,
			const char *const keys[2], int64_t delay_ms, int64_t max_ms)
{
	AUTO(mem_free_str) char *delay = key_duration_text(delay_ms), *max = key_duration_text(max_ms);

	if (delay_ms <= max_ms)
		return 0;
	/* Told of the one that the file gave, else of the second. */
	return check_refuse(ch, kind, name, check_is_given(ch, kind, name, keys[0]) ? keys[0] : keys[1],
			    mem_printf("%s is %s and %s is %s; the first may not be above the second",
				       keys[0], delay, keys[1], max));
}

static const char *const restart_keys[2] = { "restart_delay", "restart_delay_max" };

static int check_service(const struct checker *ch, const struct config_service *service)
{
	bool by_command = service->ready_ms == CONFIG_READY_COMMAND;

	if (!service->command.len)
		return check_refuse(ch, KEY_SERVICE, service->name, "command",
				    mem_strdup("empty; a service must have a program to run"));
	if (by_command && !service->ready_command.len)
		return check_refuse(ch, KEY_SERVICE, service->name, "ready_command",
				    mem_strdup("empty; with ready = command it must have a program to run"));
	if (!by_command && service->ready_command.len)
		return check_refuse(ch, KEY_SERVICE, service->name, "ready_command",
				    mem_strdup("would never run; set ready = command, or remove it"));
	return check_delays(ch, KEY_SERVICE, service->name, restart_keys, service->restart_delay_ms,
			    service->restart_delay_max_ms);
}

static int check_leaves(const struct checker *ch)
{
	const struct config *c = ch->config;
	int r = 0;

	for (size_t i = 0; i < c->npools && r == 0; i++)
		r = check_delays(ch, KEY_POOL, c->pools[i].name, restart_keys, c->pools[i].restart_delay_ms,
				 c->pools[i].restart_delay_max_ms);
	for (size_t i = 0; i < c->nservices && r == 0; i++)
		r = check_service(ch, &c->services[i]);
	return r;
}

static int check_socket(const struct checker *ch)
{
	const struct config *c = ch->config;

	if (c->control.socket[0] || strlen(c->daemon.run_dir) + strlen("/proctor.sock") <= SOCKET_MAX)
		return 0;
	return check_refuse(
		ch, KEY_DAEMON, NULL, "run_dir",
		mem_printf("too long for a socket in it, whose path has at most %d bytes; use a shorter "
			   "one, or set socket in [control]",
			   SOCKET_MAX));
}

/* ---- names and groups ---- */

static int check_name(const struct checker *ch, size_t index)
{
	const struct config *c = ch->config;
	const char *name = config_child_name(c, &c->children[index]);
	struct section self = sections_of_child(c, &c->children[index]);

	for (size_t i = 0; i < ARRAY_LEN(own_names); i++) {
		if (!strcmp(own_names[i], name))
			return check_refuse(
				ch, self.kind, name, NULL,
				mem_printf("the name %s is the daemon's own; choose another", name));
	}
	for (size_t i = 0; i < index; i++) {
		struct section other = sections_of_child(c, &c->children[i]);
		AUTO(mem_free_str) char *title = sections_title(other.kind, other.name);

		if (!strcmp(other.name, name))
			return check_refuse(
				ch, self.kind, name, NULL,
				mem_printf("the name is taken by [%s]; groups, pools and services must "
					   "have different names",
					   title));
	}
	return 0;
}

static char *no_such_group(const struct config *c, const char *group)
{
	const char **names = mem_array(c->ngroups, sizeof(*names));
	AUTO(mem_free_str) char *nearest = NULL;
	char *what;

	for (size_t i = 0; i < c->ngroups; i++)
		names[i] = c->groups[i].name;
	nearest = words_nearest(group, names, c->ngroups);
	what = mem_printf("there is no [group:%s]; add it, or name another%s%s", group,
			  *nearest ? "; the nearest: " : "", nearest);
	mem_free(&names);
	return what;
}

static int check_parent(const struct checker *ch, const struct config_child *child)
{
	const struct config *c = ch->config;
	struct section self = sections_of_child(c, child);
	const char *group = config_child_group(c, child);

	if (config_find_group(c, group))
		return 0;
	return check_refuse(ch, self.kind, self.name, "group",
			    *group ? no_such_group(c, group)
				   : mem_strdup("empty; allowed is root, or another group"));
}

/* Every parent exists by now. The way up from a group either ends at root or comes back to the group, or it
 * gets caught in a cycle further up, which is told of the group that closes it. */
static int check_cycle(const struct checker *ch, const struct config_group *group)
{
	const struct config *c = ch->config;
	const struct config_group *up = group;
	AUTO(mem_free_str) char *way = mem_strdup(group->name);

	for (size_t steps = 0; steps < c->ngroups && up != config_root(c); steps++) {
		up = config_find_group(c, up->group);
		mem_set_str(&way, mem_printf("%s in %s", way, up->name));
		if (up == group)
			return check_refuse(ch, KEY_GROUP, group->name, "group",
					    mem_printf("a cycle: %s; put one of them in root", way));
	}
	return 0;
}

static int check_tree(const struct checker *ch)
{
	const struct config *c = ch->config;
	int r = 0;

	if (config_root(c)->group[0])
		return check_refuse(
			ch, KEY_GROUP, config_root(c)->name, "group",
			mem_strdup("root is the top of the tree and stands in no group; remove it"));
	for (size_t i = 0; i < c->nchildren && r == 0; i++)
		r = check_name(ch, i);
	for (size_t i = 0; i < c->nchildren && r == 0; i++)
		r = check_parent(ch, &c->children[i]);
	for (size_t i = 1; i < c->ngroups && r == 0; i++)
		r = check_cycle(ch, &c->groups[i]);
	return r;
}

/* ---- which pool runs whose calls ---- */

static bool names_provider(const struct config_pool *pool, const char *provider, size_t words)
{
	for (size_t i = 0; i < words; i++) {
		if (!strcmp(pool->providers.words[i], provider))
			return true;
	}
	return false;
}

static int check_provider(const struct checker *ch, const struct config_pool *pool, size_t word)
{
	const char *provider = pool->providers.words[word];

	if (names_provider(pool, provider, word))
		return check_refuse(ch, KEY_POOL, pool->name, "providers",
				    mem_printf("%s stands in it twice; remove one", provider));
	for (const struct config_pool *other = ch->config->pools; other != pool; other++) {
		if (names_provider(other, provider, other->providers.len))
			return check_refuse(
				ch, KEY_POOL, pool->name, "providers",
				mem_printf("%s is named by [pool:%s] too; a provider has one pool", provider,
					   other->name));
	}
	return 0;
}

/* Providers that no pool names, as "google, xai"; fresh, "" when there are none. */
static char *unnamed_providers(const struct config *c)
{
	char *text = mem_strdup("");

	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		const char *provider = config_provider_names[i];
		bool named = false;

		for (size_t k = 0; k < c->npools && !named; k++)
			named = names_provider(&c->pools[k], provider, c->pools[k].providers.len);
		if (!named)
			mem_set_str(&text, mem_printf("%s%s%s", text, *text ? ", " : "", provider));
	}
	return text;
}

static int check_providers(const struct checker *ch)
{
	const struct config *c = ch->config;
	const struct config_pool *others = NULL, *last = &c->pools[c->npools - 1];
	AUTO(mem_free_str) char *unnamed = unnamed_providers(c);
	int r = 0;

	for (size_t i = 0; i < c->npools && r == 0; i++) {
		const struct config_pool *pool = &c->pools[i];

		for (size_t k = 0; k < pool->providers.len && r == 0; k++)
			r = check_provider(ch, pool, k);
		if (r < 0 || pool->providers.len)
			continue;
		if (others)
			return check_refuse(
				ch, KEY_POOL, pool->name, "providers",
				mem_printf("empty, as in [pool:%s]; only one pool may leave it empty and "
					   "so run what no other names",
					   others->name));
		others = pool;
	}
	if (r < 0)
		return r;
	if (!others && *unnamed)
		return check_refuse(
			ch, KEY_POOL, last->name, "providers",
			mem_printf("no pool runs %s; add what is missing, or leave providers empty in "
				   "one pool",
				   unnamed));
	if (others && !*unnamed)
		return check_refuse(
			ch, KEY_POOL, others->name, "providers",
			mem_strdup("empty, but other pools name every provider, so it would have nothing "
				   "to do; name some here, or remove the pool"));
	return 0;
}

/* ---- words that name something else ---- */

static int check_levels(const struct checker *ch)
{
	const struct config_list *list = &ch->config->daemon.log_levels;
	const char *subsystem;
	enum log_level level;
	AUTO(mem_free_str) char *known = mem_strdup("");

	for (size_t i = 0; log_subsystems[i]; i++)
		mem_set_str(&known, mem_printf("%s%s%s", known, i ? " " : "", log_subsystems[i]));
	for (size_t i = 0; i < list->len; i++) {
		int r = log_parse_subsystem_level(list->words[i], &subsystem, &level);

		if (r == -EINVAL)
			return check_refuse(ch, KEY_DAEMON, NULL, "log_levels",
					    mem_printf("'%.60s' is not SUBSYSTEM=LEVEL; a level is error, "
						       "warning, info or debug",
						       list->words[i]));
		if (r < 0)
			return check_refuse(ch, KEY_DAEMON, NULL, "log_levels",
					    mem_printf("'%.60s' names no subsystem; there are %s",
						       list->words[i], known));
	}
	return 0;
}

static int check_access(const struct checker *ch)
{
	static const char *const keys[CONFIG_ACCESS_COUNT] = { "read", "operate", "admin" };

	for (size_t k = 0; k < CONFIG_ACCESS_COUNT; k++) {
		const struct config_list *list = &ch->config->control.access[k];

		for (size_t i = 0; i < list->len; i++) {
			struct access_word word;
			char *error;

			if (access_parse(list->words[i], &word, &error) < 0)
				return check_refuse(ch, KEY_CONTROL, NULL, keys[k], error);
		}
	}
	return 0;
}

/* ---- where others may reach the daemon, and it them ---- */

static int check_listen(const struct checker *ch)
{
	const struct config_metrics *metrics = &ch->config->metrics;
	struct address address;

	if (!metrics->listen[0])
		return 0;
	if (address_parse(metrics->listen, &address) < 0)
		return check_refuse(
			ch, KEY_METRICS, NULL, "listen",
			mem_printf("\"%s\" is no ADDRESS:PORT; allowed is an IP address and a port, such "
				   "as 127.0.0.1:9469 or [::1]:9469",
				   metrics->listen));
	if (address_is_loopback(&address) || metrics->allow_remote)
		return 0;
	return check_refuse(
		ch, KEY_METRICS, NULL, "listen",
		mem_printf("%s can be reached from other machines, and whoever reaches it reads the "
			   "metrics; use a loopback address, or set allow_remote = yes",
			   metrics->listen));
}

static int check_alert(const struct checker *ch, const struct config_alert *alert)
{
	if (!alert->url[0] == !alert->url_env[0])
		return check_refuse(ch, KEY_ALERT, alert->name, "url",
				    mem_strdup(alert->url[0] ? "given beside url_env; remove one of them"
							     : "empty, as is url_env; an alert must have one "
							       "of them to be sent to"));
	if (!alert->url[0] || alert->allow_insecure || address_url_is_private(alert->url))
		return 0;
	return check_refuse(ch, KEY_ALERT, alert->name, "url",
			    mem_strdup("neither https nor loopback, so others can read along; use https, or "
				       "set allow_insecure = yes"));
}

static int check_alerts(const struct checker *ch)
{
	const struct config *c = ch->config;
	int r = 0;

	if (c->nalerts > ALERT_TARGETS_MAX)
		return check_refuse(
			ch, KEY_ALERT, c->alerts[ALERT_TARGETS_MAX].name, NULL,
			mem_printf("there may be %d such sections at most; remove some", ALERT_TARGETS_MAX));
	for (size_t i = 0; i < c->nalerts && r == 0; i++)
		r = check_alert(ch, &c->alerts[i]);
	return r;
}

int config_check(const struct config *c, const char *file, char **ret_error)
{
	static const char *const retry_keys[2] = { "base_delay", "max_delay" };
	const struct checker ch = { c, file, ret_error };
	int r;

	if (c->database.shared && strcmp(c->database.url, "embedded") == 0)
		return check_refuse(
			&ch, KEY_DATABASE, NULL, "shared",
			mem_strdup("yes needs a server that all nodes reach, but url is embedded: name "
				   "one there"));
	r = check_delays(&ch, KEY_RETRY, NULL, retry_keys, c->retry.base_delay_ms, c->retry.max_delay_ms);
	if (r == 0)
		r = check_socket(&ch);
	if (r == 0)
		r = check_levels(&ch);
	if (r == 0)
		r = check_access(&ch);
	if (r == 0)
		r = check_tree(&ch);
	if (r == 0)
		r = check_leaves(&ch);
	if (r == 0)
		r = check_providers(&ch);
	if (r == 0)
		r = check_limits(&ch);
	if (r == 0)
		r = check_listen(&ch);
	if (r == 0)
		r = check_alerts(&ch);
	return r < 0 ? r : check_reach(&ch);
}
