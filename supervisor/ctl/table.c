#include "ctl/table.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "ctl/text.h"

enum {
	GAP = 2,
	LEAST_SHRUNK = 8,
	READABLE = 20,
	NO_TERMINAL_WIDTH = 80,
	NO_TERMINAL_HEIGHT = 24,
	BAR_CELLS = 10
};

struct table_style table_style_of(bool color, bool terminal)
{
	struct table_style style = { .color = color, .now_wall_ms = clock_wall_ms() };
	struct winsize size;

	if (!terminal)
		return style;
	style.width = NO_TERMINAL_WIDTH;
	style.height = NO_TERMINAL_HEIGHT;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
		style.width = size.ws_col;
		style.height = size.ws_row;
	}
	return style;
}

/* ---- colours ---- */

const char *table_status_color(const struct table_style *style, const char *status)
{
	static const struct {
		const char *word, *sequence;
	} colors[] = {
		{ "COMPLETED", "\033[32m" }, { "FAILED", "\033[31m" },	  { "RUNNING", "\033[36m" },
		{ "PAUSED", "\033[33m" },    { "CANCELLED", "\033[33m" }, { "ready", "\033[32m" },
		{ "degraded", "\033[31m" },  { "parked", "\033[31m" },	  { "no-key", "\033[33m" },
		{ "paused", "\033[33m" },    { "simulated", "\033[35m" }, { "error", "\033[31m" },
		{ "warning", "\033[33m" },   { "starting", "\033[33m" },  { "suspect", "\033[31m" },
		{ "stopping", "\033[33m" },  { "ok", "\033[32m" },	  { "key refused", "\033[31m" },
		{ "no credit", "\033[31m" }, { "failing", "\033[31m" },	  { "unclear", "\033[33m" },
	};

	for (size_t i = 0; style->color && i < ARRAY_LEN(colors); i++)
		if (strcmp(colors[i].word, status) == 0)
			return colors[i].sequence;
	return "";
}

const char *table_reset(const struct table_style *style)
{
	return style->color ? "\033[0m" : "";
}

const char *table_bold(const struct table_style *style)
{
	return style->color ? "\033[1m" : "";
}

const char *table_dim(const struct table_style *style)
{
	return style->color ? "\033[2m" : "";
}

/* ---- cells ---- */

const json_t *table_lookup(const json_t *object, const char *path)
{
	while (object && *path) {
		size_t len = strcspn(path, ".");
		AUTO(mem_free_str) char *key = mem_strndup(path, len);

		object = json_object_get(object, key);
		path += len + (path[len] == '.');
	}
	return json_is_null(object) ? NULL : object;
}

static char *join_list(const json_t *list)
{
	struct buf text = BUF_INIT(0);
	size_t len;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *entry = json_string_value(json_array_get(list, i));

		buf_putf(&text, "%s%s", i ? ", " : "", entry ? entry : "?");
	}
	return buf_take(&text, &len);
}

static char *any_json(const json_t *value)
{
	char *dumped;
	char *text;

	if (json_is_string(value))
		return text_clean_line(json_string_value(value));
	dumped = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
	text = text_clean_line(dumped ? dumped : "");
	mem_free(&dumped);
	return strcmp(text, "{}") == 0 ? (mem_free(&text), mem_strdup("")) : text;
}

static char *iso_ago(const struct table_style *style, const json_t *value)
{
	int64_t at_ms = json_is_string(value) ? text_parse_time(json_string_value(value)) : -1;

	return at_ms < 0 ? mem_strdup("") : text_ago(at_ms, style->now_wall_ms);
}

static char *bar(const struct table_style *style, double share)
{
	struct buf text = BUF_INIT(0);
	size_t len;

	share = share < 0 ? 0 : share > 1 ? 1 : share;
	text_put_bar(&text, share, style->bar_cells ? style->bar_cells : BAR_CELLS);
	buf_putf(&text, " %3d%%", (int)(share * 100));
	return buf_take(&text, &len);
}

char *table_cell(const struct table_style *style, enum column_kind kind, const json_t *value)
{
	if (!value || json_is_null(value))
		return mem_strdup("");
	switch (kind) {
	case COLUMN_COUNT:
		return text_count((int64_t)json_number_value(value));
	case COLUMN_MS:
		return text_duration((int64_t)json_number_value(value));
	case COLUMN_TIME:
		return iso_ago(style, value);
	case COLUMN_UNTIL:
		return text_ago((int64_t)json_number_value(value), style->now_wall_ms);
	case COLUMN_USD:
		return text_usd(json_number_value(value));
	case COLUMN_LIST:
		return join_list(value);
	case COLUMN_YES:
		return mem_strdup(json_is_true(value) ? "yes" : "");
	case COLUMN_BAR:
		return bar(style, json_number_value(value));
	case COLUMN_TEXT:
	case COLUMN_STATUS:
	case COLUMN_JSON:
		break;
	}
	return any_json(value);
}

static bool stands_right(enum column_kind kind)
{
	return kind == COLUMN_COUNT || kind == COLUMN_MS || kind == COLUMN_USD;
}

/* A number that is cut would be another number. */
static bool may_be_cut(enum column_kind kind)
{
	return !stands_right(kind) && kind != COLUMN_BAR;
}

/* ---- columns by name ---- */

char *table_column_name(const struct column *column)
{
	char *name = mem_strdup(column->title);

	for (char *at = name; *at; at++)
		*at = *at == ' ' ? '-' : (char)tolower((unsigned char)*at);
	return name;
}

char *table_column_names(const struct column *columns)
{
	struct buf names = BUF_INIT(0);
	size_t len;

	for (const struct column *column = columns; column->title; column++) {
		AUTO(mem_free_str) char *name = table_column_name(column);

		buf_putf(&names, "%s%s", column == columns ? "" : ", ", name);
	}
	return buf_take(&names, &len);
}

const struct column *table_find_column(const struct column *columns, const char *name)
{
	for (const struct column *column = columns; column->title; column++) {
		AUTO(mem_free_str) char *known = table_column_name(column);

		if (strcmp(known, name) == 0 || strcmp(column->path, name) == 0)
			return column;
	}
	return NULL;
}

/* ---- tables ---- */

struct layout {
	const struct column **columns;
	size_t ncolumns, nrows;
	char **cells;	/* row by row */
	size_t *widths; /* 0 = the column is left out */
};

/* Those asked for, or all but the extra ones. */
static void layout_choose(struct layout *layout, const struct table_style *style,
			  const struct column *columns)
{
	size_t asked = json_array_size(style->only), all = 0;

	while (columns[all].title)
		all++;
	layout->columns = mem_array(asked + all + 1, sizeof(*layout->columns));
	for (size_t i = 0; i < asked; i++) {
		const char *name = json_string_value(json_array_get(style->only, i));
		const struct column *column = table_find_column(columns, name);

		if (column)
			layout->columns[layout->ncolumns++] = column;
	}
	for (size_t i = 0; !style->only && i < all; i++)
		if (!columns[i].extra)
			layout->columns[layout->ncolumns++] = &columns[i];
}

static void layout_fill(struct layout *layout, const struct table_style *style, const json_t *rows)
{
	for (size_t c = 0; c < layout->ncolumns; c++) {
		const struct column *column = layout->columns[c];
		size_t widest = 0;

		for (size_t r = 0; r < layout->nrows; r++) {
			const json_t *value = table_lookup(json_array_get(rows, r), column->path);
			char *cell = table_cell(style, column->kind, value);

			layout->cells[r * layout->ncolumns + c] = cell;
			/* Of an optional column, a zero says as little as nothing. */
			if (text_width(cell) > widest && !(column->optional && strcmp(cell, "0") == 0))
				widest = text_width(cell);
		}
		if (widest == 0 && column->optional && !style->only)
			continue;
		layout->widths[c] = widest > text_width(column->title) ? widest : text_width(column->title);
	}
}

static size_t layout_width(const struct layout *layout)
{
	size_t width = 0;

	for (size_t c = 0; c < layout->ncolumns; c++)
		width += layout->widths[c] ? layout->widths[c] + GAP : 0;
	return width > GAP ? width - GAP : 0;
}

/* Takes from the widest column that may shrink, or with `any` from the widest that is no number, until all
 * fits or none is wider than `least`. */
static void layout_shrink(struct layout *layout, size_t limit, size_t least, bool any)
{
	while (layout_width(layout) > limit) {
		size_t widest = SIZE_MAX;

		for (size_t c = 0; c < layout->ncolumns; c++)
			if ((any ? may_be_cut(layout->columns[c]->kind) : layout->columns[c]->shrinks) &&
			    layout->widths[c] > least &&
			    (widest == SIZE_MAX || layout->widths[c] > layout->widths[widest]))
				widest = c;
		if (widest == SIZE_MAX)
			return;
		layout->widths[widest]--;
	}
}

/* A minor column goes before another gets hard to read. */
static void layout_fit(struct layout *layout, size_t limit, bool chosen)
{
	layout_shrink(layout, limit, READABLE, false);
	for (size_t c = layout->ncolumns; !chosen && c-- > 0;)
		if (layout->columns[c]->minor && layout_width(layout) > limit)
			layout->widths[c] = 0;
	layout_shrink(layout, limit, LEAST_SHRUNK, false);
	layout_shrink(layout, limit, LEAST_SHRUNK, true);
}

static void put_padding(FILE *out, size_t count)
{
	while (count-- > 0)
		(void)fputc(' ', out);
}

static void put_cell(FILE *out, const struct layout *layout, size_t c, const char *text, const char *before,
		     const char *after, bool last)
{
	size_t width = layout->widths[c];
	size_t taken = text_width(text);
	bool cut = taken > width;
	size_t bytes = cut ? text_fit(text, width - 1) : strlen(text);
	AUTO(mem_free_str) char *shown = mem_strndup(text, bytes);
	size_t padding = cut ? width - text_width(shown) - 1 : width - taken;

	if (stands_right(layout->columns[c]->kind))
		put_padding(out, padding);
	(void)fprintf(out, "%s%s%s%s", before, shown, cut ? "…" : "", after);
	if (!stands_right(layout->columns[c]->kind) && !last)
		put_padding(out, padding);
	if (!last)
		put_padding(out, GAP);
}

static size_t last_shown(const struct layout *layout)
{
	size_t last = 0;

	for (size_t c = 0; c < layout->ncolumns; c++)
		if (layout->widths[c])
			last = c;
	return last;
}

static void print_rows(FILE *out, const struct table_style *style, const struct layout *layout)
{
	size_t last = last_shown(layout);

	for (size_t c = 0; c < layout->ncolumns; c++)
		if (layout->widths[c])
			put_cell(out, layout, c, layout->columns[c]->title, table_dim(style),
				 table_reset(style), c == last);
	(void)fputc('\n', out);
	for (size_t r = 0; r < layout->nrows; r++) {
		for (size_t c = 0; c < layout->ncolumns; c++) {
			const char *cell = layout->cells[r * layout->ncolumns + c];
			bool status = layout->columns[c]->kind == COLUMN_STATUS;
			const char *color = status ? table_status_color(style, cell) : "";

			if (layout->widths[c])
				put_cell(out, layout, c, cell, color, *color ? table_reset(style) : "",
					 c == last);
		}
		(void)fputc('\n', out);
	}
}

void table_print(FILE *out, const struct table_style *style, const struct column *columns, const json_t *rows)
{
	struct layout layout = { .nrows = json_array_size(rows) };

	layout_choose(&layout, style, columns);
	layout.cells = mem_array(layout.nrows * layout.ncolumns + 1, sizeof(*layout.cells));
	layout.widths = mem_array(layout.ncolumns + 1, sizeof(*layout.widths));
	layout_fill(&layout, style, rows);
	if (style->width > 0)
		layout_fit(&layout, style->width, style->only != NULL);
	print_rows(out, style, &layout);
	for (size_t i = 0; i < layout.nrows * layout.ncolumns; i++)
		mem_free(&layout.cells[i]);
	mem_free(&layout.columns);
	mem_free(&layout.cells);
	mem_free(&layout.widths);
}

void table_print_object(FILE *out, const struct table_style *style, const struct column *columns,
			const json_t *object)
{
	size_t widest = 0;

	for (const struct column *column = columns; column->title; column++)
		if (text_width(column->title) > widest)
			widest = text_width(column->title);
	for (const struct column *column = columns; column->title; column++) {
		AUTO(mem_free_str)
		char *cell = table_cell(style, column->kind, table_lookup(object, column->path));
		const char *color = column->kind == COLUMN_STATUS ? table_status_color(style, cell) : "";

		if (!*cell && column->optional)
			continue;
		(void)fprintf(out, "%s%s%*s%s  %s%s%s\n", table_dim(style), column->title,
			      (int)(widest - text_width(column->title)), "", table_reset(style), color,
			      *cell ? cell : "-", *color ? table_reset(style) : "");
	}
}
