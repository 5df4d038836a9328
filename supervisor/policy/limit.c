#include "policy/limit.h"

#include <errno.h>

#include "base/mem.h"
#include "policy/limit_private.h"

/* Calls of one provider may be delayed by so much more than others on their way, and no window of the
 * provider's sees too many: what was spent counts so much longer than the span. */
#define GUARD_MINUTE_MS INT64_C(750)
#define GUARD_SHORT_MS	INT64_C(65)
#define SLOTS		600	    /* of a span: its sum is exact to one of them */
#define PACE_MS		INT64_C(50) /* worth of burst that pacing needs: a loop is not always on time */
#define RAMP_FLOOR	5	    /* a ramp begins at a fifth of the rate */
#define RAMP_STEPS	16
#define IDLE_MS		INT64_C(1000) /* a gap between calls after which the limit was not in full use */

/* ---- the clock ---- */

/* What is a wait of so long by a clock that is so far behind. */
static int64_t seen_from_behind(int64_t wait_ms, int64_t behind_ms)
{
	if (wait_ms <= 0 || wait_ms >= LIMIT_BEHIND_MS)
		return wait_ms;
	return least(wait_ms + least(behind_ms, LIMIT_BEHIND_MS), LIMIT_BEHIND_MS);
}

/* ---- the rate ---- */

int64_t limit_base_rate(const struct limit *l)
{
	if (!l->told)
		return l->params.rate;
	return l->params.firm && l->params.rate ? least(l->params.rate, l->told) : l->told;
}

int64_t limit_rate(const struct limit *l)
{
	int64_t base = limit_base_rate(l);

	if (!l->learned)
		return base;
	return base ? least(base, l->learned) : l->learned;
}

/* In proportion between the two, so that a second's window can be used for nine tenths and a minute's
 * for 98.6 %. */
static int64_t guard_ms(int64_t span_ms)
{
	return GUARD_SHORT_MS + (GUARD_MINUTE_MS - GUARD_SHORT_MS) * (span_ms - LIMIT_SPAN_MIN_MS) /
					(LIMIT_MINUTE_MS - LIMIT_SPAN_MIN_MS);
}

static int64_t slot_ms(int64_t span_ms)
{
	return most(1, span_ms / SLOTS);
}

static int64_t burst_of(const struct limit *l, int64_t rate)
{
	return l->params.burst ? least(l->params.burst, most(rate, 1)) : rate * PACE_MS / l->params.span_ms;
}

/* Of the rate, while it ramps up: in sixteenths. */
static int64_t ramped(const struct limit *l, int64_t rate, int64_t now_ms)
{
	int64_t age_ms = now_ms - l->born_ms, step;

	if (rate == 0 || age_ms >= l->params.ramp_ms)
		return rate;
	step = age_ms * RAMP_STEPS / l->params.ramp_ms;
	return most(1, rate / RAMP_FLOOR + (rate - rate / RAMP_FLOOR) * step / RAMP_STEPS);
}

/* Earns what each step of the ramp let it earn, until now. */
static void climb(const struct limit *l, int64_t now_ms, struct bucket *pace)
{
	int64_t rate = limit_rate(l), burst = burst_of(l, rate), at_ms;

	if (rate == 0 || pace->stamp_ms - l->born_ms >= l->params.ramp_ms)
		return;
	for (int64_t step = 1; step <= RAMP_STEPS; step++) {
		at_ms = l->born_ms + (step * l->params.ramp_ms + RAMP_STEPS - 1) / RAMP_STEPS;
		if (at_ms > pace->stamp_ms && at_ms <= now_ms)
			bucket_set_rate(pace, ramped(l, rate, at_ms), burst, at_ms);
	}
}

int64_t limit_tick(struct limit *l, int64_t now_ms)
{
	l->latest_ms = limit_clock(l, now_ms);
	climb(l, l->latest_ms, &l->pace);
	window_advance(l->spent, l->latest_ms);
	return l->latest_ms;
}

void limit_set_pace(struct limit *l, int64_t now_ms)
{
	int64_t rate = limit_rate(l), burst = burst_of(l, rate), paced = ramped(l, rate, now_ms);

	if (l->pace.rate > 0) {
		bucket_set_rate(&l->pace, paced, burst, now_ms);
	} else {
		bucket_init(&l->pace, paced, l->params.span_ms, burst, now_ms);
		l->paced_ms = now_ms;
	}
}

/* ---- making ---- */

static bool in_range(const struct limit_params *p)
{
	return p->rate >= 0 && p->rate <= LIMIT_RATE_MAX && p->burst >= 0 && p->burst <= LIMIT_RATE_MAX &&
	       p->span_ms >= LIMIT_SPAN_MIN_MS && p->span_ms <= LIMIT_MINUTE_MS && p->ramp_ms >= 0;
}

/* All that hangs on the span. */
static void begin(struct limit *l, int64_t now_ms)
{
	int64_t span = l->params.span_ms, rate = limit_rate(l);

	l->begun_ms = l->paced_ms = now_ms;
	window_new(span + guard_ms(span), slot_ms(span), now_ms, &l->spent);
	window_new(span + guard_ms(span), slot_ms(span), now_ms, &l->idle);
	bucket_init(&l->pace, ramped(l, rate, now_ms), span, burst_of(l, rate), now_ms);
}

int limit_new(const struct limit_params *params, int64_t now_ms, struct limit **ret)
{
	struct limit *l;

	if (!in_range(params))
		return -ERANGE;
	l = mem_alloc(sizeof(*l));
	l->params = *params;
	l->latest_ms = l->born_ms = l->trying_since_ms = l->last_take_ms = now_ms;
	begin(l, now_ms);
	*ret = l;
	return 0;
}

void limit_free(struct limit **l)
{
	if (!*l)
		return;
	window_free(&(*l)->spent);
	window_free(&(*l)->idle);
	mem_free(l);
}

static void respan(struct limit *l, int64_t old_ms, int64_t now_ms)
{
	l->told = l->told * l->params.span_ms / old_ms;
	window_free(&l->spent);
	window_free(&l->idle);
	begin(l, now_ms);
}

int limit_configure(struct limit *l, const struct limit_params *params, int64_t now_ms)
{
	int64_t old_ms = l->params.span_ms;

	if (!in_range(params))
		return -ERANGE;
	now_ms = limit_tick(l, now_ms);
	if (params->rate != l->params.rate || params->span_ms != old_ms)
		l->learned = 0;
	l->params = *params;
	if (params->span_ms != old_ms)
		respan(l, old_ms, now_ms);
	limit_set_pace(l, now_ms);
	return 0;
}

/* ---- a call ---- */

/* Until nothing that was sent before we began can count any more. */
static int64_t before_ms(const struct limit *l, int64_t now_ms)
{
	return l->params.span_ms + guard_ms(l->params.span_ms) - (now_ms - l->begun_ms);
}

/* Nobody knows what was sent before we began: it counts as if the rate had been used in full, and evenly, and
 * the last of it was still on its way. */
static int64_t assumed(const struct limit *l, int64_t now_ms)
{
	int64_t span_ms = l->params.span_ms, left_ms = least(before_ms(l, now_ms), span_ms);

	return left_ms > 0 ? (limit_rate(l) * left_ms + span_ms - 1) / span_ms : 0;
}

static int64_t window_wait(const struct limit *l, int64_t now_ms, int64_t cost)
{
	int64_t rate = limit_rate(l), before = assumed(l, now_ms);
	int64_t excess = window_sum(l->spent, now_ms) + before + cost - rate;

	if (excess <= 0)
		return 0;
	/* What is assumed runs out evenly, and all of it before anything that was spent since. */
	if (excess <= before)
		return before_ms(l, now_ms) - (before - excess) * l->params.span_ms / rate;
	return window_wait_ms(l->spent, now_ms, rate - cost);
}

/* As it is now, the ramp considered. */
static struct bucket pace_at(const struct limit *l, int64_t now_ms)
{
	struct bucket pace = l->pace;

	climb(l, now_ms, &pace);
	return pace;
}

static int64_t grant_wait_ms(const struct limit *l, int64_t now_ms, int64_t cost)
{
	return now_ms < l->grant_until_ms && l->grant >= cost ? 0 : -1;
}

/* By its own clock. */
static int64_t wait_ms(const struct limit *l, int64_t now_ms, int64_t cost)
{
	int64_t rate = limit_rate(l);
	struct bucket pace;

	if (cost == 0 || rate == 0)
		return 0;
	if (cost > rate)
		return -1;
	if (l->granted)
		return grant_wait_ms(l, now_ms, cost);
	pace = pace_at(l, now_ms);
	return most(bucket_wait_ms(&pace, now_ms, cost), window_wait(l, now_ms, cost));
}

int64_t limit_wait_ms(const struct limit *l, int64_t now_ms, int64_t cost)
{
	int64_t at_ms = limit_clock(l, now_ms);

	return seen_from_behind(wait_ms(l, at_ms, cost), at_ms - now_ms);
}

bool limit_has_room(struct limit *l, int64_t now_ms, int64_t cost)
{
	return wait_ms(l, limit_tick(l, now_ms), cost) == 0;
}

/* Whether calls have been going as fast as they could, so that what got through says something of the limit.
 */
static void note_pace(struct limit *l, int64_t now_ms)
{
	int64_t rate = limit_rate(l);
	int64_t even_ms = rate ? l->params.span_ms / rate : 0;

	if (!l->stopped && now_ms - l->last_take_ms > IDLE_MS + 3 * even_ms) {
		l->trying_since_ms = now_ms;
		l->tried = 0;
	}
	l->stopped = false;
	l->last_take_ms = now_ms;
}

/* Without a rate nothing is paced: else a rate that is learned later would begin with a debt of all that went
 * before. */
static void charge(struct limit *l, int64_t now_ms, int64_t cost)
{
	if (l->pace.rate == 0)
		return;
	if (cost < 0)
		bucket_give(&l->pace, now_ms, -cost);
	else
		bucket_take(&l->pace, now_ms, cost);
}

int64_t limit_take(struct limit *l, int64_t now_ms, int64_t cost)
{
	now_ms = limit_tick(l, now_ms);
	note_pace(l, now_ms);
	if (l->granted)
		l->grant -= cost;
	l->tried += cost;
	charge(l, now_ms, cost);
	(void)window_add(l->spent, now_ms, now_ms, cost);
	return now_ms;
}

void limit_settle(struct limit *l, int64_t now_ms, int64_t taken_ms, int64_t reserved, int64_t real)
{
	now_ms = limit_tick(l, now_ms);
	if (l->granted)
		l->grant += reserved - real;
	if (taken_ms >= l->trying_since_ms)
		l->tried += real - reserved;
	/* What comes back was taken from here: else it would be made out of nothing. */
	if (taken_ms > l->paced_ms)
		charge(l, now_ms, real - reserved);
	if (taken_ms >= l->begun_ms)
		(void)window_add(l->spent, now_ms, taken_ms, real - reserved);
}

int64_t limit_room(const struct limit *l, int64_t now_ms, int64_t horizon_ms)
{
	int64_t rate = limit_rate(l), end_ms, free;
	struct bucket pace;

	if (rate == 0)
		return INT64_MAX;
	horizon_ms = most(0, horizon_ms);
	end_ms = limit_clock(l, now_ms + horizon_ms);
	now_ms = limit_clock(l, now_ms);
	pace = pace_at(l, now_ms);
	free = rate - window_sum(l->spent, end_ms) - assumed(l, end_ms);
	return most(0, least(free, bucket_room(&pace, now_ms, end_ms - now_ms)));
}

/* ---- what the provider tells ---- */

void limit_told(struct limit *l, int64_t now_ms, int64_t per_minute)
{
	int64_t told = most(1, least(per_minute, LIMIT_RATE_MAX) * l->params.span_ms / LIMIT_MINUTE_MS);

	now_ms = limit_tick(l, now_ms);
	if (told == l->told)
		return;
	l->told = told;
	if (l->learned && l->learned >= limit_base_rate(l))
		l->learned = 0;
	limit_set_pace(l, now_ms);
}

/* What could be taken at once, pacing left out. */
static int64_t free_of(const struct limit *l, int64_t now_ms)
{
	return limit_rate(l) - window_sum(l->spent, now_ms) - assumed(l, now_ms);
}

void limit_told_remaining(struct limit *l, int64_t now_ms, int64_t remaining, int64_t unseen)
{
	int64_t room = most(0, remaining - unseen), excess;

	now_ms = limit_tick(l, now_ms);
	if (limit_rate(l) == 0)
		return;
	excess = free_of(l, now_ms) - room;
	if (excess > 0) {
		(void)window_add(l->spent, now_ms, now_ms, excess);
		(void)window_add(l->idle, now_ms, now_ms, excess);
	}
	excess = bucket_level(&l->pace, now_ms) - room;
	if (excess > 0)
		bucket_take(&l->pace, now_ms, excess);
}

/* ---- grants ---- */

void limit_set_granted(struct limit *l, bool granted)
{
	if (granted != l->granted)
		l->grant = l->grant_until_ms = 0;
	l->granted = granted;
}

bool limit_is_granted(const struct limit *l)
{
	return l->granted;
}

void limit_grant(struct limit *l, int64_t now_ms, int64_t amount, int64_t until_ms)
{
	(void)now_ms;
	l->grant += amount;
	l->grant_until_ms = most(l->grant_until_ms, until_ms);
}

int64_t limit_take_back(struct limit *l, int64_t now_ms)
{
	int64_t rest = l->grant;

	(void)now_ms;
	l->grant = 0;
	return rest;
}

/* ---- what is known ---- */

int64_t limit_got_through(const struct limit *l, int64_t now_ms)
{
	return most(0, window_sum(l->spent, now_ms) - window_sum(l->idle, now_ms));
}

void limit_look(const struct limit *l, int64_t now_ms, struct limit_view *ret)
{
	int64_t rate = limit_rate(l);
	struct bucket pace;

	now_ms = limit_clock(l, now_ms);
	pace = pace_at(l, now_ms);
	*ret = (struct limit_view){
		.configured = l->params.rate,
		.told = l->told,
		.learned = l->learned,
		.rate = rate,
		.span_ms = l->params.span_ms,
		.used = limit_got_through(l, now_ms),
		.left = rate ? least(bucket_level(&pace, now_ms), free_of(l, now_ms)) : INT64_MAX,
	};
	if (rate && l->granted)
		ret->left = now_ms < l->grant_until_ms ? l->grant : 0;
}

void limit_go_on(struct limit *l, int64_t told, int64_t learned)
{
	l->told = told;
	l->learned = learned;
	window_free(&l->spent);
	window_free(&l->idle);
	begin(l, l->latest_ms);
}
