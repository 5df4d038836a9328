#include "policy/limit.h"

#include <errno.h>

#include "base/mem.h"
#include "policy/bucket.h"
#include "policy/window.h"

/* Calls of one provider may be delayed by so much more than others on their way, and no window of the
 * provider's sees too many: what was spent counts so much longer than the span. */
#define GUARD_MINUTE_MS INT64_C(750)
#define GUARD_SHORT_MS	INT64_C(65)
#define SLOTS		600	    /* of a span: its sum is exact to one of them */
#define PACE_MS		INT64_C(50) /* worth of burst that pacing needs: a loop is not always on time */
#define RAMP_FLOOR	5	    /* a ramp begins at a fifth of the rate */
#define RAMP_STEPS	16
/* Between steps of a fiftieth upward: from what was measured, and, faster, from what was only guessed. */
#define RECOVER_CALLS 100
#define RECOVER_MS    INT64_C(30000)
/* One refusal may have any reason. A rate is learned from the second of a row, or when much got through
 * before. */
#define EVIDENCE      10
#define MUCH_EVIDENCE 100
#define ROW_MS	      INT64_C(120000)
#define CLOSE_MS      INT64_C(10000)
#define SEARCH_CALLS  20
#define SEARCH_MS     INT64_C(3000)
#define IDLE_MS	      INT64_C(1000) /* a gap between calls after which the limit was not in full use */

struct limit {
	struct limit_params params;
	int64_t told, learned; /* units in span_ms; 0 = not known */
	struct bucket pace;
	struct window *spent; /* all that counts */
	struct window *idle;  /* the part of it that no call of ours got through with */
	int64_t born_ms;      /* for the ramp */
	int64_t begun_ms;     /* nothing is known of what was sent before */

	/* Learning. */
	int64_t trying_since_ms; /* calls have gone as fast as they could since */
	int64_t tried;		 /* units that got through since then */
	int64_t last_take_ms;
	bool stopped;	    /* refused since the last one: a gap that follows is no idleness */
	int64_t changed_ms; /* when `learned` did */
	int row;	    /* refusals, each an event of its own, none later than ROW_MS behind the last */
	int64_t row_ms;	    /* when the last of them was */
	bool guessed;	    /* `learned` is no measurement of a whole span */
	int answers;	    /* since then */

	/* Grants. */
	bool granted;
	int64_t grant, grant_until_ms;
};

/* ---- the rate ---- */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* What is configured or told; 0 = no limit. */
static int64_t base_rate(const struct limit *l)
{
	if (!l->told)
		return l->params.rate;
	return l->params.firm && l->params.rate ? least(l->params.rate, l->told) : l->told;
}

static int64_t rate_of(const struct limit *l)
{
	int64_t base = base_rate(l);

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
	int64_t age_ms = most(0, now_ms - l->born_ms), step;

	if (age_ms >= l->params.ramp_ms)
		return rate;
	step = age_ms * RAMP_STEPS / l->params.ramp_ms;
	return most(1, rate / RAMP_FLOOR + (rate - rate / RAMP_FLOOR) * step / RAMP_STEPS);
}

static void set_pace(struct limit *l, int64_t now_ms)
{
	int64_t rate = rate_of(l);

	bucket_set_rate(&l->pace, ramped(l, rate, now_ms), burst_of(l, rate), now_ms);
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
	int64_t span = l->params.span_ms, rate = rate_of(l);

	l->begun_ms = now_ms;
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
	l->born_ms = l->trying_since_ms = l->last_take_ms = now_ms;
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
	if (params->rate != l->params.rate || params->span_ms != old_ms)
		l->learned = 0;
	l->params = *params;
	if (params->span_ms != old_ms)
		respan(l, old_ms, now_ms);
	set_pace(l, now_ms);
	return 0;
}

/* ---- a call ---- */

/* Nobody knows what was sent before we began: it counts as if the rate had been used in full, and evenly. */
static int64_t assumed(const struct limit *l, int64_t now_ms)
{
	int64_t span_ms = l->params.span_ms + guard_ms(l->params.span_ms);
	int64_t left_ms = span_ms - most(0, now_ms - l->begun_ms);

	return left_ms > 0 ? (rate_of(l) * left_ms + span_ms - 1) / span_ms : 0;
}

static int64_t window_wait(const struct limit *l, int64_t now_ms, int64_t cost)
{
	int64_t rate = rate_of(l), before = assumed(l, now_ms);
	int64_t excess = window_sum(l->spent, now_ms) + before + cost - rate;
	int64_t span_ms = l->params.span_ms + guard_ms(l->params.span_ms);

	if (excess <= 0)
		return 0;
	/* What is assumed runs out evenly, and all of it before anything that was spent since. */
	if (excess <= before)
		return excess * span_ms / rate + 1;
	return window_wait_ms(l->spent, now_ms, rate - cost);
}

/* As it is now, the ramp considered. */
static struct bucket pace_at(const struct limit *l, int64_t now_ms)
{
	struct bucket pace = l->pace;

	if (now_ms - l->born_ms < l->params.ramp_ms)
		bucket_set_rate(&pace, ramped(l, rate_of(l), now_ms), pace.burst, now_ms);
	return pace;
}

static int64_t grant_wait_ms(const struct limit *l, int64_t now_ms, int64_t cost)
{
	return now_ms < l->grant_until_ms && l->grant >= cost ? 0 : -1;
}

int64_t limit_wait_ms(const struct limit *l, int64_t now_ms, int64_t cost)
{
	int64_t rate = rate_of(l);
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

/* Whether calls have been going as fast as they could, so that what got through says something of the limit.
 */
static void note_pace(struct limit *l, int64_t now_ms)
{
	int64_t rate = rate_of(l);
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

void limit_take(struct limit *l, int64_t now_ms, int64_t cost)
{
	set_pace(l, now_ms);
	note_pace(l, now_ms);
	if (l->granted)
		l->grant -= cost;
	l->tried += cost;
	charge(l, now_ms, cost);
	(void)window_add(l->spent, now_ms, now_ms, cost);
}

void limit_settle(struct limit *l, int64_t now_ms, int64_t taken_ms, int64_t reserved, int64_t real)
{
	if (l->granted)
		l->grant += reserved - real;
	if (taken_ms >= l->trying_since_ms)
		l->tried += real - reserved;
	charge(l, now_ms, real - reserved);
	(void)window_add(l->spent, now_ms, taken_ms, real - reserved);
}

int64_t limit_room(const struct limit *l, int64_t now_ms, int64_t horizon_ms)
{
	int64_t rate = rate_of(l), free;
	struct bucket pace;

	if (rate == 0)
		return INT64_MAX;
	pace = pace_at(l, now_ms);
	horizon_ms = most(0, horizon_ms);
	free = rate - window_sum_later(l->spent, now_ms, now_ms + horizon_ms) -
	       assumed(l, now_ms + horizon_ms);
	return most(0, least(free, bucket_room(&pace, now_ms, horizon_ms)));
}

/* ---- what the provider tells ---- */

void limit_told(struct limit *l, int64_t now_ms, int64_t per_minute)
{
	int64_t told = most(1, least(per_minute, LIMIT_RATE_MAX) * l->params.span_ms / LIMIT_MINUTE_MS);

	if (told == l->told)
		return;
	l->told = told;
	if (l->learned && l->learned >= base_rate(l))
		l->learned = 0;
	set_pace(l, now_ms);
}

/* What could be taken at once, pacing left out. */
static int64_t free_of(const struct limit *l, int64_t now_ms)
{
	return rate_of(l) - window_sum(l->spent, now_ms) - assumed(l, now_ms);
}

void limit_told_remaining(struct limit *l, int64_t now_ms, int64_t remaining, int64_t unseen)
{
	int64_t room = most(0, remaining - unseen), excess;

	if (rate_of(l) == 0)
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

/* ---- learning ---- */

/* What calls of ours got through with, in the last span. */
static int64_t got_through(const struct limit *l, int64_t now_ms)
{
	return most(0, window_sum(l->spent, now_ms) - window_sum(l->idle, now_ms));
}

/* The part of it that says something of the limit: since calls have gone as fast as they could. */
static int64_t tried(const struct limit *l, int64_t now_ms)
{
	return least(got_through(l, now_ms), most(0, l->tried));
}

/* What the limit is likely to be, from a refusal at a rate (0 = none). */
static int64_t guess(const struct limit *l, int64_t now_ms, int64_t rate, int64_t word_ms)
{
	int64_t span = l->params.span_ms, got = tried(l, now_ms);
	int64_t tried_ms = most(1, now_ms - l->trying_since_ms), sent;

	/* Who tried for a whole span got through just what the limit is. When that is about the rate, one
	 * more refusal says little: of a limit that is all but met, chance breaks a little now and then. */
	if (tried_ms >= span && got < rate / 5 * 4)
		return most(got * 99 / 100, rate / 4);
	if (tried_ms >= span)
		return most(got * 99 / 100, rate - rate / (now_ms - l->changed_ms < CLOSE_MS ? 12 : 40));
	/* The provider says when there is room again: then the first of those that got through has run out.
	 */
	if (word_ms >= 0 && got > 0)
		return most(got * span / most(tried_ms + word_ms, 1), rate / 16);
	sent = least(got * span / most(tried_ms, 100), LIMIT_RATE_MAX);
	return (rate ? least(rate, sent) : sent) * 7 / 10;
}

static bool is_evident(const struct limit *l, int64_t now_ms)
{
	int64_t got = tried(l, now_ms);

	return got >= MUCH_EVIDENCE || (got >= EVIDENCE && l->row > 1);
}

void limit_refused(struct limit *l, int64_t now_ms, int64_t taken_ms, int64_t retry_after_ms)
{
	int64_t rate = rate_of(l), learned;

	(void)window_add(l->idle, now_ms, taken_ms, 1);
	l->tried--;
	l->stopped = true;
	if (l->row > 0 && taken_ms <= l->row_ms)
		return; /* under way together with one that told us already */
	l->row = l->row > 0 && now_ms - l->row_ms <= ROW_MS ? l->row + 1 : 1;
	l->row_ms = now_ms;
	if (!is_evident(l, now_ms))
		return;
	learned = guess(l, now_ms, rate, retry_after_ms);
	if (rate)
		learned = least(learned,
				now_ms - l->trying_since_ms >= l->params.span_ms ? rate : rate * 7 / 10);
	l->learned = most(1, learned);
	/* Who was still on the way up for a part of the span got through with less than there is. */
	l->guessed = now_ms - l->trying_since_ms < l->params.span_ms || tried(l, now_ms) < rate / 20 * 19;
	l->changed_ms = now_ms;
	l->answers = 0;
	set_pace(l, now_ms);
}

/* Nothing is learned from going well at less than could have gone. */
static bool is_in_use(const struct limit *l, int64_t now_ms)
{
	int64_t tried_ms = least(now_ms - l->trying_since_ms, l->params.span_ms);

	return l->guessed ? tried_ms > 0 : got_through(l, now_ms) >= l->learned / 5 * 4;
}

void limit_answered(struct limit *l, int64_t now_ms)
{
	int64_t needed_ms = l->guessed ? SEARCH_MS : RECOVER_MS;

	if (!l->learned || ++l->answers < (l->guessed ? SEARCH_CALLS : RECOVER_CALLS) ||
	    now_ms - l->changed_ms < needed_ms || !is_in_use(l, now_ms))
		return;
	l->learned += most(1, l->learned / 50);
	l->changed_ms = now_ms;
	l->answers = 0;
	if (base_rate(l) && l->learned >= base_rate(l))
		l->learned = 0;
	set_pace(l, now_ms);
}

void limit_forget(struct limit *l)
{
	l->learned = 0;
	l->row = 0;
	l->tried = 0;
	l->trying_since_ms = l->pace.stamp_ms;
	set_pace(l, l->pace.stamp_ms);
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

void limit_look(const struct limit *l, int64_t now_ms, struct limit_view *ret)
{
	int64_t rate = rate_of(l);
	struct bucket pace = pace_at(l, now_ms);

	*ret = (struct limit_view){
		.configured = l->params.rate,
		.told = l->told,
		.learned = l->learned,
		.rate = rate,
		.span_ms = l->params.span_ms,
		.used = got_through(l, now_ms),
		.left = rate ? least(bucket_level(&pace, now_ms), free_of(l, now_ms)) : INT64_MAX,
	};
	if (rate && l->granted)
		ret->left = now_ms < l->grant_until_ms ? l->grant : 0;
}

void limit_go_on(struct limit *l, int64_t told, int64_t learned)
{
	int64_t now_ms = l->pace.stamp_ms;

	l->told = told;
	l->learned = learned;
	window_free(&l->spent);
	window_free(&l->idle);
	begin(l, now_ms);
}
