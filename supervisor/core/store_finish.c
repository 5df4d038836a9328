/* How attempts ended, from their handing over until the database has them: the store's memory. Each end is a
 * row; store_batch.c sends them. */

#include "core/store_row.h"

#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"

enum { ROW_OVERHEAD = 256 }; /* bytes counted for a row beside its texts */

struct flush {
	struct list node;
	struct store *store;
	uint64_t serial;  /* of the last row that it waits for */
	size_t remaining; /* rows up to there */
	struct loop_timer *timer;
	void (*fn)(void *arg, bool flushed);
	void *arg;
};

void store_finish_new(struct store *store)
{
	list_init(&store->rows);
	list_init(&store->flushes);
}

static void row_free(struct store_row *row)
{
	list_remove(&row->node);
	mem_free(&row->turns);
	mem_free(&row->digests);
	mem_free(&row->model_version);
	mem_free(&row->error);
	mem_free(&row);
}

void store_rows_free(struct list *rows)
{
	while (!list_is_empty(rows))
		row_free(list_entry(rows->next, struct store_row, node));
}

static void flush_free(struct flush *flush)
{
	list_remove(&flush->node);
	loop_timer_free(&flush->timer);
	mem_free(&flush);
}

void store_finish_free(struct store *store)
{
	store_rows_free(&store->rows);
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

void store_row_done(struct store *store, struct store_row *row)
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

void store_rows_settled(struct store *store)
{
	check_room(store);
	list_foreach_safe (node, &store->flushes) {
		struct flush *flush = list_entry(node, struct flush, node);

		if (flush->remaining == 0)
			flush_end(flush, true);
	}
}

static struct store_row *row_new(struct store *store, int64_t job_id, int attempt, enum store_row_fate fate)
{
	struct store_row *row = mem_alloc(sizeof(*row));

	row->serial = ++store->serial;
	row->since_ms = loop_now_ms(store->loop);
	row->job_id = job_id;
	row->attempt = attempt;
	row->fate = fate;
	row->cost_e10 = -1;
	return row;
}

static void row_add(struct store *store, struct store_row *row)
{
	row->bytes = ROW_OVERHEAD + row->turns_len + (row->digests ? strlen(row->digests) : 0) +
		     (row->error ? strlen(row->error) : 0);
	list_push_back(&store->rows, &row->node);
	store->row_count++;
	store->row_bytes += row->bytes;
	store->held_count++;
	store->held_bytes += row->bytes;
}

static void join_turns(struct store_row *row, const struct store_turn *turns, size_t count)
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
	struct store_row *row = row_new(store, end->job_id, end->attempt, (enum store_row_fate)end->fate);

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
	store_batch_send(store, false);
}

void store_give_back(struct store *store, const int64_t *job_ids, const int *attempts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct store_row *row = row_new(store, job_ids[i], attempts[i], ROW_RETURNED);

		join_turns(row, NULL, 0);
		row_add(store, row);
	}
	check_room(store);
	store_batch_send(store, false);
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
	store_batch_send(store, true);
}

void store_hurry_flush(struct store *store, int64_t timeout_ms)
{
	list_foreach (node, &store->flushes) {
		loop_timer_start_by(list_entry(node, struct flush, node)->timer, timeout_ms);
	}
}
