#include "ctl/view.h"

#include <stdio.h>

#include "base/mem.h"
#include "ctl/table.h"
#include "ctl/text.h"

/* Status, workers, providers, health and configuration: what the daemon itself knows. */

static const struct column provider_columns[] = {
	{ .title = "PROVIDER", .path = "provider" },
	{ .title = "STATE", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "HEALTH", .path = "health.verdict", .kind = COLUMN_STATUS, .optional = true },
	{ .title = "KEY", .path = "keyEnv", .minor = true },
	{ .title = "REQ/MIN", .path = "requestsPerMinute", .kind = COLUMN_COUNT, .minor = true },
	{ .title = "IN FLIGHT", .path = "inFlight", .kind = COLUMN_COUNT },
	{ .title = "QUEUED", .path = "queued", .kind = COLUMN_COUNT },
	{ .title = "CALLS", .path = "calls", .kind = COLUMN_COUNT, .minor = true },
	{ .title = "DONE", .path = "completed", .kind = COLUMN_COUNT, .minor = true },
	{ .title = "FAILED", .path = "failed", .kind = COLUMN_COUNT },
	{ .title = "WAITS FOR", .path = "why", .shrinks = true, .optional = true },
	{ .title = "UNTIL", .path = "untilMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "RETRIED", .path = "retried", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "RATE LIMITED", .path = "limited", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "TURNS", .path = "turns", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "BREAKER", .path = "breaker", .extra = true },
	{ .title = "BASE URL", .path = "baseUrl", .extra = true },
	{ .title = "CONCURRENCY", .path = "concurrency", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "LAST SUCCESS", .path = "lastSuccessMs", .kind = COLUMN_UNTIL, .extra = true },
	{ .title = "LAST ERROR", .path = "lastError", .shrinks = true, .extra = true },
	{ .title = NULL },
};

static const struct column provider_fields[] = {
	{ .title = "Provider", .path = "provider" },
	{ .title = "State", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "Waits for", .path = "why", .optional = true },
	{ .title = "Until", .path = "untilMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "Health", .path = "health.verdict", .kind = COLUMN_STATUS, .optional = true },
	{ .title = "… because", .path = "health.detail", .optional = true },
	{ .title = "… looked at", .path = "health.checkedMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "… answered in", .path = "health.tookMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "Key variable", .path = "keyEnv" },
	{ .title = "Key is set", .path = "keySet", .kind = COLUMN_JSON },
	{ .title = "Base URL", .path = "baseUrl", .optional = true },
	{ .title = "Simulated", .path = "simulated", .kind = COLUMN_YES, .optional = true },
	{ .title = "Breaker", .path = "breaker" },
	{ .title = "Next trial call", .path = "recheckMs", .kind = COLUMN_UNTIL, .optional = true },
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

static const struct column check_columns[] = {
	{ .title = "PROVIDER", .path = "provider" },
	{ .title = "HEALTH", .path = "verdict", .kind = COLUMN_STATUS },
	{ .title = "LOOKED AT", .path = "checkedMs", .kind = COLUMN_UNTIL },
	{ .title = "ANSWERED IN", .path = "tookMs", .kind = COLUMN_MS },
	{ .title = "BECAUSE", .path = "detail", .shrinks = true, .optional = true },
	{ .title = NULL },
};

static const struct column limit_columns[] = {
	{ .title = "LIMIT OF", .path = "unit" },
	{ .title = "MODELS", .path = "scope", .shrinks = true, .optional = true },
	{ .title = "CONFIGURED", .path = "configured", .kind = COLUMN_COUNT },
	{ .title = "TOLD", .path = "told", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "LEARNED", .path = "learned", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "LIMIT", .path = "limit", .kind = COLUMN_COUNT },
	{ .title = "USED", .path = "used", .kind = COLUMN_COUNT },
	{ .title = "LEFT", .path = "left", .kind = COLUMN_COUNT },
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
	{ .title = "PONG AGO", .path = "lastPongMs", .kind = COLUMN_MS, .minor = true },
	{ .title = "STARTS IN", .path = "nextStartMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "LAST DEATH", .path = "lastDeath", .shrinks = true, .optional = true },
	{ .title = "BOOT TOOK", .path = "bootMs", .kind = COLUMN_MS, .extra = true },
	{ .title = "MEMORY KB", .path = "rssKb", .kind = COLUMN_COUNT, .extra = true },
	{ .title = "VERSION", .path = "version", .extra = true },
	{ .title = "PYTHON", .path = "python", .extra = true },
	{ .title = NULL },
};

static const struct column worker_fields[] = {
	{ .title = "Worker", .path = "worker" },
	{ .title = "State", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "Late", .path = "late", .kind = COLUMN_YES, .optional = true },
	{ .title = "Ails", .path = "ailment", .optional = true },
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
	{ .title = "Upgraded", .path = "upgraded.atMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "Upgraded from", .path = "upgraded.from", .optional = true },
	{ .title = "Database", .path = "database.url" },
	{ .title = "Waiting in the spool", .path = "database.backlogRecords", .kind = COLUMN_COUNT },
	{ .title = "Workers serving", .path = "workers.serving", .kind = COLUMN_COUNT },
	{ .title = "Workers in all", .path = "workers.size", .kind = COLUMN_COUNT },
	{ .title = "Conversations", .path = "workers.held", .kind = COLUMN_COUNT },
	{ .title = "Probes completed", .path = "probes.completed", .kind = COLUMN_COUNT },
	{ .title = "Probes failed", .path = "probes.failed", .kind = COLUMN_COUNT },
	{ .title = "Loop lag", .path = "loopLagMs", .kind = COLUMN_MS },
	{ .title = NULL },
};

static const struct column spool_fields[] = {
	{ .title = "State", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "Trouble", .path = "trouble", .optional = true },
	{ .title = "Results wait", .path = "waitsFor", .optional = true },
	{ .title = "Folder", .path = "folder" },
	{ .title = "Records waiting", .path = "depth", .kind = COLUMN_COUNT },
	{ .title = "Their bytes", .path = "depthBytes", .kind = COLUMN_COUNT },
	{ .title = "Percent of the limit", .path = "depthPercent", .kind = COLUMN_COUNT },
	{ .title = "Oldest waits", .path = "oldestAgeMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "Not on the disk yet", .path = "unsynced", .kind = COLUMN_COUNT },
	{ .title = "In memory only", .path = "unwritten", .kind = COLUMN_COUNT },
	{ .title = "Slowest sync", .path = "syncWorstMs", .kind = COLUMN_MS },
	{ .title = "Written so far", .path = "written", .kind = COLUMN_COUNT },
	{ .title = "Acknowledged", .path = "acked", .kind = COLUMN_COUNT },
	{ .title = "Files", .path = "segments", .kind = COLUMN_COUNT },
	{ .title = "Bytes of files", .path = "bytes", .kind = COLUMN_COUNT },
	{ .title = "… kept for a standby", .path = "keptBytes", .kind = COLUMN_COUNT },
	{ .title = "Limit", .path = "maxBytes", .kind = COLUMN_COUNT },
	{ .title = "Database", .path = "database", .optional = true },
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
	{ .title = "Workers serving", .path = "workers.serving", .kind = COLUMN_COUNT },
	{ .title = "Workers in all", .path = "workers.size", .kind = COLUMN_COUNT },
	{ .title = "Degraded", .path = "workers.degraded", .optional = true },
	{ .title = "Database ready", .path = "database.ready", .kind = COLUMN_JSON },
	{ .title = "Why not", .path = "database.why", .optional = true },
	{ .title = NULL },
};

const struct view_list view_daemon_lists[] = {
	{ .command = COMMAND_WORKERS_LIST, .columns = worker_columns, .none = "There are no such workers." },
	{ .command = COMMAND_WORKERS_RESTART, .columns = worker_columns, .none = "There are no workers." },
	{ .command = COMMAND_WORKERS_SCALE, .columns = worker_columns, .none = "There are no workers." },
	{ .command = COMMAND_PROVIDERS_LIST,
	  .columns = provider_columns,
	  .none = "There are no such providers." },
	{ .command = COMMAND_CONFIG_SHOW,
	  .columns = config_columns,
	  .none = "Everything is at its default." },
	{ .columns = NULL },
};

/* ---- by command ---- */

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
	view_section(style, provider_columns, json_object_get(data, "providers"));
}

static void print_provider(const struct table_style *style, const json_t *data)
{
	table_print_object(stdout, style, provider_fields, data);
	view_section(style, limit_columns, json_object_get(data, "limits"));
}

static void print_worker(const struct table_style *style, const json_t *data)
{
	const json_t *crash = json_object_get(data, "crash");

	table_print_object(stdout, style, worker_fields, data);
	if (!json_is_object(crash))
		return;
	(void)printf("\n%sThe last crash%s\n", table_bold(style), table_reset(style));
	view_crash(style, crash);
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

static void print_upgrade(const json_t *data)
{
	(void)printf("Upgraded from %s to %s: %lld workers and %lld conversations live on, after %lld ms.\n",
		     json_string_value(json_object_get(data, "from")),
		     json_string_value(json_object_get(data, "to")),
		     (long long)json_integer_value(json_object_get(data, "workers")),
		     (long long)json_integer_value(json_object_get(data, "probes")),
		     (long long)json_integer_value(json_object_get(data, "pauseMs")));
}

bool view_daemon(const struct table_style *style, const struct command *command, const json_t *data)
{
	switch (command_id_of(command)) {
	case COMMAND_STATUS:
		print_status(style, data);
		return true;
	case COMMAND_TREE:
	case COMMAND_SERVICES_STOP:
	case COMMAND_SERVICES_START:
		view_tree(style, data);
		return true;
	case COMMAND_WORKERS_SHOW:
		print_worker(style, data);
		return true;
	case COMMAND_PROVIDERS_SHOW:
	case COMMAND_PROVIDERS_PAUSE:
	case COMMAND_PROVIDERS_RESUME:
		print_provider(style, data);
		return true;
	case COMMAND_SPOOL:
		table_print_object(stdout, style, spool_fields, data);
		return true;
	case COMMAND_METRICS:
		(void)fputs(json_string_value(json_object_get(data, "text")), stdout);
		return true;
	case COMMAND_HEALTH:
		table_print_object(stdout, style, health_fields, data);
		view_section(style, check_columns, json_object_get(data, "providers"));
		return true;
	case COMMAND_CONFIG_CHECK:
		print_changes(style, data);
		return true;
	case COMMAND_RELOAD:
		print_reload(data);
		return true;
	case COMMAND_UPGRADE:
		print_upgrade(data);
		return true;
	case COMMAND_LOG_LEVEL:
		(void)printf("%s\n", json_string_value(json_object_get(data, "level")));
		return true;
	case COMMAND_SHUTDOWN:
		(void)printf("The daemon is stopping: calls under way may finish first.\n");
		return true;
	default:
		return false;
	}
}
