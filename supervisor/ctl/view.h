#ifndef CTL_VIEW_H
#define CTL_VIEW_H

/* How the answer of each command looks to people. */

#include <jansson.h>
#include <stdbool.h>

#include "io/command_table.h"

struct column;
struct ctl;
struct table_style;

void view_print(const struct ctl *ctl, const struct command *command, const json_t *data);

/* The per-model table of a run, and its errors. */
void view_run_models(const struct table_style *style, const json_t *run);

/* What a run would cost: the answer of run.start with `estimate`. */
void view_estimate(const struct table_style *style, const json_t *data);

/* One event on one line. */
void view_event(const struct table_style *style, const json_t *event);

/* A node of the supervision tree with all that is below it. */
void view_tree(const struct table_style *style, const json_t *node);

/* A crash record whole, with stack and stderr. */
void view_crash(const struct table_style *style, const json_t *crash);

/* Parts of view_print; false for a command that is another's. */
bool view_daemon(const struct table_style *style, const struct command *command, const json_t *data);
bool view_crashes(const struct table_style *style, const struct command *command, const json_t *data);
bool view_alerts(const struct table_style *style, const struct command *command, const json_t *data);
bool view_work(const struct table_style *style, const struct command *command, const json_t *data);

/* The table of data's `items`, or `none` when there are no items. */
void view_items(const struct table_style *style, const struct column *columns, const json_t *data,
		const char *none);

/* A table with an empty line before it; nothing for an empty list. */
void view_section(const struct table_style *style, const struct column *columns, const json_t *list);

#endif
