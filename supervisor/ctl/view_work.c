#include "ctl/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/table.h"
#include "ctl/text.h"

/* Definitions, runs, transcripts, jobs and events: what the database keeps. */

static const struct column definition_columns[] = {
	{ .title = "ID", .path = "id" },
	{ .title = "NAME", .path = "name", .shrinks = true },
	{ .title = "VERSION", .path = "version", .kind = COLUMN_COUNT },
	{ .title = "SCENARIOS", .path = "scenarioCount", .kind = COLUMN_COUNT },
	{ .title = "FOLLOW-UPS", .path = "followupCount", .kind = COLUMN_COUNT },
	{ .title = "CREATED", .path = "createdAt", .kind = COLUMN_TIME },
	{ .title = NULL },
};

static const struct column definition_fields[] = {
	{ .title = "Id", .path = "id" },
	{ .title = "Name", .path = "name" },
	{ .title = "Version", .path = "version" },
	{ .title = "Created", .path = "createdAt", .kind = COLUMN_TIME },
	{ .title = "Preamble", .path = "preamble", .optional = true },
	{ .title = "Metadata", .path = "metadata", .kind = COLUMN_JSON, .optional = true },
	{ .title = "Scenarios", .path = "scenarioCount", .kind = COLUMN_COUNT },
	{ .title = NULL },
};

static const struct column followup_columns[] = {
	{ .title = "FOLLOW-UP", .path = "label" },
	{ .title = "PROMPT", .path = "prompt", .shrinks = true },
	{ .title = NULL },
};

static const struct column scenario_columns[] = {
	{ .title = "KEY", .path = "key" },
	{ .title = "NAME", .path = "name", .shrinks = true },
	{ .title = "PROMPT", .path = "prompt", .shrinks = true },
	{ .title = NULL },
};

static const struct column run_columns[] = {
	{ .title = "ID", .path = "id" },
	{ .title = "STATUS", .path = "status", .kind = COLUMN_STATUS },
	{ .title = "DEFINITION", .path = "definitionName", .shrinks = true },
	{ .title = "DONE", .path = "progress.completed", .kind = COLUMN_COUNT },
	{ .title = "FAILED", .path = "progress.failed", .kind = COLUMN_COUNT },
	{ .title = "TOTAL", .path = "progress.total", .kind = COLUMN_COUNT },
	{ .title = "COST", .path = "costUsd", .kind = COLUMN_USD, .optional = true },
	{ .title = "BUDGET", .path = "budgetUsd", .kind = COLUMN_USD, .optional = true },
	{ .title = "CREATED", .path = "createdAt", .kind = COLUMN_TIME, .minor = true },
	{ .title = "WAITING FOR", .path = "waitsFor", .shrinks = true, .optional = true },
	{ .title = "MODELS", .path = "models", .kind = COLUMN_LIST, .shrinks = true, .minor = true },
	{ .title = "CANCELLED", .path = "progress.cancelled", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "PRIORITY", .path = "priority", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "STARTED", .path = "startedAt", .kind = COLUMN_TIME, .extra = true },
	{ .title = "FINISHED", .path = "finishedAt", .kind = COLUMN_TIME, .extra = true },
	{ .title = "PAUSED BECAUSE", .path = "pauseReason", .shrinks = true, .extra = true },
	{ .title = NULL },
};

const struct column view_deleted_run_columns[] = {
	{ .title = "ID", .path = "id" },
	{ .title = "DELETED", .path = "deletedAt", .kind = COLUMN_TIME },
	{ .title = "STATUS", .path = "status", .kind = COLUMN_STATUS },
	{ .title = "DEFINITION", .path = "definitionName", .shrinks = true },
	{ .title = "DONE", .path = "progress.completed", .kind = COLUMN_COUNT },
	{ .title = "FAILED", .path = "progress.failed", .kind = COLUMN_COUNT },
	{ .title = "TOTAL", .path = "progress.total", .kind = COLUMN_COUNT },
	{ .title = "COST", .path = "costUsd", .kind = COLUMN_USD, .optional = true },
	{ .title = "CREATED", .path = "createdAt", .kind = COLUMN_TIME, .minor = true },
	{ .title = "MODELS", .path = "models", .kind = COLUMN_LIST, .shrinks = true, .minor = true },
	{ .title = "CANCELLED", .path = "progress.cancelled", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "PRIORITY", .path = "priority", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "STARTED", .path = "startedAt", .kind = COLUMN_TIME, .extra = true },
	{ .title = "FINISHED", .path = "finishedAt", .kind = COLUMN_TIME, .extra = true },
	{ .title = NULL },
};

static const struct column run_fields[] = {
	{ .title = "Run", .path = "id" },
	{ .title = "Deleted", .path = "deletedAt", .kind = COLUMN_TIME, .optional = true },
	{ .title = "Status", .path = "status", .kind = COLUMN_STATUS },
	{ .title = "Being cancelled", .path = "cancelling", .kind = COLUMN_YES, .optional = true },
	{ .title = "Paused because", .path = "pauseReason", .optional = true },
	{ .title = "Stalled", .path = "stalled.why", .optional = true },
	{ .title = "No success since", .path = "stalled.sinceMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "Definition", .path = "definitionName" },
	{ .title = "Total", .path = "progress.total", .kind = COLUMN_COUNT },
	{ .title = "Completed", .path = "progress.completed", .kind = COLUMN_COUNT },
	{ .title = "Failed", .path = "progress.failed", .kind = COLUMN_COUNT },
	{ .title = "Cancelled", .path = "progress.cancelled", .kind = COLUMN_COUNT },
	{ .title = "Cost", .path = "costUsd", .kind = COLUMN_USD, .optional = true },
	{ .title = "Budget", .path = "budgetUsd", .kind = COLUMN_USD, .optional = true },
	{ .title = "Priority", .path = "priority", .kind = COLUMN_COUNT },
	{ .title = "Created", .path = "createdAt", .kind = COLUMN_TIME },
	{ .title = "Started", .path = "startedAt", .kind = COLUMN_TIME, .optional = true },
	{ .title = "Finished", .path = "finishedAt", .kind = COLUMN_TIME, .optional = true },
	{ .title = NULL },
};

static const struct column model_columns[] = {
	{ .title = "MODEL", .path = "modelId", .shrinks = true },
	{ .title = "LANE", .path = "lane" },
	{ .title = "PROBES", .path = "total", .kind = COLUMN_COUNT },
	{ .title = "DONE", .path = "completed", .kind = COLUMN_COUNT },
	{ .title = "FAILED", .path = "failed", .kind = COLUMN_COUNT },
	{ .title = "CANCELLED", .path = "cancelled", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "TOKENS", .path = "tokenCount", .kind = COLUMN_COUNT },
	{ .title = "MEDIAN", .path = "medianMs", .kind = COLUMN_MS },
	{ .title = "COST", .path = "costUsd", .kind = COLUMN_USD, .optional = true },
	{ .title = "SIMULATED", .path = "simulated", .kind = COLUMN_YES, .optional = true },
	{ .title = NULL },
};

static const struct column error_columns[] = {
	{ .title = "ERROR", .path = "code" },
	{ .title = "MODEL", .path = "modelId", .shrinks = true },
	{ .title = "COUNT", .path = "count", .kind = COLUMN_COUNT },
	{ .title = "EXAMPLE", .path = "example", .shrinks = true, .optional = true },
	{ .title = NULL },
};

static const struct column waiting_columns[] = {
	{ .title = "WAITING", .path = "lane" },
	{ .title = "MODELS", .path = "models", .kind = COLUMN_LIST, .shrinks = true, .optional = true },
	{ .title = "FOR", .path = "why", .shrinks = true },
	{ .title = "UNTIL", .path = "untilMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = NULL },
};

static const struct column transcript_columns[] = {
	{ .title = "TRANSCRIPT", .path = "id" },
	{ .title = "MODEL", .path = "modelId", .shrinks = true },
	{ .title = "SCENARIO", .path = "scenarioKey", .shrinks = true },
	{ .title = "SAMPLE", .path = "sampleIndex", .kind = COLUMN_COUNT },
	{ .title = "TURNS", .path = "turnCount", .kind = COLUMN_COUNT },
	{ .title = "TOKENS", .path = "tokenCount", .kind = COLUMN_COUNT },
	{ .title = "TOOK", .path = "durationMs", .kind = COLUMN_MS },
	{ .title = "COST", .path = "costUsd", .kind = COLUMN_USD, .optional = true },
	{ .title = "MODEL VERSION", .path = "modelVersion", .shrinks = true, .extra = true },
	{ .title = "SCENARIO NAME", .path = "scenarioName", .shrinks = true, .extra = true },
	{ .title = "INPUT TOKENS", .path = "inputTokens", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "OUTPUT TOKENS", .path = "outputTokens", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "REASONING TOKENS", .path = "reasoningTokens", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "CREATED", .path = "createdAt", .kind = COLUMN_TIME, .extra = true },
	{ .title = "RUN", .path = "runId", .extra = true },
	{ .title = NULL },
};

static const struct column transcript_fields[] = {
	{ .title = "Transcript", .path = "id" },
	{ .title = "Run", .path = "runId" },
	{ .title = "Scenario", .path = "scenarioName" },
	{ .title = "Model", .path = "modelId" },
	{ .title = "Model version", .path = "modelVersion", .optional = true },
	{ .title = "Sample", .path = "sampleIndex" },
	{ .title = "Turns", .path = "turnCount", .kind = COLUMN_COUNT },
	{ .title = "Tokens", .path = "tokenCount", .kind = COLUMN_COUNT },
	{ .title = "Took", .path = "durationMs", .kind = COLUMN_MS },
	{ .title = "Cost", .path = "costUsd", .kind = COLUMN_USD, .optional = true },
	{ .title = "Content removed", .path = "content.removedAt", .kind = COLUMN_TIME, .optional = true },
	{ .title = NULL },
};

static const struct column job_count_columns[] = {
	{ .title = "RUN", .path = "runId" },
	{ .title = "STATUS", .path = "status", .kind = COLUMN_STATUS },
	{ .title = "READY", .path = "ready", .kind = COLUMN_COUNT },
	{ .title = "DELAYED", .path = "delayed", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "LEASED", .path = "leased", .kind = COLUMN_COUNT },
	{ .title = "COMPLETED", .path = "completed", .kind = COLUMN_COUNT },
	{ .title = "FAILED", .path = "failed", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "CANCELLED", .path = "cancelled", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "NEXT DUE", .path = "nextAt", .kind = COLUMN_TIME, .optional = true },
	{ .title = "WAITING FOR", .path = "waitsFor", .shrinks = true, .optional = true },
	{ .title = NULL },
};

static const struct column job_model_columns[] = {
	{ .title = "MODEL", .path = "modelId", .shrinks = true },
	{ .title = "LANE", .path = "lane" },
	{ .title = "READY", .path = "ready", .kind = COLUMN_COUNT },
	{ .title = "DELAYED", .path = "delayed", .kind = COLUMN_COUNT },
	{ .title = "LEASED", .path = "leased", .kind = COLUMN_COUNT },
	{ .title = "COMPLETED", .path = "completed", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "FAILED", .path = "failed", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "CANCELLED", .path = "cancelled", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "NEXT DUE", .path = "nextAt", .kind = COLUMN_TIME, .optional = true },
	{ .title = "WAITING FOR", .path = "why", .shrinks = true, .optional = true },
	{ .title = "UNTIL", .path = "untilMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = NULL },
};

const struct column view_job_columns[] = {
	{ .title = "JOB", .path = "jobId" },
	{ .title = "MODEL", .path = "modelId", .shrinks = true },
	{ .title = "SCENARIO", .path = "scenarioKey", .shrinks = true },
	{ .title = "SAMPLE", .path = "sampleIndex", .kind = COLUMN_COUNT },
	{ .title = "ATTEMPT", .path = "attempt", .kind = COLUMN_COUNT },
	{ .title = "AT", .path = "at", .kind = COLUMN_TIME, .optional = true },
	{ .title = "REASON", .path = "reason", .optional = true },
	{ .title = "WAITING FOR", .path = "why", .shrinks = true, .optional = true },
	{ .title = "UNTIL", .path = "untilMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "ERROR", .path = "error.message", .shrinks = true, .optional = true },
	{ .title = "RUN", .path = "runId", .extra = true },
	{ .title = "LANE", .path = "lane", .extra = true },
	{ .title = "FAILS", .path = "fails", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "NODE", .path = "nodeId", .kind = COLUMN_COUNT, .extra = true },
	{ .title = NULL },
};

static const struct column event_columns[] = {
	{ .title = "AT", .path = "at", .kind = COLUMN_TIME },
	{ .title = "LEVEL", .path = "level", .kind = COLUMN_STATUS },
	{ .title = "KIND", .path = "kind" },
	{ .title = "RUN", .path = "runId", .optional = true },
	{ .title = "SUBJECT", .path = "subject", .optional = true },
	{ .title = "JOB", .path = "jobId", .optional = true },
	{ .title = "DATA", .path = "data", .kind = COLUMN_JSON, .shrinks = true },
	{ .title = "NODE", .path = "nodeId", .extra = true },
	{ .title = "ID", .path = "id", .extra = true },
	{ .title = NULL },
};

/* ---- by command ---- */

static void print_definition(const struct table_style *style, const json_t *data)
{
	table_print_object(stdout, style, definition_fields, data);
	view_section(style, followup_columns, json_object_get(data, "followups"));
	view_section(style, scenario_columns, json_object_get(data, "scenarios"));
}

void view_run_models(const struct table_style *style, const json_t *run)
{
	view_section(style, model_columns, json_object_get(run, "models"));
	view_section(style, error_columns, json_object_get(run, "errors"));
}

static void print_run(const struct table_style *style, const json_t *data)
{
	table_print_object(stdout, style, run_fields, data);
	view_run_models(style, data);
	view_section(style, waiting_columns, json_object_get(data, "waiting"));
	view_section(style, transcript_columns, json_object_get(data, "transcripts"));
}

static void print_turn(const struct table_style *style, const json_t *turn)
{
	static const struct {
		const char *key, *title;
	} texts[] = { { "probePrompt", "Asked" }, { "targetResponse", "Answered" } };
	const char *label = json_string_value(json_object_get(turn, "promptLabel"));
	AUTO(mem_free_str) char *clean_label = text_clean_line(label ? label : "");

	(void)printf("\n%sTurn %" PRId64 " · %s · %" PRId64 " tokens in, %" PRId64 " out · %" PRId64
		     " ms%s\n",
		     table_bold(style), (int64_t)json_integer_value(json_object_get(turn, "turnNumber")),
		     clean_label, (int64_t)json_integer_value(json_object_get(turn, "inputTokens")),
		     (int64_t)json_integer_value(json_object_get(turn, "outputTokens")),
		     (int64_t)json_integer_value(json_object_get(turn, "durationMs")), table_reset(style));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const json_t *value = json_object_get(turn, texts[i].key);
		const char *bytes = json_string_value(value);
		AUTO(mem_free_str) char *text = text_clean(bytes ? bytes : "", json_string_length(value));

		(void)printf("%s%s:%s %s\n", table_dim(style), texts[i].title, table_reset(style), text);
	}
}

static void print_transcript(const struct table_style *style, const json_t *data)
{
	const json_t *turns = table_lookup(data, "content.turns");
	const char *preamble = json_string_value(json_object_get(data, "preamble"));

	table_print_object(stdout, style, transcript_fields, data);
	if (preamble) {
		AUTO(mem_free_str) char *text = text_clean(preamble, strlen(preamble));

		(void)printf("\n%sPreamble:%s %s\n", table_dim(style), table_reset(style), text);
	}
	for (size_t i = 0; i < json_array_size(turns); i++)
		print_turn(style, json_array_get(turns, i));
}

static void print_next(const struct table_style *style, const json_t *data)
{
	const char *next = json_string_value(json_object_get(data, "next"));

	(void)style;
	if (next)
		(void)printf("More: --after %s\n", next);
}

/* Of one run, its models too. */
static void print_job_models(const struct table_style *style, const json_t *data)
{
	const json_t *items = json_object_get(data, "items");

	if (json_array_size(items) == 1)
		view_section(style, job_model_columns, json_object_get(json_array_get(items, 0), "models"));
}

const struct view_list view_work_lists[] = {
	{ .command = COMMAND_DEFINITION_LIST,
	  .columns = definition_columns,
	  .none = "No definitions yet: import one with `proctorctl definition import FILE`." },
	{ .command = COMMAND_RUN_LIST,
	  .columns = run_columns,
	  .none = "No such runs: start one with `proctorctl run start`." },
	{ .command = COMMAND_TRANSCRIPTS_LIST,
	  .columns = transcript_columns,
	  .none = "No such transcripts yet.",
	  .more = print_next },
	{ .command = COMMAND_JOBS,
	  .columns = job_count_columns,
	  .none = "Nothing is queued.",
	  .more = print_job_models },
	{ .command = COMMAND_EVENTS,
	  .columns = event_columns,
	  .none = "No such events.",
	  .line = view_event },
	{ .columns = NULL },
};

void view_event(const struct table_style *style, const json_t *event)
{
	static const char *const parts[] = { "runId", "subject", "jobId", "data" };
	const char *level = json_string_value(json_object_get(event, "level"));
	AUTO(mem_free_str) char *at = table_cell(style, COLUMN_TEXT, json_object_get(event, "at"));
	AUTO(mem_free_str) char *kind = table_cell(style, COLUMN_TEXT, json_object_get(event, "kind"));
	const char *color = table_status_color(style, level ? level : "");

	(void)printf("%s%s%s  %s%s%s", table_dim(style), at, table_reset(style), color, kind,
		     *color ? table_reset(style) : "");
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		AUTO(mem_free_str)
		char *text = table_cell(style, COLUMN_JSON, json_object_get(event, parts[i]));

		if (*text)
			(void)printf("  %s", text);
	}
	(void)putchar('\n');
}

static void print_run_line(const struct table_style *style, const json_t *data)
{
	const char *status = json_string_value(json_object_get(data, "status"));
	bool cancelling = json_is_true(json_object_get(data, "cancelling"));

	(void)printf("%s  %s%s%s%s\n", json_string_value(json_object_get(data, "id")),
		     table_status_color(style, status), status, table_reset(style),
		     cancelling ? "  (being cancelled)" : "");
}

static bool view_run(const struct table_style *style, const struct command *command, const json_t *data)
{
	switch (command_id_of(command)) {
	case COMMAND_RUN_SHOW:
		print_run(style, data);
		return true;
	case COMMAND_RUN_PAUSE:
	case COMMAND_RUN_RESUME:
	case COMMAND_RUN_CANCEL:
		print_run_line(style, data);
		return true;
	case COMMAND_RUN_RETRY:
		(void)printf("%" PRId64 " probes are queued again.\n",
			     (int64_t)json_integer_value(json_object_get(data, "retried")));
		return true;
	case COMMAND_RUN_DELETE:
		(void)printf("%s is deleted.\n", json_string_value(json_object_get(data, "id")));
		return true;
	default:
		return false;
	}
}

bool view_work(const struct table_style *style, const struct command *command, const json_t *data)
{
	switch (command_id_of(command)) {
	case COMMAND_DEFINITION_SHOW:
		print_definition(style, data);
		return true;
	case COMMAND_TRANSCRIPTS_SHOW:
		print_transcript(style, data);
		return true;
	default:
		return view_run(style, command, data);
	}
}
