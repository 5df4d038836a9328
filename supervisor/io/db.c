/* A connection to Postgres on the loop.
 *
 * States: see enum state. One timer: the deadline of the present attempt, or the wait before the next round
 * over all addresses of the server. Queries that were sent wait in `sent`, in order, for their Sync: a reply
 * is told only then, for a statement whose result has come may still fail to commit. */

#include "io/db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/db_private.h"
#include "io/loop.h"
#include "io/resolve.h"

enum {
	QUEUE_BYTES_MAX = 64 * 1024 * 1024, /* above the largest conversation, twice */
	QUERY_OVERHEAD = 512,		    /* counted for each query beside its parameters */
	STABLE_MS = 5000,		    /* a link that held this long starts the waits anew */
};

/* Waits before the next round, after 0, 1, … failed rounds; the last for all beyond. */
static const int wait_ms[] = { 50, 100, 200, 400, 800, 1500, 3000 };

enum state {
	STATE_IDLE,	  /* not told to connect yet */
	STATE_RESOLVING,  /* names of hosts to addresses, one after the other */
	STATE_CONNECTING, /* to targets[target] */
	STATE_PREPARING,  /* on_connect statements */
	STATE_UP,
	STATE_WAITING, /* until the next round */
};

struct query {
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

	enum state state;
	struct loop_timer *timer;
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

static void begin_round(struct db *db);
static void try_target(struct db *db);

static void leave(struct db *db)
{
	if (--db->depth == 0 && db->dead)
		mem_free(&db);
}

/* libpq's messages end in a newline and may have several lines: the first is kept. They are shown inside of
 * double quotes, so that they may hold none. */
static char *first_line(const char *text)
{
	char *line = mem_strndup(text, strcspn(text, "\n"));

	for (char *c = strchr(line, '"'); c; c = strchr(c, '"'))
		*c = '\'';
	return line;
}

static void tell_link(struct db *db, bool up, const char *why)
{
	if (db->link)
		db->link(db->arg, up, why);
}

static void query_lose(struct db *db, struct query *query, const char *why)
{
	struct db_reply reply = { .status = DB_LOST, .sqlstate = "", .message = why };

	list_remove(&query->node);
	db->sent_count--;
	db->sent_bytes -= query->bytes;
	PQclear(query->result);
	query->fn(query->arg, &reply);
	mem_free(&query);
}

static void hosts_free(struct db *db)
{
	for (size_t i = 0; i < db->host_count; i++)
		db_target_free(&db->hosts[i]);
	mem_free(&db->hosts);
	db->host_count = 0;
}

static void close_connection(struct db *db)
{
	loop_fd_free(&db->watch);
	loop_timer_stop(db->timer);
	resolve_cancel(&db->resolve);
	hosts_free(db);
	PQfinish(db->conn);
	db->conn = NULL;
}

static void wait_for_round(struct db *db)
{
	size_t last = ARRAY_LEN(wait_ms) - 1;
	int base = wait_ms[db->rounds < last ? db->rounds : last];

	db->state = STATE_WAITING;
	db->rounds++;
	/* Three quarters to five quarters, so that many clients do not come back at once. */
	loop_timer_start(db->timer, base * 3 / 4 + (int)(clock_random() % (unsigned)(base / 2 + 1)));
}

/* The link that was up is gone. The owner hears of it before the queries do, so that none of them sends on.
 */
static void drop(struct db *db, char *why)
{
	struct list lost = LIST_INIT(lost);
	struct list *node;

	mem_set_str(&db->why, why);
	close_connection(db);
	if (loop_now_ms(db->loop) - db->up_ms >= STABLE_MS)
		db->rounds = 0;
	wait_for_round(db);
	while ((node = list_pop_front(&db->sent)))
		list_push_back(&lost, node);
	db->depth++;
	tell_link(db, false, db->why);
	while (!list_is_empty(&lost))
		query_lose(db, list_entry(lost.next, struct query, node), "the connection was lost");
	leave(db);
}

static void attempt_failed(struct db *db, char *why)
{
	mem_set_str(&db->why, why);
	close_connection(db);
	db->target++;
	if (db->target < db->address.count) {
		try_target(db);
		return;
	}
	wait_for_round(db);
	db->depth++;
	tell_link(db, false, db->why);
	leave(db);
}

static void flush(struct db *db)
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

static bool is_error(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK;
}

static void tell_reply(struct query *query)
{
	struct db_rows rows = { .result = query->result };
	struct db_reply reply = { .status = DB_OK, .sqlstate = "", .message = "", .rows = &rows };
	AUTO(mem_free_str) char *message = NULL;
	const char *sqlstate, *text;

	if (!query->result || is_error(query->result)) {
		sqlstate = query->result ? PQresultErrorField(query->result, PG_DIAG_SQLSTATE) : NULL;
		message = query->result
				  ? mem_strdup(PQresultErrorField(query->result, PG_DIAG_MESSAGE_PRIMARY))
				  : NULL;
		if (!message)
			message = mem_strdup("the server gave no result");
		message[strcspn(message, "\n")] = '\0';
		reply = (struct db_reply){
			.status = DB_REFUSED,
			.sqlstate = sqlstate ? sqlstate : "XX000",
			.message = message,
		};
	}
	query->fn(query->arg, &reply);
}

/* The Sync of the first query came: its fate is known. */
static void settle_first(struct db *db)
{
	struct query *query;

	if (list_is_empty(&db->sent))
		return;
	query = list_entry(list_pop_front(&db->sent), struct query, node);
	db->sent_count--;
	db->sent_bytes -= query->bytes;
	tell_reply(query);
	PQclear(query->result);
	mem_free(&query);
}

/* Keeps the result for the first query. False = it ended the session. */
static bool take_result(struct db *db, PGresult *result)
{
	struct query *query;

	if (ends_session(result) || list_is_empty(&db->sent)) {
		const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
		char *why = first_line(text ? text : "an answer that nobody asked for");

		PQclear(result);
		drop(db, why);
		return false;
	}
	query = list_entry(db->sent.next, struct query, node);
	if (query->result && !is_error(result)) {
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
			drop(db, first_line(PQerrorMessage(db->conn)));
		else
			flush(db);
	}
	leave(db);
}

static void come_up(struct db *db)
{
	if (!PQenterPipelineMode(db->conn)) {
		attempt_failed(db, mem_strdup("the connection is not idle after its first statements"));
		return;
	}
	loop_timer_stop(db->timer);
	db->state = STATE_UP;
	db->up_ms = loop_now_ms(db->loop);
	db->depth++;
	tell_link(db, true, NULL);
	leave(db);
}

/* Runs on_connect's statements one after the other. */
static void prepare(struct db *db)
{
	PGresult *result;

	if (!PQconsumeInput(db->conn)) {
		attempt_failed(db, first_line(PQerrorMessage(db->conn)));
		return;
	}
	while (!PQisBusy(db->conn)) {
		result = PQgetResult(db->conn);
		if (result) {
			bool failed = is_error(result);
			char *why = failed ? first_line(PQresultErrorMessage(result)) : NULL;

			PQclear(result);
			if (!failed)
				continue;
			attempt_failed(db, why);
			return;
		}
		if (!db->on_connect || !db->on_connect[db->prepared]) {
			come_up(db);
			return;
		}
		if (!PQsendQuery(db->conn, db->on_connect[db->prepared++])) {
			attempt_failed(db, first_line(PQerrorMessage(db->conn)));
			return;
		}
	}
	flush(db);
}

static void on_socket(void *arg, unsigned events);

/* The socket may be another one after each step. */
static void poll_connection(struct db *db)
{
	PostgresPollingStatusType status;

	loop_fd_free(&db->watch);
	status = PQconnectPoll(db->conn);
	if (status == PGRES_POLLING_FAILED) {
		attempt_failed(db, first_line(PQerrorMessage(db->conn)));
		return;
	}
	loop_fd_new(db->loop, PQsocket(db->conn), status == PGRES_POLLING_WRITING ? LOOP_WRITE : LOOP_READ,
		    on_socket, db, &db->watch);
	if (status != PGRES_POLLING_OK)
		return;
	if (PQsetnonblocking(db->conn, 1) != 0) {
		attempt_failed(db, first_line(PQerrorMessage(db->conn)));
		return;
	}
	db->state = STATE_PREPARING;
	db->prepared = 0;
	prepare(db);
}

static void on_socket(void *arg, unsigned events)
{
	struct db *db = arg;

	(void)events;
	if (db->state == STATE_CONNECTING)
		poll_connection(db);
	else if (db->state == STATE_PREPARING)
		prepare(db);
	else
		pump(db);
}

static void on_notice(void *arg, const PGresult *result)
{
	const struct db *db = arg;
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	log_debug("db.notice", "connection=%s text=\"%s\"", db->name, text ? text : "");
}

static void try_target(struct db *db)
{
	db->state = STATE_CONNECTING;
	db->conn = db_address_connect(&db->address, db->target, db->name);
	loop_timer_start(db->timer, db->address.timeout_ms);
	if (!db->conn || PQstatus(db->conn) == CONNECTION_BAD) {
		attempt_failed(db, first_line(db->conn ? PQerrorMessage(db->conn) : "out of memory"));
		return;
	}
	PQsetNoticeReceiver(db->conn, on_notice, db);
	/* libpq wants the first wait to be for writing. */
	loop_fd_new(db->loop, PQsocket(db->conn), LOOP_WRITE, on_socket, db, &db->watch);
}

static void next_host(struct db *db);

static void on_addresses(void *arg, const char *const *addresses, size_t count, const char *error)
{
	struct db *db = arg;

	db->resolve = NULL;
	for (size_t i = 0; i < count; i++)
		db_address_add(&db->address, &db->hosts[db->host], addresses[i]);
	if (count == 0)
		mem_set_str(&db->why, mem_printf("host \"%s\": %s", db->hosts[db->host].host, error));
	db->host++;
	next_host(db);
}

static void next_host(struct db *db)
{
	for (; db->host < db->host_count; db->host++) {
		const struct db_target *host = &db->hosts[db->host];

		if (host->host && !host->hostaddr && resolve_is_needed(host->host)) {
			loop_timer_start(db->timer, db->address.timeout_ms);
			resolve_start(db->loop, host->host, on_addresses, db, &db->resolve);
			return;
		}
		db_address_add(&db->address, host, host->hostaddr);
	}
	hosts_free(db);
	db->target = 0;
	if (db->address.count > 0)
		try_target(db);
	else
		attempt_failed(db, mem_strdup(db->why));
}

static void begin_round(struct db *db)
{
	db->state = STATE_RESOLVING;
	db_address_clear(&db->address);
	hosts_free(db);
	db_address_hosts(&db->address, &db->hosts, &db->host_count);
	db->host = 0;
	next_host(db);
}

static void on_timer(void *arg)
{
	struct db *db = arg;

	switch (db->state) {
	case STATE_IDLE:
		break;
	case STATE_WAITING:
		begin_round(db);
		break;
	case STATE_RESOLVING:
		/* The next host may be known. */
		resolve_cancel(&db->resolve);
		on_addresses(db, NULL, 0, "the name server does not answer");
		break;
	case STATE_CONNECTING:
	case STATE_PREPARING:
		attempt_failed(db, mem_printf("no answer within %d ms", db->address.timeout_ms));
		break;
	case STATE_UP:
		drop(db, first_line(PQerrorMessage(db->conn)));
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
	close_connection(db);
	db->state = STATE_IDLE;
	db->link = NULL;
	db->dead = true;
	db->depth++;
	while (!list_is_empty(&db->sent))
		query_lose(db, list_entry(db->sent.next, struct query, node), "the connection was closed");
	loop_timer_free(&db->timer);
	db_address_free(&db->address);
	mem_free(&db->name);
	mem_free(&db->why);
	leave(db);
}

bool db_is_up(const struct db *db)
{
	return db->state == STATE_UP;
}

void db_connect(struct db *db)
{
	if (db->state == STATE_IDLE)
		begin_round(db);
}

int db_query(struct db *db, const char *sql, struct db_params *params, db_reply_fn *fn, void *arg)
{
	AUTO(db_params_free) struct db_params *taken = params;
	size_t bytes = QUERY_OVERHEAD + (params ? params->bytes : 0);
	struct query *query;

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
		flush(db);
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
