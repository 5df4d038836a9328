/* From a fresh connection to a database that is up to date and knows this node.
 *
 * Each step is one query, whose answer starts the next: versions, applied migrations, each missing migration,
 * the node. A step that fails is told as the reason, and all of it is tried again later. */

#include "core/store_private.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/loop.h"

enum {
	SERVER_MIN = 140000, /* pipelines of functions that return rows, lz4 columns, jsonb as used here */
	MIGRATION_BYTES_MAX = 1 << 20,
	RETRY_MS = 5000,
};

/* One file of the folder, NNNN_name.sql. */
struct store_migration {
	int version;
	char *name; /* without number and ending */
	char *file;
	bool applied;
};

static void ask_versions(void *arg);

void store_boot_new(struct store *store)
{
	loop_timer_new(store->loop, ask_versions, store, &store->boot_timer);
}

static void migrations_free(struct store *store)
{
	for (size_t i = 0; i < store->migration_count; i++) {
		mem_free(&store->migrations[i].name);
		mem_free(&store->migrations[i].file);
	}
	mem_free(&store->migrations);
	store->migration_count = 0;
}

void store_boot_free(struct store *store)
{
	loop_timer_free(&store->boot_timer);
	migrations_free(store);
}

static void fail(struct store *store, char *why)
{
	store_set_why(store, why);
	mem_free(&why);
	if (store->boot == BOOT_WORKING || store->boot == BOOT_REPLAYING) {
		store->boot = BOOT_WORKING;
		loop_timer_start(store->boot_timer, RETRY_MS);
	}
}

/* True for an answer to go on with; else the failure is dealt with. A lost answer needs nothing: the link is
 * down. */
static bool answered(struct store *store, const struct db_reply *reply, const char *step)
{
	if (store->closing || reply->status == DB_LOST)
		return false;
	if (reply->status == DB_OK)
		return true;
	fail(store, mem_printf("%s: %s (SQLSTATE %s)", step, reply->message, reply->sqlstate));
	return false;
}

static void ask(struct store *store, const char *sql, struct db_params *params, db_reply_fn *fn)
{
	if (db_query(store->queue, sql, params, fn, store) != 0)
		fail(store, mem_strdup("the connection does not take queries"));
}

static void finish_boot(struct store *store)
{
	store->boot = BOOT_DONE;
	store->fresh_node = false;
	store_set_ready(store, true);
}

bool store_is_joined(const struct store *store)
{
	return store->boot == BOOT_REPLAYING || store->boot == BOOT_DONE;
}

static void on_today(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;
	struct store_spent *spent;
	size_t count;

	if (!answered(store, reply, "asking what was spent today"))
		return;
	count = db_rows_count(reply->rows);
	spent = mem_array(count + 1, sizeof(*spent));
	for (size_t i = 0; i < count; i++)
		spent[i] = (struct store_spent){
			.lane = db_text(reply->rows, i, 1, NULL),
			.model_id = db_text(reply->rows, i, 2, NULL),
			.calls = db_int(reply->rows, i, 3),
			.cost_e10 = db_int(reply->rows, i, 4),
		};
	store->today_told = true;
	if (count > 0 && store->options.on_today)
		store->options.on_today(store->options.arg, db_int(reply->rows, 0, 0), spent, count);
	mem_free(&spent);
	finish_boot(store);
}

static void on_taken_back(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!answered(store, reply, "taking back what this folder held"))
		return;
	CRASH_POINT("store.taken_back");
	log_info("store.registered", "node=%lld taken_back=%lld", (long long)store->node_id,
		 (long long)db_int(reply->rows, 0, 0));
	if (store->today_told)
		finish_boot(store);
	else
		ask(store, "SELECT * FROM spent_today()", NULL, on_today);
}

static void on_still_held(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!answered(store, reply, "asking for our leases"))
		return;
	store_claim_tell_lost(store, reply);
	finish_boot(store);
}

static void on_reconciled(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!answered(store, reply, "giving back lost claims"))
		return;
	if (db_int(reply->rows, 0, 0) > 0)
		log_info("store.lost_claims", "given_back=%lld", (long long)db_int(reply->rows, 0, 0));
	if (!store->options.shared)
		finish_boot(store); /* nobody else takes what is ours */
	else if (store_claim_ask_held(store, store->queue, on_still_held) != 0)
		fail(store, mem_strdup("the connection does not take queries"));
}

/* The spool is empty, or what it had is in the database: now the leases. Not before, because what is replayed
 * may end jobs whose leases are ours still. */
static void settle_leases(struct store *store)
{
	struct db_params *params;

	if (!store->fresh_node) {
		if (store_claim_reconcile(store, on_reconciled) != 0)
			fail(store, mem_strdup("the connection does not take queries"));
		return;
	}
	params = db_params_new();
	db_param_int(params, store->node_id);
	db_param_text(params, store->options.state_id);
	ask(store, "SELECT take_back_earlier($1, $2)", params, on_taken_back);
}

void store_boot_replayed(struct store *store)
{
	if (store->boot != BOOT_REPLAYING)
		return;
	CRASH_POINT("store.replayed");
	log_info("store.replayed", "seq=%llu", (unsigned long long)store->newest);
	settle_leases(store);
}

static void replay(struct store *store)
{
	store->boot = BOOT_REPLAYING;
	store_beat_joined(store);
	if (!store->replaying) {
		settle_leases(store);
		return;
	}
	store_set_why(store, "sending what the spool holds");
	store_journal_more(store);
	store_batch_send(store, true);
}

static void on_joined(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!answered(store, reply, "registering this node"))
		return;
	CRASH_POINT("store.joined");
	store->node_id = db_int(reply->rows, 0, 0);
	store->fresh_node = true;
	replay(store);
}

void store_boot_register(struct store *store)
{
	struct db_params *params = db_params_new();

	store->boot = BOOT_WORKING;
	store->node_id = 0;
	db_param_text(params, store->options.node_name);
	db_param_text(params, store->options.state_id);
	ask(store, "SELECT join_node($1, $2)", params, on_joined);
}

static void on_identity(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;
	char *why;

	if (!answered(store, reply, "asking which database this is"))
		return;
	if (db_bool(reply->rows, 0, 2)) {
		fail(store,
		     mem_strdup("the server takes no writes (default_transaction_read_only, or a standby)"));
		return;
	}
	if (store_journal_meet(store, db_text(reply->rows, 0, 0, NULL), db_text(reply->rows, 0, 1, NULL),
			       &why) < 0) {
		fail(store, why);
		return;
	}
	if (store->node_id == 0)
		store_boot_register(store);
	else
		replay(store);
}

static void join(struct store *store)
{
	ask(store, "SELECT database_id, timeline, read_only FROM server_identity()", NULL, on_identity);
}

static void apply_next(struct store *store);

static void on_applied(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;
	struct store_migration *m = &store->migrations[store->migration];
	char step[300];

	snprintf(step, sizeof(step), "migration %s", m->file);
	if (!answered(store, reply, step))
		return;
	log_info("store.migrated", "version=%d name=%s", m->version, m->name);
	m->applied = true;
	apply_next(store);
}

/* One statement, so one transaction, whichever daemon comes first: the lock makes the others wait, then see
 * it done. */
static char *apply_sql(const struct store_migration *m, const char *text)
{
	return mem_printf(
		"DO $proctor_migration$\n"
		"DECLARE\n"
		"	done boolean := false;\n"
		"BEGIN\n"
		"	PERFORM pg_advisory_xact_lock(7305808869231650927);\n"
		"	IF to_regclass('schema_migrations') IS NOT NULL THEN\n"
		"		SELECT EXISTS (SELECT FROM schema_migrations WHERE version = %d) INTO done;\n"
		"	END IF;\n"
		"	IF NOT done THEN\n"
		"		EXECUTE $proctor_file$%s$proctor_file$;\n"
		"		INSERT INTO schema_migrations (version, name) VALUES (%d, '%s');\n"
		"	END IF;\n"
		"END $proctor_migration$",
		m->version, text, m->version, m->name);
}

static void apply(struct store *store, const struct store_migration *m)
{
	AUTO(mem_free_str) char *path = mem_printf("%s/%s", store->options.sql_dir, m->file);
	AUTO(mem_free_str) char *text = NULL;
	AUTO(mem_free_str) char *sql = NULL;
	size_t len;
	int error = fd_read_file(path, MIGRATION_BYTES_MAX, &text, &len);

	if (error != 0) {
		fail(store, mem_printf("cannot read %s: %s", path, strerror(-error)));
		return;
	}
	sql = apply_sql(m, text);
	ask(store, sql, NULL, on_applied);
}

static void apply_next(struct store *store)
{
	for (store->migration = 0; store->migration < store->migration_count; store->migration++) {
		if (!store->migrations[store->migration].applied) {
			apply(store, &store->migrations[store->migration]);
			return;
		}
	}
	join(store);
}

int store_newest_schema(const struct store *store)
{
	return store->migration_count > 0 ? store->migrations[store->migration_count - 1].version : 0;
}

static struct store_migration *find_migration(struct store *store, int64_t version)
{
	for (size_t i = 0; i < store->migration_count; i++)
		if (store->migrations[i].version == version)
			return &store->migrations[i];
	return NULL;
}

static void on_migrations(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!answered(store, reply, "reading schema_migrations"))
		return;
	for (size_t i = 0; i < db_rows_count(reply->rows); i++) {
		int64_t version = db_int(reply->rows, i, 0);
		struct store_migration *m = find_migration(store, version);

		if (!m) {
			fail(store, mem_printf("the database has schema version %lld (%s), which is not in "
					       "%s: it belongs to "
					       "a newer Proctor, install that one",
					       (long long)version, db_text(reply->rows, i, 1, NULL),
					       store->options.sql_dir));
			return;
		}
		m->applied = true;
	}
	apply_next(store);
}

/* Takes the file name NNNN_name.sql apart; false for any other. */
static bool parse_name(const char *file, struct store_migration *ret)
{
	const char *name = file + 5, *end = strrchr(file, '.');

	for (int i = 0; i < 4; i++)
		if (!isdigit((unsigned char)file[i]))
			return false;
	if (file[4] != '_' || !end || strcmp(end, ".sql") != 0 || end == name)
		return false;
	for (const char *c = name; c < end; c++)
		if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_')
			return false;
	*ret = (struct store_migration){
		.version = atoi(file),
		.name = mem_strndup(name, (size_t)(end - name)),
		.file = mem_strdup(file),
	};
	return true;
}

static int by_version(const void *a, const void *b)
{
	return ((const struct store_migration *)a)->version - ((const struct store_migration *)b)->version;
}

/* Lists the folder; false with the reason told. */
static bool list_migrations(struct store *store)
{
	DIR *dir = opendir(store->options.sql_dir);
	struct store_migration m;

	migrations_free(store);
	if (!dir) {
		fail(store, mem_printf("cannot read the folder of migrations %s: %s", store->options.sql_dir,
				       strerror(errno)));
		return false;
	}
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		if (!parse_name(entry->d_name, &m))
			continue;
		store->migrations = mem_resize(store->migrations, store->migration_count + 1,
					       sizeof(*store->migrations));
		store->migrations[store->migration_count++] = m;
	}
	closedir(dir);
	if (store->migration_count == 0) {
		fail(store, mem_printf("no migrations in %s", store->options.sql_dir));
		return false;
	}
	qsort(store->migrations, store->migration_count, sizeof(*store->migrations), by_version);
	return true;
}

static void on_versions(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!answered(store, reply, "asking for the server's version"))
		return;
	if (db_int(reply->rows, 0, 0) < SERVER_MIN) {
		fail(store, mem_printf("the server is PostgreSQL %s: 14 or newer is needed",
				       db_text(reply->rows, 0, 1, NULL)));
		return;
	}
	if (db_bool(reply->rows, 0, 3)) {
		fail(store,
		     mem_strdup("the server is a read-only standby: name the primary, or all hosts with "
				"target_session_attrs=read-write"));
		return;
	}
	if (!list_migrations(store))
		return;
	if (db_bool(reply->rows, 0, 2))
		ask(store, "SELECT version, name FROM schema_migrations ORDER BY version", NULL,
		    on_migrations);
	else
		apply_next(store);
}

static void ask_versions(void *arg)
{
	struct store *store = arg;

	ask(store,
	    "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), "
	    "to_regclass('schema_migrations') IS NOT NULL, pg_is_in_recovery()",
	    NULL, on_versions);
}

void store_boot_begin(struct store *store)
{
	store->boot = BOOT_WORKING;
	ask_versions(store);
}

void store_boot_lost(struct store *store)
{
	store->boot = BOOT_DOWN;
	loop_timer_stop(store->boot_timer);
}
