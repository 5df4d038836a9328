/* Health and the worker's state machine against reference models: pings by their whole history, the machine
 * by the rules that its table follows and by the world that its actions make. */

#include "model.h"

#include "base/mem.h"
#include "policy/health.h"
#include "policy/worker_fsm.h"

/* ---- health: what was sent, missed and answered, counted anew each time ---- */

enum { HEALTH_WALKS = 30000, HEALTH_STEPS = 80 };

struct pings {
	char log[2 * HEALTH_STEPS]; /* 'm' a miss, 'p' a pong that was taken, 'f' forgiven */
	int len;
	uint64_t sent, answered;
	int64_t ping_due_ms, pong_due_ms;
	bool awaited; /* the pong of the last ping */
	bool granted; /* more time for it, because we were late ourselves */
};

/* Since the last pong, or since all was forgiven. */
static int count_misses(const struct pings *pings)
{
	int misses = 0;

	for (int i = pings->len - 1; i >= 0 && pings->log[i] == 'm'; i--)
		misses++;
	return misses;
}

static enum health_do model_tick(struct pings *pings, const struct health_params *params, int64_t now_ms,
				 int64_t late_ms)
{
	if (pings->awaited && now_ms >= pings->pong_due_ms && late_ms > 0 && !pings->granted) {
		pings->granted = true;
		pings->pong_due_ms = now_ms + late_ms;
	}
	if (pings->awaited && now_ms >= pings->pong_due_ms) {
		pings->awaited = false;
		pings->log[pings->len++] = 'm';
		/* Told at the miss that completes the row, not at those after it. */
		if (count_misses(pings) == params->misses)
			return HEALTH_SUSPECT;
	}
	if (pings->awaited || now_ms < pings->ping_due_ms)
		return HEALTH_NOTHING;
	pings->awaited = true;
	pings->granted = false;
	pings->sent++;
	pings->pong_due_ms = now_ms + params->timeout_ms;
	pings->ping_due_ms = now_ms + params->interval_ms;
	return HEALTH_PING;
}

static bool model_pong(struct pings *pings, uint64_t seq)
{
	if (seq > pings->sent || seq <= pings->answered)
		return false;
	pings->answered = seq;
	pings->log[pings->len++] = 'p';
	pings->awaited = pings->awaited && seq != pings->sent;
	return true;
}

static void step_health(struct health *health, struct pings *pings, const struct health_params *params,
			int64_t now_ms)
{
	int64_t late_ms = model_chance(20) ? model_below(60) - 10 : 0, next_ms;
	uint64_t seq = health_seq(health) + (uint64_t)model_below(4) - 2;
	enum health_do got, want;

	if (model_chance(2)) {
		health_forgive(health, params, now_ms);
		pings->log[pings->len++] = 'f';
		pings->awaited = false;
		pings->ping_due_ms = now_ms + params->interval_ms;
	} else if (model_chance(25)) {
		bool taken = model_pong(pings, seq);

		agree(health_pong(health, seq, now_ms) == taken, "pong %" PRIu64 " of %" PRIu64, seq,
		      pings->sent);
	} else {
		want = model_tick(pings, params, now_ms, late_ms);
		got = health_tick(health, params, now_ms, late_ms, &next_ms);
		agree(got == want, "at %" PRId64 ": %d, wanted %d", now_ms, (int)got, (int)want);
		agree(next_ms == (pings->awaited ? pings->pong_due_ms : pings->ping_due_ms),
		      "at %" PRId64 ": next at %" PRId64, now_ms, next_ms);
	}
	agree(health->misses == count_misses(pings) &&
		      health->suspect == (count_misses(pings) >= params->misses),
	      "at %" PRId64 ": %d misses, suspect %d; wanted %d", now_ms, health->misses,
	      (int)health->suspect, count_misses(pings));
	agree(health_seq(health) == pings->sent, "%" PRIu64 " pings, wanted %" PRIu64, health_seq(health),
	      pings->sent);
}

static void walk_health(void)
{
	const struct health_params params = {
		.interval_ms = 1 + model_below(100),
		.timeout_ms = 1 + model_below(100),
		.misses = 1 + model_below(3),
	};
	int64_t now_ms = model_below(1000);
	struct pings pings = { .ping_due_ms = now_ms + params.interval_ms };
	struct health health;

	health_init(&health, &params, now_ms);
	for (int step = 0; step < HEALTH_STEPS; step++) {
		now_ms += model_below(50);
		step_health(&health, &pings, &params, now_ms);
	}
}

static void test_health_counts_what_was_missed_since_the_last_pong(void **state)
{
	(void)state;
	for (int walk = 0; walk < HEALTH_WALKS; walk++)
		walk_health();
}

/* ---- the machine's next state and actions, by rules ---- */

enum { FSM_WALKS = 40000, FSM_STEPS = 80 };

struct rule {
	bool legal;
	enum worker_state next;
	unsigned actions;
};

static struct rule go(enum worker_state next, unsigned actions)
{
	return (struct rule){ true, next, actions };
}

/* Whoever leaves READY serves no more, and a suspect that ends has failed. */
static unsigned leaving(enum worker_state state)
{
	return state == W_READY ? WA_STOP_SERVING : state == W_SUSPECT ? WA_FAULT : 0;
}

static struct rule rule_of_deadline(enum worker_state state)
{
	switch (state) {
	case W_STARTING:
	case W_BOOTING:
	case W_SUSPECT:
		return go(W_STOPPING, WA_FAULT | WA_TERM);
	case W_DRAINING:
		return go(W_STOPPING, WA_TERM);
	case W_STOPPING:
	case W_KILLING:
		return go(W_KILLING, WA_KILL);
	default:
		return (struct rule){ .next = state };
	}
}

/* The events by which somebody wants the life to end. */
static struct rule rule_of_end(enum worker_state state, enum worker_event event)
{
	bool process = state != W_DOWN && state != W_PARKED;
	bool ending = state == W_STOPPING || state == W_KILLING;

	if (event == WE_EXIT && process) {
		bool held_jobs = state != W_STARTING && state != W_BOOTING;

		return go(W_DOWN, leaving(state) | WA_DECIDE_RESTART | (held_jobs ? WA_RELEASE_JOBS : 0));
	}
	if (event == WE_EXIT || (event == WE_PROTOCOL_FAULT && !process))
		return (struct rule){ .next = state };
	if (!process)
		return go(state, state == W_DOWN ? WA_CANCEL_RESTART : 0);
	if (event == WE_KILL)
		return state == W_KILLING ? go(state, 0) : go(W_KILLING, leaving(state) | WA_KILL);
	if (ending)
		return go(state, 0);
	if (event == WE_PROTOCOL_FAULT)
		return go(W_STOPPING, leaving(state) | WA_FAULT | WA_TERM);
	if (state == W_DRAINING)
		return go(state, 0);
	return state == W_READY ? go(W_DRAINING, WA_STOP_SERVING | WA_ASK_SHUTDOWN)
				: go(W_STOPPING, leaving(state) | WA_TERM);
}

static struct rule rule_of(enum worker_state state, enum worker_event event)
{
	bool ending = state == W_STOPPING || state == W_KILLING;

	switch (event) {
	case WE_START:
		return state == W_DOWN ? go(W_STARTING, WA_CANCEL_RESTART | WA_SPAWN)
				       : (struct rule){ .next = state };
	case WE_SPAWN_FAILED:
		return state == W_STARTING ? go(W_DOWN, WA_FAULT | WA_DECIDE_RESTART)
					   : (struct rule){ .next = state };
	case WE_HELLO:
		if (state == W_STARTING)
			return go(W_BOOTING, 0);
		return (struct rule){ ending, state, 0 };
	case WE_READY:
		if (state == W_BOOTING)
			return go(W_READY, WA_SERVE);
		return (struct rule){ ending, state, 0 };
	case WE_HUNG:
		if (state == W_READY)
			return go(W_SUSPECT, WA_STOP_SERVING | WA_DUMP);
		if (state == W_DRAINING)
			return go(W_STOPPING, WA_FAULT | WA_TERM);
		return (struct rule){ state == W_SUSPECT, state, 0 };
	case WE_RECOVERED:
		return state == W_SUSPECT ? go(W_READY, WA_SERVE) : (struct rule){ .next = state };
	case WE_DEADLINE:
		return rule_of_deadline(state);
	case WE_PARK:
		if (state == W_DOWN)
			return go(W_PARKED, WA_CANCEL_RESTART);
		return (struct rule){ state == W_PARKED, state, 0 };
	case WE_UNPARK:
		return state == W_PARKED ? go(W_DOWN, 0) : (struct rule){ .next = state };
	case WE_PROTOCOL_FAULT:
	case WE_DRAIN:
	case WE_KILL:
	case WE_EXIT:
	case WORKER_EVENT_COUNT:
		break;
	}
	return rule_of_end(state, event);
}

/* ---- and the world that the actions make ---- */

struct world {
	enum worker_state state;
	bool process, serving, killed, restart_armed;
	int jobs;
	int undecided; /* ends of lives that no restart decision followed yet */
};

static void act(struct world *w, unsigned actions)
{
	if (actions & WA_CANCEL_RESTART)
		w->restart_armed = false;
	if (actions & WA_SPAWN) {
		agree(!w->process, "a second process");
		w->process = true;
		w->killed = false;
	}
	if (actions & WA_SERVE) {
		agree(w->process && !w->serving && !w->killed, "serves twice, or dead");
		w->serving = true;
	}
	if (actions & WA_STOP_SERVING)
		w->serving = false;
	if (actions & (WA_DUMP | WA_TERM | WA_KILL | WA_ASK_SHUTDOWN))
		agree(w->process, "a signal without a process");
	if (actions & WA_KILL)
		w->killed = true;
	if (actions & WA_RELEASE_JOBS)
		w->jobs = 0;
	if (actions & WA_DECIDE_RESTART) {
		w->undecided--;
		w->restart_armed = true;
	}
}

static void fire(struct world *w, enum worker_event event)
{
	struct fsm_step got = worker_fsm_step(w->state, event);
	struct rule want = rule_of(w->state, event);
	enum worker_state was = w->state;

	agree(got.legal == want.legal && got.next == want.next && got.actions == want.actions,
	      "%s + %s: legal %d, next %s, actions %#x; wanted %d, %s, %#x", worker_state_name(was),
	      worker_event_name(event), (int)got.legal, worker_state_name(got.next), got.actions,
	      (int)want.legal, worker_state_name(want.next), want.actions);
	agree(got.legal || (got.next == was && !got.actions), "an illegal step does something");
	if (event == WE_EXIT || event == WE_SPAWN_FAILED) {
		w->undecided += got.legal;
		w->process = w->process && !got.legal;
	}
	w->state = got.next;
	act(w, got.actions);
	agree(w->process == worker_state_has_process(w->state) && w->serving == (w->state == W_READY),
	      "%s + %s: process %d, serving %d", worker_state_name(was), worker_event_name(event),
	      (int)w->process, (int)w->serving);
	agree(w->undecided == 0, "%s + %s: no restart decision", worker_state_name(was),
	      worker_event_name(event));
	agree(w->process || w->jobs == 0, "%s + %s: %d jobs are lost", worker_state_name(was),
	      worker_event_name(event), w->jobs);
	agree(!(w->process || w->state == W_PARKED) || !w->restart_armed, "%s: a restart is armed",
	      worker_state_name(w->state));
}

/* When nothing but time happens to a process that is to end, KILL comes. */
static void run_out(struct world *w)
{
	for (int deadlines = 0; w->process && w->state != W_READY && !w->killed; deadlines++) {
		agree(deadlines < 3, "%s: no KILL", worker_state_name(w->state));
		fire(w, WE_DEADLINE);
	}
}

static void walk_fsm(void)
{
	struct world world = { .state = W_DOWN };

	for (int step = 0; step < FSM_STEPS; step++) {
		enum worker_event event = (enum worker_event)model_below(WORKER_EVENT_COUNT);

		/* Halfway often along the good path, where the long walks start. */
		if (model_chance(40))
			event = world.state == W_DOWN	    ? WE_START
				: world.state == W_STARTING ? WE_HELLO
				: world.state == W_BOOTING  ? WE_READY
							    : event;
		fire(&world, event);
		if (world.serving)
			world.jobs += model_below(3);
	}
	run_out(&world);
}

static void test_the_machine_follows_its_rules_and_loses_neither_process_nor_job(void **state)
{
	(void)state;
	for (int walk = 0; walk < FSM_WALKS; walk++)
		walk_fsm();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_health_counts_what_was_missed_since_the_last_pong, model_start),
		cmocka_unit_test_setup(test_the_machine_follows_its_rules_and_loses_neither_process_nor_job,
				       model_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
