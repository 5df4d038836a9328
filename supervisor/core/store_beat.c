/* The heartbeat, on a connection of its own, so that no batch delays it.
 *
 * It tells the other nodes that this one lives, from the moment that it is registered, and this one that the
 * database does: whoever hangs without an end (a machine that is gone, a server that is stopped) closes no
 * connection. When a beat has no answer for SILENCE_MS, all connections are taken for lost and made anew.
 * What only a node with a steady heart may do is done here too. */

#include "core/store_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/loop.h"

enum {
	BEAT_MS = 5000,
	SILENCE_MS = 5000,
	LEASE_MS = 15000,     /* a node that has not beaten for so long is dead */
	FENCE_MS = 10000,     /* one that knows of no good beat for so long had better stop before that */
	RECONCILE_BEATS = 12, /* how often leases are compared with what we know */
};

/* ---- leases ---- */

static void on_rescued(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!store_answered(store, reply, "rescue") || db_int(reply->rows, 0, 0) == 0)
		return;
	log_warning("store.rescued", "jobs=%lld", (long long)db_int(reply->rows, 0, 0));
	store_wake(store);
}

static void on_reconciled(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!store_answered(store, reply, "reconcile") || db_int(reply->rows, 0, 0) == 0)
		return;
	log_warning("store.lost_claims", "given_back=%lld", (long long)db_int(reply->rows, 0, 0));
	store_wake(store);
}

static void look_after_leases(struct store *store)
{
	struct db_params *params;

	if (store->good_beats > LEASE_MS / BEAT_MS) {
		params = db_params_new();
		db_param_int(params, store->node_id);
		db_param_int(params, LEASE_MS);
		if (db_query(store->beat, "SELECT rescue_jobs($1, $2)", params, on_rescued, store) != 0)
			return;
	}
	/* Refused while claims are under way: the next round will do. */
	if (store->good_beats % RECONCILE_BEATS == 0 && store_claim_reconcile(store, on_reconciled) != 0)
		store->good_beats--;
}

/* ---- the fence ---- */

static void fence(void *arg)
{
	struct store *store = arg;

	store->fenced = true;
	log_warning("store.fenced",
		    "node=%lld silent_ms=%d effect=\"no call is made: other nodes may have our work\"",
		    (long long)store->node_id, FENCE_MS);
	if (store->options.on_trouble)
		store->options.on_trouble(store->options.arg);
}

static void on_still_held(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (!store_answered(store, reply, "leases"))
		return; /* the next beat asks again */
	store_claim_tell_lost(store, reply);
	store->fenced = false;
	log_info("store.unfenced", "node=%lld", (long long)store->node_id);
	if (store->options.on_trouble)
		store->options.on_trouble(store->options.arg);
}

/* From when the beat was sent: how long it took to arrive nobody knows. */
static void push_fence(struct store *store)
{
	if (!store->options.shared)
		return;
	loop_timer_start(store->fence_timer, store->beat_sent_ms + FENCE_MS - loop_now_ms(store->loop));
	if (store->fenced && store_claim_ask_held(store, store->beat, on_still_held) != 0)
		log_debug("store.fenced", "reason=\"the connection does not take queries\"");
}

/* ---- the beat ---- */

static void on_silence(void *arg)
{
	struct store *store = arg;
	AUTO(mem_free_str)
	char *why = mem_printf("the database has not answered the heartbeat for %d s", SILENCE_MS / 1000);

	db_drop(store->queue, why);
	db_drop(store->control, why);
	db_drop(store->beat, why);
	if (store->grants)
		db_drop(store->grants, why);
}

static bool is_over(struct store *store, const struct db_reply *reply)
{
	store->beating = false;
	if (!store->closing)
		loop_timer_stop(store->silence_timer);
	return !store_answered(store, reply, "beat");
}

static void on_beat(void *arg, const struct db_reply *reply)
{
	struct store *store = arg;

	if (is_over(store, reply)) {
		store->good_beats = 0;
		return;
	}
	if (db_bool(reply->rows, 0, 0)) {
		push_fence(store);
		if (!store->ready)
			return;
		store->good_beats++;
		look_after_leases(store);
	} else if (store->ready) {
		store_set_why(store, "the database does not know this node any more: registering again");
		store_boot_register(store);
	}
}

static void on_life(void *arg, const struct db_reply *reply)
{
	(void)is_over(arg, reply);
}

static int send_beat(struct store *store)
{
	struct db_params *params;

	/* Before that it has no function for it, and no row of ours. */
	if (!store_is_joined(store))
		return db_query(store->beat, "SELECT true", NULL, on_life, store);
	params = db_params_new();
	db_param_int(params, store->node_id);
	store->beat_sent_ms = loop_now_ms(store->loop);
	return db_query(store->beat, "SELECT beat($1)", params, on_beat, store);
}

static void beat(void *arg)
{
	struct store *store = arg;

	loop_timer_start(store->beat_timer, BEAT_MS);
	if (store->beating || !db_is_up(store->beat))
		return;
	store->beating = send_beat(store) == 0;
	if (store->beating)
		loop_timer_start(store->silence_timer, SILENCE_MS);
}

void store_beat_soon(struct store *store)
{
	loop_timer_start(store->beat_timer, 0);
}

void store_beat_joined(struct store *store)
{
	if (store->options.shared && !store->fenced && !loop_timer_armed(store->fence_timer))
		loop_timer_start(store->fence_timer, FENCE_MS); /* joining was the first beat */
	store_beat_soon(store);
}

void store_beat_new(struct store *store)
{
	loop_timer_new(store->loop, beat, store, &store->beat_timer);
	loop_timer_new(store->loop, on_silence, store, &store->silence_timer);
	loop_timer_new(store->loop, fence, store, &store->fence_timer);
}

void store_beat_free(struct store *store)
{
	loop_timer_free(&store->beat_timer);
	loop_timer_free(&store->silence_timer);
	loop_timer_free(&store->fence_timer);
}
