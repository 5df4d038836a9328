/* A connection to Postgres on the loop: queries and their answers; db_attempt.c gets it up. Queries that were
 * sent wait in `sent`, in order, for their Sync: a reply is told only then, for a statement whose result has
 * come may still fail to commit. */

#include "io/db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "io/db_private.h"
#include "io/loop.h"

enum {
	QUEUE_BYTES_MAX = 64 * 1024 * 1024, /* above the largest conversation, twice */
	QUERY_OVERHEAD = 512,		    /* counted for each query beside its parameters */
	STABLE_MS = 5000,		    /* a link that held this long starts the waits anew */
};

void db_leave(struct db *db)
{
	if (--db->depth == 0 && db->dead)
		mem_free(&db);
}

char *db_first_line(const char *text)
{
	char *line = mem_strndup(text, strcspn(text, "\n"));

	for (char *c = strchr(line, '"'); c; c = strchr(c, '"'))
		*c = '\'';
	return line;
}

void db_tell_link(struct db *db, bool up, const char *why)
{
	if (db->link)
		db->link(db->arg, up, why);
}

static void query_lose(struct db *db, struct db_sent *query, const char *why)
{
	struct db_reply reply = { .status = DB_LOST, .sqlstate = "", .message = why };

	list_remove(&query->node);
	db->sent_count--;
	db->sent_bytes -= query->bytes;
	PQclear(query->result);
	query->fn(query->arg, &reply);
	mem_free(&query);
}

/* The link that was up is gone. The owner hears of it before the queries do, so that none of them sends on.
 */
static void drop(struct db *db, char *why)
{
	struct list lost = LIST_INIT(lost);
	struct list *node;

	mem_set_str(&db->why, why);
	db_attempt_close(db);
	if (loop_now_ms(db->loop) - db->up_ms >= STABLE_MS)
		db->rounds = 0;
	db_attempt_wait(db);
	while ((node = list_pop_front(&db->sent)))
		list_push_back(&lost, node);
	db->depth++;
	db_tell_link(db, false, db->why);
	while (!list_is_empty(&lost))
		query_lose(db, list_entry(lost.next, struct db_sent, node), "the connection was lost");
	db_leave(db);
}

void db_flush(struct db *db)
{
	int left = PQflush(db->conn);

	/* An error shows again on the next read, which is where it is handled. */
	loop_fd_set(db->watch, left == 1 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
	if (left < 0)
		loop_timer_start(db->timer, 0);
}

/* The session is of no use any more: its end was announced, or the server became a read-only standby. */
static bool ends_session(const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0)) ||
	       (sqlstate && strcmp(sqlstate, "25006") == 0);
}

bool db_is_error(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK;
}

static void tell_reply(struct db_sent *query)
{
	struct db_rows rows = { .result = query->result };
	struct db_reply reply = { .status = DB_OK, .sqlstate = "", .message = "", .rows = &rows };
	AUTO(mem_free_str) char *message = NULL;
	const char *sqlstate, *text;

	if (!query->result || db_is_error(query->result)) {
		sqlstate = query->result ? PQresultErrorField(query->result, PG_DIAG_SQLSTATE) : NULL;
		text = query->result ? PQresultErrorField(query->result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
		message = db_first_line(text ? text : "the server gave no result");
		reply = (struct db_reply){
			.status = DB_REFUSED,
			.sqlstate = sqlstate ? sqlstate : "XX000",
			.message = message,
			.detail = query->result ? PQresultErrorField(query->result, PG_DIAG_MESSAGE_DETAIL)
						: NULL,
		};
	}
	query->fn(query->arg, &reply);
}

/* The Sync of the first query came: its fate is known. */
static void settle_first(struct db *db)
{
	struct db_sent *query;

	if (list_is_empty(&db->sent))
		return;
	query = list_entry(list_pop_front(&db->sent), struct db_sent, node);
	db->sent_count--;
	db->sent_bytes -= query->bytes;
	tell_reply(query);
	PQclear(query->result);
	mem_free(&query);
}

/* Keeps the result for the first query. False = it ended the session. */
static bool take_result(struct db *db, PGresult *result)
{
	struct db_sent *query;

	if (ends_session(result) || list_is_empty(&db->sent)) {
		const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
		char *why = db_first_line(text ? text : "an answer that nobody asked for");

		PQclear(result);
		drop(db, why);
		return false;
	}
	query = list_entry(db->sent.next, struct db_sent, node);
	if (query->result && !db_is_error(result)) {
		PQclear(result);
		return true;
	}
	/* An error after the result is a failed commit. */
	PQclear(query->result);
	query->result = result;
	return true;
}

static void read_replies(struct db *db)
{
	bool was_null = false;

	while (!db->dead && db->state == STATE_UP && !PQisBusy(db->conn)) {
		PGresult *result = PQgetResult(db->conn);

		if (!result) {
			/* One NULL ends a query's results, two in a row end what has come. */
			if (was_null)
				break;
			was_null = true;
			continue;
		}
		was_null = false;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
			PQclear(result);
			settle_first(db);
		} else if (!take_result(db, result)) {
			break;
		}
	}
}

static void pump(struct db *db)
{
	bool alive = PQconsumeInput(db->conn) == 1;

	db->depth++;
	/* What came before the end still counts. */
	read_replies(db);
	if (!db->dead && db->state == STATE_UP) {
		if (!alive || PQstatus(db->conn) != CONNECTION_OK)
			drop(db, db_first_line(PQerrorMessage(db->conn)));
		else
			db_flush(db);
	}
	db_leave(db);
}

void db_on_socket(void *arg, unsigned events)
{
	struct db *db = arg;

	(void)events;
	if (db->state == STATE_UP)
		pump(db);
	else
		db_attempt_step(db);
}

static void on_timer(void *arg)
{
	struct db *db = arg;

	switch (db->state) {
	case STATE_IDLE:
		break;
	case STATE_WAITING:
		db_attempt_round(db);
		break;
	case STATE_RESOLVING:
	case STATE_CONNECTING:
	case STATE_PREPARING:
		db_attempt_expired(db);
		break;
	case STATE_UP:
		drop(db, db_first_line(PQerrorMessage(db->conn)));
		break;
	}
}

int db_new(struct loop *loop, const struct db_options *options, struct db **ret)
{
	struct db_address address;
	struct db *db;
	int error = db_address_parse(options->url, &address);

	if (error != 0)
		return error;
	db = mem_alloc(sizeof(*db));
	db->loop = loop;
	db->address = address;
	db->name = mem_strdup(options->name);
	db->on_connect = options->on_connect;
	db->link = options->link;
	db->arg = options->arg;
	list_init(&db->sent);
	loop_timer_new(loop, on_timer, db, &db->timer);
	*ret = db;
	return 0;
}

void db_free(struct db **ref)
{
	struct db *db = *ref;

	if (!db)
		return;
	*ref = NULL;
	db_attempt_close(db);
	db->state = STATE_IDLE;
	db->link = NULL;
	db->dead = true;
	db->depth++;
	while (!list_is_empty(&db->sent))
		query_lose(db, list_entry(db->sent.next, struct db_sent, node), "the connection was closed");
	loop_timer_free(&db->timer);
	db_address_free(&db->address);
	mem_free(&db->name);
	mem_free(&db->why);
	db_leave(db);
}

bool db_is_up(const struct db *db)
{
	return db->state == STATE_UP;
}

void db_connect(struct db *db)
{
	if (db->state == STATE_IDLE)
		db_attempt_round(db);
}

void db_drop(struct db *db, const char *why)
{
	if (db->state == STATE_UP)
		drop(db, mem_strdup(why));
}

void db_rest(struct db *db, const char *why)
{
	db_drop(db, why);
	db_attempt_close(db);
	db->state = STATE_IDLE;
	db->rounds = 0;
}

int db_query(struct db *db, const char *sql, struct db_params *params, db_reply_fn *fn, void *arg)
{
	AUTO(db_params_free) struct db_params *taken = params;
	size_t bytes = QUERY_OVERHEAD + (params ? params->bytes : 0);
	struct db_sent *query;

	if (db->state != STATE_UP)
		return -ENOTCONN;
	if (db->sent_bytes > 0 && db->sent_bytes + bytes > QUEUE_BYTES_MAX)
		return -ENOBUFS;
	if (!PQsendQueryParams(db->conn, sql, taken ? taken->count : 0, taken ? taken->types : NULL,
			       taken ? (const char *const *)taken->values : NULL,
			       taken ? taken->lengths : NULL, taken ? taken->formats : NULL, 0)) {
		loop_timer_start(db->timer, 0);
		return -ENOTCONN;
	}
	query = mem_alloc(sizeof(*query));
	query->fn = fn;
	query->arg = arg;
	query->bytes = bytes;
	list_push_back(&db->sent, &query->node);
	db->sent_count++;
	db->sent_bytes += bytes;
	if (!PQpipelineSync(db->conn))
		loop_timer_start(db->timer, 0);
	else
		db_flush(db);
	return 0;
}

size_t db_room(const struct db *db)
{
	return db->state == STATE_UP && db->sent_bytes < QUEUE_BYTES_MAX ? QUEUE_BYTES_MAX - db->sent_bytes
									 : 0;
}

size_t db_pending(const struct db *db)
{
	return db->sent_count;
}
