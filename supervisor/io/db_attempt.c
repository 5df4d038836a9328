/* Getting a connection up: names to addresses, one address after the other, then the first statements.
 *
 * A round goes over all addresses of all hosts. An attempt that fails goes on to the next address at once; a
 * round that fails is told to the owner, and the next one waits. */

#include "io/db_private.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/resolve.h"

/* Waits before the next round, after 0, 1, … failed rounds; the last for all beyond. */
static const int wait_ms[] = { 50, 100, 200, 400, 800, 1500, 3000 };

static void try_target(struct db *db);

static void hosts_free(struct db *db)
{
	for (size_t i = 0; i < db->host_count; i++)
		db_target_free(&db->hosts[i]);
	mem_free(&db->hosts);
	db->host_count = 0;
}

void db_attempt_close(struct db *db)
{
	loop_fd_free(&db->watch);
	loop_timer_stop(db->timer);
	resolve_cancel(&db->resolve);
	hosts_free(db);
	PQfinish(db->conn);
	db->conn = NULL;
}

void db_attempt_wait(struct db *db)
{
	size_t last = ARRAY_LEN(wait_ms) - 1;
	int base = wait_ms[db->rounds < last ? db->rounds : last];

	db->state = STATE_WAITING;
	db->rounds++;
	/* Three quarters to five quarters, so that many clients do not come back at once. */
	loop_timer_start(db->timer, base * 3 / 4 + (int)(clock_random() % (unsigned)(base / 2 + 1)));
}

void db_attempt_failed(struct db *db, char *why)
{
	mem_set_str(&db->why, why);
	db_attempt_close(db);
	db->target++;
	if (db->target < db->address.count) {
		try_target(db);
		return;
	}
	db_attempt_wait(db);
	db->depth++;
	db_tell_link(db, false, db->why);
	db_leave(db);
}

static void come_up(struct db *db)
{
	if (!PQenterPipelineMode(db->conn)) {
		db_attempt_failed(db, mem_strdup("the connection is not idle after its first statements"));
		return;
	}
	loop_timer_stop(db->timer);
	db->state = STATE_UP;
	db->up_ms = loop_now_ms(db->loop);
	db->depth++;
	db_tell_link(db, true, NULL);
	db_leave(db);
}

/* Runs on_connect's statements one after the other. */
static void prepare(struct db *db)
{
	PGresult *result;

	if (!PQconsumeInput(db->conn)) {
		db_attempt_failed(db, db_first_line(PQerrorMessage(db->conn)));
		return;
	}
	while (!PQisBusy(db->conn)) {
		result = PQgetResult(db->conn);
		if (result) {
			bool failed = db_is_error(result);
			char *why = failed ? db_first_line(PQresultErrorMessage(result)) : NULL;

			PQclear(result);
			if (!failed)
				continue;
			db_attempt_failed(db, why);
			return;
		}
		if (!db->on_connect || !db->on_connect[db->prepared]) {
			come_up(db);
			return;
		}
		if (!PQsendQuery(db->conn, db->on_connect[db->prepared++])) {
			db_attempt_failed(db, db_first_line(PQerrorMessage(db->conn)));
			return;
		}
	}
	db_flush(db);
}

/* The socket may be another one after each step. */
static void poll_connection(struct db *db)
{
	PostgresPollingStatusType status;

	loop_fd_free(&db->watch);
	status = PQconnectPoll(db->conn);
	if (status == PGRES_POLLING_FAILED) {
		db_attempt_failed(db, db_first_line(PQerrorMessage(db->conn)));
		return;
	}
	loop_fd_new(db->loop, PQsocket(db->conn), status == PGRES_POLLING_WRITING ? LOOP_WRITE : LOOP_READ,
		    db_on_socket, db, &db->watch);
	if (status != PGRES_POLLING_OK)
		return;
	if (PQsetnonblocking(db->conn, 1) != 0) {
		db_attempt_failed(db, db_first_line(PQerrorMessage(db->conn)));
		return;
	}
	db->state = STATE_PREPARING;
	db->prepared = 0;
	prepare(db);
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
		db_attempt_failed(db, db_first_line(db->conn ? PQerrorMessage(db->conn) : "out of memory"));
		return;
	}
	PQsetNoticeReceiver(db->conn, on_notice, db);
	/* libpq wants the first wait to be for writing. */
	loop_fd_new(db->loop, PQsocket(db->conn), LOOP_WRITE, db_on_socket, db, &db->watch);
}

static void next_host(struct db *db);

static void on_addresses(void *arg, const char *const *addresses, size_t count, const char *error)
{
	struct db *db = arg;

	db->resolve = NULL;
	for (size_t i = 0; i < count; i++)
		db_address_add(&db->address, &db->hosts[db->host], addresses[i]);
	if (count == 0)
		mem_set_str(&db->why, mem_printf("host '%s': %s", db->hosts[db->host].host, error));
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
		db_attempt_failed(db, mem_strdup(db->why));
}

void db_attempt_round(struct db *db)
{
	db->state = STATE_RESOLVING;
	db_address_clear(&db->address);
	hosts_free(db);
	db_address_hosts(&db->address, &db->hosts, &db->host_count);
	db->host = 0;
	next_host(db);
}

void db_attempt_step(struct db *db)
{
	if (db->state == STATE_CONNECTING)
		poll_connection(db);
	else if (db->state == STATE_PREPARING)
		prepare(db);
}

void db_attempt_expired(struct db *db)
{
	if (db->state == STATE_RESOLVING) {
		/* The next host may be known. */
		resolve_cancel(&db->resolve);
		on_addresses(db, NULL, 0, "the name server does not answer");
		return;
	}
	db_attempt_failed(db, mem_printf("no answer within %d ms", db->address.timeout_ms));
}
