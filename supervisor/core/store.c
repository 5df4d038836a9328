/* The store's connections and readiness. store_boot.c brings the database up to date, store_claim.c takes
 * work out, store_journal.c, store_rows.c and store_batch.c bring results in, store_upkeep.c does what
 * recurs, store_beat.c beats, store_events.c keeps the record. */

#include "core/store.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/store_private.h"
#include "io/db.h"
#include "io/loop.h"
#include "io/spool.h"

bool store_is_booted(const struct store *store)
{
	return store->boot == BOOT_DONE;
}

bool store_is_ready(const struct store *store)
{
	return store->ready;
}

const char *store_why_not_ready(const struct store *store)
{
	return store->ready ? "" : store->why;
}

struct db *store_control_db(struct store *store)
{
	return store->control;
}

int64_t store_node_id(const struct store *store)
{
	return store->node_id;
}

const char *store_trouble(const struct store *store)
{
	if (store->fenced)
		return "no heartbeat has reached the database for so long that other nodes may have our work";
	return spool_trouble(store->spool);
}

bool store_is_holding(const struct store *store)
{
	return store->fenced || spool_is_holding(store->spool);
}

void store_spool_stat(const struct store *store, struct spool_stat *ret)
{
	spool_stat(store->spool, ret);
}

const char *store_database_id(const struct store *store)
{
	const char *id = spool_database(store->spool);

	return id[0] != '\0' ? id : NULL;
}

void store_configure_spool(struct store *store, int64_t max_bytes, int64_t keep_ms)
{
	spool_configure(store->spool, max_bytes, keep_ms);
}

bool store_answered(const struct store *store, const struct db_reply *reply, const char *what)
{
	if (store->closing || reply->status == DB_LOST)
		return false;
	if (reply->status == DB_REFUSED)
		log_warning("store.refused", "what=%s sqlstate=%s why=\"%s\"", what, reply->sqlstate,
			    reply->message);
	return reply->status == DB_OK;
}

void store_wake(const struct store *store)
{
	if (store->options.on_wake)
		store->options.on_wake(store->options.arg);
}

static void become_ready(struct store *store)
{
	store->ready = store->was_ready = true;
	mem_set_str(&store->why, mem_strdup(""));
	log_info("store.up", "node=%lld", (long long)store->node_id);
	if (store->options.on_state)
		store->options.on_state(store->options.arg, true, "");
	store_upkeep_begin(store);
	store_batch_send(store, false);
}

void store_set_why(struct store *store, const char *why)
{
	bool same = !store->ready && strcmp(store->why, why) == 0;

	if (same || store->closing)
		return;
	mem_set_str(&store->why, mem_strdup(why));
	/* One line for the outage, then one for each new reason that it goes on. */
	if (store->was_ready)
		log_warning("store.down", "why=\"%s\"", why);
	else
		log_info("store.waiting", "why=\"%s\"", why);
	store->ready = store->was_ready = false;
	store->good_beats = 0;
	store_upkeep_stop(store);
	if (store->options.on_state)
		store->options.on_state(store->options.arg, false, store->why);
}

void store_set_ready(struct store *store, bool booted)
{
	if (store->ready || !booted)
		return;
	if (!db_is_up(store->control)) {
		store_set_why(store, "waiting for the second connection");
		return;
	}
	become_ready(store);
}

static void on_queue_link(void *arg, bool up, const char *why)
{
	struct store *store = arg;

	if (up) {
		store_boot_begin(store);
		return;
	}
	store_boot_lost(store);
	store_set_why(store, why);
}

static void on_control_link(void *arg, bool up, const char *why)
{
	struct store *store = arg;

	if (up)
		store_set_ready(store, store_is_booted(store));
	else if (store_is_booted(store))
		store_set_why(store, why);
}

static void on_beat_link(void *arg, bool up, const char *why)
{
	struct store *store = arg;

	mem_set_str(&store->beat_why, up ? NULL : mem_strdup(why));
	if (up)
		store_beat_soon(store);
	else
		store->good_beats = 0;
}

static void on_grants_link(void *arg, bool up, const char *why)
{
	(void)arg;
	if (!up)
		log_debug("store.grants", "why=\"%s\"", why);
}

static int connect_all(struct store *store, const char *url)
{
	struct db_options queue = {
		.url = url, .name = "proctord queue", .link = on_queue_link, .arg = store
	};
	struct db_options control = {
		.url = url, .name = "proctord control", .link = on_control_link, .arg = store
	};
	struct db_options beat = {
		.url = url, .name = "proctord heartbeat", .link = on_beat_link, .arg = store
	};
	static const char *const grants_patience[] = { "SET statement_timeout = '2s'", NULL };
	struct db_options grants = { .url = url,
				     .name = "proctord grants",
				     .on_connect = grants_patience,
				     .link = on_grants_link,
				     .arg = store };
	int error = db_new(store->loop, &queue, &store->queue);

	if (error == 0)
		error = db_new(store->loop, &control, &store->control);
	if (error == 0)
		error = db_new(store->loop, &beat, &store->beat);
	if (error == 0 && store->options.shared)
		error = db_new(store->loop, &grants, &store->grants);
	return error;
}

int store_new(struct loop *loop, const struct store_options *options, struct store **ret, char **ret_error)
{
	struct store *store = mem_alloc(sizeof(*store));
	int error;

	store->loop = loop;
	store->options = *options;
	store->options.url = NULL; /* holds the password; the connections have it */
	store->options.sql_dir = mem_strdup(options->sql_dir);
	store->options.node_name = mem_strdup(options->node_name);
	store->options.state_id = mem_strdup(options->state_id);
	store->options.spool_dir = mem_strdup(options->spool_dir);
	store->why = mem_strdup("not connected yet");
	store_boot_new(store);
	store_claim_new(store);
	store_rows_new(store);
	store_batch_new(store);
	store_upkeep_new(store);
	store_beat_new(store);
	store_events_new(store);
	error = store_journal_open(store, ret_error);
	if (error == 0) {
		error = connect_all(store, options->url);
		if (error != 0)
			*ret_error = mem_printf("[database] url: %s", strerror(-error));
	}
	if (error != 0) {
		store_free(&store);
		return error;
	}
	*ret = store;
	return 0;
}

void store_free(struct store **ref)
{
	struct store *store = *ref;

	if (!store)
		return;
	*ref = NULL;
	/* The replies that this loses find `closing` set, and call nobody. */
	store->closing = true;
	db_free(&store->queue);
	db_free(&store->control);
	db_free(&store->beat);
	db_free(&store->grants);
	store_events_free(store);
	store_beat_free(store);
	store_upkeep_free(store);
	store_batch_free(store);
	store_rows_free(store);
	store_journal_free(store);
	store_claim_free(store);
	store_boot_free(store);
	mem_free(&store->options.sql_dir);
	mem_free(&store->options.node_name);
	mem_free(&store->options.state_id);
	mem_free(&store->options.spool_dir);
	mem_free(&store->why);
	mem_free(&store->beat_why);
	mem_free(&store);
}

void store_start(struct store *store)
{
	db_connect(store->queue);
	db_connect(store->control);
	db_connect(store->beat);
	if (store->grants)
		db_connect(store->grants);
}

void store_rest(struct store *store, const char *why)
{
	db_rest(store->queue, why);
	db_rest(store->control, why);
	db_rest(store->beat, why);
	if (store->grants)
		db_rest(store->grants, why);
	store_boot_lost(store);
	store_set_why(store, why);
	store->node_id = 0;
	store_claim_new_database(store);
}
