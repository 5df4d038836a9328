#ifndef CTL_TABLE_H
#define CTL_TABLE_H

/* Tables for people, made from a list of JSON objects by a declaration of columns. Numbers stand to the
 * right. On a terminal too narrow for all, the columns that may shrink are cut, with an ellipsis. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum column_kind {
	COLUMN_TEXT,
	COLUMN_STATUS, /* coloured by its word */
	COLUMN_COUNT,  /* 1,234 */
	COLUMN_MS,     /* milliseconds as a duration */
	COLUMN_TIME,   /* ISO time as "5m ago" */
	COLUMN_UNTIL,  /* milliseconds since 1970 as "in 5m" */
	COLUMN_USD,
	COLUMN_LIST, /* of texts, with commas */
	COLUMN_YES,  /* a truth: "yes" or "" */
	COLUMN_JSON,
};

struct column {
	const char *title; /* NULL ends the list */
	const char *path;  /* "progress.total" */
	enum column_kind kind;
	bool shrinks;  /* may be cut when the terminal is narrow */
	bool optional; /* left out when every cell is empty or 0 */
};

struct table_style {
	bool color;
	size_t width; /* of the terminal; 0 = no limit */
	int64_t now_wall_ms;
};

/* Of this process's stdout. */
struct table_style table_style_of(bool color, bool terminal);

/* `rows` is an array of objects; nothing but the header is printed for an empty one. */
void table_print(FILE *out, const struct table_style *style, const struct column *columns,
		 const json_t *rows);

/* One object as "Title  value" lines; optional columns that are empty are left out. */
void table_print_object(FILE *out, const struct table_style *style, const struct column *columns,
			const json_t *object);

/* The value at "a.b.c"; NULL when there is none. */
const json_t *table_lookup(const json_t *object, const char *path);

/* A cell as text; "" when absent. Fresh, safe for a terminal. */
char *table_cell(const struct table_style *style, enum column_kind kind, const json_t *value)
	__attribute__((warn_unused_result));

/* The escape sequence that colours a status word; "" when none does, or colour is off. table_reset() ends it.
 */
const char *table_status_color(const struct table_style *style, const char *status);
const char *table_reset(const struct table_style *style);
const char *table_bold(const struct table_style *style);
const char *table_dim(const struct table_style *style);

#endif
