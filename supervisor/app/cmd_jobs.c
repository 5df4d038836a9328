/* jobs: where the probes of the queue are. */

#include "app/cmd.h"
#include "io/db.h"

void cmd_jobs(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "run"));
	db_param_text(params, arg_text(args, "state"));
	db_param_int(params, arg_int(args, "limit", 50));
	command_query(call, "SELECT api_jobs($1, $2, $3)", params);
}
