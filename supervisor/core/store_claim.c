/* Taking jobs out of the queue.
 *
 * `known` holds every job from its claim to the commit of its end. It is what tells a lease that we hold from
 * one that was given to us in an answer we never got. `marks` bounds each claim from below: rows claimed a
 * moment ago are still in the index as dead ones, and reading over them again is what makes a queue slow
 * under a long transaction. */

#include "core/store_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crashpoint.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/loop.h"

enum {
	MARK_SLACK = 2000,	/* seqs: more than can commit out of order */
	SWEEP_MS = 5000,	/* how often a claim reads from the start of the queue all the same */
	MARKS_PER_PAIR_MAX = 4, /* marks kept, as a multiple of the active pairs */
	MARKS_MIN = 64,
};

struct known {
	int64_t job_id;
	int attempt;
	char whose[]; /* as store_claim_whose() gives it */
};

struct mark {
	int64_t seq;	  /* highest claimed */
	int64_t swept_ms; /* last claim from 0 */
};

struct claim {
	struct store *store;
	store_claim_fn *fn;
	void *arg;
	size_t count;
	int *wanted;
	struct mark **marks; /* of each want; store_claim_trim leaves them be while claims are under way */
};

/* Columns of claim_jobs(). */
enum {
	COL_WANT,
	COL_JOB,
	COL_ATTEMPT,
	COL_RUN,
	COL_MODEL,
	COL_LANE,
	COL_SEQ,
	COL_INPUT,
	COL_TURNS,
	COL_TURN_COUNT,
	COL_DIGEST,
	COL_INPUT_TOKENS,
	COL_OUTPUT_TOKENS,
	COL_REASONING_TOKENS,
	COL_DURATION,
	COL_FAILS,
	COL_DEATHS,
	COL_SOLO_DEATHS,
	COL_LIMITED_FOR,
	COL_COST,
};

void store_claim_new(struct store *store)
{
	map_new(&store->known);
	map_new(&store->marks);
}

static void free_values(struct map *map)
{
	size_t cursor = 0;

	for (void *value = map_next(map, &cursor); value; value = map_next(map, &cursor))
		free(value);
}

void store_claim_free(struct store *store)
{
	free_values(store->known);
	free_values(store->marks);
	map_free(&store->known);
	map_free(&store->marks);
	mem_free(&store->claim_refusal);
}

void store_claim_remember(struct store *store, int64_t job_id, int attempt, const char *run_id,
			  const char *model_id)
{
	AUTO(mem_free_str) char *whose = mem_printf("run=%s model=%s", run_id, model_id);
	size_t size = strlen(whose) + 1;
	struct known *known = mem_alloc(sizeof(*known) + size);

	known->job_id = job_id;
	known->attempt = attempt;
	memcpy(known->whose, whose, size);
	free(map_set_id(store->known, job_id, known));
}

const char *store_claim_whose(const struct store *store, int64_t job_id)
{
	const struct known *known = map_get_id(store->known, job_id);

	return known ? known->whose : "run=unknown model=unknown";
}

void store_claim_forget(struct store *store, int64_t job_id, int attempt)
{
	const struct known *known = map_get_id(store->known, job_id);

	/* A later attempt of the same job may be ours too by now. */
	if (known && known->attempt == attempt)
		free(map_remove_id(store->known, job_id));
}

bool store_claim_knows(const struct store *store, int64_t job_id)
{
	return map_get_id(store->known, job_id) != NULL;
}

static struct mark *mark_of(struct store *store, const struct store_want *want)
{
	AUTO(mem_free_str) char *key = mem_printf("%s\n%s", want->run_id, want->model_id);
	struct mark *mark = map_get(store->marks, key, strlen(key));

	if (mark)
		return mark;
	mark = mem_alloc(sizeof(*mark));
	map_set(store->marks, key, strlen(key), mark);
	return mark;
}

void store_claim_new_database(struct store *store)
{
	free_values(store->marks);
	map_free(&store->marks);
	map_new(&store->marks);
}

void store_claim_trim(struct store *store, size_t active_pairs)
{
	if (store->claims == 0 && map_len(store->marks) > active_pairs * MARKS_PER_PAIR_MAX + MARKS_MIN)
		store_claim_new_database(store);
}

static int64_t after_seq(const struct store *store, struct mark *mark)
{
	int64_t now_ms = loop_now_ms(store->loop);

	if (mark->seq <= MARK_SLACK || now_ms - mark->swept_ms >= SWEEP_MS) {
		mark->swept_ms = now_ms;
		return 0;
	}
	return mark->seq - MARK_SLACK;
}

static void claim_free(struct claim *claim)
{
	mem_free(&claim->wanted);
	mem_free(&claim->marks);
	mem_free(&claim);
}

static struct store_job job_of(const struct db_rows *rows, size_t i)
{
	struct store_job job = {
		.id = db_int(rows, i, COL_JOB),
		.attempt = (int)db_int(rows, i, COL_ATTEMPT),
		.run_id = db_text(rows, i, COL_RUN, NULL),
		.model_id = db_text(rows, i, COL_MODEL, NULL),
		.lane = db_text(rows, i, COL_LANE, NULL),
		.turn_count = (int)db_int(rows, i, COL_TURN_COUNT),
		.digest = db_text(rows, i, COL_DIGEST, NULL),
		.input_tokens = db_int(rows, i, COL_INPUT_TOKENS),
		.output_tokens = db_int(rows, i, COL_OUTPUT_TOKENS),
		.reasoning_tokens = db_int(rows, i, COL_REASONING_TOKENS),
		.duration_ms = db_int(rows, i, COL_DURATION),
		.fails = (int)db_int(rows, i, COL_FAILS),
		.deaths = (int)db_int(rows, i, COL_DEATHS),
		.solo_deaths = (int)db_int(rows, i, COL_SOLO_DEATHS),
		.limited_for_ms = db_int(rows, i, COL_LIMITED_FOR),
	};

	if (job.turn_count > 0)
		job.cost_e10 = db_is_null(rows, i, COL_COST) ? -1 : db_int(rows, i, COL_COST);
	job.input = db_text(rows, i, COL_INPUT, &job.input_len);
	job.turns = db_text(rows, i, COL_TURNS, &job.turns_len);
	return job;
}

static void hand_out(struct claim *claim, const struct db_rows *rows)
{
	size_t count = db_rows_count(rows);
	struct store_job *jobs = mem_array(count + 1, sizeof(*jobs));
	bool *short_of = mem_array(claim->count, sizeof(*short_of));

	for (size_t i = 0; i < count; i++) {
		size_t want = (size_t)db_int(rows, i, COL_WANT);
		int64_t seq = db_int(rows, i, COL_SEQ);

		jobs[i] = job_of(rows, i);
		store_claim_remember(claim->store, jobs[i].id, jobs[i].attempt, jobs[i].run_id,
				     jobs[i].model_id);
		claim->wanted[want]--;
		if (claim->marks[want]->seq < seq)
			claim->marks[want]->seq = seq;
	}
	for (size_t i = 0; i < claim->count; i++)
		short_of[i] = claim->wanted[i] > 0;
	claim->fn(claim->arg, jobs, count, short_of);
	mem_free(&jobs);
	mem_free(&short_of);
}

/* Told once for each reason, and for as long as it holds to those who ask. */
static void note_refusal(struct store *store, const struct db_reply *reply)
{
	AUTO(mem_free_str) char *told = NULL;

	if (reply->status == DB_REFUSED)
		told = mem_printf("%s (SQLSTATE %s)", reply->message, reply->sqlstate);
	if (told && (!store->claim_refusal || strcmp(store->claim_refusal, told) != 0))
		log_warning("store.claim_refused", "sqlstate=%s why=\"%s\"", reply->sqlstate, reply->message);
	if (reply->status != DB_LOST)
		mem_set_str(&store->claim_refusal, mem_strdup(told));
}

static void on_claimed(void *arg, const struct db_reply *reply)
{
	struct claim *claim = arg;
	struct store *store = claim->store;

	store->claims--;
	CRASH_POINT("store.claimed");
	if (!store->closing) {
		note_refusal(store, reply);
		if (reply->status == DB_OK)
			hand_out(claim, reply->rows);
		else
			claim->fn(claim->arg, NULL, 0, NULL);
	}
	claim_free(claim);
}

static struct db_params *claim_params(struct claim *claim, const struct store_want *wants)
{
	struct db_params *params = db_params_new();
	const char **runs = mem_array(claim->count, sizeof(*runs));
	const char **models = mem_array(claim->count, sizeof(*models));
	int64_t *counts = mem_array(claim->count, sizeof(*counts));
	int64_t *after = mem_array(claim->count, sizeof(*after));

	for (size_t i = 0; i < claim->count; i++) {
		runs[i] = wants[i].run_id;
		models[i] = wants[i].model_id;
		counts[i] = claim->wanted[i] = wants[i].count;
		claim->marks[i] = mark_of(claim->store, &wants[i]);
		after[i] = after_seq(claim->store, claim->marks[i]);
	}
	db_param_int(params, claim->store->node_id);
	db_param_texts(params, runs, NULL, claim->count);
	db_param_texts(params, models, NULL, claim->count);
	db_param_ints(params, counts, claim->count);
	db_param_ints(params, after, claim->count);
	mem_free(&runs);
	mem_free(&models);
	mem_free(&counts);
	mem_free(&after);
	return params;
}

int store_claim(struct store *store, const struct store_want *wants, size_t count, store_claim_fn *fn,
		void *arg)
{
	struct claim *claim;
	int error;

	if (!store->ready)
		return -ENOTCONN;
	if (count == 0)
		return -EINVAL;
	claim = mem_alloc(sizeof(*claim));
	*claim = (struct claim){ .store = store, .fn = fn, .arg = arg, .count = count };
	claim->wanted = mem_array(count, sizeof(*claim->wanted));
	claim->marks = mem_array(count, sizeof(struct mark *));
	error = db_query(store->queue, "SELECT * FROM claim_jobs($1, $2, $3, $4, $5)",
			 claim_params(claim, wants), on_claimed, claim);
	if (error != 0)
		claim_free(claim);
	else
		store->claims++;
	CRASH_POINT("store.claim_sent");
	return error;
}

/* Two arrays of fresh memory. */
static size_t list_known(const struct store *store, int64_t **ret_ids, int64_t **ret_attempts)
{
	const struct known *known;
	size_t cursor = 0, count = 0;

	*ret_ids = mem_array(map_len(store->known) + 1, sizeof(**ret_ids));
	*ret_attempts = mem_array(map_len(store->known) + 1, sizeof(**ret_attempts));
	while ((known = map_next(store->known, &cursor))) {
		(*ret_ids)[count] = known->job_id;
		(*ret_attempts)[count++] = known->attempt;
	}
	return count;
}

int store_claim_reconcile(struct store *store, void (*done)(void *arg, const struct db_reply *reply))
{
	struct db_params *params;
	int64_t *ids, *attempts;
	size_t count;

	/* The connection keeps the order: a claim sent later sees the leases as this leaves them. */
	if (store->claims > 0)
		return -EAGAIN;
	count = list_known(store, &ids, &attempts);
	params = db_params_new();
	db_param_int(params, store->node_id);
	db_param_ints(params, ids, count);
	mem_free(&ids);
	mem_free(&attempts);
	return db_query(store->queue, "SELECT take_back_unknown($1, $2)", params, done, store);
}

int store_claim_ask_held(struct store *store, struct db *db,
			 void (*done)(void *arg, const struct db_reply *reply))
{
	struct db_params *params = db_params_new();
	int64_t *ids, *attempts;
	size_t count = list_known(store, &ids, &attempts);

	db_param_int(params, store->node_id);
	db_param_ints(params, ids, count);
	db_param_ints(params, attempts, count);
	mem_free(&ids);
	mem_free(&attempts);
	return db_query(
		db,
		"SELECT k.job_id, k.attempt "
		"FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS k (job_id, attempt, place) "
		"WHERE k.place NOT IN (SELECT place FROM held_leases($1, $2, $3))",
		params, done, store);
}

void store_claim_tell_lost(struct store *store, const struct db_reply *reply)
{
	for (size_t i = 0; i < db_rows_count(reply->rows); i++) {
		int64_t job_id = db_int(reply->rows, i, 0);
		const struct known *known = map_get_id(store->known, job_id);

		if (!known || known->attempt != db_int(reply->rows, i, 1))
			continue; /* over since, or claimed again */
		log_warning("store.lease_lost", "job=%lld attempt=%d %s", (long long)job_id, known->attempt,
			    known->whose);
		free(map_remove_id(store->known, job_id));
		if (store->options.on_lost)
			store->options.on_lost(store->options.arg, job_id);
	}
}
