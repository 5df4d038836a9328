/* Rows as the parameters of finish_jobs() and keep_turns(): one array per column. */

#include "core/store_row.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/db.h"

static const char *const fates[] = {
	[ROW_COMPLETED] = "COMPLETED",
	[ROW_FAILED] = "FAILED",
	[ROW_CANCELLED] = "CANCELLED",
	[ROW_LATER] = "LATER",
	[ROW_RETURNED] = "RETURNED",
	[ROW_REFUSED] = "REFUSED",
	[ROW_TURN] = "",
};

/* One array per column of finish_jobs(). */
struct end_columns {
	const char *fates[STORE_BATCH_ROWS], *turns[STORE_BATCH_ROWS], *digests[STORE_BATCH_ROWS],
		*bills[STORE_BATCH_ROWS], *bases[STORE_BATCH_ROWS], *versions[STORE_BATCH_ROWS],
		*errors[STORE_BATCH_ROWS];
	size_t turns_lens[STORE_BATCH_ROWS];
	int64_t jobs[STORE_BATCH_ROWS], attempts[STORE_BATCH_ROWS], base_numbers[STORE_BATCH_ROWS],
		input[STORE_BATCH_ROWS], output[STORE_BATCH_ROWS], reasoning[STORE_BATCH_ROWS],
		durations[STORE_BATCH_ROWS], costs[STORE_BATCH_ROWS], delays[STORE_BATCH_ROWS],
		fails[STORE_BATCH_ROWS], deaths[STORE_BATCH_ROWS], solo_deaths[STORE_BATCH_ROWS],
		limited[STORE_BATCH_ROWS];
	bool no_cost[STORE_BATCH_ROWS];
};

/* As the SQL reads a bill: an array of bigint. */
static void put_bill(struct buf *out, const struct store_bill *bill)
{
	buf_putf(out, "%" PRId64 ",%" PRId64 ",%" PRId64 ",", bill->day, bill->input_tokens,
		 bill->output_tokens);
	if (bill->cost_e10 < 0)
		buf_puts(out, "NULL");
	else
		buf_putf(out, "%" PRId64, bill->cost_e10);
}

/* What names and bills the carried turns; also those of a row whose turns the server does not take, which
 * were paid for all the same. */
static void put_bills(struct end_columns *c, size_t i, const struct store_row *row)
{
	struct buf digests = BUF_INIT(0), bills = BUF_INIT(0);
	size_t len;

	buf_puts(&bills, "{");
	for (size_t k = 0; k < row->carried_count; k++) {
		buf_puts(&digests, k > 0 ? "," : "");
		buf_puts(&digests, row->carried[k]->digest);
		buf_puts(&bills, k > 0 ? "," : "");
		put_bill(&bills, &row->carried[k]->bill);
	}
	buf_puts(&bills, "}");
	c->digests[i] = buf_take(&digests, &len);
	c->bills[i] = buf_take(&bills, &len);
}

/* The carried turns as one JSON array; what was before them is stored already. */
static void put_turns(struct end_columns *c, size_t i, const struct store_row *row)
{
	struct buf turns = BUF_INIT(0);
	size_t count = row->fate == ROW_REFUSED ? 0 : row->carried_count;

	buf_puts(&turns, "[");
	for (size_t k = 0; k < count; k++) {
		buf_puts(&turns, k > 0 ? "," : "");
		buf_put(&turns, row->carried[k]->body, row->carried[k]->body_len);
	}
	buf_puts(&turns, "]");
	c->turns[i] = buf_take(&turns, &c->turns_lens[i]);
	c->base_numbers[i] = row->carried_count > 0 ? row->carried[0]->number - 1 : row->number;
	c->bases[i] = row->carried_count > 0 ? row->carried[0]->prev : row->digest;
}

static void end_columns_set(struct end_columns *c, size_t i, const struct store_row *row)
{
	c->jobs[i] = row->job_id;
	c->attempts[i] = row->attempt;
	c->fates[i] = fates[row->fate];
	put_turns(c, i, row);
	put_bills(c, i, row);
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
		free((void *)(uintptr_t)c->bills[i]);
	}
}

struct db_params *store_params_ends(int64_t node_id, const struct list *rows)
{
	struct db_params *params = db_params_new();
	struct end_columns c;
	size_t n = 0;

	list_foreach (node, rows) {
		end_columns_set(&c, n++, list_entry(node, struct store_row, node));
	}
	db_param_int(params, node_id);
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
	db_param_texts(params, c.bills, NULL, n);
	end_columns_free(&c, n);
	return params;
}

static char *turn_bill(const struct store_row *row)
{
	struct buf bill = BUF_INIT(0);
	size_t len;

	buf_puts(&bill, "{");
	put_bill(&bill, &row->bill);
	buf_puts(&bill, "}");
	return buf_take(&bill, &len);
}

struct db_params *store_params_turns(int64_t node_id, const struct list *rows)
{
	struct db_params *params = db_params_new();
	const char *prevs[STORE_BATCH_ROWS], *digests[STORE_BATCH_ROWS], *bodies[STORE_BATCH_ROWS];
	int64_t jobs[STORE_BATCH_ROWS], attempts[STORE_BATCH_ROWS], numbers[STORE_BATCH_ROWS];
	char *bills[STORE_BATCH_ROWS];
	size_t lens[STORE_BATCH_ROWS], n = 0;

	list_foreach (node, rows) {
		const struct store_row *row = list_entry(node, struct store_row, node);

		jobs[n] = row->job_id;
		attempts[n] = row->attempt;
		numbers[n] = row->number;
		prevs[n] = row->prev;
		digests[n] = row->digest;
		bodies[n] = row->body;
		bills[n] = turn_bill(row);
		lens[n++] = row->body_len;
	}
	db_param_int(params, node_id);
	db_param_ints(params, jobs, n);
	db_param_ints(params, attempts, n);
	db_param_ints(params, numbers, n);
	db_param_texts(params, prevs, NULL, n);
	db_param_texts(params, digests, NULL, n);
	db_param_texts(params, bodies, lens, n);
	db_param_texts(params, (const char *const *)bills, NULL, n);
	for (size_t i = 0; i < n; i++)
		mem_free(&bills[i]);
	return params;
}
