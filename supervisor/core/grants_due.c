/* What is known of one shared limit, and when to ask for it next. */

#include "core/grants_private.h"

#include "core/lane.h"
#include "core/store.h"
#include "policy/limit.h"

static struct known know_paced(const struct shared_lane *sl, size_t scope, enum gate_unit unit,
			       int64_t now_ms)
{
	struct limit *limit = gate_limit(sl->lane->gate, scope, unit);
	struct limit_view view;

	if (!limit || !limit_is_granted(limit))
		return (struct known){ .rate = 0 };
	limit_look(limit, now_ms, &view);
	return (struct known){
		.rate = view.rate, .span_ms = view.span_ms, .rest = view.left, .limit = limit
	};
}

struct known grants_know(const struct shared_lane *sl, size_t scope, unsigned kind, int64_t now_ms)
{
	const struct item *item = &sl->items[scope * KINDS + kind];
	struct gate_scope_view view;
	struct known known = { .rate = 0 };

	if (kind < GATE_PACED)
		return know_paced(sl, scope, kind, now_ms);
	gate_view(sl->lane->gate, scope, now_ms, &view);
	if (kind == SLOTS) {
		known.rate = view.configured_concurrency;
		if (known.rate && view.learned_concurrency && view.learned_concurrency < known.rate)
			known.rate = view.learned_concurrency;
		known.keep = view.in_flight;
		known.rest = item->has > known.keep ? item->has : known.keep;
	} else if (kind < GATE_UNITS && view.unit[kind].set) {
		known.rate = view.unit[kind].configured;
		known.rest = item->has - view.unit[kind].used;
	}
	return known;
}

int64_t grants_life_ms(const struct grants *g, const struct known *known)
{
	return grants_between(LIFE_MIN_MS, known->span_ms / 150, LIFE_MAX_MS) * g->stretch;
}

int64_t grants_window_ms(const struct grants *g, unsigned kind, const struct known *known)
{
	if (kind == SLOTS)
		return STORE_AT_ONCE;
	if (kind >= GATE_PACED)
		return STORE_A_DAY;
	return known->span_ms + grants_life_ms(g, known) +
	       grants_between(DELAY_MIN_MS, known->span_ms / 133, DELAY_MAX_MS);
}

/* Who lacks some asks when it may hope for it, who has some before that ends, and in time to keep it. 0 =
 * never. */
static int64_t due_paced(const struct grants *g, const struct item *item, const struct known *known)
{
	int64_t life = grants_life_ms(g, known), pause = known->rest < item->needs ? AGAIN_MS : life * 6 / 10,
		due = 0;

	if (item->wants > known->rest)
		due = item->asked_ms + pause > item->again_ms ? item->asked_ms + pause : item->again_ms;
	if (known->rest > 0)
		due = grants_earliest(due, item->until_ms - life * 4 / 10);
	if (known->rest < 0)
		due = grants_earliest(due, item->asked_ms + life);
	return due;
}

static int64_t due_slots(const struct item *item, const struct known *known)
{
	int64_t wants = known->keep + item->wants, due = 0;

	if ((wants < known->rate ? wants : known->rate) > known->rest)
		due = item->asked_ms + (known->rest > known->keep ? SLOTS_MS : AGAIN_MS);
	if (due && due < item->again_ms)
		due = item->again_ms;
	/* Others wait for what is to be given back as calls end. */
	if (item->has < item->had)
		due = grants_earliest(due, item->asked_ms + SLOTS_MS);
	return known->rest > 0 || item->had > 0 ? grants_earliest(due, item->asked_ms + SLOTS_LOOK_MS) : due;
}

static int64_t due_day(const struct item *item, const struct known *known)
{
	if (item->wants > known->rest && item->needs > known->rest)
		return item->asked_ms + AGAIN_MS > item->again_ms ? item->asked_ms + AGAIN_MS
								  : item->again_ms;
	if (known->rest < 0)
		return item->asked_ms + SILENT_MS;
	return known->rest > 0 && item->wants == 0 ? item->asked_ms + DAY_KEEP_MS : 0;
}

int64_t grants_due(const struct grants *g, const struct item *item, unsigned kind, const struct known *known)
{
	int64_t at;

	if (!known->rate || item->asking)
		return 0;
	if (kind < GATE_PACED)
		at = due_paced(g, item, known);
	else
		at = kind == SLOTS ? due_slots(item, known) : due_day(item, known);
	return at != 0 && at < 1 ? 1 : at;
}

bool grants_is_live(const struct item *item, int64_t now_ms)
{
	return item->wants > 0 || item->has > 0 || item->had > 0 || item->until_ms > now_ms;
}
