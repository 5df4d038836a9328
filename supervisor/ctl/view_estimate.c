#include "ctl/view.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/table.h"
#include "ctl/text.h"

/* What a run would cost, for people: ranges from low to high, with what is likely where there is room. */

enum { SECOND_MS = 1000, MINUTE_MS = 60000, DAY_MS = 86400000 };

static const struct column model_columns[] = {
	{ .title = "MODEL", .path = "modelId", .shrinks = true },
	{ .title = "LANE", .path = "lane" },
	{ .title = "PROBES", .path = "probes", .kind = COLUMN_COUNT },
	{ .title = "CALLS", .path = "calls", .kind = COLUMN_COUNT },
	{ .title = "TOKENS IN", .path = "in" },
	{ .title = "TOKENS OUT", .path = "out" },
	{ .title = "COST", .path = "cost" },
	{ .title = "PRICE OF", .path = "price.asOf", .optional = true },
	{ .title = "ANSWERS", .path = "answers" },
	{ .title = NULL },
};

static const struct column limit_columns[] = {
	{ .title = "LIMIT OF", .path = "lane" }, { .title = "MODELS", .path = "scope", .optional = true },
	{ .title = "UNIT", .path = "unit" },	 { .title = "LIMIT", .path = "most" },
	{ .title = "IS", .path = "source" },	 { .title = "NEEDED", .path = "needed" },
	{ .title = "TAKES", .path = "takes" },	 { .title = NULL },
};

typedef char *write_number(const json_t *value);

static char *write_count(const json_t *value)
{
	return text_short_count(json_integer_value(value));
}

static char *write_usd(const json_t *value)
{
	return text_usd(json_number_value(value));
}

static char *write_ms(const json_t *value)
{
	int64_t ms = json_integer_value(value);

	return ms > 0 ? text_duration(ms) : mem_strdup("no time");
}

/* "1.2k–4.0k", or one number where both are the same. Fresh. */
static char *range(const json_t *guess, write_number *write)
{
	AUTO(mem_free_str) char *low = write(json_object_get(guess, "low"));
	AUTO(mem_free_str) char *high = write(json_object_get(guess, "high"));

	return strcmp(low, high) == 0 ? mem_strdup(low) : mem_printf("%s–%s", low, high);
}

static void set_text(json_t *object, const char *key, char *text)
{
	json_object_set_new(object, key, json_string(text));
	mem_free(&text);
}

/* A sum of money, or why there is none. */
static char *cost_text(const json_t *object)
{
	const json_t *cost = json_object_get(object, "costUsd");

	if (json_is_object(cost))
		return range(cost, write_usd);
	if (json_is_true(json_object_get(object, "simulated")))
		return mem_strdup("simulated");
	return mem_strdup(json_integer_value(json_object_get(object, "calls")) > 0 ? "not known" : "nothing");
}

static char *limit_text(const json_t *limit)
{
	const json_t *most = json_object_get(limit, "limit");
	int64_t span_ms = json_integer_value(json_object_get(limit, "spanMs"));
	AUTO(mem_free_str)
	char *number = json_is_real(most) ? write_usd(most) : text_count(json_integer_value(most));

	switch (span_ms) {
	case 0:
		return mem_printf("%s at once", number);
	case SECOND_MS:
		return mem_printf("%s a second", number);
	case MINUTE_MS:
		return mem_printf("%s a minute", number);
	case DAY_MS:
		return mem_printf("%s a day", number);
	default:
		return mem_printf("%s in %.3gs", number, (double)span_ms / SECOND_MS);
	}
}

/* ---- tables ---- */

/* A copy of the list with the cells that people read. */
static json_t *model_rows(const json_t *models)
{
	json_t *rows = json_deep_copy(models), *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		set_text(row, "in", range(json_object_get(row, "inputTokens"), write_count));
		set_text(row, "out", range(json_object_get(row, "outputTokens"), write_count));
		set_text(row, "cost", cost_text(row));
	}
	return rows;
}

static json_t *limit_rows(const json_t *limits)
{
	json_t *rows = json_deep_copy(limits), *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		const json_t *needs = json_object_get(row, "needs"), *ms = json_object_get(row, "ms");
		bool money = json_is_real(json_object_get(row, "limit"));

		set_text(row, "most", limit_text(row));
		set_text(row, "needed",
			 json_is_object(needs) ? range(needs, money ? write_usd : write_count)
					       : mem_strdup(""));
		set_text(row, "takes",
			 json_is_object(ms) ? range(ms, write_ms)
					    : mem_strdup("not known: no call was timed"));
	}
	return rows;
}

static void print_table(const struct table_style *style, const struct column *columns, json_t *rows)
{
	view_section(style, columns, rows);
	json_decref(rows);
}

/* ---- the whole ---- */

static bool all_simulated(const json_t *models)
{
	for (size_t i = 0; i < json_array_size(models); i++)
		if (!json_is_true(json_object_get(json_array_get(models, i), "simulated")))
			return false;
	return true;
}

static void print_line(const char *title, char *text, const char *more)
{
	(void)printf("%-12s %s%s\n", title, text, more);
	mem_free(&text);
}

static void print_sums(const json_t *data)
{
	const char *missing = "";

	if (!json_is_true(json_object_get(data, "costKnown")))
		missing = json_is_object(json_object_get(data, "costUsd")) ? ", and what has no known price"
									   : "";
	print_line("Probes", text_count(json_integer_value(json_object_get(data, "probes"))), "");
	print_line("Calls", text_count(json_integer_value(json_object_get(data, "calls"))), "");
	print_line("Tokens in", range(json_object_get(data, "inputTokens"), write_count), "");
	print_line("Tokens out", range(json_object_get(data, "outputTokens"), write_count), "");
	if (all_simulated(json_object_get(data, "models")))
		print_line("Cost", mem_strdup("nothing: simulated"), "");
	else
		print_line("Cost", cost_text(data), missing);
	if (json_is_number(json_object_get(data, "budgetUsd")))
		print_line("Budget", write_usd(json_object_get(data, "budgetUsd")), "");
	print_line("Limits take", range(json_object_get(data, "limitMs"), write_ms), "");
}

static void print_ahead(const json_t *lanes)
{
	for (size_t i = 0; i < json_array_size(lanes); i++) {
		const json_t *lane = json_array_get(lanes, i);
		int64_t ahead = json_integer_value(json_object_get(lane, "ahead"));
		AUTO(mem_free_str) char *count = text_count(ahead);

		if (ahead > 0)
			(void)printf("\nOther runs have %s probes of %s under way or queued: it would share "
				     "with them.\n",
				     count, json_string_value(json_object_get(lane, "lane")));
	}
}

void view_estimate(const struct table_style *style, const json_t *data)
{
	print_sums(data);
	print_table(style, model_columns, model_rows(json_object_get(data, "models")));
	print_table(style, limit_columns, limit_rows(json_object_get(data, "limits")));
	print_ahead(json_object_get(data, "lanes"));
	(void)printf("\nNothing was started.\n");
}
