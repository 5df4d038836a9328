#ifndef CTL_VIEW_H
#define CTL_VIEW_H

/* How the answer of each command looks to people. */

#include <jansson.h>
#include <stdbool.h>

#include "ctl/table.h"
#include "io/command_table.h"

struct ctl;

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

/* A command whose answer is a list: its `items` as one table. */
struct view_list {
	enum command_id command;
	const struct column *columns;
	const char *none;						   /* said of an empty list */
	void (*more)(const struct table_style *style, const json_t *data); /* what stands below; or NULL */
	/* How an item looks unless columns are chosen; NULL = as its row of the table. */
	void (*line)(const struct table_style *style, const json_t *item);
};

/* Each is ended by a row without columns. */
extern const struct view_list view_daemon_lists[], view_crash_lists[], view_alert_lists[], view_work_lists[];

/* Of the probes that `jobs --state` lists, in place of the counts. */
extern const struct column view_job_columns[];

/* Of `run list --deleted`. */
extern const struct column view_deleted_run_columns[];

/* The columns that --columns may choose from: of the list that the command with these arguments shows; NULL
 * when it shows none. */
const struct column *view_columns(enum command_id command, const json_t *args);

/* Parts of view_print; false for a command that is another's. */
bool view_daemon(const struct table_style *style, const struct command *command, const json_t *data);
bool view_crashes(const struct table_style *style, const struct command *command, const json_t *data);
bool view_alerts(const struct command *command);
bool view_work(const struct table_style *style, const struct command *command, const json_t *data);

/* A further table, with an empty line before it; nothing for an empty list. */
void view_section(const struct table_style *style, const struct column *columns, const json_t *list);

#endif
