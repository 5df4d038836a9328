/* A limit over a long time: a day against a provider. */

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
	int64_t due_ms;	   /* when the next call arrives or ends */
	int64_t lowered_ms;
	int64_t restarted_ms;
	size_t before; /* so many of those that the provider has seen came before the restart */
	int64_t stragglers[CALLS_MAX]; /* when calls came that had been sent before it */
	size_t straggler_count;
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

/* What the provider counts at at_ms of calls that were sent before the restart. */
static int64_t counted_before(const struct day *d, int64_t at_ms)
{
	int64_t count = 0;

	for (size_t i = d->provider.first; i < d->before; i++)
		count += d->provider.seen[i].at_ms > at_ms - MINUTE;
	for (size_t i = 0; i < d->straggler_count; i++)
		count += d->stragglers[i] > at_ms - MINUTE;
	return count;
}

/* Two refusals could not be avoided. The one is of a call that was sent before the provider lowered its limit
 * and came after. The other: who begins anew cannot know what was sent before, and takes for granted that the
 * limit of now was used evenly; the call is refused for no more than what was sent beyond that, while the
 * limit was higher. */
static bool is_unavoidable(const struct day *d, const struct call *call)
{
	int64_t left_ms = d->restarted_ms + MINUTE - call->arrives_ms, beyond;

	if (call->sent_ms <= d->lowered_ms && call->arrives_ms >= d->lowered_ms)
		return true;
	if (!d->restarted_ms || left_ms + JITTER_MS < 0)
		return false;
	beyond = counted_before(d, call->arrives_ms) -
		 (left_ms > 0 ? d->provider.limit * left_ms / MINUTE : 0);
	return beyond > 0 && d->provider.sum + 1 - beyond <= d->provider.limit;
}

static void arrive(struct day *d, struct call *call)
{
	call->asked = true;
	call->refused = provider_ask(&d->provider, call->arrives_ms, 1) > 0;
	if (call->refused) {
		d->refused++;
		d->unavoidable += is_unavoidable(d, call);
		return;
	}
	d->did += d->now_ms >= d->calm_ms;
	if (call->sent_ms <= d->restarted_ms && d->straggler_count < CALLS_MAX)
		d->stragglers[d->straggler_count++] = call->arrives_ms;
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
		if (!limit_has_room(d->limit, now_ms, 1))
			return;
		*call = (struct call){ .taken_ms = limit_take(d->limit, now_ms, 1),
				       .sent_ms = d->now_ms,
				       .arrives_ms = d->now_ms + model_below(JITTER_MS + 1),
				       .under_way = true };
		call->ends_ms = call->arrives_ms + model_below(2 * LATENCY_MS);
		if (call->arrives_ms < d->due_ms)
			d->due_ms = call->arrives_ms;
	}
}

static void set_provider(struct day *d, int64_t rate)
{
	if (rate < d->provider.limit)
		d->lowered_ms = d->now_ms;
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
	d->before = d->provider.len;
	d->straggler_count = 0;
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

/* Those that are over; and when there is something to do again. */
static void ends(struct day *d)
{
	d->due_ms = INT64_MAX;
	for (size_t i = 0; i < CALLS_MAX; i++) {
		struct call *call = &d->calls[i];
		int64_t due_ms = call->asked ? call->ends_ms : call->arrives_ms;

		if (!call->under_way)
			continue;
		if (call->asked && due_ms <= d->now_ms)
			end_call(d, call);
		else if (due_ms < d->due_ms)
			d->due_ms = due_ms;
	}
}

static void pass(struct day *d, int64_t ms)
{
	d->now_ms += ms;
	if (d->now_ms - ms >= d->calm_ms)
		d->could += (double)ms * (double)d->provider.limit / (double)MINUTE;
	if (d->now_ms >= d->due_ms) {
		arrivals(d);
		ends(d);
	}
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
