#include "ctl/view.h"

#include <stdint.h>
#include <stdio.h>

#include "base/mem.h"
#include "ctl/table.h"

/* The supervision tree: one line a node, its descent drawn before its name. */

static const struct column tree_columns[] = {
	{ .title = "NAME", .path = "drawn" },
	{ .title = "KIND", .path = "kind" },
	{ .title = "STATE", .path = "state", .kind = COLUMN_STATUS },
	{ .title = "PID", .path = "pid", .kind = COLUMN_JSON },
	{ .title = "UP", .path = "upMs", .kind = COLUMN_MS },
	{ .title = "RESTARTS", .path = "restarts", .kind = COLUMN_COUNT },
	{ .title = "IN WINDOW", .path = "window" },
	{ .title = "STARTS IN", .path = "nextStartMs", .kind = COLUMN_MS, .optional = true },
	{ .title = "WHY", .path = "why", .shrinks = true, .optional = true },
	{ .title = NULL },
};

static void set_window(json_t *row, const json_t *node)
{
	const json_t *intensity = json_object_get(node, "intensity");
	long long restarts = json_integer_value(json_object_get(node, "restartsInWindow"));

	if (intensity)
		(void)json_object_set_new(
			row, "window",
			json_sprintf("%lld of %lld", restarts, (long long)json_integer_value(intensity)));
}

/* `before` is drawn in front of the node's children. */
static void add_rows(json_t *rows, const json_t *node, const char *branch, const char *before)
{
	const json_t *children = json_object_get(node, "children");
	const char *name = json_string_value(json_object_get(node, "name"));
	json_t *row = json_copy((json_t *)(uintptr_t)node);
	size_t count = json_array_size(children);
	json_t *strategy = json_object_get(node, "strategy");

	(void)json_object_set_new(row, "drawn", json_sprintf("%s%s", branch, name ? name : "?"));
	if (strategy)
		(void)json_object_set(row, "kind", strategy);
	set_window(row, node);
	(void)json_array_append_new(rows, row);
	for (size_t i = 0; i < count; i++) {
		bool last = i + 1 == count;
		AUTO(mem_free_str) char *child_branch = mem_printf("%s%s", before, last ? "└─ " : "├─ ");
		AUTO(mem_free_str) char *child_before = mem_printf("%s%s", before, last ? "   " : "│  ");

		add_rows(rows, json_array_get(children, i), child_branch, child_before);
	}
}

void view_tree(const struct table_style *style, const json_t *root)
{
	json_t *rows = json_array();

	add_rows(rows, root, "", "");
	table_print(stdout, style, tree_columns, rows);
	json_decref(rows);
}
