/* run.start … run.delete. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/store.h"
#include "io/db.h"
#include "policy/gate.h"
#include "policy/route.h"

/* What is kept of the arguments as the run's config. */
static const char *const config_args[] = { "models",   "samplePercentage", "sampleSeed", "samples",
					   "priority", "temperature",	   "maxTokens",	 "maxTurns",
					   "seed",     "budgetUsd" };

/* ---- run.start ---- */

/* The lane that will serve a model: a provider's name, "simulated" or "unsupported". */
static const char *lane_of(struct daemon *daemon, const char *model_id)
{
	const char *failing = getenv("FAIL_MODEL_ID");
	const char *provider = route_find(daemon->models->route, model_id, NULL);

	if (failing && *failing && strcmp(failing, model_id) == 0)
		return "simulated";
	return provider ? provider : "unsupported";
}

static const char *first_duplicate(const json_t *models)
{
	for (size_t i = 0; i < json_array_size(models); i++)
		for (size_t k = 0; k < i; k++)
			if (json_equal(json_array_get(models, i), json_array_get(models, k)))
				return json_string_value(json_array_get(models, i));
	return NULL;
}

static char *run_config(const json_t *args)
{
	json_t *config = json_object();
	char *text;

	for (size_t i = 0; i < ARRAY_LEN(config_args); i++) {
		json_t *value = json_object_get(args, config_args[i]);

		if (value && !json_is_null(value))
			json_object_set(config, config_args[i], value);
	}
	text = json_dumps(config, JSON_COMPACT);
	json_decref(config);
	return text;
}

/* Money as exact text, or NULL when it is not given. -EINVAL when it has more than four decimals, as a JSON
 * number that is not exact would. */
static int budget_text(const json_t *args, char **ret)
{
	const json_t *value = json_object_get(args, "budgetUsd");
	AUTO(mem_free_str) char *text = NULL;

	if (!json_is_number(value)) {
		*ret = NULL;
		return 0;
	}
	text = mem_printf("%.4f", json_number_value(value));
	if (strtod(text, NULL) != json_number_value(value))
		return -EINVAL;
	*ret = mem_strdup(text);
	return 0;
}

static int budget_arg(struct call *call, const json_t *args, char **ret)
{
	int error = budget_text(args, ret);

	if (error < 0)
		call_error(call, CALL_BAD_ARGUMENT, "budgetUsd: give dollars with four decimals at most");
	return error;
}

static void warn(json_t *warnings, char *text)
{
	json_array_append_new(warnings, json_string(text));
	mem_free(&text);
}

/* What the user should know of one lane before the answers come. */
static void warn_of_lane(struct daemon *daemon, const char *name, json_t *warnings)
{
	const struct config_provider *provider = config_find_provider(daemon->config, name);
	const struct lane *lane = dispatch_lane(daemon->dispatch, name);

	if (strcmp(name, "simulated") == 0)
		warn(warnings,
		     mem_strdup("answers of the model that FAIL_MODEL_ID names are simulated failures"));
	if (!provider || !lane || strcmp(name, "simulated") == 0)
		return;
	if (lane->simulated)
		warn(warnings,
		     mem_printf("answers of %s are simulated: [provider:%s] base_url names the simulator",
				name, name));
	if (!daemon_has_variable(daemon, provider->key_env))
		warn(warnings,
		     mem_printf("%s is not set: probes of %s will fail with MISSING_API_KEY; set it in the "
				"key file or the environment and reload",
				provider->key_env, name));
	if (gate_parked_reason(lane->gate))
		warn(warnings, mem_printf("%s is parked: %s", name, gate_parked_reason(lane->gate)));
}

/* Without a price nobody knows what it will have cost. */
static void warn_of_price(struct daemon *daemon, const json_t *model, json_t *warnings)
{
	const char *model_id = json_string_value(json_object_get(model, "modelId"));
	const struct lane *lane = dispatch_lane(daemon->dispatch,
						json_string_value(json_object_get(model, "lane")));

	if (lane && !lane->simulated && !cmd_price_of(daemon, model_id).known)
		warn(warnings, mem_printf("the price of \"%s\" is not known: its cost is not in the sum, and "
					  "no budget holds it back; models.ini may have it",
					  model_id));
}

static json_t *warnings_of(struct daemon *daemon, const json_t *models)
{
	json_t *warnings = json_array();
	json_t *warned = json_object();

	for (size_t i = 0; i < json_array_size(models); i++) {
		const json_t *model = json_array_get(models, i);
		const char *lane = json_string_value(json_object_get(model, "lane"));

		if (strcmp(lane, "unsupported") == 0)
			warn(warnings, mem_printf("no provider claims the model id \"%s\": its probes fail "
						  "with UNSUPPORTED_PROVIDER",
						  json_string_value(json_object_get(model, "modelId"))));
		else if (!json_object_get(warned, lane))
			warn_of_lane(daemon, lane, warnings);
		warn_of_price(daemon, model, warnings);
		json_object_set_new(warned, lane, json_true());
	}
	json_decref(warned);
	return warnings;
}

static void mark_simulated(struct daemon *daemon, json_t *models)
{
	size_t i;
	json_t *model;

	json_array_foreach(models, i, model)
	{
		const struct lane *lane = dispatch_lane(daemon->dispatch,
							json_string_value(json_object_get(model, "lane")));

		if (lane && lane->simulated)
			json_object_set_new(model, "simulated", json_true());
	}
}

static void on_started(struct call *call, const struct db_rows *rows)
{
	struct daemon *daemon = call_daemon(call);
	size_t len;
	const char *text = db_text(rows, 0, 0, &len);
	json_t *answer = json_loadb(text, len, 0, NULL);
	json_t *models = json_object_get(answer, "models");

	store_reload_pairs(daemon->store);
	json_object_set_new(answer, "warnings", warnings_of(daemon, models));
	mark_simulated(daemon, models);
	call_ok_json(call, answer);
}

static void on_estimated(struct call *call, const struct db_rows *rows)
{
	struct daemon *daemon = call_daemon(call);
	size_t len;
	const char *text = db_text(rows, 0, 0, &len);
	json_t *answer = json_loadb(text, len, 0, NULL);
	json_t *models = json_object_get(answer, "models");

	json_object_set_new(answer, "warnings", warnings_of(daemon, models));
	mark_simulated(daemon, models);
	cmd_estimate(daemon, answer);
	call_ok_json(call, answer);
}

static void param_lanes(struct db_params *params, struct daemon *daemon, const json_t *models)
{
	size_t count = json_array_size(models);
	const char **lanes = mem_array(count + 1, sizeof(*lanes));

	for (size_t i = 0; i < count; i++)
		lanes[i] = lane_of(daemon, json_string_value(json_array_get(models, i)));
	db_param_texts(params, lanes, NULL, count);
	mem_free(&lanes);
}

void cmd_run_start(struct call *call, const json_t *args)
{
	const json_t *models = json_object_get(args, "models");
	const json_t *percentage = json_object_get(args, "samplePercentage");
	const char *duplicate = first_duplicate(models);
	AUTO(mem_free_str) char *percent = NULL;
	AUTO(mem_free_str) char *config = NULL;
	AUTO(mem_free_str) char *budget = NULL;
	struct db_params *params;

	if (duplicate) {
		call_error(call, CALL_BAD_ARGUMENT, "models: \"%s\" is given twice", duplicate);
		return;
	}
	if (budget_arg(call, args, &budget) < 0)
		return;
	percent = json_is_number(percentage) ? mem_printf("%.15g", json_number_value(percentage))
					     : mem_strdup("100");
	config = run_config(args);
	params = db_params_new();
	db_param_text(params, arg_text(args, "definition"));
	db_param_list(params, models);
	param_lanes(params, call_daemon(call), models);
	db_param_text(params, percent);
	db_param_int(params, arg_int(args, "sampleSeed", 0));
	db_param_int(params, arg_int(args, "samples", 1));
	if (arg_bool(args, "estimate")) {
		db_param_text(params, config);
		command_query_then(call, "SELECT api_run_estimate($1, $2, $3, $4, $5, $6, $7)", params,
				   on_estimated);
		return;
	}
	db_param_int(params, arg_int(args, "priority", 0));
	db_param_text(params, config);
	db_param_text(params, budget);
	command_query_then(call, "SELECT api_run_start($1, $2, $3, $4, $5, $6, $7, $8, $9)", params,
			   on_started);
}

/* ---- reading ---- */

static void on_listed(struct call *call, const struct db_rows *rows)
{
	json_t *answer = cmd_json(rows, 0);
	json_t *waits = cmd_json(rows, 1);
	size_t i;
	json_t *run;

	json_array_foreach(json_object_get(answer, "items"), i, run)
	{
		cmd_add_waits(call_daemon(call), run, json_string_value(json_object_get(run, "id")), waits);
	}
	json_decref(waits);
	call_ok_json(call, answer);
}

static void list_deleted(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "status"));
	db_param_int(params, arg_int(args, "limit", 20));
	db_param_text(params, arg_text(args, "definition"));
	db_param_text(params, arg_text(args, "model"));
	db_param_since(params, args);
	command_query(call, "SELECT api_deleted_runs($1, $2, $3, $4, $5)", params);
}

void cmd_run_list(struct call *call, const json_t *args)
{
	struct db_params *params;

	if (arg_bool(args, "deleted") && arg_bool(args, "active")) {
		call_error(call, CALL_BAD_ARGUMENT, "deleted: no deleted run is active");
		return;
	}
	if (arg_bool(args, "deleted")) {
		list_deleted(call, args);
		return;
	}
	params = db_params_new();
	db_param_text(params, arg_text(args, "status"));
	db_param_bool(params, arg_bool(args, "active"));
	db_param_int(params, arg_int(args, "limit", 20));
	db_param_text(params, arg_text(args, "definition"));
	db_param_text(params, arg_text(args, "model"));
	db_param_since(params, args);
	command_query_then(call, "SELECT api_run_list($1, $2, $3, $4, $5, $6), api_run_waits(NULL)", params,
			   on_listed);
}

static void on_shown(struct call *call, const struct db_rows *rows)
{
	json_t *answer = cmd_json(rows, 0);
	json_t *waits = cmd_json(rows, 1);

	cmd_add_waits(call_daemon(call), answer, json_string_value(json_object_get(answer, "id")), waits);
	json_decref(waits);
	call_ok_json(call, answer);
}

void cmd_run_show(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "run"));
	db_param_int(params, arg_int(args, "transcripts", 0));
	db_param_bool(params, arg_bool(args, "brief"));
	command_query_then(call,
			   "SELECT answer, api_run_waits(answer::jsonb->>'id') FROM api_run_show($1, $2, $3)",
			   params, on_shown);
}

/* ---- changing ---- */

/* The dispatcher learns of it from the pairs. */
static void on_changed(struct call *call, const struct db_rows *rows)
{
	size_t len;
	const char *text = db_text(rows, 0, 0, &len);

	store_reload_pairs(call_daemon(call)->store);
	call_ok_raw(call, text, len);
}

void cmd_run_pause(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "run"));
	db_param_text(params, arg_text(args, "model"));
	db_param_text(params, arg_text(args, "reason"));
	command_query_then(call, "SELECT api_run_pause($1, $2, $3)", params, on_changed);
}

void cmd_run_resume(struct call *call, const json_t *args)
{
	AUTO(mem_free_str) char *budget = NULL;
	struct db_params *params;

	if (budget_arg(call, args, &budget) < 0)
		return;
	params = db_params_new();
	db_param_text(params, arg_text(args, "run"));
	db_param_text(params, arg_text(args, "model"));
	db_param_text(params, budget);
	command_query_then(call, "SELECT api_run_resume($1, $2, $3)", params, on_changed);
}

static void on_cancelled(struct call *call, const struct db_rows *rows)
{
	struct daemon *daemon = call_daemon(call);
	const char *id = db_text(rows, 0, 1, NULL);

	store_cancel_run(daemon->store, id);
	dispatch_cancel_run(daemon->dispatch, id);
	on_changed(call, rows);
}

void cmd_run_cancel(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "run"));
	command_query_then(call, "SELECT answer, id FROM api_run_cancel($1)", params, on_cancelled);
}

void cmd_run_retry(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "run"));
	db_param_list(params, json_object_get(args, "codes"));
	command_query_then(call, "SELECT api_run_retry($1, $2)", params, on_changed);
}

static void on_deleted(struct call *call, const struct db_rows *rows)
{
	dispatch_cancel_run(call_daemon(call)->dispatch, db_text(rows, 0, 1, NULL));
	on_changed(call, rows);
}

void cmd_run_delete(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "run"));
	db_param_bool(params, arg_bool(args, "force"));
	command_query_then(call, "SELECT a, a::jsonb->>'id' FROM api_run_delete($1, $2) a", params,
			   on_deleted);
}
