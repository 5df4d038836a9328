/* Window, back-off, restart slot, strategy and blame against reference models: as short as the rules in
 * words, and as slow as it takes to be plainly right. */

#include "model.h"

#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "policy/backoff.h"
#include "policy/blame.h"
#include "policy/intensity.h"
#include "policy/restart.h"
#include "policy/strategy.h"

/* ---- the window: all stamps ever, counted anew each time ---- */

enum { WINDOW_WALKS = 40000, WINDOW_STEPS = 60 };

struct window {
	int64_t now_ms; /* the latest that it was told: its clock does not run back */
	int64_t stamps[WINDOW_STEPS];
	int len;
};

static int count_window(const struct window *w, int64_t period_ms, int limit)
{
	int count = 0;

	for (int i = 0; i < w->len; i++)
		count += w->now_ms - w->stamps[i] <= period_ms;
	return count > limit ? limit + 1 : count;
}

static void tell_time(struct window *w, int64_t now_ms)
{
	if (now_ms > w->now_ms)
		w->now_ms = now_ms;
}

static void walk_window(int limit, int64_t period_ms)
{
	AUTO(intensity_free) struct intensity *window = NULL;
	struct window model = { .now_ms = INT64_MIN };
	int64_t now_ms = 0;

	assert_int_equal(intensity_new(limit, period_ms, &window), 0);
	for (int step = 0; step < WINDOW_STEPS; step++) {
		now_ms += model_below(40) - 5;
		if (model_chance(70)) {
			bool exceeded = intensity_add(window, now_ms);

			tell_time(&model, now_ms);
			model.stamps[model.len++] = model.now_ms;
			agree(exceeded == (count_window(&model, period_ms, limit) > limit),
			      "limit %d, period %" PRId64 ", step %d: exceeded %d", limit, period_ms, step,
			      (int)exceeded);
		} else if (model_chance(5)) {
			intensity_reset(window);
			model.len = 0;
		} else {
			int count = intensity_count(window, now_ms);

			tell_time(&model, now_ms);
			agree(count == count_window(&model, period_ms, limit),
			      "limit %d, period %" PRId64 ", step %d: count %d", limit, period_ms, step,
			      count);
		}
	}
}

static void test_the_window_counts_what_lies_within_the_period(void **state)
{
	(void)state;
	for (int walk = 0; walk < WINDOW_WALKS; walk++)
		walk_window(model_below(8), 1 + model_below(150));
}

/* ---- back-off: the same in numbers that cannot overflow ---- */

enum { BACKOFF_DRAWS = 1000000 };

static int64_t model_backoff_ms(int64_t base_ms, int64_t max_ms, unsigned failures, uint32_t random)
{
	unsigned __int128 delay = (unsigned __int128)base_ms, half;

	if (!failures)
		return 0;
	/* 63 doublings take any delay of 1 ms and more beyond every maximum. */
	delay <<= failures - 1 < 63 ? failures - 1 : 63;
	if (delay > (unsigned __int128)max_ms)
		delay = (unsigned __int128)max_ms;
	half = delay / 2;
	return (int64_t)(delay - half + ((half * random + 0x7fffffff) >> 32));
}

static int64_t random_ms(void)
{
	int64_t bits = (int64_t)(((uint64_t)model_random() << 31) ^ model_random());

	return bits >> model_below(63);
}

static void test_the_back_off_doubles_halves_and_never_overflows(void **state)
{
	(void)state;
	for (int i = 0; i < BACKOFF_DRAWS; i++) {
		int64_t base = random_ms(), max = random_ms();
		unsigned failures = model_chance(90) ? (unsigned)model_below(70) : model_random();
		uint32_t random = model_random();
		int64_t got = backoff_delay_ms(base, max, failures, random);

		agree(got == model_backoff_ms(base, max, failures, random) && got >= 0 && got <= max,
		      "base %" PRId64 ", max %" PRId64 ", failures %u, random %u: %" PRId64, base, max,
		      failures, random, got);
	}
}

/* ---- the restart slot: the rules of one life after the other ---- */

enum { SLOT_WALKS = 40000, SLOT_STEPS = 60 };

struct slot_model {
	unsigned in_a_row;
	unsigned kills; /* at once, from outside, in a row */
	int64_t waited_ms;
};

static struct restart_params random_params(void)
{
	return (struct restart_params){
		.type = (enum restart_type)(model_chance(70) ? 0 : model_below(3)),
		.base_delay_ms = model_chance(10) ? 0 : model_below(1000),
		.max_delay_ms = 1000 + model_below(60000),
		.stable_after_ms = model_below(60000),
	};
}

static struct restart_exit random_exit(void)
{
	static const int codes[] = { 0, 0, 1, 1, 1, 77, 78, 125, 137, 255 };

	return (struct restart_exit){
		.planned = model_chance(20),
		.stopped = model_chance(3),
		.failed = model_chance(15),
		.killed_from_outside = model_chance(20),
		.exit_code = codes[model_below((int)ARRAY_LEN(codes))],
		.lived_ms = model_chance(50) ? model_below(2000) : model_below(200000),
		.proven = model_chance(50),
	};
}

static bool model_outside(const struct restart_exit *life)
{
	return life->killed_from_outside && !life->failed && !life->planned;
}

/* Abnormal end, boot timeout, hang kill, protocol fault; planned recycling is none, unless it lived under
 * 30 s; nor is a kill from outside. */
static bool model_failure(const struct restart_exit *life)
{
	if (life->planned && !life->failed && life->lived_ms >= 30000)
		return false;
	return !model_outside(life);
}

static struct restart_verdict model_restart(const struct restart_params *params, struct slot_model *slot,
					    const struct restart_exit *life, uint32_t random)
{
	int64_t long_enough_ms = 2 * slot->waited_ms;
	bool normal = life->exit_code == 0 && !life->failed && !life->planned;
	bool failure = model_failure(life), spared, at_once;
	unsigned place;

	if (long_enough_ms < params->stable_after_ms)
		long_enough_ms = params->stable_after_ms;
	if (life->proven && life->lived_ms >= long_enough_ms)
		slot->in_a_row = 0;
	if (life->stopped || params->type == RESTART_TEMPORARY ||
	    (params->type == RESTART_TRANSIENT && normal))
		return (struct restart_verdict){ .action = RESTART_NEVER };
	if (life->exit_code == 77 || life->exit_code == 78 || life->exit_code == 125)
		return (struct restart_verdict){ .action = RESTART_PARK };
	/* The first after a healthy life, and one that was planned and went well. */
	spared = (life->proven && slot->in_a_row == 0) || (life->planned && !failure);
	slot->in_a_row += failure;
	/* Killed before it could show what it is: as after a failure each, but for no more than four. */
	at_once = model_outside(life) && !life->proven && life->lived_ms < params->base_delay_ms;
	slot->kills = at_once ? slot->kills + 1 : 0;
	place = slot->kills < 4 ? slot->kills : 4;
	place = slot->in_a_row > place ? slot->in_a_row : place;
	slot->waited_ms = spared ? 0
				 : model_backoff_ms(params->base_delay_ms, params->max_delay_ms, place,
						    random);
	return (struct restart_verdict){
		.action = slot->waited_ms ? RESTART_AFTER : RESTART_NOW,
		.delay_ms = slot->waited_ms,
		.counts = failure && !life->proven && !life->killed_from_outside,
	};
}

static void walk_slot(void)
{
	const struct restart_params params = random_params();
	struct restart_slot slot = { 0 };
	struct slot_model model = { 0 };

	for (int step = 0; step < SLOT_STEPS; step++) {
		const struct restart_exit life = random_exit();
		uint32_t random = model_random();
		struct restart_verdict want = model_restart(&params, &model, &life, random);
		struct restart_verdict got = restart_decide(&params, &slot, &life, random);

		agree(got.action == want.action && got.delay_ms == want.delay_ms && got.counts == want.counts,
		      "step %d: %s, delay %" PRId64 ", counts %d; wanted %s, %" PRId64 ", %d", step,
		      restart_action_name(got.action), got.delay_ms, (int)got.counts,
		      restart_action_name(want.action), want.delay_ms, (int)want.counts);
		agree(slot.failures == model.in_a_row && slot.parked == (got.action == RESTART_PARK),
		      "step %d: %u failures, parked %d; wanted %u", step, slot.failures, (int)slot.parked,
		      model.in_a_row);
		if (slot.parked || model_chance(1)) {
			restart_unpark(&slot);
			model = (struct slot_model){ 0 };
		}
	}
}

static void test_a_slot_restarts_by_the_rules(void **state)
{
	(void)state;
	for (int walk = 0; walk < SLOT_WALKS; walk++)
		walk_slot();
}

/* ---- strategies: each child asked whether it goes along ---- */

enum { STRATEGY_DRAWS = 100000 };

static bool goes_along(enum strategy strategy, size_t child, size_t failed)
{
	switch (strategy) {
	case STRATEGY_ONE_FOR_ONE:
		return child == failed;
	case STRATEGY_ONE_FOR_ALL:
		return true;
	case STRATEGY_REST_FOR_ONE:
		return child >= failed;
	}
	return false;
}

static void test_a_strategy_takes_along_whom_it_must(void **state)
{
	(void)state;
	for (int i = 0; i < STRATEGY_DRAWS; i++) {
		enum strategy strategy = (enum strategy)model_below(3);
		size_t count = 1 + (size_t)model_below(12), failed = (size_t)model_below((int)count);
		size_t first, last;

		strategy_span(strategy, count, failed, &first, &last);
		for (size_t child = 0; child < count; child++)
			agree((child >= first && child <= last) == goes_along(strategy, child, failed),
			      "%s, %zu of %zu: %zu to %zu", strategy_name(strategy), failed, count, first,
			      last);
	}
}

/* ---- blame: a world with killers among innocent jobs ---- */

enum { BLAME_WORLDS = 1000, JOBS = 24, HELD_MOST = 6, ROUNDS_MOST = 20000 };

struct job {
	struct blame_job carried;
	int percent; /* how often it kills the worker that it runs in; 0 = innocent */
	int crashes; /* it was held at */
	bool gone, poison;
};

/* An end that no job has brought about. */
static struct blame_death blameless_death(void)
{
	static const int signals[] = { SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 };
	int signo = signals[model_below((int)ARRAY_LEN(signals))];

	switch (model_below(4)) {
	case 0:
		return (struct blame_death){ .signo = signo };
	case 1:
		return (struct blame_death){ .signo = signo, .sent_by_us = true };
	case 2:
		return (struct blame_death){ .planned = true, .exit_code = model_below(2) };
	default:
		return (struct blame_death){ .exit_code = 78 };
	}
}

static struct blame_death crash(void)
{
	static const int signals[] = { SIGSEGV, SIGABRT, SIGBUS, SIGXCPU };

	switch (model_below(4)) {
	case 0:
		return (struct blame_death){ .signo = signals[model_below((int)ARRAY_LEN(signals))],
					     .planned = model_chance(20) };
	case 1:
		return (struct blame_death){ .signo = SIGKILL, .sent_by_us = true, .faulty = true };
	case 2:
		return (struct blame_death){ .signo = SIGKILL, .oom_evidence = true };
	default:
		return (struct blame_death){ .exit_code = model_below(2) };
	}
}

static struct job *next_job(struct job *jobs)
{
	int start = model_below(JOBS);

	for (int i = 0; i < JOBS; i++) {
		struct job *job = &jobs[(start + i) % JOBS];

		if (!job->gone)
			return job;
	}
	return NULL;
}

/* Who gets into one worker: one that must run alone, or some that need not. */
static int fill_worker(struct job *jobs, struct job *held[HELD_MOST])
{
	struct job *first = next_job(jobs);
	int len = 0;

	if (!first)
		return 0;
	held[len++] = first;
	if (blame_runs_alone(&first->carried))
		return len;
	for (int i = 0; i < JOBS && len < HELD_MOST; i++) {
		if (&jobs[i] != first && !jobs[i].gone && !blame_runs_alone(&jobs[i].carried) &&
		    model_chance(50))
			held[len++] = &jobs[i];
	}
	return len;
}

static void bury(struct job *job, const struct blame_death *death, bool crashed, bool alone)
{
	struct blame blame = blame_decide(death, &job->carried, alone);

	job->crashes += crashed;
	job->carried = blame.job;
	job->gone = job->poison = blame.poison;
	agree(blame.blames == crashed && job->carried.deaths == job->crashes,
	      "signal %d, exit %d: blames %d; %d deaths after %d crashes", death->signo, death->exit_code,
	      (int)blame.blames, job->carried.deaths, job->crashes);
	agree(!blame.poison || job->percent > 0, "an innocent job was convicted");
	agree(blame.runs_alone_next == (job->crashes >= 2), "%d crashes, alone next %d", job->crashes,
	      (int)blame.runs_alone_next);
}

/* One worker's life, from its jobs to its end. */
static void run_worker(struct job *jobs)
{
	struct job *held[HELD_MOST];
	int len = fill_worker(jobs, held);
	bool alone = len == 1 && blame_runs_alone(&held[0]->carried), crashed = false;
	struct blame_death death;

	for (int i = 0; i < len && !crashed; i++)
		crashed = model_chance(held[i]->percent);
	if (!crashed && model_chance(70)) {
		for (int i = 0; i < len; i++)
			held[i]->gone = true;
		return;
	}
	death = crashed ? crash() : blameless_death();
	for (int i = 0; i < len; i++)
		bury(held[i], &death, crashed, alone);
}

static void run_world(void)
{
	struct job jobs[JOBS] = { 0 };
	int rounds = 0;

	for (int i = 0; i < JOBS; i++)
		jobs[i].percent = !model_chance(15) ? 0 : model_chance(50) ? 100 : 60;
	while (next_job(jobs)) {
		run_worker(jobs);
		agree(++rounds < ROUNDS_MOST, "jobs are left after %d lives", rounds);
	}
	for (int i = 0; i < JOBS; i++)
		agree(jobs[i].percent < 100 || jobs[i].poison, "a killer of every worker got away");
}

static void test_killers_are_convicted_and_innocents_never(void **state)
{
	(void)state;
	for (int world = 0; world < BLAME_WORLDS; world++)
		run_world();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_the_window_counts_what_lies_within_the_period, model_start),
		cmocka_unit_test_setup(test_the_back_off_doubles_halves_and_never_overflows, model_start),
		cmocka_unit_test_setup(test_a_slot_restarts_by_the_rules, model_start),
		cmocka_unit_test_setup(test_a_strategy_takes_along_whom_it_must, model_start),
		cmocka_unit_test_setup(test_killers_are_convicted_and_innocents_never, model_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
