#ifndef IO_DB_PRIVATE_H
#define IO_DB_PRIVATE_H

/* Shared by the db*.c files only: parameters as libpq takes them, and the addresses of a server. */

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "io/db.h"

/* Column-wise, as PQsendQueryParams wants them. */
struct db_params {
	int count, room;
	Oid *types;
	char **values; /* NULL = SQL NULL */
	int *lengths;
	int *formats; /* 1 = binary */
	size_t bytes; /* of all values */
};

struct db_rows {
	PGresult *result;
};

/* Where a connection may go: one numeric address (or socket) of one host. */
struct db_target {
	char *host, *hostaddr, *port; /* NULL = libpq's default */
};

/* What a URL says, as parsed by libpq, and the targets that it names. */
struct db_address {
	PQconninfoOption *options; /* only values that the URL gives */
	struct db_target *targets;
	size_t count;
	int timeout_ms; /* for one target to let us in */
};

/* -EINVAL when libpq cannot parse it. The reason is not told: it may hold the password. */
int db_address_parse(const char *url, struct db_address *ret) __attribute__((warn_unused_result));
void db_address_free(struct db_address *address);

/* The hosts that the URL (or the environment) names, with their ports: entries of a fresh list of `count`. */
void db_address_hosts(const struct db_address *address, struct db_target **ret, size_t *ret_count);

void db_target_free(struct db_target *target);

/* Adds a copy to the targets. */
void db_address_add(struct db_address *address, const struct db_target *host, const char *hostaddr);
void db_address_clear(struct db_address *address);

/* Starts connecting to targets[i] as `name`; NULL only when memory is gone. */
PGconn *db_address_connect(const struct db_address *address, size_t i, const char *name);

#endif
