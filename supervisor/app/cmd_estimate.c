/* run.start with `estimate`: what a run would take, before anything is spent. The database tells the sizes of
 * what would be asked, and what the models have answered before; nothing is written. */

#include <fnmatch.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/clock.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "io/db.h"
#include "io/loop.h"
#include "policy/forecast.h"
#include "policy/gate.h"
#include "policy/price.h"
#include "policy/route.h"

/* Demand on a limit: of all models that come under it. */
struct demand {
	double calls, input, output; /* tokens: the middle of the range */
	double busy_ms;		     /* of calls, one after the other; 0 = not known how long they take */
};

static int64_t int_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static double usd(int64_t e10)
{
	return (double)e10 / (double)PRICE_E10_PER_USD;
}

/* ---- a model ---- */

static struct price price_of(struct daemon *daemon, const char *model_id)
{
	const char *model = model_id;

	(void)route_find(daemon->models->route, model_id, &model);
	return price_table_find(daemon->models->prices, model, clock_wall_ms() / PRICE_DAY_MS);
}

static void put_cost(struct daemon *daemon, json_t *model, const struct forecast *f)
{
	struct price price = price_of(daemon, json_string_value(json_object_get(model, "modelId")));

	if (json_is_true(json_object_get(model, "simulated")) || !price.known) {
		json_object_set_new(model, "costUsdLow", json_null());
		json_object_set_new(model, "costUsdHigh", json_null());
		return;
	}
	json_object_set_new(model, "costUsdLow",
			    json_real(usd(price_cost(&price, f->input_low, f->output_low))));
	json_object_set_new(model, "costUsdHigh",
			    json_real(usd(price_cost(&price, f->input_high, f->output_high))));
}

static void put_model(struct daemon *daemon, json_t *model, const struct forecast_shape *shape)
{
	static const char *const bases[] = {
		[FORECAST_SEEN] = "seen", [FORECAST_MAX_TOKENS] = "maxTokens", [FORECAST_ASSUMED] = "assumed"
	};
	const char *lane_name = json_string_value(json_object_get(model, "lane"));
	const struct lane *lane = dispatch_lane(daemon->dispatch, lane_name);
	int64_t seen = int_of(model, "seenCalls");
	struct forecast f = forecast_run(shape, seen > 0 ? int_of(model, "seenOutputTokens") / seen : 0);

	if (!lane)
		f = (struct forecast){ .probes = f.probes, .basis = f.basis };
	json_object_set_new(model, "simulated", json_boolean(lane && lane->simulated));
	json_object_set_new(model, "probes", json_integer(f.probes));
	json_object_set_new(model, "calls", json_integer(f.calls));
	json_object_set_new(model, "inputTokensLow", json_integer(f.input_low));
	json_object_set_new(model, "inputTokensHigh", json_integer(f.input_high));
	json_object_set_new(model, "outputTokensLow", json_integer(f.output_low));
	json_object_set_new(model, "outputTokensHigh", json_integer(f.output_high));
	json_object_set_new(model, "outputBasis", json_string(bases[f.basis]));
	json_object_set_new(model, "callMs",
			    seen > 0 ? json_integer(int_of(model, "seenMs") / seen) : json_null());
	json_object_del(model, "seenCalls");
	json_object_del(model, "seenOutputTokens");
	json_object_del(model, "seenMs");
	put_cost(daemon, model, &f);
}

/* ---- a lane's limits ---- */

static struct demand demand_of(const json_t *models, const char *lane, const char *glob)
{
	struct demand sum = { .calls = 0 };
	size_t i;
	json_t *model;

	json_array_foreach(models, i, model)
	{
		double calls = (double)int_of(model, "calls");
		const char *id = json_string_value(json_object_get(model, "modelId"));
		const char *colon = strchr(id, ':');

		if (strcmp(json_string_value(json_object_get(model, "lane")), lane) != 0 ||
		    (*glob && fnmatch(glob, colon ? colon + 1 : id, 0) != 0))
			continue;
		sum.calls += calls;
		sum.input += (double)(int_of(model, "inputTokensLow") + int_of(model, "inputTokensHigh")) / 2;
		sum.output += (double)(int_of(model, "outputTokensLow") + int_of(model, "outputTokensHigh")) /
			      2;
		sum.busy_ms += calls * (double)int_of(model, "callMs");
	}
	return sum;
}

static double amount_of(const struct demand *demand, enum gate_unit unit)
{
	switch (unit) {
	case GATE_REQUESTS:
	case GATE_REQUESTS_DAY:
		return demand->calls;
	case GATE_TOKENS:
		return demand->input + demand->output;
	case GATE_INPUT_TOKENS:
		return demand->input;
	case GATE_OUTPUT_TOKENS:
		return demand->output;
	default:
		return 0;
	}
}

/* The limit of one scope that takes longest. */
static void scope_time(const struct gate_scope_view *view, const struct demand *demand, int64_t *time_ms,
		       const char **limit)
{
	for (size_t i = 0; i < GATE_UNITS; i++) {
		enum gate_unit unit = (enum gate_unit)i;
		int64_t per_day = unit >= GATE_PACED ? 24 * 60 : 1;
		int64_t takes_ms = forecast_minutes_ms((int64_t)amount_of(demand, unit) * per_day,
						       view->unit[i].rate);

		if (view->unit[i].set && takes_ms > *time_ms) {
			*time_ms = takes_ms;
			*limit = gate_unit_name(unit);
		}
	}
	if (view->concurrency > 0 && demand->busy_ms / view->concurrency > (double)*time_ms) {
		*time_ms = (int64_t)(demand->busy_ms / view->concurrency);
		*limit = "concurrency";
	}
}

static json_t *lane_time(struct daemon *daemon, const struct lane *lane, const json_t *models)
{
	int64_t time_ms = 0;
	const char *limit = NULL;

	for (size_t i = 0; i < gate_scopes(lane->gate); i++) {
		struct gate_scope_view view;
		struct demand demand;

		gate_view(lane->gate, i, loop_now_ms(daemon->loop), &view);
		demand = demand_of(models, lane->name, view.glob);
		scope_time(&view, &demand, &time_ms, &limit);
	}
	return json_pack("{s:s, s:I, s:s?, s:b}", "lane", lane->name, "timeMs", (json_int_t)time_ms, "limit",
			 limit, "simulated", lane->simulated);
}

/* ---- the whole ---- */

static void add_totals(json_t *answer, const json_t *models)
{
	static const char *const counts[] = { "probes",		 "calls",	    "inputTokensLow",
					      "inputTokensHigh", "outputTokensLow", "outputTokensHigh" };
	static const char *const costs[] = { "costUsdLow", "costUsdHigh" };
	size_t i;
	json_t *model;

	for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
		int64_t sum = 0;

		json_array_foreach(models, i, model) sum += int_of(model, counts[k]);
		json_object_set_new(answer, counts[k], json_integer(sum));
	}
	for (size_t k = 0; k < ARRAY_LEN(costs); k++) {
		double sum = 0;
		bool known = false;

		json_array_foreach(models, i, model)
		{
			const json_t *cost = json_object_get(model, costs[k]);

			known = known || json_is_number(cost);
			sum += json_number_value(cost);
		}
		json_object_set_new(answer, costs[k], known ? json_real(sum) : json_null());
	}
}

static void add_lanes(struct daemon *daemon, json_t *answer, const json_t *models)
{
	size_t count;
	struct lane *const *lanes = dispatch_lanes(daemon->dispatch, &count);
	json_t *list = json_array();
	int64_t longest_ms = 0;

	for (size_t i = 0; i < count; i++) {
		json_t *one;

		if (demand_of(models, lanes[i]->name, "").calls == 0)
			continue;
		one = lane_time(daemon, lanes[i], models);
		if (int_of(one, "timeMs") > longest_ms)
			longest_ms = int_of(one, "timeMs");
		json_array_append_new(list, one);
	}
	json_object_set_new(answer, "lanes", list);
	json_object_set_new(answer, "timeMs", json_integer(longest_ms));
}

static void warn_of_prices(const json_t *models, json_t *warnings)
{
	size_t i;
	json_t *model;

	json_array_foreach(models, i, model)
	{
		if (!json_is_null(json_object_get(model, "costUsdHigh")) ||
		    json_is_true(json_object_get(model, "simulated")) || int_of(model, "calls") == 0)
			continue;
		json_array_append_new(
			warnings,
			json_sprintf("no price of %s is known: its cost is not counted, nor held by a "
				     "budget; add it to models.ini",
				     json_string_value(json_object_get(model, "modelId"))));
	}
}

static void warn_of_budget(const json_t *answer, const json_t *args, json_t *warnings)
{
	const json_t *budget = json_object_get(args, "budgetUsd");
	const json_t *high = json_object_get(answer, "costUsdHigh");

	if (json_is_number(budget) && json_number_value(high) > json_number_value(budget))
		json_array_append_new(
			warnings, json_string("the run may cost more than its budget: it would be paused"));
}

static void shape_of(const json_t *answer, const json_t *args, int64_t *followups, struct forecast_shape *ret)
{
	const json_t *bytes = json_object_get(answer, "followupBytes");

	for (size_t i = 0; i < json_array_size(bytes); i++)
		followups[i] = json_integer_value(json_array_get(bytes, i));
	*ret = (struct forecast_shape){
		.scenarios = int_of(answer, "scenarios"),
		.samples = arg_int(args, "samples", 1),
		.preamble_bytes = int_of(answer, "preambleBytes"),
		.prompt_bytes = int_of(answer, "promptBytes"),
		.followup_bytes = followups,
		.followups = json_array_size(bytes),
		.max_turns = arg_int(args, "maxTurns", 0),
		.max_tokens = arg_int(args, "maxTokens", 0),
	};
}

void cmd_run_estimated(struct call *call, const struct db_rows *rows)
{
	struct daemon *daemon = call_daemon(call);
	size_t len, i;
	const char *text = db_text(rows, 0, 0, &len);
	json_t *answer = json_loadb(text, len, 0, NULL);
	json_t *config = json_loads(db_text(rows, 0, 1, NULL), 0, NULL);
	json_t *models = json_object_get(answer, "models");
	json_t *warnings = cmd_run_warnings(daemon, models);
	int64_t *followups = mem_array(json_array_size(json_object_get(answer, "followupBytes")) + 1,
				       sizeof(*followups));
	struct forecast_shape shape;
	json_t *model;

	shape_of(answer, config, followups, &shape);
	json_array_foreach(models, i, model) put_model(daemon, model, &shape);
	mem_free(&followups);
	add_totals(answer, models);
	add_lanes(daemon, answer, models);
	warn_of_prices(models, warnings);
	warn_of_budget(answer, config, warnings);
	if (json_object_get(config, "budgetUsd"))
		json_object_set(answer, "budgetUsd", json_object_get(config, "budgetUsd"));
	json_decref(config);
	json_object_set_new(answer, "warnings", warnings);
	json_object_set_new(answer, "estimate", json_true());
	call_ok_json(call, answer);
}
