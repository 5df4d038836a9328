/* Sending rows to the database in batches.
 *
 * A batch is one call of finish_jobs() with ends, or of keep_turns() with turns; a few are in the pipeline at
 * a time. A batch whose fate is unknown is sent again: the SQL makes repeats harmless. A batch that the
 * server refuses for what is in it (SQLSTATE class 22, 23) is halved until the one bad row stands alone; that
 * job is then recorded as failed with the server's reason. Any other refusal passes: the batch waits, and
 * goes again. */

#include "core/store_row.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/loop.h"

enum {
	BATCH_ROWS = 50,
	BATCH_BYTES = 4 * 1024 * 1024,
	BATCH_MS = 20, /* an end waits at most so long for company */
	TURN_MS = 100, /* a turn, for the end of its attempt */
	PIPELINE = 4,  /* batches under way */
	HOLD_MS = 100, /* first wait after a passing refusal; doubled up to … */
	HOLD_MAX_MS = 5000,
};

struct batch {
	struct list node; /* in `waiting` or `sent` */
	struct store *store;
	struct list rows;
	size_t count, bytes;
	bool turns; /* else ends */
};

static const char *const fates[] = {
	[ROW_COMPLETED] = "COMPLETED",
	[ROW_FAILED] = "FAILED",
	[ROW_CANCELLED] = "CANCELLED",
	[ROW_LATER] = "LATER",
	[ROW_RETURNED] = "RETURNED",
	[ROW_REFUSED] = "REFUSED",
	[ROW_TURN] = "",
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
	store_rows_drop(batch->store, &batch->rows);
	list_remove(&batch->node);
	mem_free(&batch);
}

void store_batch_free(struct store *store)
{
	loop_timer_free(&store->batch_timer);
	while (!list_is_empty(&store->waiting))
		batch_free(list_entry(store->waiting.next, struct batch, node));
}

bool store_batch_is_busy(const struct store *store)
{
	return store->sent_count > 0 || !list_is_empty(&store->waiting) || !list_is_empty(&store->turns) ||
	       !list_is_empty(&store->ends);
}

static bool goes_back(const struct store_row *row)
{
	return row->fate == ROW_RETURNED || row->fate == ROW_LATER;
}

static struct store_row *first_row(const struct batch *batch)
{
	return list_entry(batch->rows.next, struct store_row, node);
}

static void tell_finished(struct store *store, const struct db_rows *finished)
{
	for (size_t i = 0; i < db_rows_count(finished); i++)
		if (store->options.on_run_finished)
			store->options.on_run_finished(store->options.arg, db_text(finished, i, 0, NULL),
						       db_text(finished, i, 1, NULL));
}

static void ends_done(struct batch *batch, const struct db_rows *finished)
{
	struct store *store = batch->store;
	bool wake = false;

	tell_finished(store, finished);
	while (!list_is_empty(&batch->rows)) {
		struct store_row *row = first_row(batch);

		if (goes_back(row) && row->delay_ms > 0)
			store_upkeep_delayed(store, row->delay_ms);
		else if (goes_back(row))
			wake = true;
		list_remove(&row->node);
		store_row_done(store, row);
	}
	if (wake && store->options.on_wake)
		store->options.on_wake(store->options.arg);
}

/* `refused` has the places of those that do not go on from the stored conversation, from 1, rising. */
static void turns_done(struct batch *batch, const struct db_rows *refused)
{
	struct store *store = batch->store;
	size_t next = 0;

	for (int64_t place = 1; !list_is_empty(&batch->rows); place++) {
		struct store_row *row = first_row(batch);

		list_remove(&row->node);
		if (next < db_rows_count(refused) && db_int(refused, next, 0) == place) {
			next++;
			store_row_refused(store, row);
		} else {
			store_row_done(store, row);
		}
	}
}

static void batch_done(struct batch *batch, const struct db_rows *rows)
{
	struct store *store = batch->store;

	CRASH_POINT("store.committed");
	store->refusals = 0;
	if (batch->turns)
		turns_done(batch, rows);
	else
		ends_done(batch, rows);
	batch_free(batch);
	store_rows_settled(store);
}

/* Moves the second half of the batch into a batch of its own; both wait in front of all else. */
static void split(struct batch *batch)
{
	struct store *store = batch->store;
	struct batch *second = mem_alloc(sizeof(*second));
	size_t half = batch->count / 2;

	second->store = store;
	second->turns = batch->turns;
	list_init(&second->rows);
	while (batch->count > half) {
		struct store_row *row = list_entry(batch->rows.prev, struct store_row, node);

		list_remove(&row->node);
		list_push_front(&second->rows, &row->node);
		batch->count--;
		second->count++;
	}
	list_push_front(&store->waiting, &second->node);
	list_push_front(&store->waiting, &batch->node);
}

/* The one row that the server does not take: its job fails, with the reason. A turn leaves that to the end
 * that will carry it. */
static void refuse_row(struct batch *batch, const struct db_reply *reply)
{
	struct store *store = batch->store;
	struct store_row *row = first_row(batch);

	log_error("store.row_refused", "job=%lld attempt=%d sqlstate=%s why=\"%s\"", (long long)row->job_id,
		  row->attempt, reply->sqlstate, reply->message);
	if (row->fate == ROW_TURN || row->fate == ROW_REFUSED) {
		list_remove(&row->node);
		if (row->fate == ROW_TURN)
			store_row_refused(store, row);
		else
			/* Not even that: its lease stays ours by the books, and is given back as unknown. */
			store_row_done(store, row);
		batch_free(batch);
		store_rows_settled(store);
		return;
	}
	row->fate = ROW_REFUSED;
	mem_set_str(&row->error, mem_printf("%s (SQLSTATE %s)", reply->message, reply->sqlstate));
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

static void on_answered(void *arg, const struct db_reply *reply)
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
struct end_columns {
	const char *fates[BATCH_ROWS], *turns[BATCH_ROWS], *digests[BATCH_ROWS], *bases[BATCH_ROWS],
		*versions[BATCH_ROWS], *errors[BATCH_ROWS];
	size_t turns_lens[BATCH_ROWS];
	int64_t jobs[BATCH_ROWS], attempts[BATCH_ROWS], base_numbers[BATCH_ROWS], input[BATCH_ROWS],
		output[BATCH_ROWS], reasoning[BATCH_ROWS], durations[BATCH_ROWS], costs[BATCH_ROWS],
		delays[BATCH_ROWS], fails[BATCH_ROWS], deaths[BATCH_ROWS], solo_deaths[BATCH_ROWS],
		limited[BATCH_ROWS];
	bool no_cost[BATCH_ROWS];
};

/* The carried turns as one JSON array and one list of digests; what was before them is stored already. */
static void put_turns(struct end_columns *c, size_t i, const struct store_row *row)
{
	struct buf turns = BUF_INIT(0), digests = BUF_INIT(0);
	size_t count = row->fate == ROW_REFUSED ? 0 : row->carried_count, len;

	buf_puts(&turns, "[");
	for (size_t k = 0; k < count; k++) {
		buf_puts(&turns, k > 0 ? "," : "");
		buf_put(&turns, row->carried[k]->body, row->carried[k]->body_len);
		buf_puts(&digests, k > 0 ? "," : "");
		buf_puts(&digests, row->carried[k]->digest);
	}
	buf_puts(&turns, "]");
	c->turns[i] = buf_take(&turns, &c->turns_lens[i]);
	c->digests[i] = buf_take(&digests, &len);
	c->base_numbers[i] = count > 0 ? row->carried[0]->number - 1 : row->number;
	c->bases[i] = count > 0 ? row->carried[0]->prev : row->digest;
}

static void end_columns_set(struct end_columns *c, size_t i, const struct store_row *row)
{
	c->jobs[i] = row->job_id;
	c->attempts[i] = row->attempt;
	c->fates[i] = fates[row->fate];
	put_turns(c, i, row);
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

static void end_columns_free(struct end_columns *c, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free((void *)(uintptr_t)c->turns[i]);
		free((void *)(uintptr_t)c->digests[i]);
	}
}

static struct db_params *end_params(const struct batch *batch)
{
	struct db_params *params = db_params_new();
	struct end_columns c;
	size_t n = 0;

	list_foreach (node, &batch->rows) {
		end_columns_set(&c, n++, list_entry(node, struct store_row, node));
	}
	db_param_int(params, batch->store->node_id);
	db_param_ints(params, c.jobs, n);
	db_param_ints(params, c.attempts, n);
	db_param_texts(params, c.fates, NULL, n);
	db_param_texts(params, c.turns, c.turns_lens, n);
	db_param_texts(params, c.digests, NULL, n);
	db_param_ints(params, c.base_numbers, n);
	db_param_texts(params, c.bases, NULL, n);
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
	end_columns_free(&c, n);
	return params;
}

static struct db_params *turn_params(const struct batch *batch)
{
	struct db_params *params = db_params_new();
	const char *prevs[BATCH_ROWS], *digests[BATCH_ROWS], *bodies[BATCH_ROWS];
	int64_t jobs[BATCH_ROWS], attempts[BATCH_ROWS], numbers[BATCH_ROWS];
	size_t lens[BATCH_ROWS], n = 0;

	list_foreach (node, &batch->rows) {
		const struct store_row *row = list_entry(node, struct store_row, node);

		jobs[n] = row->job_id;
		attempts[n] = row->attempt;
		numbers[n] = row->number;
		prevs[n] = row->prev;
		digests[n] = row->digest;
		bodies[n] = row->body;
		lens[n++] = row->body_len;
	}
	db_param_int(params, batch->store->node_id);
	db_param_ints(params, jobs, n);
	db_param_ints(params, attempts, n);
	db_param_ints(params, numbers, n);
	db_param_texts(params, prevs, NULL, n);
	db_param_texts(params, digests, NULL, n);
	db_param_texts(params, bodies, lens, n);
	return params;
}

static const char finish_sql[] =
	"SELECT run_id, status FROM finish_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
	"$12, $13, $14, $15, $16, $17, $18, $19, $20)";
static const char keep_sql[] = "SELECT place FROM keep_turns($1, $2, $3, $4, $5, $6, $7) ORDER BY place";

static bool batch_send(struct batch *batch)
{
	struct store *store = batch->store;

	if (db_query(store->queue, batch->turns ? keep_sql : finish_sql,
		     batch->turns ? turn_params(batch) : end_params(batch), on_answered, batch) != 0)
		return false;
	CRASH_POINT("store.sent");
	list_remove(&batch->node);
	list_push_back(&store->sent, &batch->node);
	store->sent_count++;
	return true;
}

/* Where rows of one sort wait. */
struct queue {
	struct list *rows;
	size_t *count, *bytes;
	int64_t wait_ms;
	bool turns;
};

static struct queue queue_of(struct store *store, bool turns)
{
	return turns ? (struct queue){ &store->turns, &store->turn_count, &store->turn_bytes, TURN_MS, true }
		     : (struct queue){ &store->ends, &store->end_count, &store->end_bytes, BATCH_MS, false };
}

/* Gathers the oldest rows into a batch at the end of `waiting`. */
static struct batch *gather(struct store *store, const struct queue *queue)
{
	struct batch *batch = mem_alloc(sizeof(*batch));

	batch->store = store;
	batch->turns = queue->turns;
	list_init(&batch->rows);
	list_push_back(&store->waiting, &batch->node);
	while (!list_is_empty(queue->rows)) {
		struct store_row *row = list_entry(queue->rows->next, struct store_row, node);
		size_t weight = store_row_weight(row);

		if (batch->count == BATCH_ROWS || (batch->count > 0 && batch->bytes + weight > BATCH_BYTES))
			break;
		list_remove(&row->node);
		list_push_back(&batch->rows, &row->node);
		row->sent = true;
		batch->count++;
		batch->bytes += weight;
		(*queue->count)--;
		*queue->bytes -= weight;
	}
	return batch;
}

/* Milliseconds until the rows at hand make a batch; 0 = now; -1 = there are none. */
static int64_t due_ms(const struct store *store, const struct queue *queue, bool all)
{
	const struct store_row *oldest = list_entry(queue->rows->next, struct store_row, node);
	int64_t left_ms;

	if (list_is_empty(queue->rows))
		return -1;
	left_ms = oldest->since_ms + queue->wait_ms - loop_now_ms(store->loop);
	if (all || *queue->count >= BATCH_ROWS || *queue->bytes >= BATCH_BYTES || left_ms <= 0)
		return 0;
	return left_ms;
}

/* The next batch that may go; NULL when none is due, with the timer set for the one that will be. */
static struct batch *next_batch(struct store *store, bool all)
{
	if (!list_is_empty(&store->waiting))
		return list_entry(store->waiting.next, struct batch, node);
	for (int turns = 1; turns >= 0; turns--) {
		struct queue queue = queue_of(store, turns);
		int64_t wait_ms = due_ms(store, &queue, all);

		if (wait_ms == 0)
			return gather(store, &queue);
		if (wait_ms > 0)
			loop_timer_start_by(store->batch_timer, wait_ms);
	}
	return NULL;
}

void store_batch_send(struct store *store, bool all)
{
	int64_t held_ms = store->hold_until_ms - loop_now_ms(store->loop);

	if (!store_is_joined(store))
		return;
	if (held_ms > 0) {
		loop_timer_start_by(store->batch_timer, held_ms);
		return;
	}
	while (store->sent_count < PIPELINE) {
		struct batch *batch = next_batch(store, all);

		/* A full or lost connection: the next answer, or the next boot, comes back here. */
		if (!batch || !batch_send(batch))
			return;
	}
}
