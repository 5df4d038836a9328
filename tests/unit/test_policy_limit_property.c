/* What holds of a limit whatever is done with it: random takes and settlements, held against a plain list of
 * them. */

#include "row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "policy/bucket.h"
#include "policy/limit.h"

enum {
	EPISODES = 40,
	STEPS = 3000,
	PAIRS = 8, /* spans looked at for each take */
};

struct take {
	int64_t at_ms, reserved, cost; /* cost: as it is known by now */
	int64_t given_ms;	       /* when a part came back; 0 = not yet */
	bool settled;
};

struct episode {
	struct limit *limit;
	struct limit_params params;
	struct take takes[STEPS];
	size_t len;
	int64_t now_ms, dearest;
	int64_t beyond; /* what real costs were above their reservations, in all */
};

static int64_t below(int64_t n)
{
	return (int64_t)(((uint64_t)model_random() << 16 ^ model_random()) % (uint64_t)n);
}

static void begin(struct episode *e)
{
	static const int64_t spans[] = { 1000, 2500, 10000, 60000 };

	memset(e, 0, sizeof(*e));
	e->now_ms = 1 + below(1000000);
	e->params = (struct limit_params){
		.rate = 1 + below(model_chance(50) ? 100 : 100000),
		.span_ms = spans[below(4)],
		.ramp_ms = model_chance(30) ? below(20000) : 0,
		.firm = true,
	};
	if (model_chance(50))
		e->params.burst = 1 + below(e->params.rate);
	e->dearest = 1 + below(e->params.rate < 50 ? e->params.rate : e->params.rate / 10);
	assert_int_equal(limit_new(&e->params, e->now_ms, &e->limit), 0);
}

/* ---- what must hold ---- */

/* No span sees more than the rate, but for real costs above what was reserved. */
static void check_span(const struct episode *e)
{
	int64_t sum = 0;

	for (size_t i = e->len; i-- > 0 && e->takes[i].at_ms > e->now_ms - e->params.span_ms;)
		sum += e->takes[i].cost;
	agree(sum <= e->params.rate + e->beyond, "a span of %lld ms has %lld of %lld",
	      (long long)e->params.span_ms, (long long)sum, (long long)e->params.rate);
}

/* Any time has no more than what is earned in it, the burst, what a late comer keeps, one dear call, and what
 * came back in it. */
static void check_burst(const struct episode *e, size_t from)
{
	const int64_t burst = e->params.burst ? e->params.burst : e->params.rate / 20;
	int64_t sum = 0, back = 0, earned;

	for (size_t i = from; i < e->len; i++)
		sum += e->takes[i].reserved;
	for (size_t i = 0; i < e->len; i++)
		if (e->takes[i].given_ms >= e->takes[from].at_ms - BUCKET_LATE_MS)
			back += e->takes[i].reserved - e->takes[i].cost;
	earned = e->params.rate * (e->now_ms - e->takes[from].at_ms + BUCKET_LATE_MS) / e->params.span_ms + 1;
	agree(sum <= earned + burst + 1 + e->dearest + back,
	      "%lld in %lld ms: earned %lld, burst %lld, back %lld", (long long)sum,
	      (long long)(e->now_ms - e->takes[from].at_ms), (long long)earned, (long long)burst,
	      (long long)back);
}

/* Nothing is created or lost: what counts as used is what was taken in the span, or a little before. */
static void check_used(const struct episode *e)
{
	struct limit_view view;
	int64_t least = 0, most = 0;

	limit_look(e->limit, e->now_ms, &view);
	for (size_t i = e->len; i-- > 0 && e->takes[i].at_ms > e->now_ms - 2 * e->params.span_ms;) {
		most += e->takes[i].cost;
		if (e->takes[i].at_ms > e->now_ms - e->params.span_ms)
			least += e->takes[i].cost;
	}
	agree(view.used >= least && view.used <= most, "used is %lld, not %lld to %lld", (long long)view.used,
	      (long long)least, (long long)most);
}

/* ---- what is done ---- */

static void try_take(struct episode *e)
{
	int64_t cost = 1 + below(e->dearest);
	int64_t wait_ms = limit_wait_ms(e->limit, e->now_ms, cost);

	agree(wait_ms >= 0, "%lld of %lld can never go", (long long)cost, (long long)e->params.rate);
	if (wait_ms > 0 && model_chance(70)) {
		e->now_ms += wait_ms;
		/* A ramp, and what is assumed of the time before, are waited for step by step. */
		for (int more = 0; (wait_ms = limit_wait_ms(e->limit, e->now_ms, cost)) > 0; more++) {
			agree(more < 64, "after %d waits there are %lld ms more", more, (long long)wait_ms);
			e->now_ms += wait_ms;
		}
	}
	if (wait_ms > 0)
		return;
	limit_take(e->limit, e->now_ms, cost);
	e->takes[e->len++] = (struct take){ .at_ms = e->now_ms, .reserved = cost, .cost = cost };
	check_span(e);
	for (int i = 0; i < PAIRS; i++)
		check_burst(e, (size_t)below((int64_t)e->len));
}

static void settle(struct episode *e)
{
	struct take *take;
	int64_t real;

	if (e->len == 0)
		return;
	take = &e->takes[e->len - 1 - (size_t)below(e->len < 20 ? (int64_t)e->len : 20)];
	if (take->settled)
		return;
	real = model_chance(90) ? below(take->reserved + 1) : take->reserved + below(e->dearest);
	limit_settle(e->limit, e->now_ms, take->at_ms, take->reserved, real);
	if (real > take->reserved)
		e->beyond += real - take->reserved;
	take->cost = real;
	take->settled = true;
	take->given_ms = e->now_ms;
}

static void run_episode(struct episode *e)
{
	for (int step = 0; step < STEPS; step++) {
		switch (below(4)) {
		case 0:
			e->now_ms += below(e->params.span_ms / 50 + 2);
			break;
		case 1:
			settle(e);
			break;
		default:
			try_take(e);
		}
		if (step % 50 == 0)
			check_used(e);
	}
	limit_free(&e->limit);
}

static void test_no_span_and_no_burst_is_above_the_limit(void **state)
{
	struct episode *e = malloc(sizeof(*e));

	(void)state;
	assert_non_null(e);
	for (int i = 0; i < EPISODES; i++) {
		begin(e);
		run_episode(e);
	}
	free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_span_and_no_burst_is_above_the_limit),
	};

	return cmocka_run_group_tests(tests, model_start, NULL);
}
