/* A limit over a long time: a day against a provider, and a million random operations against a plain list.
 */

#include "row.h"

#include <stdlib.h>

#include "fake_provider.h"
#include "model.h"
#include "policy/limit.h"

#define MINUTE LIMIT_MINUTE_MS
#define DAY    (24 * 60 * MINUTE)

/* Two clocks: the provider's, which is true, and the one that the policy is told, which a step back leaves
 * behind. A jump forward is a machine that stood still: it moves both. */

enum {
	CALLS_MAX = 64,
	RATE_LEAST = 120,
	RATE_MOST = 600,
	JITTER_MS = 600,
	LATENCY_MS = 1500,
	EVENT_MS = 10 * 60000, /* between disturbances, on average */
	CALM_MS = 3 * 60000,   /* after one, until the use counts again */
};

struct call {
	int64_t taken_ms; /* by the policy's clock */
	int64_t sent_ms, arrives_ms, ends_ms;
	bool under_way, asked, refused;
};

struct day {
	struct limit *limit;
	struct provider provider;
	struct call calls[CALLS_MAX];
	int64_t now_ms;	   /* true */
	int64_t behind_ms; /* so much is the policy's clock */
	int64_t lowered_ms;
	int64_t restarted_ms;
	int64_t forgotten_ms; /* until then a restart has forgotten what the provider still counts */
	int64_t calm_ms;
	double could, did; /* units, in calm minutes */
	long refused, unavoidable, events[6];
};

static int64_t policy_clock(const struct day *d)
{
	return d->now_ms - d->behind_ms;
}

static struct limit_params day_params(int64_t rate)
{
	return (struct limit_params){ .rate = rate, .span_ms = MINUTE };
}

/* Unavoidable is a refusal of a call that was sent before the provider lowered its limit and came after, and
 * one within the minute after a lowered limit and a restart together: who begins anew takes for granted that
 * the limit of now was kept before. */
static void arrive(struct day *d, struct call *call)
{
	call->asked = true;
	call->refused = provider_ask(&d->provider, call->arrives_ms, 1) > 0;
	if (!call->refused) {
		d->did += d->now_ms >= d->calm_ms;
		return;
	}
	d->refused++;
	if ((call->sent_ms <= d->lowered_ms && call->arrives_ms >= d->lowered_ms) ||
	    call->arrives_ms < d->forgotten_ms)
		d->unavoidable++;
}

static void end_call(struct day *d, struct call *call)
{
	int64_t now_ms = policy_clock(d);

	call->under_way = false;
	if (call->refused)
		limit_refused(d->limit, now_ms, call->taken_ms, 1, -1);
	else
		limit_answered(d->limit, now_ms);
}

/* Those that arrived, in the order in which they did. */
static void arrivals(struct day *d)
{
	for (;;) {
		struct call *first = NULL;

		for (size_t i = 0; i < CALLS_MAX; i++) {
			struct call *call = &d->calls[i];

			if (call->under_way && !call->asked && call->arrives_ms <= d->now_ms &&
			    (!first || call->arrives_ms < first->arrives_ms))
				first = call;
		}
		if (!first)
			return;
		arrive(d, first);
	}
}

static void begin_calls(struct day *d)
{
	int64_t now_ms = policy_clock(d);

	for (size_t i = 0; i < CALLS_MAX; i++) {
		struct call *call = &d->calls[i];

		if (call->under_way)
			continue;
		if (limit_wait_ms(d->limit, now_ms, 1) != 0)
			return;
		limit_take(d->limit, now_ms, 1);
		*call = (struct call){ .taken_ms = now_ms,
				       .sent_ms = d->now_ms,
				       .arrives_ms = d->now_ms + model_below(JITTER_MS + 1),
				       .under_way = true };
		call->ends_ms = call->arrives_ms + model_below(2 * LATENCY_MS);
	}
}

/* A restart and a lowered limit within a minute of each other. */
static void note_forgotten(struct day *d)
{
	if (d->restarted_ms && d->lowered_ms && llabs(d->restarted_ms - d->lowered_ms) <= MINUTE + JITTER_MS)
		d->forgotten_ms = d->now_ms + MINUTE + JITTER_MS;
}

static void set_provider(struct day *d, int64_t rate)
{
	if (rate < d->provider.limit) {
		d->lowered_ms = d->now_ms;
		note_forgotten(d);
	}
	d->provider.limit = rate;
}

/* The process is gone, what it sent is not. */
static void restart(struct day *d)
{
	struct limit_params params = day_params(d->provider.limit);

	limit_free(&d->limit);
	d->behind_ms = 0;
	assert_int_equal(limit_new(&params, d->now_ms, &d->limit), 0);
	d->restarted_ms = d->now_ms;
	note_forgotten(d);
	/* Calls of the dead process come to the provider, but no answer comes to us: they end as sent now. */
	for (size_t i = 0; i < CALLS_MAX; i++)
		if (d->calls[i].under_way)
			d->calls[i].taken_ms = d->now_ms;
}

static void disturb(struct day *d)
{
	int64_t rate = RATE_LEAST + model_below(RATE_MOST - RATE_LEAST + 1);
	struct limit_params params = day_params(rate);
	int kind = model_below(5);

	d->events[kind]++;
	switch (kind) {
	case 0: /* a reload, and the provider's headers say the same */
		set_provider(d, rate);
		assert_int_equal(limit_configure(d->limit, &params, policy_clock(d)), 0);
		limit_told(d->limit, policy_clock(d), rate);
		break;
	case 1:
		set_provider(d, rate);
		limit_told(d->limit, policy_clock(d), rate);
		break;
	case 2:
		d->behind_ms += 1 + model_below(5000);
		break;
	case 3:
		d->now_ms += 1 + model_below(3 * 60000);
		break;
	default:
		restart(d);
		break;
	}
	d->calm_ms = d->now_ms + CALM_MS;
}

static void pass(struct day *d, int64_t ms)
{
	d->now_ms += ms;
	if (d->now_ms - ms >= d->calm_ms)
		d->could += (double)ms * (double)d->provider.limit / (double)MINUTE;
	arrivals(d);
	for (size_t i = 0; i < CALLS_MAX; i++)
		if (d->calls[i].asked && d->calls[i].under_way && d->calls[i].ends_ms <= d->now_ms)
			end_call(d, &d->calls[i]);
	begin_calls(d);
}

static void test_a_day_with_changes_jumps_and_restarts_breaks_no_limit(void **state)
{
	static struct day d;
	struct limit_params params = day_params(RATE_MOST);
	int64_t next_ms = 30 * MINUTE;
	double use;

	(void)state;
	d = (struct day){ .calm_ms = CALM_MS };
	provider_init(&d.provider, SLIDING, RATE_MOST, MINUTE);
	assert_int_equal(limit_new(&params, 0, &d.limit), 0);
	while (d.now_ms < DAY) {
		pass(&d, 1 + model_below(50));
		if (d.now_ms < next_ms)
			continue;
		disturb(&d);
		next_ms = d.now_ms + model_below(2 * EVENT_MS);
	}
	use = 100.0 * d.did / d.could;
	print_message("%ld reloads, %ld told, %ld steps back, %ld standstills, %ld restarts: %ld refused, "
		      "%ld of them unavoidable; use %.2f %% of %.0f\n",
		      d.events[0], d.events[1], d.events[2], d.events[3], d.events[4], d.refused,
		      d.unavoidable, use, d.could);
	limit_free(&d.limit);
	free(d.provider.seen);
	for (int kind = 0; kind < 5; kind++)
		agree(d.events[kind] > 0, "no disturbance %d", kind);
	/* The provider refuses just what would bring one of its windows above its limit. */
	agree(d.refused == d.unavoidable, "%ld refused, %ld unavoidable", d.refused, d.unavoidable);
	agree(use >= 97.0, "use %.2f %%", use);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_day_with_changes_jumps_and_restarts_breaks_no_limit,
				       model_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
