/* Limits in virtual time, against providers that count as providers do. */

#include "row.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_provider.h"
#include "model.h"
#include "policy/limit.h"

#define MINUTE LIMIT_MINUTE_MS
#define HOUR   (60 * MINUTE)

static struct limit *make(int64_t rate, int64_t span_ms, int64_t burst, int64_t ramp_ms, int64_t now_ms)
{
	const struct limit_params params = {
		.rate = rate, .span_ms = span_ms, .burst = burst, .ramp_ms = ramp_ms, .firm = true
	};
	struct limit *l;

	assert_int_equal(limit_new(&params, now_ms, &l), 0);
	return l;
}

static uint32_t below(uint32_t n)
{
	return model_random() % n;
}

/* ---- tables ---- */

static void test_out_of_range_is_refused(void **state)
{
	static const struct limit_params wrong[] = {
		{ .rate = -1, .span_ms = MINUTE },
		{ .rate = LIMIT_RATE_MAX + 1, .span_ms = MINUTE },
		{ .rate = 1, .span_ms = 999 },
		{ .rate = 1, .span_ms = MINUTE + 1 },
		{ .rate = 1, .span_ms = MINUTE, .burst = -1 },
		{ .rate = 1, .span_ms = MINUTE, .ramp_ms = -1 },
	};
	struct limit *l = make(7, MINUTE, 0, 0, 0);
	struct limit_view view;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct limit *none;

		assert_int_equal(limit_new(&wrong[i], 0, &none), -ERANGE);
		assert_int_equal(limit_configure(l, &wrong[i], 0), -ERANGE);
	}
	limit_look(l, 0, &view);
	assert_int_equal(view.rate, 7);
	limit_free(&l);
}

static void test_a_clock_that_stands_before_its_birth_is_no_trouble_without_a_ramp(void **state)
{
	struct limit *l = make(60, MINUTE, 0, 0, HOUR);
	struct limit_view view;

	(void)state;
	limit_look(l, 0, &view);
	assert_int_equal(view.rate, 60);
	limit_free(&l);
}

static void test_what_is_told_and_configured_and_learned(void **state)
{
	static const struct {
		int64_t rate;
		bool firm;
		int64_t told, learned, effective;
	} rows[] = {
		{ 0, false, 0, 0, 0 },	     { 500, false, 0, 0, 500 },	 { 500, false, 9000, 0, 9000 },
		{ 500, true, 9000, 0, 500 }, { 500, true, 100, 0, 100 }, { 500, false, 0, 80, 80 },
		{ 0, true, 0, 80, 80 },	     { 0, true, 600, 0, 600 },	 { 500, false, 9000, 700, 700 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct limit_params params = { .rate = rows[i].rate,
					       .span_ms = MINUTE,
					       .firm = rows[i].firm };
		struct limit_view view;
		struct limit *l;

		assert_int_equal(limit_new(&params, 0, &l), 0);
		if (rows[i].told)
			limit_told(l, 0, rows[i].told);
		limit_look(l, 0, &view);
		limit_go_on(l, view.told, rows[i].learned);
		limit_look(l, 0, &view);
		assert_int_equal(view.rate, rows[i].effective);
		limit_free(&l);
	}
}

static void test_a_call_above_the_whole_limit_can_never_go(void **state)
{
	struct limit *l = make(100, MINUTE, 0, 0, 0);

	(void)state;
	assert_int_equal(limit_wait_ms(l, HOUR, 101), -1);
	assert_int_equal(limit_wait_ms(l, HOUR, 100), 0);
	limit_take(l, HOUR, 100);
	assert_true(limit_wait_ms(l, HOUR, 1) > MINUTE);
	limit_free(&l);
}

static void test_what_was_reserved_too_much_comes_back(void **state)
{
	struct limit *l = make(1000, MINUTE, 1000, 0, 0);
	struct limit_view view;

	(void)state;
	limit_take(l, HOUR, 900);
	assert_true(limit_wait_ms(l, HOUR, 200) > 0);
	limit_settle(l, HOUR + 500, HOUR, 900, 100);
	limit_look(l, HOUR + 500, &view);
	assert_int_equal(view.used, 100);
	assert_int_equal(limit_wait_ms(l, HOUR + 500, 900), 0);
	/* More than was reserved is a debt. */
	limit_take(l, HOUR + 500, 900);
	limit_settle(l, HOUR + 600, HOUR + 500, 900, 950);
	limit_look(l, HOUR + 600, &view);
	assert_int_equal(view.used, 1050);
	assert_true(view.left < 0);
	limit_free(&l);
}

static void test_what_the_provider_has_left_only_lowers(void **state)
{
	struct limit *l = make(600, MINUTE, 600, 0, 0);
	struct limit_view view;

	(void)state;
	limit_told_remaining(l, HOUR, 10000, 0);
	limit_look(l, HOUR, &view);
	assert_int_equal(view.left, 600);
	limit_told_remaining(l, HOUR, 50, 20);
	limit_look(l, HOUR, &view);
	assert_int_equal(view.left, 30);
	assert_int_equal(view.used, 0);
	limit_told_remaining(l, HOUR, 500, 0);
	limit_look(l, HOUR, &view);
	assert_int_equal(view.left, 30);
	limit_free(&l);
}

static void test_grants_are_all_there_is(void **state)
{
	struct limit *l = make(600, MINUTE, 0, 0, 0);

	(void)state;
	limit_set_granted(l, true);
	assert_int_equal(limit_wait_ms(l, HOUR, 1), -1);
	limit_grant(l, HOUR, 5, HOUR + 250);
	assert_int_equal(limit_wait_ms(l, HOUR, 5), 0);
	assert_int_equal(limit_wait_ms(l, HOUR, 6), -1);
	limit_take(l, HOUR, 4);
	assert_int_equal(limit_wait_ms(l, HOUR, 2), -1);
	assert_int_equal(limit_wait_ms(l, HOUR + 250, 1), -1);
	limit_settle(l, HOUR + 260, HOUR, 4, 7);
	assert_int_equal(limit_take_back(l, HOUR + 300), -2);
	assert_int_equal(limit_take_back(l, HOUR + 300), 0);
	limit_free(&l);
}

/* ---- a lane that always has work ---- */

struct call {
	int64_t taken_ms, arrives_ms, ends_ms, reserved, cost, word_ms;
	bool asked, refused;
};

enum { CALLS_MAX = 4096 };

struct lane {
	struct limit *limit;
	struct provider provider;
	struct call calls[CALLS_MAX]; /* under way, in no order */
	size_t len;
	int64_t due_ms; /* when the next of them arrives or ends */
	int64_t jitter_ms, latency_ms, mean_cost;
	bool tokens, tells; /* costs vary; the provider says when to come back */
	bool heavy;	    /* a tenth of the calls take up to ten times as long */
	int64_t paused_ms, backoff_ms;
	int64_t asked, refused, first_refusal_ms, spent_since, since_ms, asked_after;
};

/* Twice latency_ms at most, on average that; or heavy-tailed, on average 0.95 of it. */
static int64_t some_latency(const struct lane *lane)
{
	uint32_t most_ms = (uint32_t)lane->latency_ms * 2 + 1;

	if (!lane->heavy)
		return (int64_t)below(most_ms);
	return (int64_t)(below(100) < 90 ? below(most_ms / 2) : below(most_ms * 5));
}

static void begin_calls(struct lane *lane, int64_t now_ms)
{
	while (lane->len < CALLS_MAX && now_ms >= lane->paused_ms) {
		int64_t cost = 1, reserved = 1;
		struct call *call;

		if (lane->tokens) {
			/* Heavy-tailed: 0.975 and 0.826 of mean_cost are mean and deviation. Reserved by what
			 * many together rarely pass. */
			cost = lane->mean_cost / 2 +
			       (int64_t)(below(100) < 10 ? below(5 * (uint32_t)lane->mean_cost)
							 : below((uint32_t)lane->mean_cost / 2));
			reserved = (int64_t)((double)lane->mean_cost *
					     (0.975 + 1.5 * 0.826 / sqrt((double)lane->len + 1)));
		}
		if (!limit_has_room(lane->limit, now_ms, reserved))
			return;
		limit_take(lane->limit, now_ms, reserved);
		call = &lane->calls[lane->len++];
		*call = (struct call){ .taken_ms = now_ms,
				       .arrives_ms = now_ms + (int64_t)below((uint32_t)lane->jitter_ms + 1),
				       .reserved = reserved,
				       .cost = cost };
		call->ends_ms = call->arrives_ms + some_latency(lane);
		lane->due_ms = call->arrives_ms < lane->due_ms ? call->arrives_ms : lane->due_ms;
	}
}

static void end_call(struct lane *lane, struct call *call, int64_t now_ms)
{
	if (!call->refused) {
		if (call->cost != call->reserved)
			limit_settle(lane->limit, now_ms, call->taken_ms, call->reserved, call->cost);
		limit_answered(lane->limit, now_ms);
		lane->backoff_ms = 0;
		return;
	}
	limit_refused(lane->limit, now_ms, call->taken_ms, !lane->tokens, lane->tells ? call->word_ms : -1);
	if (lane->tokens)
		limit_settle(lane->limit, now_ms, call->taken_ms, call->reserved, 0);
	if (lane->tells) {
		lane->paused_ms = now_ms + call->word_ms;
	} else if (now_ms >= lane->paused_ms) {
		lane->backoff_ms = lane->backoff_ms ? lane->backoff_ms * 2 : 1000;
		if (lane->backoff_ms > 60000)
			lane->backoff_ms = 60000;
		lane->paused_ms = now_ms + lane->backoff_ms;
	}
}

static void arrive(struct lane *lane, struct call *call, int64_t now_ms)
{
	call->asked = true;
	call->word_ms = provider_ask(&lane->provider, now_ms, call->cost);
	call->refused = call->word_ms > 0;
	lane->asked++;
	lane->refused += call->refused;
	if (call->refused && !lane->first_refusal_ms)
		lane->first_refusal_ms = now_ms;
	if (lane->first_refusal_ms)
		lane->asked_after++;
	if (call->refused)
		call->ends_ms = now_ms + 20;
	else if (now_ms >= lane->since_ms)
		lane->spent_since += call->cost;
}

static void pass(struct lane *lane, int64_t now_ms)
{
	lane->due_ms = INT64_MAX;
	for (size_t i = 0; i < lane->len;) {
		struct call *call = &lane->calls[i];
		int64_t due_ms;

		if (!call->asked && call->arrives_ms <= now_ms)
			arrive(lane, call, now_ms);
		due_ms = call->asked ? call->ends_ms : call->arrives_ms;
		if (call->asked && due_ms <= now_ms) {
			end_call(lane, call, now_ms);
			*call = lane->calls[--lane->len];
			continue;
		}
		lane->due_ms = due_ms < lane->due_ms ? due_ms : lane->due_ms;
		i++;
	}
}

static void step(struct lane *lane, int64_t now_ms)
{
	if (now_ms >= lane->due_ms)
		pass(lane, now_ms);
	begin_calls(lane, now_ms);
}

/* Runs from from_ms to to_ms in steps of a loop that is not always on time. */
static void run(struct lane *lane, int64_t from_ms, int64_t to_ms)
{
	for (int64_t now_ms = from_ms; now_ms < to_ms; now_ms += 1 + (int64_t)below(8))
		step(lane, now_ms);
}

static double use_percent(const struct lane *lane, int64_t to_ms)
{
	return 100.0 * (double)lane->spent_since * (double)lane->provider.span_ms /
	       ((double)lane->provider.limit * (double)(to_ms - lane->since_ms));
}

static void lane_clear(struct lane *lane)
{
	limit_free(&lane->limit);
	free(lane->provider.seen);
	memset(lane, 0, sizeof(*lane));
}

static struct lane lane; /* too large for the stack */

/* ---- a. the right configuration ---- */

static void test_a_right_limit_is_used_and_never_broken(void **state)
{
	static const struct {
		enum kind kind;
		int64_t limit, span_ms, jitter_ms, latency_ms, mean_cost;
		bool heavy;
		double least;
	} rows[] = {
		{ SLIDING, 600, MINUTE, 700, 800, 0, false, 98.0 },
		{ SLIDING, 600, MINUTE, 700, 5000, 0, true, 98.0 },
		{ BUCKET, 600, MINUTE, 700, 800, 0, false, 98.0 },
		{ BUCKET, 600, MINUTE, 700, 5000, 0, true, 98.0 },
		{ SLIDING, 60, MINUTE, 700, 5000, 0, false, 98.0 },
		{ SLIDING, 5000, MINUTE, 700, 3000, 0, true, 98.0 },
		{ FIXED, 10, 1000, 40, 800, 0, true, 90.0 },
		{ FIXED, 1, 1000, 40, 800, 0, false, 90.0 },
		{ FIXED, 100, 1000, 40, 300, 0, false, 90.0 },
		{ SLIDING, 400000, MINUTE, 600, 500, 100, false, 98.0 },
		{ SLIDING, 400000, MINUTE, 600, 500, 100, true, 98.0 },
		{ BUCKET, 2000000, MINUTE, 600, 1200, 300, true, 98.0 },
		/* Few large calls. Each of n under way holds 1.5 deviations / sqrt(n) beyond its cost, so
		 * that all hold 1.5 * 248 * sqrt(n): with 25 and 5 under way 0.9 % and 2.1 % of the limit.
		 * The guard holds 1.4 %; the rest is what is left before the next whole call fits.
		 * Measured: 96.9 % and 94.6 %; with half of that margin 97.4 % and 95.7 %, with none 97.8 %
		 * and 97.1 %. */
		{ BUCKET, 200000, MINUTE, 600, 2000, 300, true, 96.5 },
		{ BUCKET, 40000, MINUTE, 600, 2000, 300, true, 94.0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t refused;
		double use;

		lane.limit = make(rows[i].limit, rows[i].span_ms, 0, 10000, 5000);
		provider_init(&lane.provider, rows[i].kind, rows[i].limit, rows[i].span_ms);
		lane.jitter_ms = rows[i].jitter_ms;
		lane.latency_ms = rows[i].latency_ms;
		lane.mean_cost = rows[i].mean_cost;
		lane.tokens = rows[i].mean_cost > 0;
		lane.heavy = rows[i].heavy;
		lane.since_ms = 5000 + 2 * MINUTE;
		run(&lane, 5000, 5000 + 12 * MINUTE);
		use = use_percent(&lane, 5000 + 12 * MINUTE);
		print_message("row %zu: %lld calls, %lld refused, use %.2f %%\n", i, (long long)lane.asked,
			      (long long)lane.refused, use);
		refused = lane.refused;
		lane_clear(&lane);
		agree(refused == 0, "row %zu", i);
		agree(use >= rows[i].least, "row %zu", i);
	}
}

/* ---- b. a configuration ten times too high ---- */

enum { LIVES = 3 }; /* what chance does to one is not told from what the policy does */

/* One life of twelve minutes; adds up what is measured from the second minute on. */
static void live(enum kind kind, int64_t limit, int64_t span_ms, bool tells, double *use, double *refused)
{
	int64_t end_ms = 5000 + 12 * MINUTE;

	lane.limit = make(limit * MINUTE / span_ms * 10, MINUTE, 0, 0, 5000);
	provider_init(&lane.provider, kind, limit, span_ms);
	lane.jitter_ms = 30;
	lane.latency_ms = 400;
	lane.tells = tells;
	lane.since_ms = 5000 + 2 * MINUTE;
	run(&lane, 5000, end_ms);
	*use += use_percent(&lane, end_ms) / LIVES;
	*refused += 100.0 * (double)lane.refused / (double)lane.asked_after / LIVES;
	lane_clear(&lane);
}

static void test_a_limit_ten_times_too_high_finds_the_true_one(void **state)
{
	static const struct {
		enum kind kind;
		int64_t limit, span_ms;
		bool tells;
	} rows[] = {
		{ SLIDING, 600, MINUTE, true },	 { SLIDING, 600, MINUTE, false },
		{ BUCKET, 600, MINUTE, true },	 { BUCKET, 600, MINUTE, false },
		{ FIXED, 10, 1000, true },	 { FIXED, 10, 1000, false },
		{ SLIDING, 3000, MINUTE, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double use = 0, refused = 0;

		for (int life = 0; life < LIVES; life++)
			live(rows[i].kind, rows[i].limit, rows[i].span_ms, rows[i].tells, &use, &refused);
		print_message("row %zu: %.2f %% refused, use %.2f %%\n", i, refused, use);
		agree(refused <= 2.0, "row %zu: %.2f %% refused", i, refused);
		agree(use >= 90.0, "row %zu: use %.2f %%", i, use);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out_of_range_is_refused),
		cmocka_unit_test(test_a_clock_that_stands_before_its_birth_is_no_trouble_without_a_ramp),
		cmocka_unit_test(test_what_is_told_and_configured_and_learned),
		cmocka_unit_test(test_a_call_above_the_whole_limit_can_never_go),
		cmocka_unit_test(test_what_was_reserved_too_much_comes_back),
		cmocka_unit_test(test_what_the_provider_has_left_only_lowers),
		cmocka_unit_test(test_grants_are_all_there_is),
		cmocka_unit_test(test_a_right_limit_is_used_and_never_broken),
		cmocka_unit_test(test_a_limit_ten_times_too_high_finds_the_true_one),
	};

	return cmocka_run_group_tests(tests, model_start, NULL);
}
