/* Levels are counted in units of 1/3,660,000 token: the least that makes both rates below whole numbers of
 * units a millisecond, so that nothing is ever rounded and nothing drifts. */

#include "policy/bucket.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"

#define MINUTE_MS   60000
#define GUARDED_MS  61000 /* a minute and a second of uneven network delay */
#define TOKEN	    INT64_C(3660000)
#define HORIZON_MAX INT64_C(86400000) /* a day; keeps earned units within int64 */

struct bucket {
	int64_t per_min;      /* 0 = no limit */
	int64_t burst;	      /* tokens, 1..per_min */
	int64_t units_per_ms; /* 0 when there is no limit */
	int64_t level;	      /* units, at stamp_ms; <= burst * TOKEN */
	int64_t stamp_ms;
};

static int64_t level_at(const struct bucket *b, int64_t now_ms)
{
	int64_t full = b->burst * TOKEN, missing = full - b->level, elapsed;

	if (now_ms <= b->stamp_ms)
		return b->level;
	/* Stamps may be anything, so the difference is taken unsigned. */
	if ((uint64_t)now_ms - (uint64_t)b->stamp_ms > (uint64_t)(missing / b->units_per_ms))
		return full;
	elapsed = now_ms - b->stamp_ms;
	return b->level + elapsed * b->units_per_ms;
}

static void advance(struct bucket *b, int64_t now_ms)
{
	if (b->per_min)
		b->level = level_at(b, now_ms);
	if (now_ms > b->stamp_ms)
		b->stamp_ms = now_ms;
}

/* A bucket of n that is full sends n at once, then what it earns. So that the sum of a guarded minute is not
 * above per_min, it may earn only per_min - (n - 1) in it. */
static void set_rate(struct bucket *b, int64_t per_min, int64_t burst)
{
	bool guarded = burst == 0;

	if (guarded)
		burst = per_min / 60;
	if (burst < 1)
		burst = 1;
	if (burst > per_min)
		burst = per_min;
	b->per_min = per_min;
	b->burst = burst;
	b->units_per_ms = guarded && per_min ? (per_min - burst + 1) * (TOKEN / GUARDED_MS)
					     : per_min * (TOKEN / MINUTE_MS);
}

static bool in_range(int64_t per_min, int64_t burst)
{
	return per_min >= 0 && per_min <= BUCKET_RATE_MAX && burst >= 0 && burst <= BUCKET_RATE_MAX;
}

int bucket_new(int64_t per_min, int64_t burst, int64_t now_ms, struct bucket **ret)
{
	struct bucket *b;

	if (!in_range(per_min, burst))
		return -ERANGE;
	b = mem_alloc(sizeof(*b));
	b->stamp_ms = now_ms;
	set_rate(b, per_min, burst);
	*ret = b;
	return 0;
}

void bucket_free(struct bucket **b)
{
	mem_free(b);
}

int bucket_set_rate(struct bucket *b, int64_t per_min, int64_t burst, int64_t now_ms)
{
	if (!in_range(per_min, burst))
		return -ERANGE;
	advance(b, now_ms);
	set_rate(b, per_min, burst);
	if (b->level > b->burst * TOKEN)
		b->level = b->burst * TOKEN;
	return 0;
}

/* What the level must be for `cost` to be admitted. */
static int64_t threshold(const struct bucket *b, int64_t cost)
{
	return (cost < b->burst ? cost : b->burst) * TOKEN;
}

void bucket_set_level(struct bucket *b, int64_t now_ms, int64_t tokens)
{
	if (tokens > b->burst)
		tokens = b->burst;
	if (tokens < -BUCKET_RATE_MAX)
		tokens = -BUCKET_RATE_MAX;
	b->level = tokens * TOKEN;
	b->stamp_ms = now_ms;
}

bool bucket_take(struct bucket *b, int64_t now_ms, int64_t cost)
{
	assert(cost >= 0);
	if (!b->per_min)
		return true;
	if (cost > b->per_min)
		return false;
	advance(b, now_ms);
	if (b->level < threshold(b, cost))
		return false;
	b->level -= cost * TOKEN;
	return true;
}

int64_t bucket_wait_ms(const struct bucket *b, int64_t now_ms, int64_t cost)
{
	int64_t missing;

	assert(cost >= 0);
	if (!b->per_min)
		return 0;
	if (cost > b->per_min)
		return -1;
	missing = threshold(b, cost) - level_at(b, now_ms);
	if (missing <= 0)
		return 0;
	return (missing + b->units_per_ms - 1) / b->units_per_ms;
}

static int64_t whole_tokens(int64_t units)
{
	return units >= 0 ? units / TOKEN : -((-units + TOKEN - 1) / TOKEN);
}

int64_t bucket_level(const struct bucket *b, int64_t now_ms)
{
	return b->per_min ? whole_tokens(level_at(b, now_ms)) : INT64_MAX;
}

int64_t bucket_room(const struct bucket *b, int64_t now_ms, int64_t horizon_ms)
{
	int64_t tokens;

	if (!b->per_min)
		return INT64_MAX;
	if (horizon_ms < 0)
		horizon_ms = 0;
	if (horizon_ms > HORIZON_MAX)
		horizon_ms = HORIZON_MAX;
	tokens = whole_tokens(level_at(b, now_ms) + horizon_ms * b->units_per_ms);
	return tokens > 0 ? tokens : 0;
}
