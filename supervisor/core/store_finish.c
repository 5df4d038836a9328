/* Bringing the ends of attempts into the database.
 *
 * A row is one end. Rows gather into batches, each one call of finish_jobs(); a few batches are in the
 * pipeline at a time. A batch whose fate is unknown is sent again: the SQL makes repeats harmless. A batch
 * that the server refuses for what is in it (SQLSTATE class 22, 23) is halved until the one bad row stands
 * alone; that job is then recorded as failed with the server's reason. Any other refusal passes: the batch
 * waits, and goes again. */

#include "core/store_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/loop.h"

enum {
	BATCH_ROWS = 50,
	BATCH_BYTES = 4 * 1024 * 1024,
	BATCH_MS = 20,	    /* a row waits at most so long for company */
	PIPELINE = 4,	    /* batches under way */
	ROW_OVERHEAD = 256, /* bytes counted for a row beside its texts */
	HOLD_MS = 100,	    /* first wait after a passing refusal; doubled up to … */
	HOLD_MAX_MS = 5000,
};

struct row {
	struct list node;
	uint64_t serial;
	int64_t since_ms; /* handed over */
	int64_t job_id;
	int attempt;
	const char *fate;
	char *turns; /* JSON array of bodies */
	size_t turns_len;
	char *digests; /* comma separated */
	char *model_version;
	char *error; /* JSON; plain text for FATE_REFUSED */
	int64_t input_tokens, output_tokens, reasoning_tokens, duration_ms, cost_e10, delay_ms,
		limited_for_ms;
	int fails, deaths, solo_deaths;
	size_t bytes;
};

struct batch {
	struct list node; /* in `waiting` or `sent` */
	struct store *store;
	struct list rows;
	size_t count, bytes;
};

struct flush {
	struct list node;
	struct store *store;
	uint64_t serial;  /* of the last row that it waits for */
	size_t remaining; /* rows up to there */
	struct loop_timer *timer;
	void (*fn)(void *arg, bool flushed);
	void *arg;
};

static const char FATE_RETURNED[] = "RETURNED", FATE_REFUSED[] = "REFUSED";

static const char *const fates[] = {
	[STORE_COMPLETED] = "COMPLETED",
	[STORE_FAILED] = "FAILED",
	[STORE_CANCELLED] = "CANCELLED",
	[STORE_LATER] = "LATER",
};

static void on_due(void *arg)
{
	store_finish_send(arg, false);
}

void store_finish_new(struct store *store)
{
	list_init(&store->rows);
	list_init(&store->waiting);
	list_init(&store->sent);
	list_init(&store->flushes);
	loop_timer_new(store->loop, on_due, store, &store->batch_timer);
}

static void row_free(struct row *row)
{
	list_remove(&row->node);
	mem_free(&row->turns);
	mem_free(&row->digests);
	mem_free(&row->model_version);
	mem_free(&row->error);
	mem_free(&row);
}

static void rows_free(struct list *rows)
{
	while (!list_is_empty(rows))
		row_free(list_entry(rows->next, struct row, node));
}

static void batch_free(struct batch *batch)
{
	rows_free(&batch->rows);
	list_remove(&batch->node);
	mem_free(&batch);
}

static void flush_free(struct flush *flush)
{
	list_remove(&flush->node);
	loop_timer_free(&flush->timer);
	mem_free(&flush);
}

void store_finish_free(struct store *store)
{
	loop_timer_free(&store->batch_timer);
	rows_free(&store->rows);
	while (!list_is_empty(&store->waiting))
		batch_free(list_entry(store->waiting.next, struct batch, node));
	while (!list_is_empty(&store->flushes))
		flush_free(list_entry(store->flushes.next, struct flush, node));
}

static void flush_end(struct flush *flush, bool flushed)
{
	void (*fn)(void *, bool) = flush->fn;
	void *arg = flush->arg;

	flush_free(flush);
	fn(arg, flushed);
}

static void on_flush_timeout(void *arg)
{
	flush_end(arg, false);
}

static void check_room(struct store *store)
{
	size_t cap = store->options.memory_cap;

	if (!store->full && store->held_bytes >= cap) {
		store->full = true;
		log_warning("store.full", "held=%zu bytes=%zu", store->held_count, store->held_bytes);
	} else if (store->full && store->held_bytes <= cap / 4 * 3) {
		store->full = false;
		log_info("store.room", "held=%zu bytes=%zu", store->held_count, store->held_bytes);
		if (store->options.on_room)
			store->options.on_room(store->options.arg);
	}
}

/* The row is committed, or superseded: either way it is over. */
static void row_done(struct store *store, struct row *row)
{
	store_claim_forget(store, row->job_id, row->attempt);
	store->held_count--;
	store->held_bytes -= row->bytes;
	list_foreach (node, &store->flushes) {
		struct flush *flush = list_entry(node, struct flush, node);

		if (row->serial <= flush->serial)
			flush->remaining--;
	}
	row_free(row);
}

static void end_flushes(struct store *store)
{
	list_foreach_safe (node, &store->flushes) {
		struct flush *flush = list_entry(node, struct flush, node);

		if (flush->remaining == 0)
			flush_end(flush, true);
	}
}

static bool goes_back(const struct row *row)
{
	return row->fate == FATE_RETURNED || row->fate == fates[STORE_LATER];
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
		struct row *row = list_entry(batch->rows.next, struct row, node);

		if (goes_back(row) && row->delay_ms > 0)
			store_upkeep_delayed(store, row->delay_ms);
		else if (goes_back(row))
			wake = true;
		row_done(store, row);
	}
	batch_free(batch);
	if (wake && store->options.on_wake)
		store->options.on_wake(store->options.arg);
	check_room(store);
	end_flushes(store);
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
		struct row *row = list_entry(batch->rows.prev, struct row, node);

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
	struct row *row = list_entry(batch->rows.next, struct row, node);

	log_error("store.row_refused", "job=%lld attempt=%d sqlstate=%s why=\"%s\"", (long long)row->job_id,
		  row->attempt, reply->sqlstate, reply->message);
	if (row->fate == FATE_REFUSED) {
		/* Not even that: its lease stays ours by the books, and is given back as unknown. */
		row_done(store, row);
		batch_free(batch);
		check_room(store);
		end_flushes(store);
		return;
	}
	row->fate = FATE_REFUSED;
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
		store_finish_send(store, false);
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

static void column_set(struct columns *c, size_t i, const struct row *row)
{
	c->jobs[i] = row->job_id;
	c->attempts[i] = row->attempt;
	c->fates[i] = row->fate;
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
		column_set(&c, n++, list_entry(node, struct row, node));
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
		struct row *row = list_entry(store->rows.next, struct row, node);

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
	const struct row *oldest = list_entry(store->rows.next, struct row, node);
	int64_t age_ms = loop_now_ms(store->loop) - oldest->since_ms;

	if (all || store->row_count >= BATCH_ROWS || store->row_bytes >= BATCH_BYTES || age_ms >= BATCH_MS)
		return 0;
	return BATCH_MS - age_ms;
}

void store_finish_send(struct store *store, bool all)
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

static struct row *row_new(struct store *store, int64_t job_id, int attempt, const char *fate)
{
	struct row *row = mem_alloc(sizeof(*row));

	row->serial = ++store->serial;
	row->since_ms = loop_now_ms(store->loop);
	row->job_id = job_id;
	row->attempt = attempt;
	row->fate = fate;
	row->cost_e10 = -1;
	return row;
}

static void row_add(struct store *store, struct row *row)
{
	row->bytes = ROW_OVERHEAD + row->turns_len + (row->digests ? strlen(row->digests) : 0) +
		     (row->error ? strlen(row->error) : 0);
	list_push_back(&store->rows, &row->node);
	store->row_count++;
	store->row_bytes += row->bytes;
	store->held_count++;
	store->held_bytes += row->bytes;
}

static void join_turns(struct row *row, const struct store_turn *turns, size_t count)
{
	struct buf bodies = BUF_INIT(0), digests = BUF_INIT(0);
	size_t digests_len;

	buf_puts(&bodies, "[");
	for (size_t i = 0; i < count; i++) {
		buf_puts(&bodies, i > 0 ? "," : "");
		buf_put(&bodies, turns[i].body, turns[i].body_len);
		buf_puts(&digests, i > 0 ? "," : "");
		buf_puts(&digests, turns[i].digest);
	}
	buf_puts(&bodies, "]");
	row->turns = buf_take(&bodies, &row->turns_len);
	row->digests = buf_take(&digests, &digests_len);
}

void store_finish(struct store *store, const struct store_end *end)
{
	struct row *row = row_new(store, end->job_id, end->attempt, fates[end->fate]);

	join_turns(row, end->turns, end->turn_count);
	row->model_version = mem_strdup(end->model_version);
	row->input_tokens = end->input_tokens;
	row->output_tokens = end->output_tokens;
	row->reasoning_tokens = end->reasoning_tokens;
	row->duration_ms = end->duration_ms;
	row->cost_e10 = end->cost_e10;
	row->error = mem_strdup(end->error);
	row->delay_ms = end->delay_ms;
	row->fails = end->fails;
	row->deaths = end->deaths;
	row->solo_deaths = end->solo_deaths;
	row->limited_for_ms = end->limited_for_ms;
	row_add(store, row);
	check_room(store);
	store_finish_send(store, false);
}

void store_give_back(struct store *store, const int64_t *job_ids, const int *attempts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct row *row = row_new(store, job_ids[i], attempts[i], FATE_RETURNED);

		join_turns(row, NULL, 0);
		row_add(store, row);
	}
	check_room(store);
	store_finish_send(store, false);
}

bool store_is_full(const struct store *store)
{
	return store->full;
}

void store_backlog(const struct store *store, size_t *ret_count, size_t *ret_bytes)
{
	*ret_count = store->held_count;
	*ret_bytes = store->held_bytes;
}

void store_flush(struct store *store, int64_t timeout_ms, void (*fn)(void *arg, bool flushed), void *arg)
{
	struct flush *flush = mem_alloc(sizeof(*flush));

	*flush = (struct flush){
		.store = store,
		.serial = store->serial,
		.remaining = store->held_count,
		.fn = fn,
		.arg = arg,
	};
	loop_timer_new(store->loop, on_flush_timeout, flush, &flush->timer);
	list_push_back(&store->flushes, &flush->node);
	if (store_is_booted(store))
		store_events_send(store);
	if (flush->remaining == 0) {
		flush_end(flush, true);
		return;
	}
	loop_timer_start(flush->timer, timeout_ms);
	store_finish_send(store, true);
}
