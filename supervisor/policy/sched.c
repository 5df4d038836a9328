#include "policy/sched.h"

#include <limits.h>
#include <string.h>

#include "base/mem.h"

/* Virtual time of one job of the lowest weight. */
#define STEP_MAX ((uint32_t)SCHED_UNIT * SCHED_STEP * SCHED_STEP * SCHED_STEP)
_Static_assert(SCHED_STEPS_MAX == 3, "STEP_MAX is so many steps below");

/* Most that a run which got less than its share may catch up on: it must not starve the others for as long as
 * it was blocked itself. */
#define CREDIT STEP_MAX

/* The pairs of one run that may still be picked: a ring over a part of `order`. */
struct run {
	size_t *pairs;
	size_t room;
	size_t first;
	size_t len;
	uint64_t served; /* virtual time: the greatest of its pairs */
	bool is_new;	 /* never served before */
	uint32_t step;	 /* virtual time of one job */
};

/* A run in the heap; small, since heaps move things about. */
struct turn {
	uint64_t served;
	uint32_t rank; /* among those served alike: new ones first, then those of higher priority */
	uint32_t run;
};

/* One call's working memory. */
struct choice {
	struct sched_pair *pairs;
	size_t *order; /* pairs worth a look; those of a run together, by virtual time */
	struct run *runs;
	struct turn *turns; /* of the runs that may still be served; a heap, least served on top */
	size_t nruns, nturns;
	int *want; /* left of each lane */
	size_t nlanes;
	int total;    /* left in all */
	size_t *slot; /* pair → index into picks + 1; 0 = none yet */
	struct sched_pick *picks;
	size_t npicks;
};

static struct turn turn_of(const struct choice *c, size_t run)
{
	const struct run *r = &c->runs[run];

	return (struct turn){
		.served = r->served,
		.rank = r->is_new ? r->step : r->step + STEP_MAX,
		.run = (uint32_t)run,
	};
}

static bool is_before(const struct turn *a, const struct turn *b)
{
	if (a->served != b->served)
		return a->served < b->served;
	return a->rank != b->rank ? a->rank < b->rank : a->run < b->run;
}

/* Puts `turn` where it belongs, `at` or below. */
static void sift_down(struct choice *c, size_t at, struct turn turn)
{
	size_t child;

	for (; (child = 2 * at + 1) < c->nturns; at = child) {
		if (child + 1 < c->nturns && is_before(&c->turns[child + 1], &c->turns[child]))
			child++;
		if (!is_before(&c->turns[child], &turn))
			break;
		c->turns[at] = c->turns[child];
	}
	c->turns[at] = turn;
}

/* A run never served joins at the least of its peers; nobody lags by more than the credit. */
static void level_runs(struct choice *c)
{
	uint64_t least = UINT64_MAX, most = 0, floor;

	for (size_t i = 0; i < c->nruns; i++) {
		uint64_t served = c->runs[i].served;

		if (served && served < least)
			least = served;
		if (served > most)
			most = served;
	}
	floor = most > CREDIT ? most - CREDIT : 0;
	for (size_t i = 0; i < c->nruns; i++) {
		struct run *run = &c->runs[i];

		if (run->is_new && most)
			run->served = least;
		if (run->served < floor)
			run->served = floor;
	}
}

/* Virtual time of one job, so many priorities below the highest. */
static uint32_t step_below(int64_t below)
{
	uint32_t step = SCHED_UNIT;

	for (int i = 0; i < SCHED_STEPS_MAX && i < below; i++)
		step *= SCHED_STEP;
	return step;
}

/* By insertion: they are few, and mostly in order. */
static void sort_by_served(const struct sched_pair *pairs, size_t *order, size_t len)
{
	for (size_t i = 1; i < len; i++) {
		size_t pair = order[i], at = i;

		for (; at > 0 && pairs[order[at - 1]].served > pairs[pair].served; at--)
			order[at] = order[at - 1];
		order[at] = pair;
	}
}

static struct run make_run(const struct choice *c, int highest, size_t *order, size_t len)
{
	const struct sched_pair *last;

	sort_by_served(c->pairs, order, len);
	last = &c->pairs[order[len - 1]];
	return (struct run){
		.pairs = order,
		.room = len,
		.len = len,
		.served = last->served,
		.is_new = !last->served,
		.step = step_below((int64_t)highest - last->priority),
	};
}

static bool is_same_run(const struct sched_pair *a, const struct sched_pair *b)
{
	return a->run_id == b->run_id || strcmp(a->run_id, b->run_id) == 0;
}

static void collect_runs(struct choice *c, size_t count)
{
	int highest = INT_MIN;

	for (size_t i = 0; i < count; i++)
		if (c->pairs[c->order[i]].priority > highest)
			highest = c->pairs[c->order[i]].priority;
	for (size_t from = 0, end; from < count; from = end) {
		for (end = from + 1; end < count; end++)
			if (!is_same_run(&c->pairs[c->order[from]], &c->pairs[c->order[end]]))
				break;
		c->runs[c->nruns++] = make_run(c, highest, c->order + from, end - from);
	}
	level_runs(c);
	c->nturns = c->nruns;
	for (size_t i = c->nruns; i-- > 0;)
		sift_down(c, i, turn_of(c, i));
}

static void pick(struct choice *c, size_t pair, uint32_t step)
{
	if (!c->slot[pair]) {
		c->picks[c->npicks] = (struct sched_pick){ .pair = pair, .step = step };
		c->slot[pair] = ++c->npicks;
	}
	c->picks[c->slot[pair] - 1].n++;
}

/* Serves one job of the run, from the pair that waited longest and whose lane has room; false when it has
 * none. A pair whose lane is full leaves for good: lanes only fill up during a call. */
static bool serve_run(struct choice *c, struct run *run)
{
	while (run->len) {
		size_t pair = run->pairs[run->first];
		int *want = &c->want[c->pairs[pair].lane];

		run->first = (run->first + 1) % run->room;
		run->len--;
		if (*want <= 0)
			continue;
		(*want)--;
		c->total--;
		pick(c, pair, run->step);
		run->served += run->step;
		run->is_new = false;
		c->pairs[pair].served = run->served;
		run->pairs[(run->first + run->len) % run->room] = pair;
		run->len++;
		return true;
	}
	return false;
}

static void serve_runs(struct choice *c)
{
	while (c->nturns > 0 && c->total > 0) {
		size_t run = c->turns[0].run;

		if (serve_run(c, &c->runs[run]))
			sift_down(c, 0, turn_of(c, run));
		else if (--c->nturns > 0)
			sift_down(c, 0, c->turns[c->nturns]);
	}
}

static bool is_eligible(const struct choice *c, const struct sched_pair *pair)
{
	return pair->maybe_ready && pair->lane >= 0 && (size_t)pair->lane < c->nlanes &&
	       c->want[pair->lane] > 0;
}

size_t sched_choose(struct sched_pair *pairs, size_t npairs, const int *lane_want, size_t nlanes, int total,
		    struct sched_pick *picks)
{
	struct choice c = { .pairs = pairs, .nlanes = nlanes, .total = total, .picks = picks };
	size_t count = 0;

	if (!npairs || !nlanes || total <= 0)
		return 0;
	c.order = mem_array(npairs, sizeof(c.order[0]));
	c.runs = mem_array(npairs, sizeof(c.runs[0]));
	c.turns = mem_array(npairs, sizeof(c.turns[0]));
	c.slot = mem_array(npairs, sizeof(c.slot[0]));
	c.want = mem_array(nlanes, sizeof(c.want[0]));
	memcpy(c.want, lane_want, nlanes * sizeof(c.want[0]));
	for (size_t i = 0; i < npairs; i++) {
		if (is_eligible(&c, &pairs[i]))
			c.order[count++] = i;
	}
	collect_runs(&c, count);
	serve_runs(&c);
	mem_free(&c.order);
	mem_free(&c.runs);
	mem_free(&c.turns);
	mem_free(&c.slot);
	mem_free(&c.want);
	return c.npicks;
}
