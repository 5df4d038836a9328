/* Sending rows to the database in batches.
 *
 * A batch is one call of finish_jobs() with ends, or of keep_turns() with turns; a few are in the pipeline at
 * a time. A batch whose fate is unknown is sent again: the SQL makes repeats harmless. A batch that the
 * server refuses for what is in it is halved until the one bad row stands alone; that job is then recorded as
 * failed with the server's reason. Any other refusal passes: the batch waits, and goes again; in halves, when
 * it may have been too much at once. */

#include "core/store_row.h"

#include <string.h>

#include "base/crashpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/loop.h"

enum {
	BATCH_BYTES = 4 * 1024 * 1024,
	DUE_ROWS = 50, /* so many need not wait; what waits for a busy connection makes larger batches */
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
	int64_t sent_ms;
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
	mem_free(&store->refusal);
	while (!list_is_empty(&store->waiting))
		batch_free(list_entry(store->waiting.next, struct batch, node));
}

void store_batch_unpack(struct store *store, struct list *ret)
{
	while (!list_is_empty(&store->waiting)) {
		struct batch *batch = list_entry(store->waiting.next, struct batch, node);

		while (!list_is_empty(&batch->rows))
			list_push_back(ret, list_pop_front(&batch->rows));
		batch_free(batch);
	}
}

const struct histogram *store_record_delay(const struct store *store)
{
	return &store->record_delay;
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

		if (row->fate != ROW_RETURNED)
			histogram_add(&store->record_delay,
				      loop_now_ms(store->loop) - row->since_ms + row->age_ms);
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
	mem_free(&store->refusal);
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

/* An answer that stands on stored turns which are gone: their commit was lost in a fail-over, and whoever
 * could send them again is not there. What conversation() raises. */
static bool lacks_base(const char *sqlstate)
{
	return strcmp(sqlstate, "22X01") == 0;
}

static void drop_refused(struct batch *batch)
{
	struct store *store = batch->store;
	struct store_row *row = first_row(batch);

	list_remove(&row->node);
	if (row->fate == ROW_TURN)
		store_row_refused(store, row);
	else
		/* Not even that: its lease stays ours by the books, and is given back as unknown. */
		store_row_done(store, row);
	batch_free(batch);
	store_rows_settled(store);
}

/* The one row that the server does not take: its job fails, with the reason; or is asked anew, if that is all
 * it needs. A turn leaves that to the end that will carry it. */
static void refuse_row(struct batch *batch, const struct db_reply *reply)
{
	struct store_row *row = first_row(batch);
	bool again = lacks_base(reply->sqlstate);

	log_error("store.row_refused", "job=%lld attempt=%d %s sqlstate=%s why=\"%s\" next=%s",
		  (long long)row->job_id, row->attempt, store_claim_whose(batch->store, row->job_id),
		  reply->sqlstate, reply->message,
		  row->fate == ROW_TURN ? "end"
		  : again		? "again"
					: "fail");
	if (row->fate == ROW_TURN || row->fate == ROW_REFUSED || row->fate == ROW_RETURNED) {
		drop_refused(batch);
		return;
	}
	row->fate = again ? ROW_RETURNED : ROW_REFUSED;
	mem_set_str(&row->error,
		    again ? NULL : mem_printf("%s (SQLSTATE %s)", reply->message, reply->sqlstate));
	mem_set_str(&row->model_version, NULL);
	list_push_front(&batch->store->waiting, &batch->node);
}

/* What the server thinks of the rows themselves: data, constraints, limits of the program, a view's check, an
 * exception that a trigger of the owner's raises. */
static bool is_content(const char *sqlstate)
{
	static const char *const classes[] = { "22", "23", "44", "54", "P0" };

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

/* A statement that ran out of time, or of memory. */
static bool is_too_much(const char *sqlstate)
{
	return strcmp(sqlstate, "57014") == 0 || strcmp(sqlstate, "53200") == 0;
}

static void hold(struct batch *batch, const struct db_reply *reply)
{
	struct store *store = batch->store;
	unsigned shift = store->refusals < 6 ? store->refusals : 6;
	int64_t wait_ms = (int64_t)HOLD_MS << shift;

	if (store->refusals++ == 0)
		log_warning("store.finish_refused", "sqlstate=%s why=\"%s\" rows=%zu next=retry",
			    reply->sqlstate, reply->message, batch->count);
	mem_set_str(&store->refusal, mem_printf("%s (SQLSTATE %s)", reply->message, reply->sqlstate));
	store->hold_until_ms = loop_now_ms(store->loop) + (wait_ms < HOLD_MAX_MS ? wait_ms : HOLD_MAX_MS);
	if (is_too_much(reply->sqlstate) && batch->count > 1)
		split(batch);
	else
		list_push_front(&store->waiting, &batch->node);
}

static void on_answered(void *arg, const struct db_reply *reply)
{
	struct batch *batch = arg;
	struct store *store = batch->store;

	list_remove(&batch->node);
	store->sent_count--;
	if (store->closing)
		batch_free(batch);
	else if (reply->status == DB_OK)
		batch_done(batch, reply->rows);
	else if (reply->status == DB_LOST)
		list_push_back(&store->waiting, &batch->node);
	else if (!is_content(reply->sqlstate))
		hold(batch, reply);
	else if (batch->count > 1)
		split(batch);
	else
		refuse_row(batch, reply);
	if (!store->closing)
		store_batch_send(store, false);
}

int64_t store_batch_silent_ms(const struct store *store)
{
	const struct batch *oldest = list_entry(store->sent.next, struct batch, node);

	return list_is_empty(&store->sent) ? 0 : loop_now_ms(store->loop) - oldest->sent_ms;
}

static const char finish_sql[] =
	"SELECT run_id, status FROM finish_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
	"$12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";
static const char keep_sql[] = "SELECT place FROM keep_turns($1, $2, $3, $4, $5, $6, $7, $8) ORDER BY place";

static bool batch_send(struct batch *batch)
{
	struct store *store = batch->store;
	struct db_params *params = batch->turns ? store_params_turns(store->node_id, &batch->rows)
						: store_params_ends(store->node_id, &batch->rows);

	if (db_query(store->queue, batch->turns ? keep_sql : finish_sql, params, on_answered, batch) != 0)
		return false;
	CRASH_POINT("store.sent");
	list_remove(&batch->node);
	list_push_back(&store->sent, &batch->node);
	batch->sent_ms = loop_now_ms(store->loop);
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

		if (batch->count == STORE_BATCH_ROWS ||
		    (batch->count > 0 && batch->bytes + weight > BATCH_BYTES))
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
	if (all || *queue->count >= DUE_ROWS || *queue->bytes >= BATCH_BYTES || left_ms <= 0)
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
