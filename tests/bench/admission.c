/* What it costs the dispatcher to decide who may call, measured on the policy alone in virtual time.
 *
 * Six gates of three families each hold 2,000 waiting jobs, refilled by policy/sched from 1,000 runs of two
 * models each in claims of 128. Each 10 ms of virtual time every family's first job is offered to its gate,
 * round after round until no family gets any further, and calls that are over leave with their real tokens.
 * Requests, tokens of both kinds and concurrency are limited, so that about one offer in five has to wait,
 * and is then asked for how long.
 *
 * A decision is one offer, let in or not; what is reckoned to it is everything above: choosing from the runs,
 * the estimate and the charge, entering, looking up the wait, leaving, settling and learning.
 *
 *   admission DECISIONS RUNS      prints {"ns": [mean of each run, …], "admitted": share, "picked": jobs}
 *
 * The time is the process's CPU time. */

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/list.h"
#include "base/mem.h"
#include "policy/charge.h"
#include "policy/estimate.h"
#include "policy/gate.h"
#include "policy/sched.h"

enum {
	LANES = 6,
	MODELS = 3, /* of a lane, each a family */
	RUNS = 1000,
	PAIRS_A_RUN = 2,
	PAIRS = RUNS * PAIRS_A_RUN,
	JOBS = 2000, /* that wait; as many of each family */
	UNDER_WAY = 6000,
	BATCH = 128,
	TICK_MS = 10,
	LATENCY_TICKS = 50,
	PROMPT_BYTES = 600,
};

static const char *const providers[LANES] = { "openai", "anthropic", "google", "xai", "deepseek", "mistral" };
static const char *const models[MODELS] = { "big-1", "small-1", "plain-1" };

struct job {
	struct list link; /* of its family's queue, of the calls under way, or of those that are free */
	int lane;
	int model;
	size_t family;
	struct gate_cost cost;
	struct gate_ticket ticket;
};

struct lane {
	const char *name;
	struct gate *gate;
	struct estimate estimates[MODELS]; /* by model */
	size_t family_of[MODELS];
	struct list queue[MODELS]; /* by family */
	int queued[MODELS];
	size_t turn;
};

struct bench {
	struct lane lanes[LANES];
	struct job jobs[JOBS + UNDER_WAY];
	struct list idle;
	struct list under_way[LATENCY_TICKS]; /* by the tick that ends them */
	struct sched_pair pairs[PAIRS];
	struct sched_pick picks[PAIRS];
	char names[PAIRS][16]; /* each pair has its own, as in the daemon */
	int64_t now_ms;
	uint64_t seed;
	long offers, admitted, picked;
};

static uint32_t draw(struct bench *b)
{
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 7;
	b->seed ^= b->seed << 17;
	return (uint32_t)(b->seed >> 16);
}

static struct gate_scope_params scope(const char *glob, int64_t requests, int concurrency)
{
	return (struct gate_scope_params){
		.glob = glob,
		.most = { [GATE_REQUESTS] = requests,
			  [GATE_TOKENS] = glob ? GATE_INHERIT : 0,
			  [GATE_INPUT_TOKENS] = requests * 250,
			  [GATE_OUTPUT_TOKENS] = requests * 300,
			  [GATE_REQUESTS_DAY] = glob ? GATE_INHERIT : 1000000000,
			  [GATE_MONEY_DAY] = glob ? GATE_INHERIT : 0 },
		.concurrency = concurrency,
	};
}

static void make_lane(struct lane *lane, const char *name)
{
	const struct gate_scope_params scopes[] = { scope(NULL, 30000, 1000), scope("big-*", 20000, 300),
						    scope("small-*", 40000, 500) };
	const struct gate_params params = {
		.scopes = scopes, .scope_count = 3, .requests_span_ms = 60000, .ramp_ms = 0
	};

	lane->name = name;
	if (gate_new(&params, 0, &lane->gate) < 0)
		abort();
	gate_new_day(lane->gate, 86400000);
	for (size_t i = 0; i < MODELS; i++)
		lane->family_of[i] = gate_family(lane->gate, models[i]);
	assert(gate_families(lane->gate) == MODELS);
	for (size_t i = 0; i < MODELS; i++)
		list_init(&lane->queue[i]);
}

static void make_pairs(struct bench *b)
{
	for (size_t i = 0; i < PAIRS; i++) {
		char *name = b->names[i];
		int lane = (int)(draw(b) % LANES), model = (int)(draw(b) % MODELS);

		(void)snprintf(name, sizeof(b->names[0]), "run_%zu", i / PAIRS_A_RUN);
		b->pairs[i] = (struct sched_pair){ .run_id = name,
						   .model_id = models[model],
						   .lane = lane * MODELS + model,
						   .priority = (int)(i / PAIRS_A_RUN % 3),
						   .maybe_ready = true };
	}
}

static struct bench *bench_new(void)
{
	struct bench *b = mem_alloc(sizeof(*b));

	b->seed = 88172645463325252;
	list_init(&b->idle);
	for (size_t i = 0; i < LANES; i++)
		make_lane(&b->lanes[i], providers[i]);
	for (size_t i = 0; i < ARRAY_LEN(b->jobs); i++)
		list_push_back(&b->idle, &b->jobs[i].link);
	for (size_t i = 0; i < LATENCY_TICKS; i++)
		list_init(&b->under_way[i]);
	make_pairs(b);
	return b;
}

static void bench_free(struct bench **b)
{
	for (size_t i = 0; i < LANES; i++)
		gate_free(&(*b)->lanes[i].gate);
	mem_free(b);
}

/* ---- claims ---- */

static void queue_job(struct bench *b, int place)
{
	struct job *job = list_entry(b->idle.next, struct job, link);
	struct lane *lane = &b->lanes[place / MODELS];
	int model = place % MODELS;
	struct tokens tokens = estimate_call(&lane->estimates[model], PROMPT_BYTES, 0);

	job->lane = place / MODELS;
	job->model = model;
	job->family = lane->family_of[model];
	charge_reserve(lane->name, tokens, 0, &job->cost);
	list_remove(&job->link);
	list_push_back(&lane->queue[job->family], &job->link);
	lane->queued[job->family]++;
	b->picked++;
}

/* What waits is filled up as soon as that takes a whole claim. */
static void claim(struct bench *b)
{
	int wants[LANES * MODELS], total = 0;
	size_t count;

	for (size_t i = 0; i < LANES * MODELS; i++) {
		const struct lane *lane = &b->lanes[i / MODELS];

		wants[i] = JOBS / LANES / MODELS - lane->queued[lane->family_of[i % MODELS]];
		total += wants[i];
	}
	for (; total >= BATCH; total -= BATCH) {
		count = sched_choose(b->pairs, PAIRS, wants, LANES * MODELS, BATCH, b->picks);
		for (size_t i = 0; i < count; i++) {
			int place = b->pairs[b->picks[i].pair].lane;

			wants[place] -= b->picks[i].n;
			for (int k = 0; k < b->picks[i].n; k++)
				queue_job(b, place);
		}
	}
}

/* ---- calls ---- */

static void end_call(struct bench *b, struct job *job)
{
	struct lane *lane = &b->lanes[job->lane];
	struct tokens real = { .input = 140 + draw(b) % 20, .output = 200 + draw(b) % 100 };
	struct gate_cost cost;

	charge_settle(lane->name, real, 0, &job->ticket.reserved, &cost);
	estimate_learn(&lane->estimates[job->model], PROMPT_BYTES, real.input, real.output);
	(void)gate_leave(lane->gate, &job->ticket, b->now_ms, GATE_ANSWERED, &cost, draw(b));
	list_remove(&job->link);
	list_push_front(&b->idle, &job->link); /* as an allocator does */
}

/* One call of the family; false when it has none, or must wait. */
static bool offer(struct bench *b, struct lane *lane, size_t family)
{
	struct job *job = list_entry(lane->queue[family].next, struct job, link);
	int64_t ends = b->now_ms / TICK_MS + LATENCY_TICKS / 2 + draw(b) % (LATENCY_TICKS / 2);

	if (list_is_empty(&lane->queue[family]))
		return false;
	b->offers++;
	if (!gate_enter(lane->gate, family, b->now_ms, &job->cost, &job->ticket)) {
		(void)gate_look(lane->gate, family, b->now_ms, &job->cost);
		return false;
	}
	b->admitted++;
	lane->queued[family]--;
	list_remove(&job->link);
	list_push_back(&b->under_way[ends % LATENCY_TICKS], &job->link);
	return true;
}

static void pump(struct bench *b, struct lane *lane)
{
	for (size_t idle = 0; idle < MODELS;) {
		lane->turn = (lane->turn + 1) % MODELS;
		idle = offer(b, lane, lane->turn) ? 0 : idle + 1;
	}
}

static void tick(struct bench *b)
{
	struct list *over = &b->under_way[b->now_ms / TICK_MS % LATENCY_TICKS];

	list_foreach_safe (at, over)
		end_call(b, list_entry(at, struct job, link));
	claim(b);
	for (size_t i = 0; i < LANES; i++)
		pump(b, &b->lanes[i]);
	b->now_ms += TICK_MS;
}

/* Mean nanoseconds of so many decisions. */
static double measure(struct bench *b, long decisions)
{
	struct timespec begun, ended;
	long end = b->offers + decisions, before = b->offers;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begun);
	while (b->offers < end)
		tick(b);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
	return ((double)(ended.tv_sec - begun.tv_sec) * 1e9 + (double)(ended.tv_nsec - begun.tv_nsec)) /
	       (double)(b->offers - before);
}

int main(int argc, char **argv)
{
	long decisions = argc == 3 ? atol(argv[1]) : 0;
	int runs = argc == 3 ? atoi(argv[2]) : 0;
	struct bench *b;

	if (decisions <= 0 || runs <= 0) {
		(void)fprintf(stderr, "usage: admission DECISIONS RUNS\n");
		return 2;
	}
	b = bench_new();
	(void)measure(b, decisions / 10 + 1); /* until all that waits and calls is there */
	b->offers = b->admitted = b->picked = 0;
	printf("{\"ns\": [");
	for (int i = 0; i < runs; i++)
		printf("%s%.1f", i > 0 ? ", " : "", measure(b, decisions));
	printf("], \"admitted\": %.3f, \"picked\": %ld}\n", (double)b->admitted / (double)b->offers,
	       b->picked);
	bench_free(&b);
	return 0;
}
