#include "ctl/view.h"

#include <stdio.h>

#include "ctl/ctl.h"
#include "ctl/table.h"

void view_items(const struct table_style *style, const struct column *columns, const json_t *data,
		const char *none)
{
	const json_t *items = json_object_get(data, "items");

	if (json_array_size(items) == 0)
		(void)printf("%s\n", none);
	else
		table_print(stdout, style, columns, items);
}

void view_section(const struct table_style *style, const struct column *columns, const json_t *list)
{
	if (json_array_size(list) == 0)
		return;
	(void)putchar('\n');
	table_print(stdout, style, columns, list);
}

void view_print(const struct ctl *ctl, const struct command *command, const json_t *data)
{
	const struct table_style style = table_style_of(ctl->color, ctl->terminal);

	if (view_daemon(&style, command, data) || view_crashes(&style, command, data) ||
	    view_alerts(&style, command, data) || view_work(&style, command, data))
		return;
	(void)json_dumpf(data, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12) | JSON_ENCODE_ANY);
	(void)putchar('\n');
}
