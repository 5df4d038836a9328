/* Between the store and its spool: what is handed over is written there first, then becomes rows in memory.
 *
 * While there is room in memory, a record becomes a row at once. When there is not, as in a long outage of
 * the database, and at a start, rows come from a reader that follows the spool, as fast as the database takes
 * them; when it has caught up, they come straight again. Either way in the order of the spool. */

#include "core/store_row.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/clock.h"
#include "base/mem.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "io/spool.h"

enum {
	MEMORY_BYTES = 64 * 1024 * 1024, /* of rows; above it they stay in the spool */
	MEMORY_LOW = MEMORY_BYTES / 2,	 /* below it the reader goes on */
	READ_BYTES = 4 * 1024 * 1024,
	READ_AGAIN_MS = 200, /* when the end of the spool is in memory, for want of room on the disk */
};

static void read_on(void *arg)
{
	store_journal_more(arg);
}

static void on_spool_changed(void *arg)
{
	struct store *store = arg;
	const char *trouble = spool_trouble(store->spool);

	if (trouble)
		log_error("spool.trouble", "why=\"%s\" effect=\"nothing new is begun\"", trouble);
	else
		log_info("spool.well", "effect=\"work goes on\"");
	store_event(store, trouble ? "error" : "info", trouble ? "spool.trouble" : "spool.well", NULL, 0,
		    "spool", NULL);
	if (store->options.on_trouble)
		store->options.on_trouble(store->options.arg);
}

int store_journal_open(struct store *store, char **ret_error)
{
	const struct spool_options options = {
		.dir = store->options.spool_dir,
		.max_bytes = store->options.spool_max_bytes,
		.keep_ms = store->options.spool_keep_ms,
		.changed = on_spool_changed,
		.arg = store,
	};
	struct spool_stat stat;
	int r;

	loop_timer_new(store->loop, read_on, store, &store->journal_timer);
	if (store->options.rehearsal)
		return spool_check(store->options.spool_dir, ret_error);
	r = spool_open(store->loop, &options, &store->spool, ret_error);
	if (r < 0)
		return r;
	spool_stat(store->spool, &stat);
	store->newest = stat.written;
	if (stat.depth > 0) {
		log_info("spool.backlog", "records=%llu bytes=%lld", (unsigned long long)stat.depth,
			 (long long)stat.depth_bytes);
		spool_reader_new(store->spool, stat.acked + 1, &store->reader);
		store->replaying = true;
	}
	return 0;
}

void store_journal_free(struct store *store)
{
	loop_timer_free(&store->journal_timer);
	spool_reader_free(&store->reader);
	spool_close(&store->spool);
	mem_free(&store->timeline);
}

/* ---- records ---- */

static char *turn_meta(const struct store_turn *turn)
{
	return jsontext_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:I}", "number", turn->number, "prev",
			     turn->prev, "digest", turn->digest, "day", (long long)turn->bill.day,
			     "inputTokens", (long long)turn->bill.input_tokens, "outputTokens",
			     (long long)turn->bill.output_tokens, "costE10", (long long)turn->bill.cost_e10);
}

static char *end_meta(const struct store_end *end)
{
	return jsontext_pack("{s:i, s:i, s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:s?, s:I, s:i, s:i, s:i, s:I}",
			     "fate", (int)end->fate, "turns", end->turn_count, "digest", end->digest,
			     "modelVersion", end->model_version, "inputTokens", (long long)end->input_tokens,
			     "outputTokens", (long long)end->output_tokens, "reasoningTokens",
			     (long long)end->reasoning_tokens, "durationMs", (long long)end->duration_ms,
			     "costE10", (long long)end->cost_e10, "error", end->error, "delayMs",
			     (long long)end->delay_ms, "fails", end->fails, "deaths", end->deaths,
			     "soloDeaths", end->solo_deaths, "limitedForMs", (long long)end->limited_for_ms);
}

static bool take_turn_record(struct store *store, const struct spool_record *record,
			     const struct jsontext *meta)
{
	const struct store_turn turn = {
		.job_id = record->job_id,
		.attempt = record->attempt,
		.number = (int)jsontext_number(meta, "number", 0),
		.prev = jsontext_text(meta, "prev"),
		.digest = jsontext_text(meta, "digest"),
		.body = record->body,
		.body_len = record->body_len,
		.bill = { .day = jsontext_number(meta, "day", 0),
			  .input_tokens = jsontext_number(meta, "inputTokens", 0),
			  .output_tokens = jsontext_number(meta, "outputTokens", 0),
			  .cost_e10 = jsontext_number(meta, "costE10", -1) },
	};

	if (turn.number < 1 || !turn.prev || !turn.digest)
		return false;
	store_rows_take_turn(store, record->seq, &turn);
	return true;
}

static bool take_end_record(struct store *store, const struct spool_record *record,
			    const struct jsontext *meta)
{
	int64_t fate = jsontext_number(meta, "fate", -1);
	int64_t age_ms;
	const struct store_end end = {
		.job_id = record->job_id,
		.attempt = record->attempt,
		.fate = (enum store_fate)fate,
		.turn_count = (int)jsontext_number(meta, "turns", 0),
		.digest = jsontext_text(meta, "digest"),
		.model_version = jsontext_text(meta, "modelVersion"),
		.input_tokens = jsontext_number(meta, "inputTokens", 0),
		.output_tokens = jsontext_number(meta, "outputTokens", 0),
		.reasoning_tokens = jsontext_number(meta, "reasoningTokens", 0),
		.duration_ms = jsontext_number(meta, "durationMs", 0),
		.cost_e10 = jsontext_number(meta, "costE10", -1),
		.error = jsontext_text(meta, "error"),
		.delay_ms = jsontext_number(meta, "delayMs", 0),
		.fails = (int)jsontext_number(meta, "fails", 0),
		.deaths = (int)jsontext_number(meta, "deaths", 0),
		.solo_deaths = (int)jsontext_number(meta, "soloDeaths", 0),
		.limited_for_ms = jsontext_number(meta, "limitedForMs", 0),
	};

	if (fate < STORE_COMPLETED || fate > STORE_LATER || !end.digest)
		return false;
	age_ms = clock_wall_ms() - record->at_ms;
	store_rows_take_end(store, record->seq, age_ms > 0 ? age_ms : 0, &end);
	return true;
}

static void take_record(struct store *store, const struct spool_record *record)
{
	AUTO(jsontext_free) struct jsontext *meta = NULL;
	bool taken = false;

	if (jsontext_parse(record->meta, record->meta_len, &meta) == 0)
		taken = record->kind == SPOOL_TURN  ? take_turn_record(store, record, meta)
			: record->kind == SPOOL_END ? take_end_record(store, record, meta)
						    : false;
	if (taken)
		return;
	/* Its checksum is right, so that some other version wrote it: it stays in the file, for people. */
	log_error("spool.unreadable", "seq=%llu job=%lld %s kind=%d effect=\"left out\"",
		  (unsigned long long)record->seq, (long long)record->job_id,
		  store_claim_whose(store, record->job_id), (int)record->kind);
	spool_ack(store->spool, record->seq);
}

/* ---- in ---- */

/* True: make a row of it at once. */
static bool append(struct store *store, struct spool_record *record)
{
#ifndef PROCTOR_WITHOUT_SPOOL /* tests/bench/spool.py measures against that */
	spool_append(store->spool, record);
	store->newest = record->seq;
#endif
	if (store->reader)
		return false;
	if (store->held_bytes < MEMORY_BYTES)
		return true;
	log_info("spool.follow", "held=%zu bytes=%zu", store->held_count, store->held_bytes);
	spool_reader_new(store->spool, record->seq, &store->reader);
	return false;
}

void store_turn(struct store *store, const struct store_turn *turn)
{
	AUTO(mem_free_str) char *meta = turn_meta(turn);
	struct spool_record record = {
		.kind = SPOOL_TURN,
		.job_id = turn->job_id,
		.attempt = turn->attempt,
		.meta = meta,
		.meta_len = strlen(meta),
		.body = turn->body,
		.body_len = turn->body_len,
	};

	if (append(store, &record))
		store_rows_take_turn(store, record.seq, turn);
	store_batch_send(store, false);
}

void store_finish(struct store *store, const struct store_end *end)
{
	AUTO(mem_free_str) char *meta = end_meta(end);
	struct spool_record record = {
		.kind = SPOOL_END,
		.job_id = end->job_id,
		.attempt = end->attempt,
		.meta = meta,
		.meta_len = strlen(meta),
		.body = "",
	};

	if (append(store, &record))
		store_rows_take_end(store, record.seq, 0, end);
	store_batch_send(store, false);
}

/* ---- again ---- */

static void caught_up(struct store *store)
{
	spool_reader_free(&store->reader);
	if (!store->replaying)
		log_info("spool.caught_up", "seq=%llu", (unsigned long long)store->newest);
}

static void on_read(void *arg, const struct spool_record *records, size_t count, uint64_t next)
{
	struct store *store = arg;

	store->reading = false;
	for (size_t i = 0; i < count; i++)
		take_record(store, &records[i]);
	if (next > store->newest)
		caught_up(store);
	else if (count == 0)
		loop_timer_start(store->journal_timer, READ_AGAIN_MS);
	store_batch_send(store, false);
	store_rows_settled(store);
}

void store_journal_more(struct store *store)
{
	if (store->closing || !store_is_joined(store))
		return;
	if (store->reader && !store->reading && store->held_bytes < MEMORY_LOW &&
	    !loop_timer_armed(store->journal_timer)) {
		store->reading = true;
		spool_read(store->reader, READ_BYTES, on_read, store);
	}
	if (!store->replaying || store->reader || store_batch_is_busy(store))
		return;
	store->replaying = false;
	if (store->timeline)
		spool_set_server(store->spool, spool_database(store->spool), store->timeline);
	mem_free(&store->timeline);
	store_boot_replayed(store);
}

/* ---- which database ---- */

static void start_over(struct store *store)
{
	uint64_t from = spool_rewind(store->spool);

	/* A read under way is of the same records: both come, and repeats are harmless. */
	spool_reader_free(&store->reader);
	store->reading = false;
	/* An end that waits may stand on a turn that has to come again, and so must not come before it. */
	store_rows_forget(store);
	spool_reader_new(store->spool, from, &store->reader);
	store->replaying = true;
}

int store_journal_meet(struct store *store, const char *database, const char *timeline, char **ret_why)
{
	const char *known = spool_database(store->spool), *course = spool_timeline(store->spool);
	struct spool_stat stat;

	spool_stat(store->spool, &stat);
	if (known[0] != '\0' && strcmp(known, database) != 0 && stat.depth > 0) {
		*ret_why = mem_printf(
			"the spool %s holds %llu records for another database (%s; this one is %s): "
			"connect to that one, or move the folder away",
			store->options.spool_dir, (unsigned long long)stat.depth, known, database);
		return -EBUSY;
	}
	if (strcmp(known, database) != 0) {
		if (known[0] != '\0')
			log_warning("spool.other_database", "was=%s now=%s", known, database);
		spool_forget_kept(store->spool);
		spool_set_server(store->spool, database, timeline);
		return 0;
	}
	if (timeline[0] == '\0' || strcmp(course, timeline) == 0)
		return 0;
	if (course[0] == '\0') {
		spool_set_server(store->spool, database, timeline);
		return 0;
	}
	/* A standby took over: what the old server committed last may never have reached it. */
	log_warning("spool.timeline", "was=%s now=%s effect=\"all that is kept is sent again\"", course,
		    timeline);
	mem_set_str(&store->timeline, mem_strdup(timeline));
	start_over(store);
	return 0;
}
