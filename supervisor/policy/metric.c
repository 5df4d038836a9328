#include "policy/metric.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "policy/histogram.h"

static const char *const type_names[] = { "gauge", "counter", "histogram" };

void metric_begin(struct buf *out, enum metric_id id)
{
	const struct metric_row *row = &metric_table[id];

	buf_putf(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name, type_names[row->type]);
}

static void put_label(struct buf *out, const char *name, const char *value, bool first)
{
	buf_putf(out, "%s%s=\"", first ? "{" : ",", name);
	for (;;) {
		size_t plain = strcspn(value, "\\\"\n");

		buf_put(out, value, plain);
		value += plain;
		if (!*value)
			break;
		buf_puts(out, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\");
		value++;
	}
	buf_puts(out, "\"");
}

/* With `bound` as the label `le`, unless that is NULL. */
static void put_labels(struct buf *out, const struct metric_row *row, const char *const *labels,
		       const char *bound)
{
	bool first = true;

	for (size_t i = 0; i < METRIC_LABELS_MAX && row->labels[i]; i++) {
		put_label(out, row->labels[i], labels[i], first);
		first = false;
	}
	if (bound) {
		put_label(out, "le", bound, first);
		first = false;
	}
	if (!first)
		buf_puts(out, "}");
}

static void put_number(struct buf *out, enum metric_unit unit, int64_t value)
{
	if (value < 0)
		value = 0;
	switch (unit) {
	case METRIC_PLAIN:
		buf_putf(out, " %" PRId64 "\n", value);
		break;
	case METRIC_MS:
		buf_putf(out, " %" PRId64 ".%03d\n", value / 1000, (int)(value % 1000));
		break;
	case METRIC_E10:
		buf_putf(out, " %" PRId64 ".%010" PRId64 "\n", value / 10000000000, value % 10000000000);
		break;
	}
}

void metric_put(struct buf *out, enum metric_id id, const char *const *labels, int64_t value)
{
	const struct metric_row *row = &metric_table[id];

	buf_puts(out, row->name);
	put_labels(out, row, labels, NULL);
	put_number(out, row->unit, value);
}

static void put_bucket(struct buf *out, const struct metric_row *row, const char *const *labels,
		       const char *bound, int64_t count)
{
	buf_putf(out, "%s_bucket", row->name);
	put_labels(out, row, labels, bound);
	put_number(out, METRIC_PLAIN, count);
}

void metric_put_histogram(struct buf *out, enum metric_id id, const char *const *labels,
			  const struct histogram *histogram)
{
	const struct metric_row *row = &metric_table[id];
	int64_t count = histogram_upto(histogram, HISTOGRAM_BOUNDS);

	for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
		AUTO(mem_free_str)
		char *bound = mem_printf("%g", (double)histogram_bounds_ms[i] / 1000.);

		put_bucket(out, row, labels, bound, histogram_upto(histogram, i));
	}
	put_bucket(out, row, labels, "+Inf", count);
	buf_putf(out, "%s_sum", row->name);
	put_labels(out, row, labels, NULL);
	put_number(out, METRIC_MS, histogram->sum_ms);
	buf_putf(out, "%s_count", row->name);
	put_labels(out, row, labels, NULL);
	put_number(out, METRIC_PLAIN, count);
}

void metric_write_reference(FILE *out)
{
	(void)fputs("| metric | type | labels | meaning |\n|---|---|---|---|\n", out);
	for (size_t id = 0; id < METRIC_COUNT; id++) {
		const struct metric_row *row = &metric_table[id];

		(void)fprintf(out, "| `%s` | %s |", row->name, type_names[row->type]);
		for (size_t i = 0; i < METRIC_LABELS_MAX && row->labels[i]; i++)
			(void)fprintf(out, "%s `%s`", i > 0 ? "," : "", row->labels[i]);
		(void)fprintf(out, " | %s |\n", row->help);
	}
}
