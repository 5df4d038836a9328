/* What the store does again and again while it is ready: reads the active pairs, promotes delayed jobs when
 * they are due, cancels in chunks, removes what is too old, beats. Each sort has at most one query under way;
 * when nothing is active, the busiest of them runs every 5 s. */

#include "core/store_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/loop.h"

enum {
	PAIRS_ACTIVE_MS = 2000,
	PAIRS_IDLE_MS = 5000,
	PAIRS_SOON_MS = 10, /* several commands in a row cause one reading */
	PROMOTE_MIN_MS = 50,
	PROMOTE_MAX_MS = 5000, /* other nodes put jobs off too */
	PROMOTE_ROWS = 500,
	CANCEL_ROWS = 2000,
	PRUNE_ROWS = 1000,	    /* a statement: short enough to be in nobody's way */
	PRUNE_PAUSE_MS = 200,	    /* between two statements of a row */
	PRUNE_FIRST_MS = 5 * 60000, /* a start has better things to do */
	PRUNE_EVERY_MS = 60 * 60000,
};

/* A run whose queued jobs are being cancelled. */
struct cancel {
	struct list node;
	struct store *store;
	char *run_id;
};

static void ask_pairs(void *arg);
static void promote(void *arg);
static void prune(void *arg);

void store_upkeep_new(struct store *store)
{
	list_init(&store->cancels);
	loop_timer_new(store->loop, ask_pairs, store, &store->pairs_timer);
	loop_timer_new(store->loop, promote, store, &store->promote_timer);
	loop_timer_new(store->loop, prune, store, &store->prune_timer);
	store->prune_due_ms = loop_now_ms(store->loop) + PRUNE_FIRST_MS;
}

static void cancel_free(struct cancel *cancel)
{
	list_remove(&cancel->node);
	mem_free(&cancel->run_id);
	mem_free(&cancel);
}

void store_upkeep_free(struct store *store)
{
	loop_timer_free(&store->pairs_timer);
	loop_timer_free(&store->promote_timer);
	loop_timer_free(&store->prune_timer);
	while (!list_is_empty(&store->cancels))
		cancel_free(list_entry(store->cancels.next, struct cancel, node));
}

/* The due time outlives losses of the connection: else one that is lost often would never prune. */
static void wait_to_prune(struct store *store)
{
	int64_t left_ms = store->prune_due_ms - loop_now_ms(store->loop);

	loop_timer_start(store->prune_timer, left_ms > 0 ? left_ms : 0);
}

void store_upkeep_begin(struct store *store)
{
	loop_timer_start(store->pairs_timer, 0);
	loop_timer_start(store->promote_timer, 0);
	wait_to_prune(store);
	store_events_send(store);
}

void store_upkeep_stop(struct store *store)
{
	loop_timer_stop(store->pairs_timer);
	loop_timer_stop(store->promote_timer);
	loop_timer_stop(store->prune_timer);
}

/* Pairs. */

static void tell_pairs(struct store *store, const struct db_rows *rows)
{
	size_t count = db_rows_count(rows);
	struct store_pair *pairs = mem_array(count + 1, sizeof(*pairs));

	for (size_t i = 0; i < count; i++) {
		pairs[i] = (struct store_pair){
			.run_id = db_text(rows, i, 0, NULL),
			.model_id = db_text(rows, i, 1, NULL),
			.lane = db_text(rows, i, 2, NULL),
			.priority = (int)db_int(rows, i, 3),
			.paused = db_bool(rows, i, 4),
			.cancelling = db_bool(rows, i, 5),
			.run_status = db_text(rows, i, 6, NULL),
			.budget_e10 = db_int(rows, i, 7),
			.spent_e10 = db_int(rows, i, 8),
		};
		/* Also after a restart in the middle, or for a job that came back to the queue meanwhile. */
		if (pairs[i].cancelling)
			store_cancel_run(store, pairs[i].run_id);
	}
	store->active_pairs = count;
	store_claim_trim(store, count);
	if (store->options.on_pairs)
		store->options.on_pairs(store->options.arg, pairs, count);
	mem_free(&pairs);
}

static void on_pairs(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	store->pairs_asked = false;
	if (store_answered(store, reply, "pairs"))
		tell_pairs(store, reply->rows);
	if (!store->ready || store->closing)
		return;
	loop_timer_start(store->pairs_timer, store->pairs_again	       ? PAIRS_SOON_MS
					     : store->active_pairs > 0 ? PAIRS_ACTIVE_MS
								       : PAIRS_IDLE_MS);
}

static void ask_pairs(void *arg)
{
	struct store *store = arg;

	if (store->pairs_asked)
		return;
	store->pairs_again = false;
	store->pairs_asked = db_query(store->queue, "SELECT * FROM active_pairs()", NULL, on_pairs, store) ==
			     0;
	if (!store->pairs_asked)
		loop_timer_start(store->pairs_timer, PAIRS_ACTIVE_MS);
}

void store_reload_pairs(struct store *store)
{
	/* An answer under way may have been read before the change. */
	store->pairs_again = true;
	if (store->ready && !store->pairs_asked)
		loop_timer_start_by(store->pairs_timer, PAIRS_SOON_MS);
}

/* Delayed jobs. */

static int64_t promote_wait_ms(const struct db_rows *rows)
{
	int64_t next_ms = db_int(rows, 0, 1);

	if (db_is_null(rows, 0, 1) || next_ms > PROMOTE_MAX_MS)
		return PROMOTE_MAX_MS;
	return next_ms < PROMOTE_MIN_MS ? PROMOTE_MIN_MS : next_ms;
}

static void on_promoted(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;
	int64_t wait_ms = PROMOTE_MAX_MS;
	bool moved = false;

	store->promoting = false;
	if (store_answered(store, reply, "promote")) {
		wait_ms = promote_wait_ms(reply->rows);
		moved = db_int(reply->rows, 0, 0) > 0;
	}
	if (!store->ready || store->closing)
		return;
	loop_timer_start_by(store->promote_timer, wait_ms);
	if (moved)
		store_wake(store);
}

static void promote(void *arg)
{
	struct store *store = arg;
	struct db_params *params;

	if (store->promoting)
		return;
	params = db_params_new();
	db_param_int(params, PROMOTE_ROWS);
	store->promoting = db_query(store->queue, "SELECT * FROM promote_delayed($1)", params, on_promoted,
				    store) == 0;
	if (!store->promoting)
		loop_timer_start(store->promote_timer, PROMOTE_MAX_MS);
}

void store_upkeep_delayed(struct store *store, int64_t delay_ms)
{
	if (store->ready)
		loop_timer_start_by(store->promote_timer,
				    delay_ms < PROMOTE_MAX_MS ? delay_ms : PROMOTE_MAX_MS);
}

/* Cancelled runs. */

static void cancel_next(struct cancel *cancel);

static void on_cancelled(void *arg, const struct db_reply *reply)
{
	struct cancel *cancel = arg;
	struct store *store = cancel->store;
	bool more;

	/* A chunk that failed comes back with the next reading of the pairs, which still name the run. */
	if (!store_answered(store, reply, "cancel")) {
		cancel_free(cancel);
		return;
	}
	more = db_bool(reply->rows, 0, 1);
	if (!db_is_null(reply->rows, 0, 2) && store->options.on_run_finished)
		store->options.on_run_finished(store->options.arg, cancel->run_id,
					       db_text(reply->rows, 0, 2, NULL));
	if (more)
		cancel_next(cancel);
	else
		cancel_free(cancel);
}

static void cancel_next(struct cancel *cancel)
{
	struct db_params *params = db_params_new();

	db_param_int(params, cancel->store->node_id);
	db_param_text(params, cancel->run_id);
	db_param_int(params, CANCEL_ROWS);
	if (db_query(cancel->store->control, "SELECT * FROM cancel_chunk($1, $2, $3)", params, on_cancelled,
		     cancel) != 0)
		cancel_free(cancel);
}

void store_cancel_run(struct store *store, const char *run_id)
{
	struct cancel *cancel;

	if (!store->ready)
		return;
	list_foreach (node, &store->cancels) {
		if (strcmp(list_entry(node, struct cancel, node)->run_id, run_id) == 0)
			return;
	}
	cancel = mem_alloc(sizeof(*cancel));
	cancel->store = store;
	cancel->run_id = mem_strdup(run_id);
	list_push_back(&store->cancels, &cancel->node);
	cancel_next(cancel);
}

/* Budgets. A pause that failed is asked for again by who still finds the run active in the pairs. */

static void on_paused(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (store_answered(store, reply, "pause"))
		store_reload_pairs(store);
}

void store_pause_run(struct store *store, const char *run_id, int64_t budget_e10, const char *reason)
{
	struct db_params *params;

	if (!store->ready)
		return;
	if (store->options.on_over_budget)
		store->options.on_over_budget(store->options.arg, run_id, reason);
	params = db_params_new();
	db_param_int(params, store->node_id);
	db_param_text(params, run_id);
	db_param_int(params, budget_e10);
	db_param_text(params, reason);
	if (db_query(store->control, "SELECT pause_over_budget($1, $2, $3, $4)", params, on_paused, store) !=
	    0)
		log_warning("store.pause", "run=%s why=\"the connection does not take queries\"", run_id);
}

/* What is too old to be kept. Any node may remove it, at any time: the statement passes over what another is
 * removing. */

static void tell_pruned(struct store *store)
{
	const struct store_pruned *pruned = &store->pruned;
	AUTO(mem_free_str) char *data = NULL;

	if (pruned->events + pruned->contents + pruned->outcomes == 0)
		return;
	log_info("store.pruned", "events=%lld contents=%lld outcomes=%lld", (long long)pruned->events,
		 (long long)pruned->contents, (long long)pruned->outcomes);
	data = mem_printf("{\"events\":%lld,\"contents\":%lld,\"outcomes\":%lld}", (long long)pruned->events,
			  (long long)pruned->contents, (long long)pruned->outcomes);
	/* Else each hour's event would one day be what the next hour removes. */
	if (pruned->contents + pruned->outcomes > 0)
		store_event(store, "info", "database.pruned", NULL, 0, "database", data);
	store->pruned = (struct store_pruned){ 0 };
}

static void on_pruned(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;
	bool more = false;

	store->pruning = false;
	if (store_answered(store, reply, "prune")) {
		store->pruned.events += db_int(reply->rows, 0, 0);
		store->pruned.contents += db_int(reply->rows, 0, 1);
		store->pruned.outcomes += db_int(reply->rows, 0, 2);
		more = db_bool(reply->rows, 0, 3);
	}
	if (!more)
		tell_pruned(store);
	/* A failure waits for the next hour too. */
	store->prune_due_ms = loop_now_ms(store->loop) + (more ? PRUNE_PAUSE_MS : PRUNE_EVERY_MS);
	if (store->ready && !store->closing)
		wait_to_prune(store);
}

static void prune(void *arg)
{
	struct store *store = arg;
	const struct store_keeping *keeping = &store->keeping;
	struct db_params *params;

	if (store->pruning || keeping->events_ms + keeping->content_ms + keeping->outcomes_ms == 0)
		return;
	params = db_params_new();
	db_param_int(params, keeping->events_ms);
	db_param_int(params, keeping->content_ms);
	db_param_int(params, keeping->outcomes_ms);
	db_param_int(params, PRUNE_ROWS);
	store->pruning = db_query(store->control, "SELECT * FROM prune($1, $2, $3, $4)", params, on_pruned,
				  store) == 0;
	if (!store->pruning)
		loop_timer_start(store->prune_timer, PRUNE_PAUSE_MS);
}

void store_keep(struct store *store, const struct store_keeping *keeping)
{
	bool changed = memcmp(&store->keeping, keeping, sizeof(*keeping)) != 0;

	store->keeping = *keeping;
	if (!changed || !store->ready)
		return;
	store->prune_due_ms = loop_now_ms(store->loop);
	wait_to_prune(store);
}
