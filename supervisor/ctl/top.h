#ifndef CTL_TOP_H
#define CTL_TOP_H

/* `top`: what is asked (top.c) and how it looks (top_view.c). */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_style;

/* The questions of one look at the daemon. */
#define TOP_ASKS(X)                                                                                          \
	X(TOP_STATUS, "status", "status", "{}")                                                              \
	X(TOP_WORKERS, "workers", "workers.list", "{}")                                                      \
	X(TOP_RUNS, "runs", "run.list", "{\"active\":true,\"limit\":200}")                                   \
	X(TOP_EVENTS, "events", "events", "{\"limit\":200}")

#define TOP_ASK_ID(id, name, cmd, args) id,
enum top_ask { TOP_ASKS(TOP_ASK_ID) TOP_ASK_COUNT };
#undef TOP_ASK_ID

enum top_view {
	TOP_ALL,
	TOP_VIEW_PROVIDERS,
	TOP_VIEW_WORKERS,
	TOP_VIEW_RUNS,
	TOP_VIEW_EVENTS,
	TOP_VIEW_COUNT
};

/* Answers, borrowed; NULL where there is none. */
struct top_look {
	int64_t at_ms;	 /* monotonic */
	int64_t wall_ms; /* since 1970 */
	json_t *data[TOP_ASK_COUNT];
	char *refused[TOP_ASK_COUNT]; /* why there is none, as the daemon said; or NULL */
};

/* How the user wants a table. */
struct top_order {
	size_t column; /* to sort by, from 1; 0 = as it comes */
	bool reversed;
};

struct top_picture {
	const struct top_look *now;
	const struct top_look *then; /* an older one, for rates; NULL = there is none */
	const char *trouble;	     /* why there is no newer one; NULL = nothing is wrong */
	enum top_view view;
	struct top_order orders[TOP_VIEW_COUNT];
	size_t scroll; /* rows of the view's table that are passed over */
};

/* "all", "providers" …; TOP_VIEW_COUNT for a word that is none. */
enum top_view top_find_view(const char *word);

/* How many columns the table of a view can be sorted by. */
size_t top_column_count(enum top_view view);

/* Lines for a screen of style->width and `height`; 0 = as many as it takes, and no keys. Fresh. */
char *top_draw(const struct table_style *style, size_t height, const struct top_picture *picture)
	__attribute__((warn_unused_result));

#endif
