#ifndef IO_DB_H
#define IO_DB_H

/* One connection to Postgres on the loop: non-blocking libpq in pipeline mode.
 *
 * Every query is one statement with its own Sync, so it is its own transaction: what must be atomic is one
 * statement (mostly a SQL function). Replies come in order. When the connection is lost, every query not
 * answered yet gets DB_LOST: it may or may not have happened. The connection comes back by itself with
 * back-off; queries are refused (-ENOTCONN) until it is up. Host names are looked up off the loop. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct db_params;
struct db_rows;
struct loop;

enum db_status {
	DB_OK,
	DB_REFUSED, /* the server answered with an error: sqlstate and message are set; nothing happened */
	DB_LOST,    /* no answer: unknown whether it happened */
};

struct db_reply {
	enum db_status status;
	const char *sqlstate;	    /* five characters when DB_REFUSED, else "" */
	const char *message;	    /* one line when not DB_OK, else ""; never holds a password */
	const struct db_rows *rows; /* when DB_OK; valid during the callback only */
	const char *detail;	    /* the server's further lines on a refusal; NULL = none */
};

typedef void db_reply_fn(void *arg, const struct db_reply *reply);

struct db_options {
	const char *url;  /* libpq URI or conninfo string; copied */
	const char *name; /* application_name and log name, e.g. "queue"; copied */
	/* Statements run, each as a simple query (may hold several commands), after each connect and before
	 * `up`; NULL-terminated, borrowed for the life of the db; NULL = none. One that fails drops the
	 * connection, which is tried again. */
	const char *const *on_connect;
	/* The link came up, or went down (why = one line, NULL when up). Also called for each failed try. */
	void (*link)(void *arg, bool up, const char *why);
	void *arg;
};

/* Whether libpq can read it. Why not is not told: libpq may quote the password there. */
bool db_url_is_valid(const char *url);

int db_new(struct loop *loop, const struct db_options *options, struct db **ret)
	__attribute__((warn_unused_result));

/* Closes; queries not answered get DB_LOST. */
void db_free(struct db **db);

bool db_is_up(const struct db *db);

/* Starts connecting (db_new does not). Idempotent. */
void db_connect(struct db *db);

/* Takes a link that is up for lost, as of `why`: whoever is at the other end may be silent for ever. Calls
 * back, from within the call; connects anew. Nothing happens to a link that is not up. */
void db_drop(struct db *db, const char *why);

/* Closes; queries not answered get DB_LOST. Tells `link` of `why` when it was up, and connects no more until
 * db_connect(). */
void db_rest(struct db *db, const char *why);

/* Sends `sql` with `params` (taken, also on failure; NULL = none). `fn` is called exactly once, later.
 * -ENOTCONN while down, -ENOBUFS when too much is queued (db_room is 0). */
int db_query(struct db *db, const char *sql, struct db_params *params, db_reply_fn *fn, void *arg)
	__attribute__((warn_unused_result));

/* Bytes that may be queued before -ENOBUFS. */
size_t db_room(const struct db *db);

/* Queries sent and not answered. */
size_t db_pending(const struct db *db);

/* Parameters, in order $1, $2, …; built, then given to db_query. Texts and arrays are copied. */
struct db_params *db_params_new(void);
void db_params_free(struct db_params **params);
void db_param_null(struct db_params *params);			/* of the type that the statement needs */
void db_param_text(struct db_params *params, const char *text); /* NULL text = SQL NULL; type text */
void db_param_bytes(struct db_params *params, const char *bytes, size_t len); /* text of a known length */
void db_param_int(struct db_params *params, int64_t value);		      /* bigint */
void db_param_bool(struct db_params *params, bool value);
/* Arrays in binary: bigint[], text[]. A NULL element of texts is SQL NULL. `lens` NULL = strlen of each. */
void db_param_ints(struct db_params *params, const int64_t *values, size_t count);
void db_param_ints_or_null(struct db_params *params, const int64_t *values, const bool *nulls, size_t count);
void db_param_texts(struct db_params *params, const char *const *values, const size_t *lens, size_t count);

/* Rows of a reply; row and column from 0. */
size_t db_rows_count(const struct db_rows *rows);
bool db_is_null(const struct db_rows *rows, size_t row, int col);
const char *db_text(const struct db_rows *rows, size_t row, int col,
		    size_t *ret_len);				 /* "" when NULL; ret_len may be NULL */
int64_t db_int(const struct db_rows *rows, size_t row, int col); /* 0 when NULL */
bool db_bool(const struct db_rows *rows, size_t row, int col);

#endif
