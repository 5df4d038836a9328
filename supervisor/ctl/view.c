#include "ctl/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/table.h"
#include "ctl/text.h"

/* ---- declarations ---- */

static const struct column provider_columns[] = {
	{ .title = "PROVIDER", .path = "provider" },
	{ .title = "STATE", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "KEY", .path = "keyEnv" },
	{ .title = "REQ/MIN", .path = "requestsPerMinute", .kind = COLUMN_COUNT },
	{ .title = "IN FLIGHT", .path = "inFlight", .kind = COLUMN_COUNT },
	{ .title = "QUEUED", .path = "queued", .kind = COLUMN_COUNT },
	{ .title = "CALLS", .path = "calls", .kind = COLUMN_COUNT },
	{ .title = "DONE", .path = "completed", .kind = COLUMN_COUNT },
	{ .title = "FAILED", .path = "failed", .kind = COLUMN_COUNT },
	{ .title = "WAITS FOR", .path = "why", .shrinks = true, .optional = true },
	{ .title = "UNTIL", .path = "untilMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = NULL },
};

static const struct column provider_fields[] = {
	{ .title = "Provider", .path = "provider" },
	{ .title = "State", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "Waits for", .path = "why", .optional = true },
	{ .title = "Until", .path = "untilMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "Key variable", .path = "keyEnv" },
	{ .title = "Key is set", .path = "keySet", .kind = COLUMN_JSON },
	{ .title = "Base URL", .path = "baseUrl", .optional = true },
	{ .title = "Simulated", .path = "simulated", .kind = COLUMN_YES, .optional = true },
	{ .title = "Requests/min", .path = "requestsPerMinute", .kind = COLUMN_COUNT },
	{ .title = "Concurrency", .path = "concurrency", .kind = COLUMN_COUNT },
	{ .title = "In flight", .path = "inFlight", .kind = COLUMN_COUNT },
	{ .title = "Queued", .path = "queued", .kind = COLUMN_COUNT },
	{ .title = "Between turns", .path = "between", .kind = COLUMN_COUNT },
	{ .title = "Calls", .path = "calls", .kind = COLUMN_COUNT },
	{ .title = "Turns", .path = "turns", .kind = COLUMN_COUNT },
	{ .title = "Completed", .path = "completed", .kind = COLUMN_COUNT },
	{ .title = "Failed", .path = "failed", .kind = COLUMN_COUNT },
	{ .title = "Retried", .path = "retried", .kind = COLUMN_COUNT },
	{ .title = "Rate limited", .path = "limited", .kind = COLUMN_COUNT },
	{ .title = "Last success", .path = "lastSuccessMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "Last error", .path = "lastError", .optional = true },
	{ .title = NULL },
};

static const struct column worker_columns[] = {
	{ .title = "WORKER", .path = "worker" },
	{ .title = "STATE", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "PID", .path = "pid" },
	{ .title = "HELD", .path = "held", .kind = COLUMN_COUNT },
	{ .title = "CAPACITY", .path = "capacity", .kind = COLUMN_COUNT },
	{ .title = "DONE", .path = "jobsDone", .kind = COLUMN_COUNT },
	{ .title = "RESTARTS", .path = "restarts", .kind = COLUMN_COUNT },
	{ .title = "UP", .path = "upMs", .kind = COLUMN_MS },
	{ .title = "PONG AGO", .path = "lastPongMs", .kind = COLUMN_MS },
	{ .title = "STARTS IN", .path = "nextStartMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "LAST DEATH", .path = "lastDeath", .shrinks = true, .optional = true },
	{ .title = NULL },
};

static const struct column worker_fields[] = {
	{ .title = "Worker", .path = "worker" },
	{ .title = "State", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "Late", .path = "late", .kind = COLUMN_YES, .optional = true },
	{ .title = "Pid", .path = "pid" },
	{ .title = "Up", .path = "upMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "Starts in", .path = "nextStartMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "Boot took", .path = "bootMs", .kind = COLUMN_MS },
	{ .title = "Last pong ago", .path = "lastPongMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "Conversations", .path = "held", .kind = COLUMN_COUNT },
	{ .title = "Capacity", .path = "capacity", .kind = COLUMN_COUNT },
	{ .title = "Done", .path = "jobsDone", .kind = COLUMN_COUNT },
	{ .title = "Restarts", .path = "restarts", .kind = COLUMN_COUNT },
	{ .title = "Memory (kB)", .path = "rssKb", .kind = COLUMN_COUNT },
	{ .title = "Last death", .path = "lastDeath", .optional = true },
	{ .title = "Version", .path = "version", .optional = true },
	{ .title = "Python", .path = "python", .optional = true },
	{ .title = NULL },
};

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
	{ .title = "CREATED", .path = "createdAt", .kind = COLUMN_TIME },
	{ .title = "MODELS", .path = "models", .kind = COLUMN_LIST, .shrinks = true },
	{ .title = NULL },
};

static const struct column run_fields[] = {
	{ .title = "Run", .path = "id" },
	{ .title = "Status", .path = "status", .kind = COLUMN_STATUS },
	{ .title = "Being cancelled", .path = "cancelling", .kind = COLUMN_YES, .optional = true },
	{ .title = "Paused because", .path = "pauseReason", .optional = true },
	{ .title = "Definition", .path = "definitionName" },
	{ .title = "Total", .path = "progress.total", .kind = COLUMN_COUNT },
	{ .title = "Completed", .path = "progress.completed", .kind = COLUMN_COUNT },
	{ .title = "Failed", .path = "progress.failed", .kind = COLUMN_COUNT },
	{ .title = "Cancelled", .path = "progress.cancelled", .kind = COLUMN_COUNT },
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
	{ .title = "EXAMPLE", .path = "example", .shrinks = true },
	{ .title = NULL },
};

static const struct column waiting_columns[] = {
	{ .title = "WAITING", .path = "lane" },
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
	{ .title = NULL },
};

static const struct column job_count_columns[] = {
	{ .title = "RUN", .path = "runId" },
	{ .title = "STATUS", .path = "status", .kind = COLUMN_STATUS },
	{ .title = "READY", .path = "ready", .kind = COLUMN_COUNT },
	{ .title = "DELAYED", .path = "delayed", .kind = COLUMN_COUNT },
	{ .title = "LEASED", .path = "leased", .kind = COLUMN_COUNT },
	{ .title = "COMPLETED", .path = "completed", .kind = COLUMN_COUNT },
	{ .title = "FAILED", .path = "failed", .kind = COLUMN_COUNT },
	{ .title = "CANCELLED", .path = "cancelled", .kind = COLUMN_COUNT },
	{ .title = "NEXT DUE", .path = "nextAt", .kind = COLUMN_TIME, .optional = true },
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
	{ .title = NULL },
};

static const struct column job_columns[] = {
	{ .title = "JOB", .path = "jobId" },
	{ .title = "MODEL", .path = "modelId", .shrinks = true },
	{ .title = "SCENARIO", .path = "scenarioKey", .shrinks = true },
	{ .title = "SAMPLE", .path = "sampleIndex", .kind = COLUMN_COUNT },
	{ .title = "ATTEMPT", .path = "attempt", .kind = COLUMN_COUNT },
	{ .title = "AT", .path = "at", .kind = COLUMN_TIME, .optional = true },
	{ .title = "REASON", .path = "reason", .optional = true },
	{ .title = "ERROR", .path = "error.message", .shrinks = true, .optional = true },
	{ .title = NULL },
};

static const struct column config_columns[] = {
	{ .title = "SECTION", .path = "section" },
	{ .title = "KEY", .path = "key" },
	{ .title = "VALUE", .path = "value", .shrinks = true },
	{ .title = "FROM", .path = "source" },
	{ .title = "LIVE", .path = "live", .kind = COLUMN_YES },
	{ .title = "HELP", .path = "help", .shrinks = true },
	{ .title = NULL },
};

static const struct column change_columns[] = {
	{ .title = "SECTION", .path = "section" },
	{ .title = "KEY", .path = "key" },
	{ .title = "APPLIED BY RELOAD", .path = "live", .kind = COLUMN_JSON },
	{ .title = NULL },
};

static const struct column status_fields[] = {
	{ .title = "State", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "Version", .path = "version" },
	{ .title = "Pid", .path = "pid" },
	{ .title = "Up", .path = "uptimeMs", .kind = COLUMN_MS },
	{ .title = "Database", .path = "database.url" },
	{ .title = "Results held", .path = "database.backlogResults", .kind = COLUMN_COUNT },
	{ .title = "Workers serving", .path = "pool.serving", .kind = COLUMN_COUNT },
	{ .title = "Workers in all", .path = "pool.size", .kind = COLUMN_COUNT },
	{ .title = "Conversations", .path = "pool.held", .kind = COLUMN_COUNT },
	{ .title = "Probes completed", .path = "probes.completed", .kind = COLUMN_COUNT },
	{ .title = "Probes failed", .path = "probes.failed", .kind = COLUMN_COUNT },
	{ .title = "Loop lag", .path = "loopLagMs", .kind = COLUMN_MS },
	{ .title = NULL },
};

static const struct column health_fields[] = {
	{ .title = "Healthy", .path = "healthy", .kind = COLUMN_JSON },
	{ .title = "Environment", .path = "environment.healthy", .kind = COLUMN_JSON },
	{ .title = "Reason", .path = "environment.reason", .optional = true },
	{ .title = "Checked", .path = "environment.checkedAgoMs", .kind = COLUMN_MS },
	{ .title = "Python", .path = "environment.report.python_version", .optional = true },
	{ .title = "Packages", .path = "environment.report.packages", .kind = COLUMN_JSON, .optional = true },
	{ .title = "API keys", .path = "environment.report.api_keys", .kind = COLUMN_JSON, .optional = true },
	{ .title = "Warnings", .path = "environment.report.warnings", .kind = COLUMN_JSON, .optional = true },
	{ .title = "Workers serving", .path = "pool.serving", .kind = COLUMN_COUNT },
	{ .title = "Workers in all", .path = "pool.size", .kind = COLUMN_COUNT },
	{ .title = "Pool degraded", .path = "pool.degraded", .optional = true },
	{ .title = "Database ready", .path = "database.ready", .kind = COLUMN_JSON },
	{ .title = "Why not", .path = "database.why", .optional = true },
	{ .title = NULL },
};

/* ---- by command ---- */

static void print_items(const struct table_style *style, const struct column *columns, const json_t *data,
			const char *none)
{
	const json_t *items = json_object_get(data, "items");

	if (json_array_size(items) == 0)
		(void)printf("%s\n", none);
	else
		table_print(stdout, style, columns, items);
}

static void print_section(const struct table_style *style, const struct column *columns, const json_t *list)
{
	if (json_array_size(list) == 0)
		return;
	(void)putchar('\n');
	table_print(stdout, style, columns, list);
}

static void print_notes(const struct table_style *style, const json_t *notes)
{
	for (size_t i = 0; i < json_array_size(notes); i++) {
		AUTO(mem_free_str) char *note = text_clean_line(json_string_value(json_array_get(notes, i)));

		(void)printf("%s! %s%s\n", table_status_color(style, "warning"), note, table_reset(style));
	}
}

static void print_status(const struct table_style *style, const json_t *data)
{
	table_print_object(stdout, style, status_fields, data);
	print_notes(style, json_object_get(data, "notes"));
	print_section(style, provider_columns, json_object_get(data, "providers"));
}

static void print_definition(const struct table_style *style, const json_t *data)
{
	table_print_object(stdout, style, definition_fields, data);
	print_section(style, followup_columns, json_object_get(data, "followups"));
	print_section(style, scenario_columns, json_object_get(data, "scenarios"));
}

void view_run_models(const struct table_style *style, const json_t *run)
{
	print_section(style, model_columns, json_object_get(run, "models"));
	print_section(style, error_columns, json_object_get(run, "errors"));
}

static void print_run(const struct table_style *style, const json_t *data)
{
	table_print_object(stdout, style, run_fields, data);
	view_run_models(style, data);
	print_section(style, waiting_columns, json_object_get(data, "waiting"));
	print_section(style, transcript_columns, json_object_get(data, "transcripts"));
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

static void print_transcripts(const struct table_style *style, const json_t *data)
{
	const char *next = json_string_value(json_object_get(data, "next"));

	print_items(style, transcript_columns, data, "No transcripts yet.");
	if (next)
		(void)printf("More: --after %s\n", next);
}

static void print_jobs(const struct table_style *style, const json_t *data)
{
	const json_t *items = json_object_get(data, "items");
	const json_t *first = json_array_get(items, 0);

	if (json_object_get(first, "jobId")) {
		table_print(stdout, style, job_columns, items);
		return;
	}
	print_items(style, job_count_columns, data, "Nothing is queued.");
	if (json_array_size(items) == 1)
		print_section(style, job_model_columns, json_object_get(first, "models"));
}

static void print_changes(const struct table_style *style, const json_t *data)
{
	const json_t *changes = json_object_get(data, "changes");

	if (json_array_size(changes) == 0) {
		(void)printf("Valid. It says what is in effect already.\n");
		return;
	}
	(void)printf("Valid. It changes:\n");
	table_print(stdout, style, change_columns, changes);
}

static void print_names(const char *title, const json_t *names)
{
	for (size_t i = 0; i < json_array_size(names); i++)
		(void)printf("%s %s\n", title, json_string_value(json_array_get(names, i)));
}

static void print_reload(const json_t *data)
{
	const json_t *applied = json_object_get(data, "applied");
	const json_t *restart = json_object_get(data, "needsRestart");

	print_names("Applied:", applied);
	print_names("Needs a restart:", restart);
	if (json_array_size(applied) + json_array_size(restart) == 0)
		(void)printf("Reloaded; nothing has changed.\n");
}

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

static void print_events(const struct table_style *style, const json_t *data)
{
	const json_t *items = json_object_get(data, "items");

	for (size_t i = 0; i < json_array_size(items); i++)
		view_event(style, json_array_get(items, i));
}

static void print_run_line(const struct table_style *style, const json_t *data)
{
	const char *status = json_string_value(json_object_get(data, "status"));
	bool cancelling = json_is_true(json_object_get(data, "cancelling"));

	(void)printf("%s  %s%s%s%s\n", json_string_value(json_object_get(data, "id")),
		     table_status_color(style, status), status, table_reset(style),
		     cancelling ? "  (being cancelled)" : "");
}

void view_print(const struct ctl *ctl, const struct command *command, const json_t *data)
{
	const struct table_style at = table_style_of(ctl->color, ctl->terminal);
	const struct table_style *style = &at;

	switch (command_id_of(command)) {
	case COMMAND_STATUS:
		print_status(style, data);
		break;
	case COMMAND_WORKERS_LIST:
	case COMMAND_WORKERS_RESTART:
	case COMMAND_WORKERS_SCALE:
		print_items(style, worker_columns, data, "There are no workers.");
		break;
	case COMMAND_WORKERS_SHOW:
		table_print_object(stdout, style, worker_fields, data);
		break;
	case COMMAND_PROVIDERS_LIST:
		print_items(style, provider_columns, data, "There are no providers.");
		break;
	case COMMAND_PROVIDERS_SHOW:
	case COMMAND_PROVIDERS_PAUSE:
	case COMMAND_PROVIDERS_RESUME:
		table_print_object(stdout, style, provider_fields, data);
		break;
	case COMMAND_DEFINITION_LIST:
		print_items(style, definition_columns, data,
			    "No definitions yet: import one with `proctorctl definition import FILE`.");
		break;
	case COMMAND_DEFINITION_SHOW:
		print_definition(style, data);
		break;
	case COMMAND_RUN_LIST:
		print_items(style, run_columns, data, "No runs: start one with `proctorctl run start`.");
		break;
	case COMMAND_RUN_SHOW:
		print_run(style, data);
		break;
	case COMMAND_RUN_PAUSE:
	case COMMAND_RUN_RESUME:
	case COMMAND_RUN_CANCEL:
		print_run_line(style, data);
		break;
	case COMMAND_RUN_RETRY:
		(void)printf("%" PRId64 " probes are queued again.\n",
			     (int64_t)json_integer_value(json_object_get(data, "retried")));
		break;
	case COMMAND_RUN_DELETE:
		(void)printf("%s is deleted.\n", json_string_value(json_object_get(data, "id")));
		break;
	case COMMAND_TRANSCRIPTS_LIST:
		print_transcripts(style, data);
		break;
	case COMMAND_TRANSCRIPTS_SHOW:
		print_transcript(style, data);
		break;
	case COMMAND_JOBS:
		print_jobs(style, data);
		break;
	case COMMAND_EVENTS:
		print_events(style, data);
		break;
	case COMMAND_HEALTH:
		table_print_object(stdout, style, health_fields, data);
		break;
	case COMMAND_CONFIG_SHOW:
		print_items(style, config_columns, data, "Everything is at its default.");
		break;
	case COMMAND_CONFIG_CHECK:
		print_changes(style, data);
		break;
	case COMMAND_RELOAD:
		print_reload(data);
		break;
	case COMMAND_LOG_LEVEL:
		(void)printf("%s\n", json_string_value(json_object_get(data, "level")));
		break;
	case COMMAND_SHUTDOWN:
		(void)printf("The daemon is stopping: calls under way may finish first.\n");
		break;
	default:
		json_dumpf(data, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12) | JSON_ENCODE_ANY);
		(void)putchar('\n');
		break;
	}
}
