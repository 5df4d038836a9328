#include "core/costing.h"

#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/models.h"
#include "core/lane.h"
#include "core/probe.h"
#include "io/probe_input.h"
#include "policy/charge.h"

struct costing {
	const struct models *models;
	struct map *estimates; /* model id → struct estimate */
};

void costing_new(const struct models *models, struct costing **ret)
{
	struct costing *costing = mem_alloc(sizeof(*costing));

	costing->models = models;
	map_new(&costing->estimates);
	*ret = costing;
}

void costing_free(struct costing **costing)
{
	struct estimate *estimate;
	size_t cursor = 0;

	if (!*costing)
		return;
	while ((estimate = map_next((*costing)->estimates, &cursor)))
		mem_free(&estimate);
	map_free(&(*costing)->estimates);
	mem_free(costing);
}

void costing_configure(struct costing *costing, const struct models *models)
{
	costing->models = models;
}

struct estimate costing_estimate(const struct costing *costing, const char *model_id)
{
	const struct estimate *known = map_get(costing->estimates, model_id, strlen(model_id));

	return known ? *known : (struct estimate){ 0 };
}

static struct estimate *estimate_of(struct costing *costing, const char *model_id)
{
	struct estimate *known = map_get(costing->estimates, model_id, strlen(model_id));

	if (!known) {
		known = mem_alloc(sizeof(*known));
		(void)map_set(costing->estimates, model_id, strlen(model_id), known);
	}
	return known;
}

/* What the call of this turn sends that no call before it has sent. */
static int64_t fresh_bytes(const struct probe *probe, int turn)
{
	const struct probe_input *sizes = probe->sizes;

	if (turn == 1)
		return sizes->first_bytes;
	return turn - 2 < sizes->followups ? sizes->followup_bytes[turn - 2] : 0;
}

/* Bytes of the turns of earlier attempts, when nothing of this one tells their tokens. */
static int64_t earlier_bytes(const struct probe *probe)
{
	return probe->context_tokens > 0 || probe->turns_done == 0 ? 0 : (int64_t)probe->earlier_len;
}

static void measure(struct probe *probe)
{
	if (probe->sizes)
		return;
	probe->sizes = mem_alloc(sizeof(*probe->sizes));
	/* What cannot be read is for the worker to refuse: it costs a request. */
	(void)!probe_input_parse(probe->input, probe->input_len, probe->sizes);
}

/* -1 = not known: no price, or a simulated answer, which costs nothing and must not look as if it had. */
static int64_t money(const struct costing *costing, const struct probe *probe, const struct tokens *tokens,
		     int64_t day)
{
	const char *model = probe->model_id;
	struct price price;

	if (probe->lane->simulated)
		return -1;
	(void)route_find(costing->models->route, probe->model_id, &model);
	price = price_table_find(costing->models->prices, model, day);
	return price.known ? price_cost(&price, tokens->input, tokens->output) : -1;
}

static int64_t today(void)
{
	return clock_wall_ms() / PRICE_DAY_MS;
}

/* In a gate, what is not known costs nothing. */
static void put_money(const struct costing *costing, const struct probe *probe, const struct tokens *tokens,
		      struct gate_cost *cost)
{
	int64_t e10 = money(costing, probe, tokens, today());

	cost->of[GATE_MONEY_DAY] = e10 > 0 ? e10 : 0;
}

struct store_bill costing_bill(const struct costing *costing, struct probe *probe, const struct tokens *real)
{
	struct store_bill bill = { .day = today(),
				   .input_tokens = real->input,
				   .output_tokens = real->output };

	bill.cost_e10 = money(costing, probe, real, bill.day);
	if (bill.cost_e10 < 0 || probe->cost_e10 < 0)
		probe->cost_e10 = -1;
	else if (__builtin_add_overflow(probe->cost_e10, bill.cost_e10, &probe->cost_e10))
		probe->cost_e10 = INT64_MAX;
	return bill;
}

void costing_next(struct costing *costing, struct probe *probe)
{
	int turn = probe->turns_done + 1;
	struct tokens tokens;
	int64_t bytes;

	if (probe->costed_turn == turn)
		return;
	measure(probe);
	bytes = fresh_bytes(probe, turn) + earlier_bytes(probe);
	tokens = estimate_call(estimate_of(costing, probe->model_id), bytes, probe->sizes->max_tokens);
	tokens.input += probe->context_tokens;
	charge_reserve(probe->lane->name, tokens, probe->sizes->max_tokens, &probe->cost);
	/* A limit that was taken too little of is made up for in a minute, money is not: it is reserved for
	 * the longest answer that may come. */
	if (probe->sizes->max_tokens > 0)
		tokens.output = probe->sizes->max_tokens;
	put_money(costing, probe, &tokens, &probe->cost);
	probe->costed_turn = turn;
}

void costing_answered(struct costing *costing, struct probe *probe, const struct tokens *real,
		      struct gate_cost *ret)
{
	/* Its turn has been counted already. */
	int64_t bytes = probe->sizes ? fresh_bytes(probe, probe->turns_done) : 0;
	int64_t fresh = real->input - probe->context_tokens;

	if (bytes > 0 && fresh > 0 && (probe->context_tokens > 0 || probe->turns_done == 1))
		estimate_learn(estimate_of(costing, probe->model_id), bytes, fresh, real->output);
	probe->context_tokens = real->input + real->output;
	charge_settle(probe->lane->name, *real, probe->sizes ? probe->sizes->max_tokens : 0,
		      &probe->ticket.reserved, ret);
	put_money(costing, probe, real, ret);
}
