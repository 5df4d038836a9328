#include "ctl/view.h"

#include <stdio.h>

#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/table.h"

void view_section(const struct table_style *style, const struct column *columns, const json_t *list)
{
	if (json_array_size(list) == 0)
		return;
	(void)putchar('\n');
	table_print(stdout, style, columns, list);
}

static const struct view_list *find_list(enum command_id command)
{
	static const struct view_list *const all[] = { view_daemon_lists, view_crash_lists, view_alert_lists,
						       view_work_lists };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (const struct view_list *list = all[i]; list->columns; list++)
			if (list->command == command)
				return list;
	return NULL;
}

const struct column *view_columns(enum command_id command, const json_t *args)
{
	const struct view_list *list = find_list(command);

	if (command == COMMAND_JOBS && json_is_string(json_object_get(args, "state")))
		return view_job_columns;
	if (command == COMMAND_RUN_LIST && json_is_true(json_object_get(args, "deleted")))
		return view_deleted_run_columns;
	if (command == COMMAND_EVENTS && json_is_true(json_object_get(args, "follow")))
		return NULL;
	return list ? list->columns : NULL;
}

static void print_lines(const struct table_style *style, const struct view_list *list, const json_t *items)
{
	for (size_t i = 0; i < json_array_size(items); i++)
		list->line(style, json_array_get(items, i));
}

static void print_list(const struct ctl *ctl, const struct table_style *style, const struct view_list *list,
		       const json_t *data)
{
	const json_t *items = json_object_get(data, "items");
	struct table_style chosen = *style;

	chosen.only = ctl->parsed->columns;
	if (json_array_size(items) == 0)
		(void)printf("%s\n", list->none);
	else if (list->line && !chosen.only)
		print_lines(&chosen, list, items);
	else
		table_print(stdout, &chosen, view_columns(list->command, ctl->parsed->args), items);
	if (list->more)
		list->more(style, data);
}

void view_print(const struct ctl *ctl, const struct command *command, const json_t *data)
{
	const struct table_style style = table_style_of(ctl->color, ctl->terminal);
	const struct view_list *list = find_list(command_id_of(command));

	if (list) {
		print_list(ctl, &style, list, data);
		return;
	}
	if (view_daemon(&style, command, data) || view_crashes(&style, command, data) ||
	    view_alerts(command) || view_work(&style, command, data))
		return;
	(void)json_dumpf(data, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12) | JSON_ENCODE_ANY);
	(void)putchar('\n');
}
