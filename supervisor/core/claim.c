#include "core/claim.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/lane.h"
#include "core/pool.h"
#include "core/store.h"
#include "io/loop.h"
#include "policy/sched.h"

enum {
	BATCH = 128,	   /* jobs of one claim at the most */
	PREFETCH_MAX = 64, /* queued beyond what the lane could send at once, so that slots do not idle */
	HORIZON_MS = 1000, /* what the gate lets through within this time is worth having here */
	PAUSE_MS = 4,	   /* between claims of few jobs: many answers make one claim */
	WORTH_IT = 16,
};

struct pair {
	char *run_id, *model_id;
	int lane;  /* index; -1 = a lane of no provider */
	int place; /* of its family among those of all lanes */
	bool paused;
};

/* To policy/sched.h, a lane is what is here a family of a lane. */
static int place_of(int lane, size_t family)
{
	return lane * GATE_FAMILIES_MAX + (int)family;
}

struct claim {
	struct loop *loop;
	struct claim_options options;
	struct pair *pairs;
	struct sched_pair *sched; /* same order as pairs */
	size_t count;
	struct sched_pick *asked; /* of the claim under way: its wants */
	size_t asked_count;
	uint64_t generation; /* of pairs: a claim answered after a change must not mark the wrong ones */
	uint64_t asked_generation;
	bool under_way;
	struct loop_timer *pause;
	bool cooling;
	bool held; /* none until told otherwise */
};

static void on_pause_over(void *arg)
{
	struct claim *claim = arg;

	claim->cooling = false;
	claim_more(claim);
}

void claim_new(struct loop *loop, const struct claim_options *options, struct claim **ret)
{
	struct claim *claim = mem_alloc(sizeof(*claim));

	claim->loop = loop;
	claim->options = *options;
	loop_timer_new(loop, on_pause_over, claim, &claim->pause);
	*ret = claim;
}

static void free_pairs(struct pair *pairs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(pairs[i].run_id);
		free(pairs[i].model_id);
	}
	free(pairs);
}

void claim_free(struct claim **claim)
{
	if (!*claim)
		return;
	free_pairs((*claim)->pairs, (*claim)->count);
	free((*claim)->sched);
	free((*claim)->asked);
	loop_timer_free(&(*claim)->pause);
	mem_free(claim);
}

static int lane_index(const struct claim *claim, const char *name)
{
	for (size_t i = 0; i < claim->options.lane_count; i++)
		if (strcmp(claim->options.lanes[i]->name, name) == 0)
			return (int)i;
	return -1;
}

static char *pair_key(const char *run_id, const char *model_id)
{
	return mem_printf("%s\n%s", run_id, model_id);
}

/* Where the old pairs stand, so that those that stay keep their turn. Values are indexes + 1. */
static struct map *index_pairs(const struct claim *claim)
{
	struct map *map;

	map_new(&map);
	for (size_t i = 0; i < claim->count; i++) {
		AUTO(mem_free_str) char *key = pair_key(claim->pairs[i].run_id, claim->pairs[i].model_id);

		(void)map_set(map, key, strlen(key), (void *)(uintptr_t)(i + 1));
	}
	return map;
}

static void file_pair(const struct claim *claim, struct pair *pair)
{
	if (pair->lane >= 0)
		pair->place = place_of(pair->lane,
				       lane_family_of(claim->options.lanes[pair->lane], pair->model_id));
}

void claim_lanes_changed(struct claim *claim)
{
	for (size_t i = 0; i < claim->count; i++) {
		file_pair(claim, &claim->pairs[i]);
		claim->sched[i].lane = claim->pairs[i].place;
	}
}

void claim_set_pairs(struct claim *claim, const struct store_pair *pairs, size_t count)
{
	struct map *old = index_pairs(claim);
	struct pair *fresh = mem_array(count, sizeof(*fresh));
	struct sched_pair *sched = mem_array(count, sizeof(*sched));

	for (size_t i = 0; i < count; i++) {
		AUTO(mem_free_str) char *key = pair_key(pairs[i].run_id, pairs[i].model_id);
		size_t was = (size_t)(uintptr_t)map_get(old, key, strlen(key));

		fresh[i] = (struct pair){
			.run_id = mem_strdup(pairs[i].run_id),
			.model_id = mem_strdup(pairs[i].model_id),
			.lane = lane_index(claim, pairs[i].lane),
			.paused = pairs[i].paused,
		};
		file_pair(claim, &fresh[i]);
		sched[i] = (struct sched_pair){
			.run_id = fresh[i].run_id,
			.model_id = fresh[i].model_id,
			.lane = fresh[i].place,
			.priority = pairs[i].priority,
			.maybe_ready = fresh[i].lane >= 0 && !pairs[i].paused && !pairs[i].cancelling,
			.served = was ? claim->sched[was - 1].served : 0,
		};
	}
	map_free(&old);
	free_pairs(claim->pairs, claim->count);
	free(claim->sched);
	claim->pairs = fresh;
	claim->sched = sched;
	claim->count = count;
	claim->generation++;
}

void claim_wake(struct claim *claim)
{
	for (size_t i = 0; i < claim->count; i++)
		claim->sched[i].maybe_ready = claim->pairs[i].lane >= 0 && !claim->pairs[i].paused;
}

enum claim_pair claim_look_up(const struct claim *claim, const char *run_id, const char *model_id)
{
	for (size_t i = 0; i < claim->count; i++)
		if (strcmp(claim->pairs[i].run_id, run_id) == 0 &&
		    strcmp(claim->pairs[i].model_id, model_id) == 0)
			return claim->pairs[i].paused ? CLAIM_PAUSED : CLAIM_ACTIVE;
	return CLAIM_GONE;
}

const char *claim_next_model(const struct claim *claim, const char *run_id, size_t *cursor, size_t *ret_lane)
{
	for (size_t i = *cursor; i < claim->count; i++) {
		const struct pair *pair = &claim->pairs[i];

		if (pair->paused || pair->lane < 0 || strcmp(pair->run_id, run_id) != 0)
			continue;
		*cursor = i + 1;
		*ret_lane = (size_t)pair->lane;
		return pair->model_id;
	}
	return NULL;
}

/* How many more jobs of this family should be here. */
static int family_want(const struct lane *lane, size_t index, int64_t now_ms)
{
	const struct lane_family *family = &lane->families[index];
	int room = gate_room(lane->gate, index, now_ms, HORIZON_MS, &family->typical);
	int prefetch = 2 + gate_in_flight(lane->gate) / 4;

	if (prefetch > PREFETCH_MAX)
		prefetch = PREFETCH_MAX;
	if (room > INT_MAX - prefetch)
		return INT_MAX;
	/* Conversations between turns will take of that room before any new one does. */
	return room + prefetch - family->between_count - family->queued;
}

/* Slots free in the pools that serve any lane, each counted once. */
static int free_slots(const struct claim *claim)
{
	int slots = 0;

	for (size_t i = 0; i < claim->options.lane_count; i++) {
		const struct pool *pool = claim->options.lanes[i]->pool;
		size_t first = 0;

		while (claim->options.lanes[first]->pool != pool)
			first++;
		if (first == i)
			slots += pool_free_slots(pool);
	}
	return slots;
}

static void gather_of(const struct claim *claim, const struct lane *lane, int *wants)
{
	int most = pool_free_slots(lane->pool) + PREFETCH_MAX - lane->queued;
	int64_t now_ms = loop_now_ms(claim->loop);

	if (gate_parked_reason(lane->gate))
		return; /* what it was parked with is enough for trial calls */
	for (size_t i = 0; i < gate_families(lane->gate); i++) {
		int want = family_want(lane, i, now_ms);

		wants[place_of(lane->index, i)] = want < most ? want : most;
	}
}

static int gather_wants(const struct claim *claim, int *wants)
{
	int queued = 0, total;

	for (size_t i = 0; i < claim->options.lane_count; i++) {
		gather_of(claim, claim->options.lanes[i], wants);
		queued += claim->options.lanes[i]->queued;
	}
	/* Every lane may hold a few that wait for it; beyond that, only what workers can take. */
	total = free_slots(claim) + PREFETCH_MAX - queued;
	return total < BATCH ? total : BATCH;
}

/* A claimed job's place in line. */
struct place {
	const struct store_job *job;
	int64_t at; /* virtual time, as in policy/sched.h, from the claim on: the middle of its turn */
	int pair;   /* in the order of the answer */
};

static bool is_same_pair(const struct store_job *a, const struct store_job *b)
{
	return strcmp(a->run_id, b->run_id) == 0 && strcmp(a->model_id, b->model_id) == 0;
}

static int compare_places(const void *left, const void *right)
{
	const struct place *a = left, *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->pair - b->pair;
}

/* Of one of its pair's jobs. When the pairs have been read anew since the claim all are alike: the next claim
 * settles their order. */
static int64_t step_of(const struct claim *claim, const struct store_job *job)
{
	for (size_t i = 0; claim->asked_generation == claim->generation && i < claim->asked_count; i++) {
		const struct pair *pair = &claim->pairs[claim->asked[i].pair];

		if (strcmp(pair->run_id, job->run_id) == 0 && strcmp(pair->model_id, job->model_id) == 0)
			return claim->asked[i].step;
	}
	return SCHED_UNIT;
}

/* The jobs come pair by pair, but shall go out in turns, of each as many as its priority gives it. */
static void hand_over(struct claim *claim, const struct store_job *jobs, size_t count)
{
	struct place *places = mem_array(count, sizeof(*places));
	struct store_job *line = mem_array(count, sizeof(*line));
	int64_t step = 0;

	for (size_t i = 0; i < count; i++) {
		bool is_first = i == 0 || !is_same_pair(&jobs[i - 1], &jobs[i]);

		if (is_first)
			step = step_of(claim, &jobs[i]);
		places[i] = (struct place){
			.job = &jobs[i],
			.at = is_first ? step / 2 : places[i - 1].at + step,
			.pair = is_first ? (int)i : places[i - 1].pair,
		};
	}
	qsort(places, count, sizeof(*places), compare_places);
	for (size_t i = 0; i < count; i++)
		line[i] = *places[i].job;
	claim->options.claimed(claim->options.arg, line, count);
	free(line);
	free(places);
}

static void on_claim(void *arg, const struct store_job *jobs, size_t count, const bool *short_of)
{
	struct claim *claim = arg;

	claim->under_way = false;
	if (!jobs && count == 0 && !short_of)
		return; /* its fate is unknown: the store settles that, and wakes us */
	if (claim->asked_generation == claim->generation)
		for (size_t i = 0; i < claim->asked_count; i++)
			if (short_of[i])
				claim->sched[claim->asked[i].pair].maybe_ready = false;
	if (count > 0)
		hand_over(claim, jobs, count);
	if (count < WORTH_IT) {
		claim->cooling = true;
		loop_timer_start(claim->pause, PAUSE_MS);
		return;
	}
	claim_more(claim);
}

static size_t choose(struct claim *claim, struct store_want **ret)
{
	size_t places = claim->options.lane_count * GATE_FAMILIES_MAX;
	int *wants = mem_array(places, sizeof(*wants));
	struct sched_pick *picks = mem_array(claim->count, sizeof(*picks));
	int total = gather_wants(claim, wants);
	size_t count = 0;

	if (total > 0)
		count = sched_choose(claim->sched, claim->count, wants, places, total, picks);
	claim->asked = mem_resize(claim->asked, count, sizeof(*claim->asked));
	*ret = mem_array(count, sizeof(**ret));
	for (size_t i = 0; i < count; i++) {
		claim->asked[i] = picks[i];
		(*ret)[i] = (struct store_want){
			.run_id = claim->pairs[picks[i].pair].run_id,
			.model_id = claim->pairs[picks[i].pair].model_id,
			.count = picks[i].n,
		};
	}
	claim->asked_count = count;
	claim->asked_generation = claim->generation;
	free(picks);
	free(wants);
	return count;
}

void claim_more(struct claim *claim)
{
	struct store_want *wants;
	size_t count;

	if (claim->under_way || claim->cooling || claim->held || claim->count == 0 ||
	    !store_is_ready(claim->options.store) || store_trouble(claim->options.store))
		return;
	count = choose(claim, &wants);
	if (count > 0) {
		int r = store_claim(claim->options.store, wants, count, on_claim, claim);

		claim->under_way = r == 0;
		if (r < 0)
			log_debug("claim.refused", "error=\"%s\"", strerror(-r));
	}
	free(wants);
}

void claim_hold(struct claim *claim, bool hold)
{
	claim->held = hold;
	if (!hold)
		claim_more(claim);
}
