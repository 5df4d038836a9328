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

bool view_alerts(const struct table_style *style, const struct command *command, const json_t *data)
{
	switch (command_id_of(command)) {
	case COMMAND_ALERTS:
		view_items(style, alert_columns, data, "Nothing is wrong.");
		view_section(style, target_columns, json_object_get(data, "targets"));
		return true;
	case COMMAND_ALERTS_TEST:
		(void)printf("The webhook has taken it.\n");
		return true;
	default:
		return false;
	}
}
