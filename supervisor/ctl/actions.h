#ifndef CTL_ACTIONS_H
#define CTL_ACTIONS_H

/* The commands that are more than one question and one answer. Each returns an exit code of ctl.h. */

#include <stdint.h>

struct ctl;

int action_definition_import(struct ctl *ctl);
int action_run_start(struct ctl *ctl);
int action_run_watch(struct ctl *ctl);
int action_transcripts_export(struct ctl *ctl);
int action_events(struct ctl *ctl);
int action_config_check(struct ctl *ctl);
int action_health(struct ctl *ctl);
int action_backup(struct ctl *ctl);
int action_restore(struct ctl *ctl);
int action_psql(struct ctl *ctl);
int action_version(struct ctl *ctl);
int action_help(struct ctl *ctl);
int action_completion(struct ctl *ctl);
int action_top(struct ctl *ctl);

/* Watches a run until it ends. */
int watch_run(struct ctl *ctl, const char *run, int64_t interval_ms);

#endif
