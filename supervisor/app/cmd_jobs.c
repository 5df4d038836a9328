/* jobs: where the probes of the queue are, and what they wait for. */

#include "app/cmd.h"
#include "io/db.h"

static void on_jobs(struct call *call, const struct db_rows *rows)
{
	json_t *answer = cmd_json(rows, 0);
	json_t *waits = cmd_json(rows, 1);

	cmd_say_jobs(call_daemon(call), json_object_get(answer, "items"), waits);
	json_decref(waits);
	call_ok_json(call, answer);
}

void cmd_jobs(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "run"));
	db_param_text(params, arg_text(args, "state"));
	db_param_int(params, arg_int(args, "limit", 50));
	db_param_text(params, arg_text(args, "model"));
	command_query_then(call, "SELECT api_jobs($1, $2, $3, $4), api_run_waits(NULL)", params, on_jobs);
}
