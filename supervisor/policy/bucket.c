#include "policy/bucket.h"

#include <stdbool.h>

#define HORIZON_MAX_MS INT64_C(86400000)

static int64_t full(const struct bucket *b)
{
	return b->burst * b->per_ms + b->rate * BUCKET_LATE_MS;
}

/* May be asked for any later time; never overflows, since a bucket is full long before. */
static int64_t level_at(const struct bucket *b, int64_t now_ms)
{
	int64_t missing = full(b) - b->level, elapsed = now_ms - b->stamp_ms;

	if (missing < 0)
		return now_ms - b->above_ms > BUCKET_LATE_MS ? full(b) : b->level;
	if (elapsed <= 0 || b->rate == 0)
		return b->level;
	return elapsed > missing / b->rate ? full(b) : b->level + elapsed * b->rate;
}

static void advance(struct bucket *b, int64_t now_ms)
{
	b->level = level_at(b, now_ms);
	if (now_ms > b->stamp_ms)
		b->stamp_ms = now_ms;
}

static int64_t at_least_one(int64_t burst)
{
	return burst < 1 ? 1 : burst;
}

void bucket_init(struct bucket *b, int64_t rate, int64_t per_ms, int64_t burst, int64_t now_ms)
{
	*b = (struct bucket){
		.rate = rate, .per_ms = per_ms, .burst = at_least_one(burst), .stamp_ms = now_ms
	};
}

void bucket_set_rate(struct bucket *b, int64_t rate, int64_t burst, int64_t now_ms)
{
	int64_t above;

	advance(b, now_ms);
	above = b->level > full(b) ? b->level - full(b) : 0;
	b->rate = rate;
	b->burst = at_least_one(burst);
	if (b->level > full(b) + above)
		b->level = full(b) + above;
}

int64_t bucket_wait_ms(const struct bucket *b, int64_t now_ms, int64_t cost)
{
	int64_t needed = (cost < b->burst ? cost : b->burst) * b->per_ms;
	int64_t missing = needed - level_at(b, now_ms);

	if (missing <= 0)
		return 0;
	return b->rate == 0 ? -1 : (missing + b->rate - 1) / b->rate;
}

void bucket_take(struct bucket *b, int64_t now_ms, int64_t cost)
{
	advance(b, now_ms);
	b->level -= cost * b->per_ms;
}

void bucket_give(struct bucket *b, int64_t now_ms, int64_t amount)
{
	bool was_above;

	advance(b, now_ms);
	was_above = b->level > full(b);
	b->level += amount * b->per_ms;
	if (!was_above)
		b->above_ms = b->stamp_ms;
}

static int64_t whole(const struct bucket *b, int64_t level)
{
	return level >= 0 ? level / b->per_ms : -((-level + b->per_ms - 1) / b->per_ms);
}

int64_t bucket_level(const struct bucket *b, int64_t now_ms)
{
	return whole(b, level_at(b, now_ms));
}

int64_t bucket_room(const struct bucket *b, int64_t now_ms, int64_t horizon_ms)
{
	int64_t room;

	if (horizon_ms > HORIZON_MAX_MS)
		horizon_ms = HORIZON_MAX_MS;
	room = whole(b, level_at(b, now_ms) + (horizon_ms > 0 ? horizon_ms * b->rate : 0));
	return room > 0 ? room : 0;
}
