#include "policy/price.h"

#include <errno.h>
#include <fnmatch.h>

#include "base/mem.h"

#define E10_PER_TOKEN_PER_USD_MTOK 10000 /* 1e10 / 1e6: four decimals are exact */
#define USD_PER_MTOK_MAX	   1000000

struct row {
	char *glob;
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

void price_table_add(struct price_table *t, const char *glob, const struct price *p)
{
	t->rows = mem_resize(t->rows, t->len + 1, sizeof(t->rows[0]));
	t->rows[t->len++] = (struct row){ .glob = mem_strdup(glob), .price = *p };
}

struct price price_table_find(const struct price_table *t, const char *model_id)
{
	for (size_t i = 0; i < t->len; i++) {
		if (!fnmatch(t->rows[i].glob, model_id, 0))
			return t->rows[i].price;
	}
	return (struct price){ .known = false };
}
