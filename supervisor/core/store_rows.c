/* Turns and ends in memory, from their handing over until the database has them. Each is a row; store_batch.c
 * sends them. Their records are in the spool already: what is lost here comes back from there. */

#include "core/store_row.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/spool.h"

enum { ROW_OVERHEAD = 400 }; /* bytes counted for a row beside its texts */

/* The turns of a job that are not committed, and that no end carries yet. Mostly they make one chain; turns
 * of two attempts may stand side by side. */
struct talk {
	int64_t job_id;
	struct list turns;
};

struct flush {
	struct list node;
	struct store *store;
	struct loop_timer *timer;
	void (*fn)(void *arg, bool flushed);
	void *arg;
};

void store_rows_new(struct store *store)
{
	list_init(&store->turns);
	list_init(&store->ends);
	list_init(&store->flushes);
	map_new(&store->talks);
}

/* ---- one row ---- */

static struct store_row *row_new(struct store *store, uint64_t seq, int64_t job_id, int attempt,
				 enum store_row_fate fate)
{
	struct store_row *row = mem_alloc(sizeof(*row));

	list_init(&row->node);
	list_init(&row->in_talk);
	row->seq = seq;
	row->since_ms = loop_now_ms(store->loop);
	row->job_id = job_id;
	row->attempt = attempt;
	row->fate = fate;
	row->cost_e10 = -1;
	return row;
}

static void row_free(struct store_row *row)
{
	list_remove(&row->node);
	list_remove(&row->in_talk);
	mem_free(&row->prev);
	mem_free(&row->digest);
	mem_free(&row->body);
	mem_free(&row->carried);
	mem_free(&row->model_version);
	mem_free(&row->error);
	mem_free(&row);
}

static size_t text_bytes(const char *text)
{
	return text ? strlen(text) : 0;
}

static void row_count(struct store *store, struct store_row *row)
{
	row->bytes = ROW_OVERHEAD + row->body_len + text_bytes(row->error);
	store->held_count++;
	store->held_bytes += row->bytes;
}

static void row_release(struct store *store, struct store_row *row)
{
	if (--row->refs > 0)
		return;
	store->held_count--;
	store->held_bytes -= row->bytes;
	row_free(row);
}

static void row_ack(struct store *store, const struct store_row *row)
{
	if (row->seq > 0)
		spool_ack(store->spool, row->seq);
}

/* ---- the turns of a job ---- */

static struct talk *talk_of(struct store *store, int64_t job_id)
{
	struct talk *talk = map_get_id(store->talks, job_id);

	if (talk)
		return talk;
	talk = mem_alloc(sizeof(*talk));
	talk->job_id = job_id;
	list_init(&talk->turns);
	map_set_id(store->talks, job_id, talk);
	return talk;
}

static void talk_leave(struct store *store, struct store_row *row)
{
	struct talk *talk = map_get_id(store->talks, row->job_id);

	list_remove(&row->in_talk);
	if (!list_is_empty(&talk->turns))
		return;
	map_remove_id(store->talks, row->job_id);
	mem_free(&talk);
}

static struct store_row *talk_find(const struct talk *talk, const char *digest)
{
	list_foreach (at, &talk->turns) {
		struct store_row *row = list_entry(at, struct store_row, in_talk);

		if (strcmp(row->digest, digest) == 0)
			return row;
	}
	return NULL;
}

/* Refused turns of a job that is over, or that nobody here works on: no end will carry them. */
static void talk_drop_refused(struct store *store, int64_t job_id)
{
	struct talk *talk = map_get_id(store->talks, job_id);

	if (!talk)
		return;
	list_foreach_safe (at, &talk->turns) {
		struct store_row *row = list_entry(at, struct store_row, in_talk);

		if (!row->refused)
			continue;
		row_ack(store, row);
		list_remove(&row->in_talk);
		row_release(store, row);
	}
	if (list_is_empty(&talk->turns)) {
		map_remove_id(store->talks, job_id);
		mem_free(&talk);
	}
}

void store_rows_take_turn(struct store *store, uint64_t seq, const struct store_turn *turn)
{
	struct store_row *row = row_new(store, seq, turn->job_id, turn->attempt, ROW_TURN);

	row->number = turn->number;
	row->prev = mem_strdup(turn->prev);
	row->digest = mem_strdup(turn->digest);
	row->body = mem_strndup(turn->body, turn->body_len);
	row->body_len = turn->body_len;
	row->bill = turn->bill;
	row->refs = 2; /* the queue's and the talk's */
	list_push_back(&store->turns, &row->node);
	list_push_back(&talk_of(store, turn->job_id)->turns, &row->in_talk);
	row_count(store, row);
	store->turn_count++;
	store->turn_bytes += row->bytes;
}

/* ---- ends ---- */

/* The end takes over what the talk held. */
static void carry(struct store *store, struct store_row *end, struct store_row *turn)
{
	end->carried = mem_resize(end->carried, end->carried_count + 1, sizeof(struct store_row *));
	memmove(end->carried + 1, end->carried, end->carried_count * sizeof(struct store_row *));
	end->carried[0] = turn;
	end->carried_count++;
	talk_leave(store, turn);
	if (turn->sent)
		return;
	list_remove(&turn->node);
	store->turn_count--;
	store->turn_bytes -= turn->bytes;
	row_release(store, turn);
}

/* Back from the last turn along the chain: turns of another attempt are left where they are. */
static void carry_chain(struct store *store, struct store_row *end)
{
	const char *digest = end->digest;

	while (digest[0] != '\0') {
		struct talk *talk = map_get_id(store->talks, end->job_id);
		struct store_row *turn = talk ? talk_find(talk, digest) : NULL;

		if (!turn)
			return;
		digest = turn->prev;
		carry(store, end, turn);
	}
}

static void end_queue(struct store *store, struct store_row *row)
{
	row->refs = 1;
	row_count(store, row);
	list_push_back(&store->ends, &row->node);
	store->end_count++;
	store->end_bytes += store_row_weight(row);
}

void store_rows_take_end(struct store *store, uint64_t seq, int64_t age_ms, const struct store_end *end)
{
	struct store_row *row = row_new(store, seq, end->job_id, end->attempt,
					(enum store_row_fate)end->fate);

	row->age_ms = age_ms;
	row->number = end->turn_count;
	row->digest = mem_strdup(end->digest);
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
	carry_chain(store, row);
	end_queue(store, row);
}

/* They were never begun, so that the spool need not know: a restart gives back what it has claimed. */
void store_give_back(struct store *store, const int64_t *job_ids, const int *attempts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct store_row *row = row_new(store, 0, job_ids[i], attempts[i], ROW_RETURNED);

		row->digest = mem_strdup("");
		end_queue(store, row);
	}
	store_batch_send(store, false);
}

size_t store_row_weight(const struct store_row *row)
{
	size_t weight = row->bytes;

	for (size_t i = 0; i < row->carried_count; i++)
		weight += row->carried[i]->bytes;
	return weight;
}

/* ---- what became of a row ---- */

static void release_carried(struct store *store, struct store_row *row)
{
	for (size_t i = 0; i < row->carried_count; i++) {
		row_ack(store, row->carried[i]);
		row_release(store, row->carried[i]);
	}
	row->carried_count = 0;
}

void store_row_done(struct store *store, struct store_row *row)
{
	row_ack(store, row);
	if (row->fate != ROW_TURN) {
		release_carried(store, row);
		store_claim_forget(store, row->job_id, row->attempt);
		talk_drop_refused(store, row->job_id);
	} else if (!list_is_empty(&row->in_talk)) {
		talk_leave(store, row);
		row_release(store, row);
	}
	row_release(store, row);
}

void store_row_refused(struct store *store, struct store_row *row)
{
	row->refused = true;
	row_release(store, row);
	if (!store_claim_knows(store, row->job_id))
		talk_drop_refused(store, row->job_id);
}

/* ---- when all is committed ---- */

static void flush_free(struct flush *flush)
{
	list_remove(&flush->node);
	loop_timer_free(&flush->timer);
	mem_free(&flush);
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

static bool is_drained(const struct store *store)
{
	return !store->reader && !store_batch_is_busy(store);
}

void store_rows_settled(struct store *store)
{
	store_journal_more(store);
	if (!is_drained(store))
		return;
	list_foreach_safe (node, &store->flushes) {
		flush_end(list_entry(node, struct flush, node), true);
	}
}

void store_flush(struct store *store, int64_t timeout_ms, void (*fn)(void *arg, bool flushed), void *arg)
{
	struct flush *flush = mem_alloc(sizeof(*flush));

	*flush = (struct flush){ .store = store, .fn = fn, .arg = arg };
	loop_timer_new(store->loop, on_flush_timeout, flush, &flush->timer);
	list_push_back(&store->flushes, &flush->node);
	if (store_is_booted(store))
		store_events_send(store);
	if (is_drained(store)) {
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

/* ---- ending ---- */

static void rows_free(struct store *store, struct list *rows)
{
	while (!list_is_empty(rows)) {
		struct store_row *row = list_entry(list_pop_front(rows), struct store_row, node);

		for (size_t i = 0; i < row->carried_count; i++)
			row_release(store, row->carried[i]);
		row_release(store, row);
	}
}

static void talks_free(struct store *store)
{
	struct talk *talk;
	size_t cursor = 0;

	while ((talk = map_next(store->talks, &cursor))) {
		while (!list_is_empty(&talk->turns))
			row_release(store,
				    list_entry(list_pop_front(&talk->turns), struct store_row, in_talk));
		mem_free(&talk);
	}
	map_free(&store->talks);
}

static void move_all(struct list *from, struct list *to)
{
	while (!list_is_empty(from))
		list_push_back(to, list_pop_front(from));
}

void store_rows_forget(struct store *store)
{
	struct list rows = LIST_INIT(rows);

	store_batch_unpack(store, &rows);
	move_all(&store->ends, &rows);
	move_all(&store->turns, &rows);
	store->end_count = store->end_bytes = store->turn_count = store->turn_bytes = 0;
	list_foreach_safe (node, &rows) {
		struct store_row *row = list_entry(node, struct store_row, node);

		if (row->seq > 0)
			continue;
		list_remove(node);
		list_push_back(&store->ends, node);
		store->end_count++;
		store->end_bytes += store_row_weight(row);
	}
	rows_free(store, &rows);
	talks_free(store);
	map_new(&store->talks);
}

void store_rows_free(struct store *store)
{
	rows_free(store, &store->ends);
	rows_free(store, &store->turns);
	talks_free(store);
	while (!list_is_empty(&store->flushes))
		flush_free(list_entry(store->flushes.next, struct flush, node));
}

void store_rows_drop(struct store *store, struct list *rows)
{
	rows_free(store, rows);
}
