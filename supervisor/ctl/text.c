#include "ctl/text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#include "base/buf.h"
#include "base/mem.h"

enum { MS_S = 1000, MS_MIN = 60 * MS_S, MS_H = 60 * MS_MIN, MS_DAY = 24 * MS_H };

char *text_duration(int64_t ms)
{
	if (ms < MS_S)
		return mem_printf("%" PRId64 "ms", ms);
	if (ms < MS_MIN)
		return mem_printf("%" PRId64 ".%" PRId64 "s", ms / MS_S, ms % MS_S / 100);
	if (ms < MS_H)
		return mem_printf("%" PRId64 "m%02" PRId64 "s", ms / MS_MIN, ms % MS_MIN / MS_S);
	if (ms < MS_DAY)
		return mem_printf("%" PRId64 "h%02" PRId64 "m", ms / MS_H, ms % MS_H / MS_MIN);
	return mem_printf("%" PRId64 "d%02" PRId64 "h", ms / MS_DAY, ms % MS_DAY / MS_H);
}

char *text_seconds(int64_t ms)
{
	if (ms < MS_MIN)
		return mem_printf("%" PRId64 "s", ms < MS_S ? 1 : ms / MS_S);
	return text_duration(ms);
}

char *text_count(int64_t number)
{
	char digits[24];
	char grouped[36];
	int len = snprintf(digits, sizeof(digits), "%" PRId64, number);
	int first = digits[0] == '-';
	size_t out = 0;

	for (int i = 0; i < len; i++) {
		if (i > first && (len - i) % 3 == 0)
			grouped[out++] = ',';
		grouped[out++] = digits[i];
	}
	grouped[out] = '\0';
	return mem_strdup(grouped);
}

char *text_short_count(int64_t number)
{
	static const struct {
		int64_t from;
		double unit;
		const char *suffix;
	} units[] = { { 1000000000, 1e9, "G" }, { 1000000, 1e6, "M" }, { 10000, 1e3, "k" } };

	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (number >= units[i].from)
			return mem_printf("%.1f%s", (double)number / units[i].unit, units[i].suffix);
	return text_count(number);
}

char *text_bytes(int64_t bytes)
{
	static const char *const units[] = { "kB", "MB", "GB", "TB" };
	double amount = (double)bytes / 1e3;
	size_t unit = 0;

	while (amount >= 1e3 && unit + 1 < ARRAY_LEN(units)) {
		amount /= 1e3;
		unit++;
	}
	return mem_printf("%.1f %s", amount, units[unit]);
}

char *text_usd(double usd)
{
	if (usd >= 1 || usd == 0)
		return mem_printf("$%.2f", usd);
	if (usd >= 0.01)
		return mem_printf("$%.3f", usd);
	return mem_printf("$%.6f", usd);
}

int64_t text_parse_time(const char *iso)
{
	struct tm tm = { .tm_isdst = 0 };
	const char *rest = strptime(iso, "%Y-%m-%dT%H:%M:%S", &tm);
	char *end;
	double fraction;

	if (!rest)
		return -1;
	fraction = *rest == '.' ? strtod(rest, &end) : 0;
	return (int64_t)timegm(&tm) * MS_S + (int64_t)(fraction * MS_S);
}

char *text_ago(int64_t at_wall_ms, int64_t now_wall_ms)
{
	int64_t ms = now_wall_ms - at_wall_ms;
	AUTO(mem_free_str) char *span = NULL;

	if (ms > -MS_S && ms < MS_S)
		return mem_strdup("now");
	span = text_seconds(ms < 0 ? -ms : ms);
	return ms < 0 ? mem_printf("in %s", span) : mem_printf("%s ago", span);
}

/* Bytes of the character at `at` (1 to 4; 1 for what is not UTF-8), and its code point. */
static size_t decode(const char *at, size_t left, uint32_t *ret)
{
	unsigned char first = (unsigned char)*at;
	size_t len = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 1;
	uint32_t point = len == 1 ? first : first & (0x7fU >> len);

	if (len > left)
		len = 1;
	for (size_t i = 1; i < len; i++) {
		unsigned char next = (unsigned char)at[i];

		if ((next & 0xc0) != 0x80) {
			*ret = first;
			return 1;
		}
		point = point << 6 | (next & 0x3f);
	}
	*ret = point;
	return len;
}

static bool is_control(uint32_t point, size_t len)
{
	bool direction = (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);

	return point < 0x20 || point == 0x7f || (point >= 0x80 && point < 0xa0) ||
	       (len == 1 && point >= 0x80) || direction;
}

char *text_clean(const char *text, size_t len)
{
	char *clean = mem_alloc(len + 1);
	size_t out = 0;

	for (size_t at = 0; at < len;) {
		uint32_t point;
		size_t bytes = decode(text + at, len - at, &point);

		if (is_control(point, bytes) && point != '\n' && point != '\t') {
			clean[out++] = '?';
		} else {
			memcpy(clean + out, text + at, bytes);
			out += bytes;
		}
		at += bytes;
	}
	clean[out] = '\0';
	return clean;
}

char *text_clean_line(const char *text)
{
	char *clean = text_clean(text, strlen(text));

	for (char *at = clean; *at; at++)
		if (*at == '\n' || *at == '\t')
			*at = ' ';
	return clean;
}

/* 0, 1 or 2 columns, by the locale's character types. What it does not know takes one. */
static size_t columns(uint32_t point)
{
	int width = wcwidth((wchar_t)point);

	return width < 0 ? 1 : (size_t)width;
}

size_t text_width(const char *text)
{
	size_t left = strlen(text);
	size_t width = 0;

	while (left > 0) {
		uint32_t point;
		size_t bytes = decode(text, left, &point);

		width += columns(point);
		text += bytes;
		left -= bytes;
	}
	return width;
}

size_t text_fit(const char *text, size_t width)
{
	size_t len = strlen(text);
	size_t at = 0;

	while (at < len) {
		uint32_t point;
		size_t bytes = decode(text + at, len - at, &point);

		if (columns(point) > width)
			break;
		width -= columns(point);
		at += bytes;
	}
	return at;
}

size_t text_fit_colored(const char *text, size_t width, size_t *ret_taken)
{
	size_t at = 0, taken = 0;

	while (text[at]) {
		size_t run = strcspn(text + at, "\033");
		AUTO(mem_free_str) char *plain = mem_strndup(text + at, run);
		size_t fits = text_fit(plain, width - taken);
		AUTO(mem_free_str) char *shown = mem_strndup(plain, fits);

		at += fits;
		taken += text_width(shown);
		if (fits < run || !text[at])
			break;
		at += strcspn(text + at, "m");
		at += text[at] == 'm';
	}
	if (ret_taken)
		*ret_taken = taken;
	return at;
}

void text_put_bar(struct buf *out, double share, size_t cells)
{
	size_t full = share <= 0 ? 0 : share >= 1 ? cells : (size_t)(share * (double)cells);

	for (size_t i = 0; i < cells; i++)
		buf_puts(out, i < full ? "█" : "░");
}
