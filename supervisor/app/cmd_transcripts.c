/* transcripts.list, transcripts.show, transcripts.export. */

#include "app/cmd.h"
#include "io/db.h"

enum { LIST_LIMIT = 20, EXPORT_LIMIT = 500 };

static struct db_params *page_params(const json_t *args, int64_t limit)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "run"));
	db_param_text(params, arg_text(args, "model"));
	db_param_int(params, arg_int(args, "limit", limit));
	db_param_text(params, arg_text(args, "after"));
	return params;
}

void cmd_transcripts_list(struct call *call, const json_t *args)
{
	struct db_params *params = page_params(args, LIST_LIMIT);

	db_param_text(params, arg_text(args, "scenario"));
	command_query(call, "SELECT api_transcripts_list($1, $2, $3, $4, $5)", params);
}

void cmd_transcripts_show(struct call *call, const json_t *args)
{
	struct db_params *params = db_params_new();

	db_param_text(params, arg_text(args, "transcript"));
	command_query(call, "SELECT api_transcripts_show($1)", params);
}

void cmd_transcripts_export(struct call *call, const json_t *args)
{
	command_query(call, "SELECT api_transcripts_export($1, $2, $3, $4)", page_params(args, EXPORT_LIMIT));
}
