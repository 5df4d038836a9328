#ifndef CTL_TABLE_H
#define CTL_TABLE_H

/* Tables for people, made from a list of JSON objects by a declaration of columns. Numbers stand to the
 * right. On a terminal too narrow for all, the columns that may shrink are cut, with an ellipsis; then minor
 * ones are left out, from the right; then any text is cut, the widest first. */

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
	COLUMN_BAR,  /* a share, 0 to 1, drawn, and in percent */
	COLUMN_JSON,
};

struct column {
	const char *title; /* NULL ends the list */
	const char *path;  /* "progress.total" */
	enum column_kind kind;
	bool shrinks;  /* may be cut when the terminal is narrow */
	bool optional; /* left out when every cell is empty or 0 */
	bool minor;    /* left out when the terminal is too narrow */
	bool extra;    /* shown only when it is asked for by name */
};

struct table_style {
	bool color;
	size_t width;  /* of the terminal; 0 = no limit */
	size_t height; /* likewise, in lines */
	int64_t now_wall_ms;
	size_t bar_cells;   /* of a COLUMN_BAR; 0 = 10 */
	const json_t *only; /* names of the columns to show, in their order; NULL = all but extra ones */
};

/* Of this process's stdout. */
struct table_style table_style_of(bool color, bool terminal);

/* What a column is called on the command line: its title in small letters, "-" for a space. Fresh. */
char *table_column_name(const struct column *column) __attribute__((warn_unused_result));

/* The names of all, with commas. Fresh. */
char *table_column_names(const struct column *columns) __attribute__((warn_unused_result));

/* The column of that name, or of that path; NULL when there is none. */
const struct column *table_find_column(const struct column *columns, const char *name);

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
