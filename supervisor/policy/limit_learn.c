/* What refusals teach of the rate, and how it recovers while calls are answered. */

#include "policy/limit_private.h"

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

/* Of what got through, the part that says something of the limit: since calls have gone as fast as they
 * could. */
static int64_t tried(const struct limit *l, int64_t now_ms)
{
	return least(limit_got_through(l, now_ms), most(0, l->tried));
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

void limit_refused(struct limit *l, int64_t now_ms, int64_t taken_ms, int64_t counted, int64_t retry_after_ms)
{
	int64_t rate = limit_rate(l), learned;

	now_ms = limit_tick(l, now_ms);
	if (taken_ms >= l->begun_ms)
		(void)window_add(l->idle, now_ms, taken_ms, counted);
	l->tried -= counted;
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
	limit_set_pace(l, now_ms);
}

/* Nothing is learned from going well at less than could have gone. */
static bool is_in_use(const struct limit *l, int64_t now_ms)
{
	int64_t tried_ms = least(now_ms - l->trying_since_ms, l->params.span_ms);

	return l->guessed ? tried_ms > 0 : limit_got_through(l, now_ms) >= l->learned / 5 * 4;
}

void limit_answered(struct limit *l, int64_t now_ms)
{
	int64_t needed_ms = l->guessed ? SEARCH_MS : RECOVER_MS;

	now_ms = limit_tick(l, now_ms);
	if (!l->learned || ++l->answers < (l->guessed ? SEARCH_CALLS : RECOVER_CALLS) ||
	    now_ms - l->changed_ms < needed_ms || !is_in_use(l, now_ms))
		return;
	l->learned += most(1, l->learned / 50);
	l->changed_ms = now_ms;
	l->answers = 0;
	if (limit_base_rate(l) && l->learned >= limit_base_rate(l))
		l->learned = 0;
	limit_set_pace(l, now_ms);
}

void limit_forget(struct limit *l)
{
	l->learned = 0;
	l->row = 0;
	l->tried = 0;
	l->trying_since_ms = l->latest_ms;
	limit_set_pace(l, l->latest_ms);
}
