#ifndef CTL_TOP_ROWS_H
#define CTL_TOP_ROWS_H

/* The rows of `top`'s tables: what the daemon told, with what can be reckoned from two looks at it. Each
 * gives a fresh list of objects; with `all`, also what has nothing to say. */

#include <jansson.h>
#include <stdbool.h>

struct top_picture;

json_t *top_provider_rows(const struct top_picture *picture, bool all);
json_t *top_worker_rows(const struct top_picture *picture, bool all);
json_t *top_run_rows(const struct top_picture *picture, bool all);

/* Newest first; without `all` only warnings and errors. */
json_t *top_event_rows(const struct top_picture *picture, bool all);

#endif
