/* Numbers with units: durations, sizes, money. */

#include "config/keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/price.h"

#define E10_PER_STEP (PRICE_E10_PER_USD / 10000) /* of the fourth decimal */

/* Largest first, so that the text of a duration takes the largest that divides it. */
static const struct {
	const char *name;
	int64_t ms;
} units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } };

static const struct {
	const char *name;
	int64_t bytes;
} sizes[] = { { "T", INT64_C(1) << 40 }, { "G", 1 << 30 }, { "M", 1 << 20 }, { "K", 1 << 10 }, { "", 1 } };

int key_parse_number(const char *text, int64_t *ret, const char **ret_rest)
{
	char *end;
	long long value;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno)
		return -ERANGE;
	*ret = value;
	*ret_rest = end;
	return 0;
}

int key_parse_duration(const char *text, int64_t *ret_ms)
{
	const char *unit;
	int64_t value;

	if (key_parse_number(text, &value, &unit) < 0)
		return -EINVAL;
	if (!value && !*unit) {
		*ret_ms = 0;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		int64_t ms;

		if (strcmp(unit, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(value, units[i].ms, &ms))
			return -EINVAL;
		*ret_ms = ms;
		return 0;
	}
	return -EINVAL;
}

char *key_duration_text(int64_t ms)
{
	char *best = mem_printf("%lldms", (long long)ms);

	if (!ms)
		mem_set_str(&best, mem_strdup("0s"));
	for (size_t i = 0; ms && i < ARRAY_LEN(units); i++) {
		AUTO(mem_free_str) char *text = NULL;

		if (ms % units[i].ms)
			continue;
		text = mem_printf("%lld%s", (long long)(ms / units[i].ms), units[i].name);
		if (strlen(text) < strlen(best))
			mem_set_str(&best, mem_strdup(text));
	}
	return best;
}

int key_parse_size(const char *text, int64_t *ret_bytes)
{
	const char *unit;
	int64_t value;

	if (key_parse_number(text, &value, &unit) < 0)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		int64_t bytes;

		if (strcmp(unit, sizes[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(value, sizes[i].bytes, &bytes))
			return -EINVAL;
		*ret_bytes = bytes;
		return 0;
	}
	return -EINVAL;
}

char *key_size_text(int64_t bytes)
{
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		if (bytes && bytes % sizes[i].bytes == 0)
			return mem_printf("%lld%s", (long long)(bytes / sizes[i].bytes), sizes[i].name);
	}
	return mem_strdup("0");
}

/* A price for a million tokens is written as money is, with the same four decimals. */
int key_parse_money(const char *text, int64_t *ret_e10)
{
	int64_t steps;

	if (price_parse(text, &steps) < 0)
		return -EINVAL;
	*ret_e10 = steps * E10_PER_STEP;
	return 0;
}

char *key_money_text(int64_t e10)
{
	long long steps = e10 / E10_PER_STEP, usd = steps / 10000;
	int decimals = (int)(steps % 10000);

	if (!decimals)
		return mem_printf("%lld", usd);
	if (decimals % 100 == 0)
		return mem_printf("%lld.%02d", usd, decimals / 100);
	if (decimals % 10 == 0)
		return mem_printf("%lld.%03d", usd, decimals / 10);
	return mem_printf("%lld.%04d", usd, decimals);
}
