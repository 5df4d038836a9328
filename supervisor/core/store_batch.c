/* Sending rows to the database in batches.
 *
 * A batch is one call of finish_jobs(); a few are in the pipeline at a time. A batch whose fate is unknown is
 * sent again: the SQL makes repeats harmless. A batch that the server refuses for what is in it (SQLSTATE
 * class 22, 23) is halved until the one bad row stands alone; that job is then recorded as failed with the
 * server's reason. Any other refusal passes: the batch waits, and goes again. */

#include "core/store_row.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/loop.h"

enum {
	BATCH_ROWS = 50,
	BATCH_BYTES = 4 * 1024 * 1024,
	BATCH_MS = 20, /* a row waits at most so long for company */
	PIPELINE = 4,  /* batches under way */
	HOLD_MS = 100, /* first wait after a passing refusal; doubled up to … */
	HOLD_MAX_MS = 5000,
};

struct batch {
	struct list node; /* in `waiting` or `sent` */
	struct store *store;
	struct list rows;
	size_t count, bytes;
};

static const char *const fates[] = {
	[ROW_COMPLETED] = "COMPLETED", [ROW_FAILED] = "FAILED",	    [ROW_CANCELLED] = "CANCELLED",
	[ROW_LATER] = "LATER",	       [ROW_RETURNED] = "RETURNED", [ROW_REFUSED] = "REFUSED",
};

static void on_due(void *arg)
{
	store_batch_send(arg, false);
}

void store_batch_new(struct store *store)
{
	list_init(&store->waiting);
	list_init(&store->sent);
	loop_timer_new(store->loop, on_due, store, &store->batch_timer);
}

static void batch_free(struct batch *batch)
{
	store_rows_free(&batch->rows);
	list_remove(&batch->node);
	mem_free(&batch);
}

void store_batch_free(struct store *store)
{
	loop_timer_free(&store->batch_timer);
	while (!list_is_empty(&store->waiting))
		batch_free(list_entry(store->waiting.next, struct batch, node));
}

static bool goes_back(const struct store_row *row)
{
	return row->fate == ROW_RETURNED || row->fate == ROW_LATER;
}

static void batch_done(struct batch *batch, const struct db_rows *finished)
{
	struct store *store = batch->store;
	bool wake = false;

	store->refusals = 0;
	for (size_t i = 0; i < db_rows_count(finished); i++)
		if (store->options.on_run_finished)
			store->options.on_run_finished(store->options.arg, db_text(finished, i, 0, NULL),
						       db_text(finished, i, 1, NULL));
	while (!list_is_empty(&batch->rows)) {
		struct store_row *row = list_entry(batch->rows.next, struct store_row, node);

		if (goes_back(row) && row->delay_ms > 0)
			store_upkeep_delayed(store, row->delay_ms);
		else if (goes_back(row))
			wake = true;
		store_row_done(store, row);
	}
	batch_free(batch);
	if (wake && store->options.on_wake)
		store->options.on_wake(store->options.arg);
	store_rows_settled(store);
}

/* Moves the second half of the batch into a batch of its own; both wait in front of all else. */
static void split(struct batch *batch)
{
	struct store *store = batch->store;
	struct batch *second = mem_alloc(sizeof(*second));
	size_t half = batch->count / 2;

	second->store = store;
	list_init(&second->rows);
	while (batch->count > half) {
		struct store_row *row = list_entry(batch->rows.prev, struct store_row, node);

		list_remove(&row->node);
		list_push_front(&second->rows, &row->node);
		batch->count--;
		batch->bytes -= row->bytes;
		second->count++;
		second->bytes += row->bytes;
	}
	list_push_front(&store->waiting, &second->node);
	list_push_front(&store->waiting, &batch->node);
}

/* The one row that the server does not take: its job fails, with the reason. */
static void refuse_row(struct batch *batch, const struct db_reply *reply)
{
	struct store *store = batch->store;
	struct store_row *row = list_entry(batch->rows.next, struct store_row, node);

	log_error("store.row_refused", "job=%lld attempt=%d sqlstate=%s why=\"%s\"", (long long)row->job_id,
		  row->attempt, reply->sqlstate, reply->message);
	if (row->fate == ROW_REFUSED) {
		/* Not even that: its lease stays ours by the books, and is given back as unknown. */
		store_row_done(store, row);
		batch_free(batch);
		store_rows_settled(store);
		return;
	}
	row->fate = ROW_REFUSED;
	mem_set_str(&row->error, mem_printf("%s (SQLSTATE %s)", reply->message, reply->sqlstate));
	mem_set_str(&row->turns, mem_strdup("[]"));
	row->turns_len = 2;
	mem_set_str(&row->digests, NULL);
	mem_set_str(&row->model_version, NULL);
	list_push_front(&store->waiting, &batch->node);
}

static void hold(struct batch *batch, const struct db_reply *reply)
{
	struct store *store = batch->store;
	unsigned shift = store->refusals < 6 ? store->refusals : 6;
	int64_t wait_ms = (int64_t)HOLD_MS << shift;

	if (store->refusals++ == 0)
		log_warning("store.finish_refused", "sqlstate=%s why=\"%s\" rows=%zu next=retry",
			    reply->sqlstate, reply->message, batch->count);
	store->hold_until_ms = loop_now_ms(store->loop) + (wait_ms < HOLD_MAX_MS ? wait_ms : HOLD_MAX_MS);
	list_push_front(&store->waiting, &batch->node);
}

static void on_finished(void *arg, const struct db_reply *reply)
{
	struct batch *batch = arg;
	struct store *store = batch->store;
	bool content = strncmp(reply->sqlstate, "22", 2) == 0 || strncmp(reply->sqlstate, "23", 2) == 0;

	list_remove(&batch->node);
	store->sent_count--;
	if (store->closing)
		batch_free(batch);
	else if (reply->status == DB_OK)
		batch_done(batch, reply->rows);
	else if (reply->status == DB_LOST)
		list_push_back(&store->waiting, &batch->node);
	else if (content && batch->count > 1)
		split(batch);
	else if (content)
		refuse_row(batch, reply);
	else
		hold(batch, reply);
	if (!store->closing)
		store_batch_send(store, false);
}

/* One array per column of finish_jobs(). */
struct columns {
	const char *fates[BATCH_ROWS], *turns[BATCH_ROWS], *digests[BATCH_ROWS], *versions[BATCH_ROWS],
		*errors[BATCH_ROWS];
	size_t turns_lens[BATCH_ROWS];
	int64_t jobs[BATCH_ROWS], attempts[BATCH_ROWS], input[BATCH_ROWS], output[BATCH_ROWS],
		reasoning[BATCH_ROWS], durations[BATCH_ROWS], costs[BATCH_ROWS], delays[BATCH_ROWS],
		fails[BATCH_ROWS], deaths[BATCH_ROWS], solo_deaths[BATCH_ROWS], limited[BATCH_ROWS];
	bool no_cost[BATCH_ROWS];
};

static void column_set(struct columns *c, size_t i, const struct store_row *row)
{
	c->jobs[i] = row->job_id;
	c->attempts[i] = row->attempt;
	c->fates[i] = fates[row->fate];
	c->turns[i] = row->turns;
	c->turns_lens[i] = row->turns_len;
	c->digests[i] = row->digests;
	c->versions[i] = row->model_version;
	c->input[i] = row->input_tokens;
	c->output[i] = row->output_tokens;
	c->reasoning[i] = row->reasoning_tokens;
	c->durations[i] = row->duration_ms;
	c->costs[i] = row->cost_e10;
	c->no_cost[i] = row->cost_e10 < 0;
	c->errors[i] = row->error;
	c->delays[i] = row->delay_ms;
	c->fails[i] = row->fails;
	c->deaths[i] = row->deaths;
	c->solo_deaths[i] = row->solo_deaths;
	c->limited[i] = row->limited_for_ms;
}

static struct db_params *batch_params(const struct batch *batch)
{
	struct db_params *params = db_params_new();
	struct columns c;
	size_t n = 0;

	list_foreach (node, &batch->rows) {
		column_set(&c, n++, list_entry(node, struct store_row, node));
	}
	db_param_int(params, batch->store->node_id);
	db_param_ints(params, c.jobs, n);
	db_param_ints(params, c.attempts, n);
	db_param_texts(params, c.fates, NULL, n);
	db_param_texts(params, c.turns, c.turns_lens, n);
	db_param_texts(params, c.digests, NULL, n);
	db_param_texts(params, c.versions, NULL, n);
	db_param_ints(params, c.input, n);
	db_param_ints(params, c.output, n);
	db_param_ints(params, c.reasoning, n);
	db_param_ints(params, c.durations, n);
	db_param_ints_or_null(params, c.costs, c.no_cost, n);
	db_param_texts(params, c.errors, NULL, n);
	db_param_ints(params, c.delays, n);
	db_param_ints(params, c.fails, n);
	db_param_ints(params, c.deaths, n);
	db_param_ints(params, c.solo_deaths, n);
	db_param_ints(params, c.limited, n);
	return params;
}

static const char finish_sql[] =
	"SELECT run_id, status FROM finish_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
	"$12, $13, $14, $15, $16, $17, $18)";

static bool batch_send(struct batch *batch)
{
	struct store *store = batch->store;

	if (db_query(store->queue, finish_sql, batch_params(batch), on_finished, batch) != 0)
		return false;
	list_remove(&batch->node);
	list_push_back(&store->sent, &batch->node);
	store->sent_count++;
	return true;
}

/* Gathers the oldest rows into a batch at the end of `waiting`. */
static struct batch *gather(struct store *store)
{
	struct batch *batch = mem_alloc(sizeof(*batch));

	batch->store = store;
	list_init(&batch->rows);
	list_push_back(&store->waiting, &batch->node);
	while (!list_is_empty(&store->rows)) {
		struct store_row *row = list_entry(store->rows.next, struct store_row, node);

		if (batch->count == BATCH_ROWS ||
		    (batch->count > 0 && batch->bytes + row->bytes > BATCH_BYTES))
			break;
		list_remove(&row->node);
		list_push_back(&batch->rows, &row->node);
		batch->count++;
		batch->bytes += row->bytes;
		store->row_count--;
		store->row_bytes -= row->bytes;
	}
	return batch;
}

/* Milliseconds until the rows at hand make a batch; 0 = now. */
static int64_t due_ms(const struct store *store, bool all)
{
	const struct store_row *oldest = list_entry(store->rows.next, struct store_row, node);
	int64_t age_ms = loop_now_ms(store->loop) - oldest->since_ms;

	if (all || store->row_count >= BATCH_ROWS || store->row_bytes >= BATCH_BYTES || age_ms >= BATCH_MS)
		return 0;
	return BATCH_MS - age_ms;
}

void store_batch_send(struct store *store, bool all)
{
	int64_t held_ms = store->hold_until_ms - loop_now_ms(store->loop);

	if (!store_is_booted(store))
		return;
	if (held_ms > 0) {
		loop_timer_start_by(store->batch_timer, held_ms);
		return;
	}
	while (store->sent_count < PIPELINE) {
		struct batch *batch;
		int64_t wait_ms;

		if (!list_is_empty(&store->waiting)) {
			batch = list_entry(store->waiting.next, struct batch, node);
		} else if (!list_is_empty(&store->rows)) {
			wait_ms = due_ms(store, all);
			if (wait_ms > 0) {
				loop_timer_start_by(store->batch_timer, wait_ms);
				return;
			}
			batch = gather(store);
		} else {
			return;
		}
		/* A full or lost connection: the next answer, or the next boot, comes back here. */
		if (!batch_send(batch))
			return;
	}
}
