#include "ctl/view.h"

#include <stdio.h>

#include "ctl/table.h"

/* What operators are told, and by which webhooks. */

static const struct column alert_columns[] = {
	{ .title = "KIND", .path = "kind" },
	{ .title = "SUBJECT", .path = "subject", .shrinks = true },
	{ .title = "STATE", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "SINCE", .path = "since", .kind = COLUMN_TIME },
	{ .title = "TEXT", .path = "text", .shrinks = true },
	{ .title = NULL },
};

static const struct column target_columns[] = {
	{ .title = "WEBHOOK", .path = "name" },
	{ .title = "STATE", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "SENT", .path = "sent", .kind = COLUMN_COUNT },
	{ .title = "OWED", .path = "owed", .kind = COLUMN_COUNT },
	{ .title = "FAILURES", .path = "failures", .kind = COLUMN_COUNT, .optional = true },
	{ .title = "NEXT TRY", .path = "nextTryMs", .kind = COLUMN_UNTIL, .optional = true },
	{ .title = "LAST ERROR", .path = "lastError", .shrinks = true, .optional = true },
	{ .title = NULL },
};

static void print_targets(const struct table_style *style, const json_t *data)
{
	view_section(style, target_columns, json_object_get(data, "targets"));
}

const struct view_list view_alert_lists[] = {
	{ .command = COMMAND_ALERTS,
	  .columns = alert_columns,
	  .none = "Nothing is wrong.",
	  .more = print_targets },
	{ .columns = NULL },
};

bool view_alerts(const struct command *command)
{
	if (command_id_of(command) != COMMAND_ALERTS_TEST)
		return false;
	(void)printf("The webhook has taken it.\n");
	return true;
}
