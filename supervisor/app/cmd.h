#ifndef APP_CMD_H
#define APP_CMD_H

/* What the command handlers (cmd_*.c) share. A handler owns its call and answers it now or later. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "app/control.h"
#include "base/list.h"
#include "io/command_table.h"
#include "policy/price.h"

struct control;
struct daemon;
struct db_params;
struct db_rows;
struct handover;

struct commands {
	struct daemon *daemon;
	struct control *control;
	struct roles *roles;
	struct list imports; /* of struct import (cmd_definition.c): definitions whose pages still arrive */
};

#define COMMAND_HANDLER(id, function) void cmd_##function(struct call *call, const json_t *args);
#define COMMAND_ELSEWHERE(id, function)
COMMAND_LIST(COMMAND_HANDLER, COMMAND_ELSEWHERE)
#undef COMMAND_HANDLER
#undef COMMAND_ELSEWHERE

struct commands *call_commands(const struct call *call);
struct daemon *call_daemon(const struct call *call);

/* Arguments by name: NULL, `fallback` or false when absent. */
const char *arg_text(const json_t *args, const char *name);
int64_t arg_int(const json_t *args, const char *name, int64_t fallback);
bool arg_bool(const json_t *args, const char *name);

/* The JSON of an argument as text, or `fallback` when absent. */
void db_param_json(struct db_params *params, const json_t *value, const char *fallback);

/* A list of strings as text[]; SQL NULL when absent. */
void db_param_list(struct db_params *params, const json_t *list);

/* The argument `since`, in milliseconds; SQL NULL when absent. */
void db_param_since(struct db_params *params, const json_t *args);

/* Asks the database and answers with the text in the first column of the one row. `params` is taken. */
void command_query(struct call *call, const char *sql, struct db_params *params);

/* The same, but `done` answers the call. What goes wrong is answered before it comes to that. */
void command_query_then(struct call *call, const char *sql, struct db_params *params,
			void (*done)(struct call *call, const struct db_rows *rows));

/* Asks for nobody: what goes wrong is logged. */
void command_query_quietly(struct commands *commands, const char *sql, struct db_params *params);

/* The part of cmd_definition.c in the life of the server. */
void cmd_definition_pass(struct commands *commands, struct handover *h);
void cmd_definition_client_gone(struct commands *commands, int64_t client_id);
void cmd_definition_free(struct commands *commands);

/* What a client that follows events has got so far, either way. */
void cmd_events_pass(struct call *call, struct handover *h);

/* A monotonic time as milliseconds since 1970; null for 0 (not known). */
json_t *cmd_wall_time(const struct daemon *daemon, int64_t at_ms);

/* The JSON text in a column of the one row. */
json_t *cmd_json(const struct db_rows *rows, int column);

/* Why things wait. `rows` is what api_run_waits() told, of all active runs or of the one.
 * To a run: "waiting" [{"lane", "models", "why", "untilMs"}], "stalled" {"sinceMs", "why"} or null, and
 * "waitsFor", the shortest that can be said of it, or null. To jobs, or to the counts of runs: "why" and
 * "untilMs". */
void cmd_add_waits(struct daemon *daemon, json_t *run, const char *run_id, const json_t *rows);
void cmd_say_jobs(struct daemon *daemon, json_t *items, const json_t *rows);

/* `status`' one word: "starting", "ready", "degraded", "stopping". */
const char *cmd_state(struct daemon *daemon);

/* Parts of `status` that other commands show as well. */
json_t *cmd_database(struct daemon *daemon);
json_t *cmd_environment(struct daemon *daemon);
json_t *cmd_lanes(struct daemon *daemon);
/* The verdicts of the looks at providers: [{"provider", "verdict", "detail", "checkedMs", "tookMs"}]. */
json_t *cmd_provider_checks(struct daemon *daemon);
json_t *cmd_pools(struct daemon *daemon);
json_t *cmd_workers(struct daemon *daemon); /* totals over the pools */

/* Today's of a model, as its id was given. */
struct price cmd_price_of(const struct daemon *daemon, const char *model_id);

/* Completes what api_run_estimate() (sql/0009_estimate.sql) found by what the daemon knows of prices, limits
 * and answers; its models have `simulated` already where it is true. What it then holds, `run start`'s help
 * tells. */
void cmd_estimate(struct daemon *daemon, json_t *estimate);

/* Adds a sentence for whatever of the supervision tree is given up on. */
void cmd_tree_notes(struct daemon *daemon, json_t *notes);

#endif
