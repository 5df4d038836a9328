/* run.start with `estimate`: what the run would cost, and how long limits would hold it.
 *
 * The database says which conversations it would have and what earlier ones were like; prices and limits are
 * those in effect here and now. Each limit gets a row with what all models under it would take from it. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/clock.h"
#include "base/mem.h"
#include "config/models.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "io/loop.h"
#include "policy/forecast.h"
#include "policy/limit.h"

enum { DEFAULT_TURNS = 10, DAY_S = 86400 };

#define E10_PER_USD_MTOK 10000.0 /* 1e10 / 1e6 */

/* A limit that something would be taken from. */
struct row {
	const struct lane *lane;
	size_t scope;
	enum gate_unit unit; /* GATE_UNITS = calls at once, of which the milliseconds are counted */
	int64_t amount[FORECAST_GUESSES];
	int64_t largest[FORECAST_GUESSES]; /* by one call */
	bool unknown;			   /* calls at once of models of which none was timed */
};

struct sums {
	int64_t calls;
	int64_t input[FORECAST_GUESSES], output[FORECAST_GUESSES], cost_e10[FORECAST_GUESSES];
	bool some_cost, unknown_cost;
};

struct estimation {
	struct daemon *daemon;
	json_t *warnings; /* borrowed */
	int turns;	  /* of a conversation */
	int64_t *bytes;	  /* that each adds, on the average */
	int64_t max_tokens, probes_each;
	struct row *rows;
	size_t count;
	struct sums sums;
};

/* ---- JSON ---- */

static json_t *guesses(const int64_t value[FORECAST_GUESSES])
{
	return json_pack("{s:I, s:I, s:I}", "low", (json_int_t)value[FORECAST_LOW], "likely",
			 (json_int_t)value[FORECAST_LIKELY], "high", (json_int_t)value[FORECAST_HIGH]);
}

static double usd(int64_t e10)
{
	return (double)e10 / (double)PRICE_E10_PER_USD;
}

static json_t *guesses_usd(const int64_t e10[FORECAST_GUESSES])
{
	return json_pack("{s:f, s:f, s:f}", "low", usd(e10[FORECAST_LOW]), "likely",
			 usd(e10[FORECAST_LIKELY]), "high", usd(e10[FORECAST_HIGH]));
}

static json_t *day_text(int64_t day)
{
	time_t at = (time_t)(day * DAY_S);
	struct tm tm;
	char text[32];

	if (day == 0 || !gmtime_r(&at, &tm) || strftime(text, sizeof(text), "%Y-%m-%d", &tm) == 0)
		return json_null();
	return json_string(text);
}

static json_t *price_json(const struct price *price)
{
	if (!price->known)
		return json_null();
	return json_pack("{s:f, s:f, s:o}", "inputUsdPerMillion",
			 (double)price->input_e10_per_token / E10_PER_USD_MTOK, "outputUsdPerMillion",
			 (double)price->output_e10_per_token / E10_PER_USD_MTOK, "asOf",
			 day_text(price->as_of_day));
}

static void warn(struct estimation *est, char *text)
{
	json_array_append_new(est->warnings, json_string(text));
	mem_free(&text);
}

/* ---- what the run would ask ---- */

static void read_conversation(struct estimation *est, const json_t *answer)
{
	const json_t *config = json_object_get(answer, "config"),
		     *followups = json_object_get(answer, "followupBytes");
	int64_t scenarios = json_integer_value(json_object_get(answer, "scenarios"));
	int64_t first = json_integer_value(json_object_get(answer, "firstBytes"));
	int64_t most = arg_int(config, "maxTurns", DEFAULT_TURNS);
	int64_t turns = 1 + (int64_t)json_array_size(followups);

	est->turns = (int)(turns < most ? turns : most);
	est->bytes = mem_array((size_t)est->turns, sizeof(*est->bytes));
	est->bytes[0] = (first + scenarios - 1) / scenarios;
	for (int i = 1; i < est->turns; i++)
		est->bytes[i] = json_integer_value(json_array_get(followups, (size_t)i - 1));
	est->max_tokens = arg_int(config, "maxTokens", 0);
	est->probes_each = scenarios * json_integer_value(json_object_get(answer, "samples"));
}

struct price cmd_price_of(const struct daemon *daemon, const char *model_id)
{
	const char *model = model_id;

	(void)route_find(daemon->models->route, model_id, &model);
	return price_table_find(daemon->models->prices, model, clock_wall_ms() / PRICE_DAY_MS);
}

/* What transcripts tell of a model: those of a simulator tell only of a simulator. NULL = nothing. */
static const json_t *seen_of(const json_t *model, bool simulated)
{
	const json_t *seen = json_object_get(model, "seen");

	for (size_t i = 0; i < json_array_size(seen); i++)
		if (json_is_true(json_object_get(json_array_get(seen, i), "simulated")) == simulated)
			return json_array_get(seen, i);
	return NULL;
}

static struct forecast_model describe(const struct estimation *est, const struct lane *lane,
				      const char *model_id, const json_t *seen)
{
	struct forecast_model model = {
		.provider = lane->name,
		.probes = est->probes_each,
		.turns = est->turns,
		.bytes = est->bytes,
		.max_tokens = est->max_tokens,
		.learned = dispatch_estimate(est->daemon->dispatch, model_id),
		.seen = json_integer_value(json_object_get(seen, "turns")),
		.seen_mean = json_number_value(json_object_get(seen, "outputMean")),
		.seen_deviation = json_number_value(json_object_get(seen, "outputDeviation")),
	};

	/* A simulated answer costs nothing, and must not look as if it did. */
	if (!lane->simulated)
		model.price = cmd_price_of(est->daemon, model_id);
	return model;
}

/* ---- what it would take from limits ---- */

static struct row *row_of(struct estimation *est, const struct lane *lane, size_t scope, enum gate_unit unit)
{
	for (size_t i = 0; i < est->count; i++) {
		struct row *row = &est->rows[i];

		if (row->lane == lane && row->scope == scope && row->unit == unit)
			return row;
	}
	est->rows = mem_resize(est->rows, est->count + 1, sizeof(*est->rows));
	est->rows[est->count] = (struct row){ .lane = lane, .scope = scope, .unit = unit };
	return &est->rows[est->count++];
}

/* latency_ms: of a call; 0 = not known. */
static void take(struct estimation *est, struct lane *lane, const char *model_id,
		 const struct forecast forecasts[FORECAST_GUESSES], int64_t latency_ms)
{
	size_t family = lane_family_of(lane, model_id);

	for (enum gate_unit u = 0; u <= GATE_UNITS; u++) {
		struct row *row = row_of(est, lane, gate_holder(lane->gate, family, u), u);

		for (size_t g = 0; g < FORECAST_GUESSES; g++) {
			const struct forecast *f = &forecasts[g];
			int64_t amount = u < GATE_UNITS ? f->charged.of[u]
							: forecast_times(f->calls, latency_ms);

			row->amount[g] = forecast_add(row->amount[g], amount);
			if (u < GATE_UNITS && f->largest.of[u] > row->largest[g])
				row->largest[g] = f->largest.of[u];
		}
		if (u == GATE_UNITS && latency_ms == 0)
			row->unknown = true;
	}
}

/* ---- models ---- */

static void add_sums(struct sums *sums, const struct forecast forecasts[FORECAST_GUESSES])
{
	sums->calls += forecasts[FORECAST_LIKELY].calls;
	for (size_t g = 0; g < FORECAST_GUESSES; g++) {
		sums->input[g] = forecast_add(sums->input[g], forecasts[g].tokens.input);
		sums->output[g] = forecast_add(sums->output[g], forecasts[g].tokens.output);
		if (forecasts[g].cost_e10 >= 0)
			sums->cost_e10[g] = forecast_add(sums->cost_e10[g], forecasts[g].cost_e10);
	}
}

/* Puts one model's, or the whole run's, into its object. */
static void set_sums(json_t *object, const struct sums *sums)
{
	json_object_set_new(object, "calls", json_integer((json_int_t)sums->calls));
	json_object_set_new(object, "inputTokens", guesses(sums->input));
	json_object_set_new(object, "outputTokens", guesses(sums->output));
	json_object_set_new(object, "costUsd", sums->some_cost ? guesses_usd(sums->cost_e10) : json_null());
}

static void estimate_supported(struct estimation *est, struct lane *lane, json_t *model)
{
	static const char *const sources[] = {
		[FORECAST_ASSUMED] = "assumed",
		[FORECAST_TRANSCRIPTS] = "transcripts",
		[FORECAST_MEASURED] = "measured",
	};
	const char *model_id = json_string_value(json_object_get(model, "modelId"));
	const json_t *seen = seen_of(model, lane->simulated);
	int64_t latency_ms = (int64_t)(json_number_value(json_object_get(seen, "latencyMs")) + 0.5);
	struct forecast_model asked = describe(est, lane, model_id, seen);
	struct forecast forecasts[FORECAST_GUESSES];
	struct sums own = { .some_cost = asked.price.known };

	for (enum forecast_guess g = 0; g < FORECAST_GUESSES; g++)
		forecast_model(&asked, g, &forecasts[g]);
	take(est, lane, model_id, forecasts, latency_ms);
	est->sums.some_cost |= asked.price.known;
	est->sums.unknown_cost |= !asked.price.known && !lane->simulated;
	add_sums(&own, forecasts);
	add_sums(&est->sums, forecasts);
	set_sums(model, &own);
	json_object_set_new(model, "price", price_json(&asked.price));
	json_object_set_new(model, "answers", json_string(sources[forecast_source(&asked)]));
	json_object_set_new(model, "latencyMs",
			    latency_ms > 0 ? json_integer((json_int_t)latency_ms) : json_null());
}

/* Its probes fail without a call. */
static void estimate_unsupported(json_t *model)
{
	struct sums none = { 0 };

	set_sums(model, &none);
	json_object_set_new(model, "price", json_null());
	json_object_set_new(model, "answers", json_null());
	json_object_set_new(model, "latencyMs", json_null());
}

static void estimate_models(struct estimation *est, json_t *models)
{
	size_t i;
	json_t *model;

	json_array_foreach(models, i, model)
	{
		struct lane *lane = dispatch_lane(est->daemon->dispatch,
						  json_string_value(json_object_get(model, "lane")));

		json_object_set_new(model, "simulated", json_boolean(lane && lane->simulated));
		json_object_set_new(model, "probes", json_integer((json_int_t)est->probes_each));
		if (lane)
			estimate_supported(est, lane, model);
		else
			estimate_unsupported(model);
		json_object_del(model, "seen");
	}
}

/* ---- limits ---- */

struct in_force {
	int64_t rate, span_ms; /* rate 0 = none; span_ms 0 = calls at once */
	int64_t used;	       /* of today's */
	const char *source;
};

static const char *source_of(int64_t rate, int64_t configured, int64_t told)
{
	return rate == configured ? "configured" : rate == told ? "told" : "learned";
}

static struct in_force slots_in_force(const struct gate_scope_view *view)
{
	int slots = view->configured_concurrency;

	if (view->learned_concurrency > 0 && (slots == 0 || view->learned_concurrency < slots))
		slots = view->learned_concurrency;
	return (struct in_force){ .rate = slots,
				  .source = source_of(slots, view->configured_concurrency, 0) };
}

static struct in_force in_force(const struct row *row, int64_t now_ms)
{
	struct gate_scope_view view;
	struct limit_view paced;

	gate_view(row->lane->gate, row->scope, now_ms, &view);
	if (row->unit == GATE_UNITS)
		return slots_in_force(&view);
	if (row->unit >= GATE_PACED)
		return (struct in_force){ .rate = view.unit[row->unit].rate,
					  .span_ms = PRICE_DAY_MS,
					  .used = view.unit[row->unit].used,
					  .source = "configured" };
	limit_look(gate_limit(row->lane->gate, row->scope, row->unit), now_ms, &paced);
	return (struct in_force){ .rate = paced.rate,
				  .span_ms = paced.span_ms,
				  .source = source_of(paced.rate, paced.configured, paced.told) };
}

static int64_t time_of(const struct row *row, const struct in_force *limit, int64_t amount)
{
	if (row->unit == GATE_UNITS)
		return forecast_paced_ms(amount, limit->rate, 1);
	if (row->unit >= GATE_PACED)
		return forecast_day_ms(amount, limit->rate, limit->used,
				       PRICE_DAY_MS - clock_wall_ms() % PRICE_DAY_MS);
	return forecast_paced_ms(amount, limit->rate, limit->span_ms);
}

static json_t *limit_json(const struct row *row, const struct in_force *limit, const char *scope,
			  const int64_t ms[FORECAST_GUESSES])
{
	bool money = row->unit == GATE_MONEY_DAY, slots = row->unit == GATE_UNITS;

	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o}", "lane", row->lane->name, "scope", scope,
			 "unit", slots ? "concurrency" : gate_unit_name(row->unit), "limit",
			 money ? json_real(usd(limit->rate)) : json_integer((json_int_t)limit->rate),
			 "spanMs", slots ? json_null() : json_integer((json_int_t)limit->span_ms), "source",
			 limit->source, "needs",
			 slots	 ? json_null()
			 : money ? guesses_usd(row->amount)
				 : guesses(row->amount),
			 "ms", row->unknown ? json_null() : guesses(ms));
}

static void note_never(struct estimation *est, const struct row *row, const struct in_force *limit)
{
	if (row->unit < GATE_UNITS && row->largest[FORECAST_LIKELY] > limit->rate)
		warn(est,
		     mem_printf("%s: a call is likely to be larger than the limit of %s: it could never go",
				row->lane->name, gate_unit_name(row->unit)));
}

/* The lane's limits in `list`; the longest time that any takes in `longest`. */
static void add_limits(struct estimation *est, const struct lane *lane, json_t *list,
		       int64_t longest[FORECAST_GUESSES])
{
	int64_t now_ms = loop_now_ms(est->daemon->loop);

	for (size_t i = 0; i < est->count; i++) {
		const struct row *row = &est->rows[i];
		struct in_force limit = in_force(row, now_ms);
		struct gate_scope_view view;
		int64_t ms[FORECAST_GUESSES];

		if (row->lane != lane || limit.rate <= 0)
			continue;
		gate_view(lane->gate, row->scope, now_ms, &view);
		for (size_t g = 0; g < FORECAST_GUESSES; g++) {
			ms[g] = time_of(row, &limit, row->amount[g]);
			if (!row->unknown && ms[g] > longest[g])
				longest[g] = ms[g];
		}
		note_never(est, row, &limit);
		json_array_append_new(list, limit_json(row, &limit, view.glob, ms));
	}
}

/* `lanes` and `limits` of the answer; the longest time of all in `longest`. */
static void estimate_lanes(struct estimation *est, json_t *answer, int64_t longest[FORECAST_GUESSES])
{
	json_t *lanes = json_array(), *limits = json_array();
	size_t count;
	struct lane *const *all = dispatch_lanes(est->daemon->dispatch, &count);

	for (size_t i = 0; i < count; i++) {
		int64_t own[FORECAST_GUESSES] = { 0 };
		const json_t *ahead = json_object_get(json_object_get(answer, "ahead"), all[i]->name);
		bool asked = false;

		for (size_t k = 0; k < est->count; k++)
			asked |= est->rows[k].lane == all[i];
		if (!asked)
			continue;
		add_limits(est, all[i], limits, own);
		for (size_t g = 0; g < FORECAST_GUESSES; g++)
			longest[g] = own[g] > longest[g] ? own[g] : longest[g];
		json_array_append_new(lanes, json_pack("{s:s, s:o, s:I}", "lane", all[i]->name, "limitMs",
						       guesses(own), "ahead",
						       (json_int_t)json_integer_value(ahead)));
	}
	json_object_set_new(answer, "lanes", lanes);
	json_object_set_new(answer, "limits", limits);
}

/* `budgetUsd` of the answer, and whether it is enough: the run would be paused when it is used up. */
static void compare_budget(struct estimation *est, json_t *answer)
{
	json_t *budget = json_object_get(json_object_get(answer, "config"), "budgetUsd");
	double most = json_number_value(budget);
	double likely = usd(est->sums.cost_e10[FORECAST_LIKELY]);
	double high = usd(est->sums.cost_e10[FORECAST_HIGH]);

	json_object_set_new(answer, "budgetUsd", budget ? json_incref(budget) : json_null());
	if (!budget || !est->sums.some_cost || high <= most)
		return;
	if (likely > most)
		warn(est,
		     mem_printf("the run is likely to cost $%.4f, more than its budget of $%.4f: it would be "
				"paused before the end",
				likely, most));
	else
		warn(est,
		     mem_printf("the run may cost up to $%.4f, more than its budget of $%.4f: it would then "
				"be paused before the end",
				high, most));
}

void cmd_estimate(struct daemon *daemon, json_t *estimate)
{
	struct estimation est = { .daemon = daemon, .warnings = json_object_get(estimate, "warnings") };
	json_t *models = json_object_get(estimate, "models");
	int64_t longest[FORECAST_GUESSES] = { 0 };

	read_conversation(&est, estimate);
	estimate_models(&est, models);
	estimate_lanes(&est, estimate, longest);
	json_object_set_new(estimate, "estimate", json_true());
	json_object_set_new(estimate, "probes",
			    json_integer((json_int_t)est.probes_each * (json_int_t)json_array_size(models)));
	json_object_set_new(estimate, "turns", json_integer(est.turns));
	set_sums(estimate, &est.sums);
	compare_budget(&est, estimate);
	json_object_set_new(estimate, "costKnown", json_boolean(!est.sums.unknown_cost));
	json_object_set_new(estimate, "limitMs", guesses(longest));
	json_object_del(estimate, "firstBytes");
	json_object_del(estimate, "followupBytes");
	json_object_del(estimate, "ahead");
	mem_free(&est.bytes);
	free(est.rows);
}
