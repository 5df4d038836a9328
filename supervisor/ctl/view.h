#ifndef CTL_VIEW_H
#define CTL_VIEW_H

/* How the answer of each command looks to people. */

#include <jansson.h>

#include "io/command_table.h"

struct ctl;
struct table_style;

void view_print(const struct ctl *ctl, const struct command *command, const json_t *data);

/* The per-model table of a run, and its errors. */
void view_run_models(const struct table_style *style, const json_t *run);

/* One event on one line. */
void view_event(const struct table_style *style, const json_t *event);

#endif
