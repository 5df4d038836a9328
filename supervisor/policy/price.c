#include "policy/price.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "base/mem.h"

#define E10_PER_TOKEN_PER_USD_MTOK 10000 /* 1e10 / 1e6: four decimals are exact */
#define USD_PER_MTOK_MAX	   1000000

struct row {
	char *glob;
	int64_t first_day;
	struct price price;
};

struct price_table {
	struct row *rows;
	size_t len;
};

/* Reads digits as a number up to `max`; returns how many were read, or -ERANGE. */
static int parse_digits(const char *text, int64_t max, int64_t *ret)
{
	int64_t value = 0;
	int len = 0;

	for (; text[len] >= '0' && text[len] <= '9'; len++) {
		value = value * 10 + (text[len] - '0');
		if (value > max)
			return -ERANGE;
	}
	*ret = value;
	return len;
}

/* Up to four digits behind the point, and zeros without end, as ten-thousandths. */
static int parse_decimals(const char *text, int64_t *ret)
{
	int64_t value = 0, weight = E10_PER_TOKEN_PER_USD_MTOK / 10;
	int len = 0;

	for (; text[len] >= '0' && text[len] <= '9'; len++) {
		if (!weight && text[len] != '0')
			return -EINVAL;
		value += weight * (text[len] - '0');
		weight /= 10;
	}
	*ret = value;
	return len;
}

int price_parse(const char *text, int64_t *ret)
{
	int64_t whole, decimals = 0;
	int len = parse_digits(text, USD_PER_MTOK_MAX, &whole);

	if (len <= 0)
		return len < 0 ? len : -EINVAL;
	text += len;
	if (*text == '.') {
		len = parse_decimals(++text, &decimals);
		if (len <= 0)
			return -EINVAL;
		text += len;
	}
	if (*text)
		return -EINVAL;
	if (whole == USD_PER_MTOK_MAX && decimals)
		return -ERANGE;
	*ret = whole * E10_PER_TOKEN_PER_USD_MTOK + decimals;
	return 0;
}

static bool is_date_shape(const char *text)
{
	static const char shape[] = "0000-00-00";

	for (size_t i = 0; shape[i]; i++) {
		if (shape[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
			return false;
	}
	return !text[strlen(shape)];
}

static bool is_leap_year(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t days_in(int64_t year, int64_t month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && is_leap_year(year));
}

int price_parse_day(const char *text, int64_t *ret)
{
	int64_t year, month, day, days = 0;

	if (!is_date_shape(text) || parse_digits(text, 9999, &year) < 0 ||
	    parse_digits(text + 5, 12, &month) < 0 || parse_digits(text + 8, 31, &day) < 0)
		return -EINVAL;
	if (year < 1970 || month < 1 || day < 1 || day > days_in(year, month))
		return -EINVAL;
	for (int64_t y = 1970; y < year; y++)
		days += 365 + is_leap_year(y);
	for (int64_t m = 1; m < month; m++)
		days += days_in(year, m);
	days += day - 1;
	if (days == 0)
		return -EINVAL;
	*ret = days;
	return 0;
}

static int64_t times(int64_t tokens, int64_t e10)
{
	int64_t product;

	if (tokens <= 0 || e10 <= 0)
		return 0;
	return __builtin_mul_overflow(tokens, e10, &product) ? INT64_MAX : product;
}

int64_t price_cost(const struct price *p, int64_t input_tokens, int64_t output_tokens)
{
	int64_t sum;

	if (!p->known)
		return 0;
	if (__builtin_add_overflow(times(input_tokens, p->input_e10_per_token),
				   times(output_tokens, p->output_e10_per_token), &sum))
		return INT64_MAX;
	return sum;
}

int price_table_new(struct price_table **ret)
{
	*ret = mem_alloc(sizeof(struct price_table));
	return 0;
}

void price_table_free(struct price_table **t)
{
	if (!*t)
		return;
	for (size_t i = 0; i < (*t)->len; i++)
		mem_free(&(*t)->rows[i].glob);
	mem_free(&(*t)->rows);
	mem_free(t);
}

bool price_table_has(const struct price_table *t, const char *glob)
{
	for (size_t i = 0; i < t->len; i++) {
		if (!strcmp(t->rows[i].glob, glob))
			return true;
	}
	return false;
}

void price_table_add(struct price_table *t, const char *glob, int64_t first_day, const struct price *p)
{
	t->rows = mem_resize(t->rows, t->len + 1, sizeof(t->rows[0]));
	t->rows[t->len++] = (struct row){ .glob = mem_strdup(glob), .first_day = first_day, .price = *p };
}

/* Of the rows with this glob, the latest that applies. */
static struct price price_on_day(const struct price_table *t, const char *glob, int64_t day)
{
	const struct row *latest = NULL;

	for (size_t i = 0; i < t->len; i++) {
		const struct row *row = &t->rows[i];

		if (row->first_day <= day && !strcmp(row->glob, glob) &&
		    (!latest || row->first_day > latest->first_day))
			latest = row;
	}
	return latest ? latest->price : (struct price){ .known = false };
}

struct price price_table_find(const struct price_table *t, const char *model_id, int64_t day)
{
	for (size_t i = 0; i < t->len; i++) {
		if (!fnmatch(t->rows[i].glob, model_id, 0))
			return price_on_day(t, t->rows[i].glob, day);
	}
	return (struct price){ .known = false };
}
