#ifndef POLICY_PRICE_H
#define POLICY_PRICE_H

/* Prices of models and the cost of calls.
 * Money is int64 in 1e-10 USD ("e10"): 1 USD per million tokens is 10,000 e10 per token, exactly.
 * Days are calendar days in UTC, counted from 1970-01-01 = 0. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRICE_E10_PER_USD INT64_C(10000000000)
#define PRICE_DAY_MS	  INT64_C(86400000)

struct price {
	int64_t input_e10_per_token;
	int64_t output_e10_per_token;
	bool known;
	int64_t as_of_day; /* somebody looked it up then; 0 = not told */
};

struct price_table;

/* "2.50" USD per million tokens → e10 per token, without floating point. At most four decimals and
 * 1,000,000 USD; -EINVAL when it is no such number, -ERANGE when out of range. */
int price_parse(const char *text, int64_t *ret) __attribute__((warn_unused_result));

/* "2026-06-01" → its day. -EINVAL when it is no such date, or before 1970-01-02. */
int price_parse_day(const char *text, int64_t *ret) __attribute__((warn_unused_result));

/* Cost in e10; 0 when the price is unknown; INT64_MAX instead of an overflow. Negative counts are 0. */
int64_t price_cost(const struct price *p, int64_t input_tokens, int64_t output_tokens);

int price_table_new(struct price_table **ret) __attribute__((warn_unused_result));
void price_table_free(struct price_table **t);

/* `glob` (* ? [...]) is matched against the whole model id; copied. first_day: the price applies from then
 * on; 0 = since ever. A glob's place in the order is that of its first price. Of two from the same day the
 * first counts. */
void price_table_add(struct price_table *t, const char *glob, int64_t first_day, const struct price *p);

/* Some price of exactly this glob was added. */
bool price_table_has(const struct price_table *t, const char *glob);

/* Of the first glob in order that matches, the price on that day; {.known = false} when none matches, or has
 * none yet. */
struct price price_table_find(const struct price_table *t, const char *model_id, int64_t day);

#endif
