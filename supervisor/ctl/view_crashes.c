#include "ctl/view.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/table.h"
#include "ctl/text.h"

/* How workers and services ended. */

static const struct column crash_columns[] = {
	{ .title = "ID", .path = "id" },
	{ .title = "WHEN", .path = "at", .kind = COLUMN_TIME },
	{ .title = "NAME", .path = "name" },
	{ .title = "EXIT", .path = "exit" },
	{ .title = "UP", .path = "upMs", .kind = COLUMN_MS },
	{ .title = "HELD", .path = "held", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "BLAMED", .path = "blame", .optional = true },
	{ .title = "NEXT", .path = "next", .optional = true },
	{ .title = "STACK", .path = "hasStack", .kind = COLUMN_YES, .optional = true, .minor = true },
	{ .title = "REASON", .path = "reason", .shrinks = true, .optional = true },
	{ .title = "KIND", .path = "kind", .extra = true },
	{ .title = "AT", .path = "at", .extra = true },
	{ .title = "NODE", .path = "nodeId", .extra = true },
	{ .title = "FAILURES", .path = "failures", .kind = COLUMN_COUNT, .extra = true },
	{ .title = NULL },
};

const struct view_list view_crash_lists[] = {
	{ .command = COMMAND_CRASHES, .columns = crash_columns, .none = "No crashes are recorded." },
	{ .columns = NULL },
};

static const struct column crash_fields[] = {
	{ .title = "Id", .path = "id", .optional = true },
	{ .title = "When", .path = "at", .kind = COLUMN_TIME, .optional = true },
	{ .title = "Name", .path = "name", .optional = true },
	{ .title = "Exit", .path = "exit" },
	{ .title = "Reason", .path = "reason", .optional = true },
	{ .title = "Up", .path = "upMs", .kind = COLUMN_MS },
	{ .title = "Blamed", .path = "blame", .optional = true },
	{ .title = "Conversations held", .path = "held", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "Next", .path = "next", .optional = true },
	{ .title = "After", .path = "delayMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "Failures in a row", .path = "failures", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "Node", .path = "nodeId", .optional = true },
	{ .title = NULL },
};

static const struct column job_columns[] = {
	{ .title = "JOB HELD", .path = "jobId" },
	{ .title = "RUN", .path = "runId", .optional = true },
	{ .title = "MODEL", .path = "modelId", .shrinks = true, .optional = true },
	{ .title = "SCENARIO", .path = "scenarioKey", .shrinks = true, .optional = true },
	{ .title = NULL },
};

static void print_text(const struct table_style *style, const char *title, const json_t *value)
{
	const char *bytes = json_string_value(value);
	AUTO(mem_free_str) char *text = text_clean(bytes ? bytes : "", json_string_length(value));
	size_t len = strlen(text);

	if (len == 0)
		return;
	(void)printf("\n%s%s%s\n%s%s", table_bold(style), title, table_reset(style), text,
		     text[len - 1] == '\n' ? "" : "\n");
}

void view_crash(const struct table_style *style, const json_t *crash)
{
	table_print_object(stdout, style, crash_fields, crash);
	view_section(style, job_columns, json_object_get(crash, "jobs"));
	print_text(style, "Stack", json_object_get(crash, "stack"));
	print_text(style, "Last words on stderr", json_object_get(crash, "stderr"));
}

bool view_crashes(const struct table_style *style, const struct command *command, const json_t *data)
{
	if (command_id_of(command) != COMMAND_CRASHES_SHOW)
		return false;
	view_crash(style, data);
	return true;
}
