/* What holds of a limit whatever is done with it: random takes, settlements, refusals, reloads, words of the
 * provider and steps of the clock, held against a plain list of what was taken.
 *
 * Three clocks: the true one; the caller's, which steps back behind it and is set right again; and the
 * limit's, which stands still until the caller's has caught up. What is promised is promised by the limit's,
 * which never goes faster than the true one but when the caller's is set right. */

#include "row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model.h"
#include "policy/bucket.h"
#include "policy/limit.h"

enum {
	EPISODES = 80,
	STEPS = 3000,
	BACK_MOST_MS = 5000,
	WAITS_MOST = 128, /* for one call: steps of a ramp, and of a clock that is behind */
};

static const struct {
	int64_t ms, widest_ms; /* a span; and with its guard and a slot, in which something may still count */
} spans[] = { { 1000, 1066 }, { 2500, 2588 }, { 10000, 10192 }, { 60000, 60900 } };

struct take {
	int64_t at_ms, true_ms; /* by the limit's clock, and the true one */
	int64_t reserved, cost; /* cost: as it is known by now */
	int64_t kept;		/* most that the bucket could hold then */
	int64_t before;		/* reserved by those before it, in all */
	int64_t earned;		/* until then, times the span */
	int64_t back;		/* given back in all until BUCKET_LATE_MS before */
	int64_t set_right_ms;	/* as of the episode */
	bool over, refused;
};

struct gift {
	int64_t at_ms, sum; /* until then, without it */
};

struct episode {
	struct limit *limit;
	struct limit_params params;
	size_t span;
	bool requests; /* each costs 1, and counts when it is refused, too */
	struct take takes[STEPS];
	struct gift gifts[STEPS];
	size_t len, gift_count;
	size_t unlimited; /* that many of the takes went while there was no limit */
	int64_t true_ms, behind_ms, latest_ms;
	int64_t set_right_ms; /* in all that the caller's clock was set forward */
	int64_t dearest, rate, reserved, earned, back;
};

static struct {
	long takes, behind, told, lowered, left, refused, learned, reloads, beyond;
} seen;

static int64_t below(int64_t n)
{
	return (int64_t)(((uint64_t)model_random() << 16 ^ model_random()) % (uint64_t)n);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* The caller's clock. */
static int64_t now(const struct episode *e)
{
	return e->true_ms - e->behind_ms;
}

/* The same, and it is told to the limit. */
static int64_t tell(struct episode *e)
{
	int64_t before_ms = e->latest_ms;

	e->latest_ms = most(before_ms, now(e));
	e->earned += e->rate * (e->latest_ms - before_ms);
	return now(e);
}

/* After what may have changed the rate; all until now was earned at the old one. */
static void note_rate(struct episode *e)
{
	struct limit_view view;

	limit_look(e->limit, now(e), &view);
	e->rate = view.rate;
	seen.learned += view.learned > 0;
	if (!e->rate)
		e->unlimited = e->len;
}

static int64_t burst(const struct episode *e)
{
	return most(1, e->params.burst ? least(e->params.burst, e->rate) : e->rate * 50 / e->params.span_ms);
}

/* Most that the bucket can hold, rounded up. */
static int64_t kept(const struct episode *e)
{
	return (burst(e) * e->params.span_ms + e->rate * BUCKET_LATE_MS) / e->params.span_ms + 1;
}

static void begin(struct episode *e)
{
	memset(e, 0, sizeof(*e));
	e->span = (size_t)below(ARRAY_LEN(spans));
	e->true_ms = 1 + below(1000000);
	e->params = (struct limit_params){
		.rate = model_chance(10) ? 0 : 1 + below(model_chance(50) ? 100 : 100000),
		.span_ms = spans[e->span].ms,
		.ramp_ms = model_chance(30) ? below(20000) : 0,
		.firm = model_chance(50),
	};
	if (model_chance(50))
		e->params.burst = 1 + below(e->params.rate + 1);
	e->requests = model_chance(30);
	e->dearest = e->requests	   ? 1
		     : e->params.rate < 50 ? 1 + below(e->params.rate + 1)
					   : 1 + below(e->params.rate / 10);
	assert_int_equal(limit_new(&e->params, tell(e), &e->limit), 0);
	note_rate(e);
}

/* ---- what must hold ---- */

/* When a call goes, no span that ends with it sees more than the rate: of the limit's clock; and of the true
 * one, for as long as the caller's was not set right. */
static void check_span(const struct episode *e)
{
	const struct take *last = &e->takes[e->len - 1];
	int64_t sum = 0, true_sum = 0;

	for (size_t i = e->len; i-- > 0;) {
		const struct take *t = &e->takes[i];
		bool within = t->at_ms > last->at_ms - e->params.span_ms;
		bool truly = t->true_ms > last->true_ms - e->params.span_ms &&
			     t->set_right_ms == last->set_right_ms;

		if (!within && !truly)
			break;
		sum += within ? t->cost : 0;
		true_sum += truly ? t->cost : 0;
	}
	agree(sum <= e->rate && true_sum <= e->rate, "a span of %lld ms has %lld, a true one %lld of %lld",
	      (long long)e->params.span_ms, (long long)sum, (long long)true_sum, (long long)e->rate);
}

/* From any call to the last no more went than what the bucket could hold then, what was earned and given back
 * since, and what the last needs beyond the burst. */
static void check_bursts(const struct episode *e)
{
	const struct take *last = &e->takes[e->len - 1];

	for (size_t i = e->unlimited; i < e->len; i++) {
		const struct take *from = &e->takes[i];
		int64_t sum = e->reserved - from->before, back = e->back - from->back;
		int64_t earned = (last->earned - from->earned) / e->params.span_ms + 1;

		agree(sum <= from->kept + earned + back + most(0, last->reserved - burst(e)),
		      "%lld in %lld ms: held %lld, earned %lld, back %lld", (long long)sum,
		      (long long)(last->at_ms - from->at_ms), (long long)from->kept, (long long)earned,
		      (long long)back);
	}
}

/* Nothing is created or lost: what counts as used is what was taken in the span, settled, and perhaps what a
 * guard holds on to. */
static void check_used(const struct episode *e)
{
	int64_t at_ms = most(e->latest_ms, now(e)), in_span = 0, in_all = 0;
	struct limit_view view;

	limit_look(e->limit, now(e), &view);
	for (size_t i = e->len; i-- > 0 && e->takes[i].at_ms > at_ms - spans[e->span].widest_ms;) {
		int64_t counted = e->takes[i].cost - (e->requests && e->takes[i].refused);

		in_all += counted;
		if (e->takes[i].at_ms > at_ms - e->params.span_ms)
			in_span += counted;
	}
	agree(view.used >= in_span && view.used <= in_all, "used is %lld, not %lld to %lld",
	      (long long)view.used, (long long)in_span, (long long)in_all);
}

/* Never shorter than what is to be earned, never longer than until the clock has caught up and it is earned,
 * and no spinning meanwhile. */
static void check_wait(const struct episode *e, int64_t wait_ms, int64_t cost)
{
	int64_t behind_ms = most(0, e->latest_ms - now(e));
	int64_t then_ms = limit_wait_ms(e->limit, now(e) + behind_ms, cost);

	if (then_ms <= 0) {
		agree(wait_ms == then_ms, "%lld, not %lld", (long long)wait_ms, (long long)then_ms);
		return;
	}
	agree(wait_ms >= then_ms && wait_ms <= then_ms + behind_ms &&
		      wait_ms >= least(then_ms + behind_ms, LIMIT_BEHIND_MS),
	      "%lld ms, while %lld behind %lld", (long long)wait_ms, (long long)behind_ms,
	      (long long)then_ms);
}

/* ---- what is done ---- */

/* True when the call could go now. */
static bool await(struct episode *e, int64_t cost)
{
	bool patient = model_chance(70);

	for (int waits = 0;; waits++) {
		int64_t wait_ms = limit_wait_ms(e->limit, now(e), cost);

		check_wait(e, wait_ms, cost);
		agree(wait_ms >= 0 || cost > e->rate, "%lld of %lld can never go", (long long)cost,
		      (long long)e->rate);
		agree(waits < WAITS_MOST, "after %d waits there are %lld ms more", waits, (long long)wait_ms);
		if (wait_ms <= 0 || !patient)
			return wait_ms == 0;
		e->true_ms += wait_ms;
	}
}

static void try_take(struct episode *e)
{
	int64_t cost = 1 + below(e->dearest), earlier_ms;
	struct take *t = &e->takes[e->len];
	size_t gift = e->gift_count;

	if (!await(e, cost))
		return;
	agree(limit_has_room(e->limit, tell(e), cost), "no room for %lld", (long long)cost);
	earlier_ms = e->latest_ms - BUCKET_LATE_MS;
	while (gift > 0 && e->gifts[gift - 1].at_ms >= earlier_ms)
		gift--;
	*t = (struct take){ .at_ms = limit_take(e->limit, tell(e), cost),
			    .true_ms = e->true_ms,
			    .reserved = cost,
			    .cost = cost,
			    .kept = kept(e),
			    .before = e->reserved,
			    .earned = e->earned,
			    .back = gift < e->gift_count ? e->gifts[gift].sum : e->back,
			    .set_right_ms = e->set_right_ms };
	agree(t->at_ms == e->latest_ms, "taken at %lld, not %lld", (long long)t->at_ms,
	      (long long)e->latest_ms);
	e->reserved += cost;
	e->len++;
	seen.takes++;
	seen.behind += e->latest_ms > now(e);
	if (!e->rate) {
		e->unlimited = e->len;
		return;
	}
	check_span(e);
	check_bursts(e);
}

/* One of the last that are under way; NULL when it is not. */
static struct take *under_way(struct episode *e)
{
	struct take *t;

	if (e->len == 0)
		return NULL;
	t = &e->takes[e->len - 1 - (size_t)below(least((int64_t)e->len, 20))];
	return t->over ? NULL : t;
}

/* What comes back is there again at once, to the last token, for as long as it counts. */
static void settle(struct episode *e, struct take *t, int64_t real)
{
	bool counts = e->rate && t >= &e->takes[e->unlimited] &&
		      t->at_ms > most(e->latest_ms, now(e)) - e->params.span_ms;
	struct limit_view before, after;

	limit_look(e->limit, now(e), &before);
	limit_settle(e->limit, tell(e), t->at_ms, t->reserved, real);
	limit_look(e->limit, now(e), &after);
	agree(!counts || after.left == before.left + t->reserved - real, "left is %lld after %lld and %lld",
	      (long long)after.left, (long long)before.left, (long long)(t->reserved - real));
	if (real < t->reserved) {
		e->gifts[e->gift_count++] = (struct gift){ e->latest_ms, e->back };
		e->back += t->reserved - real;
	}
	seen.beyond += real > t->reserved;
	t->cost = real;
	t->over = true;
}

static void answer(struct episode *e)
{
	struct take *t = under_way(e);

	if (!t)
		return;
	if (e->requests)
		t->over = true;
	else
		settle(e, t, model_chance(90) ? below(t->reserved + 1) : t->reserved + below(e->dearest));
	limit_answered(e->limit, tell(e));
	note_rate(e);
}

static void refuse(struct episode *e)
{
	struct take *t = under_way(e);

	if (!t)
		return;
	limit_refused(e->limit, tell(e), t->at_ms, e->requests, model_chance(50) ? -1 : below(30000));
	t->over = t->refused = true;
	if (!e->requests)
		settle(e, t, 0);
	note_rate(e);
	seen.refused++;
}

static void tell_limit(struct episode *e)
{
	int64_t before = e->rate;
	int64_t per_span = 1 + below(2 * most(e->params.rate, 50));

	limit_told(e->limit, tell(e), most(1, per_span * LIMIT_MINUTE_MS / e->params.span_ms));
	note_rate(e);
	seen.told++;
	seen.lowered += e->rate < before;
}

/* What is left there only lowers what is left here. */
static void tell_left(struct episode *e)
{
	int64_t remaining = below(most(1, e->rate)), unseen = below(1 + remaining / 4);
	struct limit_view before, after;

	limit_look(e->limit, now(e), &before);
	limit_told_remaining(e->limit, tell(e), remaining, unseen);
	limit_look(e->limit, now(e), &after);
	agree(after.left == least(before.left, e->rate ? remaining - unseen : INT64_MAX),
	      "left is %lld after %lld and %lld", (long long)after.left, (long long)before.left,
	      (long long)(remaining - unseen));
	agree(after.used == before.used && after.rate == before.rate, "used is %lld", (long long)after.used);
	seen.left += after.left < before.left;
}

static void reload(struct episode *e)
{
	e->params.rate = model_chance(10) ? 0 : 1 + below(least(2 * most(e->params.rate, 50), 1000000));
	e->params.burst = model_chance(50) ? 0 : 1 + below(e->params.rate + 1);
	assert_int_equal(limit_configure(e->limit, &e->params, tell(e)), 0);
	note_rate(e);
	seen.reloads++;
}

static void disturb(struct episode *e)
{
	int64_t right_ms = below(e->behind_ms + 1);

	switch (below(6)) {
	case 0:
		e->behind_ms += below(BACK_MOST_MS);
		break;
	case 1:
		e->behind_ms -= right_ms;
		e->set_right_ms += right_ms;
		break;
	case 2: /* the machine stood still, or nobody had work */
		e->true_ms += below(3 * e->params.span_ms);
		break;
	case 3:
		tell_limit(e);
		break;
	case 4:
		reload(e);
		break;
	default:
		limit_forget(e->limit);
		note_rate(e);
	}
}

/* When all calls are over and nothing is done for long, the limit is as full as a limit can be. */
static void end(struct episode *e)
{
	struct limit_view view;
	int64_t full;

	for (size_t i = 0; i < e->len; i++)
		if (!e->takes[i].over && !e->requests)
			settle(e, &e->takes[i], below(e->takes[i].reserved + 1));
	e->true_ms += e->behind_ms + 200 * LIMIT_MINUTE_MS + 2 * e->params.span_ms;
	e->behind_ms = 0;
	check_used(e);
	limit_look(e->limit, tell(e), &view);
	full = kept(e) - 1;
	agree(view.used == 0 && view.left == (e->rate ? least(full, e->rate) : INT64_MAX),
	      "in the end used is %lld, left %lld of %lld", (long long)view.used, (long long)view.left,
	      (long long)full);
	limit_free(&e->limit);
}

static void step(struct episode *e)
{
	int what = model_below(1000);

	if (what < 250)
		e->true_ms += below(e->params.span_ms / 50 + 2);
	else if (what < 480)
		answer(e);
	else if (what < 490)
		refuse(e);
	else if (what < 500)
		tell_left(e);
	else if (what < 520)
		disturb(e);
	else
		try_take(e);
}

static void test_no_span_and_no_burst_is_above_the_limit(void **state)
{
	struct episode *e = mem_alloc(sizeof(*e));

	(void)state;
	for (int i = 0; i < EPISODES; i++) {
		begin(e);
		for (int k = 0; k < STEPS; k++) {
			step(e);
			if (k % 20 == 0)
				check_used(e);
		}
		end(e);
	}
	mem_free(&e);
	print_message("%ld calls, %ld by a clock that was behind; %ld refused, %ld above their reservation; "
		      "%ld told, %ld of them lower; %ld of what is left; %ld reloads; learned %ld\n",
		      seen.takes, seen.behind, seen.refused, seen.beyond, seen.told, seen.lowered, seen.left,
		      seen.reloads, seen.learned);
	agree(seen.takes > 40000 && seen.behind > 500 && seen.refused > 500 && seen.beyond > 500 &&
		      seen.told > 100 && seen.lowered > 50 && seen.left > 100 && seen.reloads > 100 &&
		      seen.learned > 100,
	      "too little happened");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_span_and_no_burst_is_above_the_limit),
	};

	return cmocka_run_group_tests(tests, model_start, NULL);
}
