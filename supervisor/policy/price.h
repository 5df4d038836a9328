#ifndef POLICY_PRICE_H
#define POLICY_PRICE_H

/* Prices of models and the cost of calls.
 * Money is int64 in 1e-10 USD ("e10"): 1 USD per million tokens is 10,000 e10 per token, exactly. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRICE_E10_PER_USD INT64_C(10000000000)

struct price {
	int64_t input_e10_per_token;
	int64_t output_e10_per_token;
	bool known;
};

struct price_table;

/* "2.50" USD per million tokens → e10 per token, without floating point. At most four decimals and
 * 1,000,000 USD; -EINVAL when it is no such number, -ERANGE when out of range. */
int price_parse(const char *text, int64_t *ret) __attribute__((warn_unused_result));

/* Cost in e10; 0 when the price is unknown; INT64_MAX instead of an overflow. Negative counts are 0. */
int64_t price_cost(const struct price *p, int64_t input_tokens, int64_t output_tokens);

int price_table_new(struct price_table **ret) __attribute__((warn_unused_result));
void price_table_free(struct price_table **t);

/* Appends; `glob` (* ? [...]) is matched against the whole model id. Copied. */
void price_table_add(struct price_table *t, const char *glob, const struct price *p);

/* The first glob in order that matches; {.known = false} when none does. */
struct price price_table_find(const struct price_table *t, const char *model_id);

#endif
