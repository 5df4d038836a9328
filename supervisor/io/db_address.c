/* What a libpq URL says, and where to connect.
 *
 * libpq looks names up with a blocking call, and goes on to the next address of a host only after a timeout
 * that its non-blocking interface does not have. So each attempt is given exactly one numeric address here;
 * the name goes with it, for certificates and .pgpass. */

#include "io/db_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { TIMEOUT_DEFAULT_MS = 10000 };

static const char *option(const PQconninfoOption *options, const char *keyword)
{
	for (const PQconninfoOption *o = options; o && o->keyword; o++)
		if (strcmp(o->keyword, keyword) == 0)
			return o->val && *o->val ? o->val : NULL;
	return NULL;
}

int db_address_parse(const char *url, struct db_address *ret)
{
	char *why = NULL;
	PQconninfoOption *options = PQconninfoParse(url, &why);
	const char *timeout;

	PQfreemem(why);
	if (!options)
		return -EINVAL;
	timeout = option(options, "connect_timeout");
	*ret = (struct db_address){ .options = options, .timeout_ms = TIMEOUT_DEFAULT_MS };
	if (timeout && atoi(timeout) > 0 && atoi(timeout) < 3600)
		ret->timeout_ms = atoi(timeout) * 1000;
	return 0;
}

bool db_url_is_valid(const char *url)
{
	struct db_address address;

	if (db_address_parse(url, &address) < 0)
		return false;
	db_address_free(&address);
	return true;
}

void db_target_free(struct db_target *target)
{
	mem_free(&target->host);
	mem_free(&target->hostaddr);
	mem_free(&target->port);
}

void db_address_clear(struct db_address *address)
{
	for (size_t i = 0; i < address->count; i++)
		db_target_free(&address->targets[i]);
	mem_free(&address->targets);
	address->count = 0;
}

void db_address_free(struct db_address *address)
{
	db_address_clear(address);
	PQconninfoFree(address->options);
	address->options = NULL;
}

/* Entry `i` of a comma separated list, fresh; the only entry serves for all. NULL when empty. */
static char *list_entry_at(const char *list, size_t i)
{
	size_t len;

	if (!list)
		return NULL;
	if (!strchr(list, ','))
		i = 0;
	for (; i > 0; i--) {
		list = strchr(list, ',');
		if (!list)
			return NULL;
		list++;
	}
	len = strcspn(list, ",");
	return len > 0 ? mem_strndup(list, len) : NULL;
}

static size_t list_count(const char *list)
{
	size_t count = 1;

	if (!list)
		return 0;
	for (; *list; list++)
		count += *list == ',';
	return count;
}

void db_address_hosts(const struct db_address *address, struct db_target **ret, size_t *ret_count)
{
	PQconninfoOption *defaults = PQconndefaults(); /* PGHOST and the like */
	const char *host = option(address->options, "host");
	const char *hostaddr = option(address->options, "hostaddr");
	const char *port = option(address->options, "port");
	struct db_target *hosts;
	size_t count;

	if (!host && !hostaddr) {
		host = option(defaults, "host");
		hostaddr = option(defaults, "hostaddr");
	}
	if (!port)
		port = option(defaults, "port");
	count = list_count(hostaddr ? hostaddr : host);
	if (count == 0)
		count = 1;
	hosts = mem_array(count, sizeof(*hosts));
	for (size_t i = 0; i < count; i++) {
		/* A single host name belongs to the first address only, as libpq has it; a port to all. */
		hosts[i].host = count == 1 || (host && strchr(host, ',')) ? list_entry_at(host, i) : NULL;
		hosts[i].hostaddr = list_entry_at(hostaddr, i);
		hosts[i].port = list_entry_at(port, i);
	}
	PQconninfoFree(defaults);
	*ret = hosts;
	*ret_count = count;
}

void db_address_add(struct db_address *address, const struct db_target *host, const char *hostaddr)
{
	address->targets = mem_resize(address->targets, address->count + 1, sizeof(*address->targets));
	address->targets[address->count++] = (struct db_target){
		.host = mem_strdup(host->host),
		.hostaddr = mem_strdup(hostaddr),
		.port = mem_strdup(host->port),
	};
}

struct keywords {
	const char *names[64], *values[64];
	size_t count;
};

static void keyword_set(struct keywords *k, const char *name, const char *value)
{
	if (!value)
		return;
	for (size_t i = 0; i < k->count; i++) {
		if (strcmp(k->names[i], name) == 0) {
			k->values[i] = value;
			return;
		}
	}
	if (k->count + 1 < ARRAY_LEN(k->names)) {
		k->names[k->count] = name;
		k->values[k->count++] = value;
	}
}

PGconn *db_address_connect(const struct db_address *address, size_t i, const char *name)
{
	const struct db_target *target = &address->targets[i];
	struct keywords k = { 0 };

	/* A dead peer is noticed in 15 s, sending or not; the URL may say otherwise. */
	keyword_set(&k, "application_name", name);
	keyword_set(&k, "keepalives_idle", "5");
	keyword_set(&k, "keepalives_interval", "5");
	keyword_set(&k, "keepalives_count", "2");
	keyword_set(&k, "tcp_user_timeout", "15000");
	for (const PQconninfoOption *o = address->options; o->keyword; o++)
		if (strcmp(o->keyword, "host") != 0 && strcmp(o->keyword, "hostaddr") != 0 &&
		    strcmp(o->keyword, "port") != 0 && strcmp(o->keyword, "connect_timeout") != 0 && o->val)
			keyword_set(&k, o->keyword, o->val);
	keyword_set(&k, "host", target->host);
	keyword_set(&k, "hostaddr", target->hostaddr);
	keyword_set(&k, "port", target->port);
	keyword_set(&k, "client_encoding", "UTF8");
	return PQconnectStartParams(k.names, k.values, 0);
}
