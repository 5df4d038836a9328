#ifndef IO_DB_PRIVATE_H
#define IO_DB_PRIVATE_H

/* Shared by the db*.c files only: the connection, parameters as libpq takes them, the addresses of a server.
 */

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
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

enum db_state {
	STATE_IDLE,	  /* not told to connect yet */
	STATE_RESOLVING,  /* names of hosts to addresses, one after the other */
	STATE_CONNECTING, /* to targets[target] */
	STATE_PREPARING,  /* on_connect statements */
	STATE_UP,
	STATE_WAITING, /* until the next round */
};

/* A query that was sent and not answered yet. */
struct db_sent {
	struct list node;
	db_reply_fn *fn;
	void *arg;
	size_t bytes;
	PGresult *result; /* held until the Sync; NULL before it came */
};

struct db {
	struct loop *loop;
	struct db_address address;
	char *name;
	const char *const *on_connect;
	void (*link)(void *arg, bool up, const char *why);
	void *arg;

	enum db_state state;
	struct loop_timer *timer; /* the deadline of the attempt, or the wait before the next round */
	struct loop_fd *watch;
	PGconn *conn;
	struct db_target *hosts; /* of this round, while resolving */
	size_t host_count, host;
	struct resolve *resolve;
	size_t target;	 /* being tried */
	size_t prepared; /* on_connect statements done */
	unsigned rounds; /* failed in a row */
	int64_t up_ms;	 /* when the link came up */
	char *why;	 /* the last failed attempt's reason */

	struct list sent;
	size_t sent_count, sent_bytes;
	int depth; /* callbacks of ours under way */
	bool dead; /* freed inside one of them */
};

/* db.c: reports to the owner run between depth++ and db_leave(), which frees what they freed. */
void db_leave(struct db *db);
void db_tell_link(struct db *db, bool up, const char *why);
void db_flush(struct db *db);
void db_on_socket(void *arg, unsigned events);
bool db_is_error(const PGresult *result);

/* The first line of one of libpq's messages, fresh. It has no double quotes: it is shown inside of them. */
char *db_first_line(const char *text) __attribute__((warn_unused_result));

/* db_attempt.c: begins a round. */
void db_attempt_round(struct db *db);
/* The socket is ready, or the time is up, before the link came up. */
void db_attempt_step(struct db *db);
void db_attempt_expired(struct db *db);
/* Takes `why`. */
void db_attempt_failed(struct db *db, char *why);
void db_attempt_close(struct db *db);
void db_attempt_wait(struct db *db);

#endif
