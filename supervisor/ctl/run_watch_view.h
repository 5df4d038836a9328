#ifndef CTL_RUN_WATCH_VIEW_H
#define CTL_RUN_WATCH_VIEW_H

/* How `run watch` shows a run: on a terminal some lines, drawn again in place; elsewhere one line at a time.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RUN_WATCH_SAMPLES = 32, RUN_WATCH_LINES = 24 };

/* Plain; {0} to begin with. */
struct run_watch_view {
	json_t *run;	/* the last brief answer; owned */
	json_t *models; /* of the last whole one; owned; NULL = not known yet */
	struct run_watch_sample {
		int64_t at_ms, done;
	} samples[RUN_WATCH_SAMPLES]; /* a ring, for the rate: the newest is at (count - 1) %
					 RUN_WATCH_SAMPLES */
	size_t sample_count;
	size_t drawn[RUN_WATCH_LINES]; /* columns of each line that stands there now */
	size_t drawn_count;
};

/* Takes note of an answer at this time. */
void run_watch_view_take(struct run_watch_view *view, json_t *run, int64_t now_ms);
void run_watch_view_take_models(struct run_watch_view *view, json_t *models);

void run_watch_view_show(struct run_watch_view *view, bool color, bool terminal);

void run_watch_view_clear(struct run_watch_view *view);

bool run_watch_is_over(const json_t *run);

#endif
