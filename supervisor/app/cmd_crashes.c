/* crashes.*: how workers and services ended, from the records among the events. */

#include "app/cmd.h"
#include "io/db.h"

enum { SHOWN = 20 };

void cmd_crashes(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "worker"));
	db_param_since(params, args);
	db_param_int(params, arg_int(args, "limit", SHOWN));
	command_query(call, "SELECT api_crashes($1, $2, $3)", params);
}

void cmd_crashes_show(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_int(params, arg_int(args, "id", 0));
	command_query(call, "SELECT api_crash($1)", params);
}
