/* The work that this node holds, while the daemon's program is replaced: probes with all that was paid for
 * them, and where they wait. What is under way at a gate is counted from the probes. */

#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/claim.h"
#include "core/dispatch_private.h"
#include "core/handover_parts.h"
#include "core/lane.h"
#include "core/probe.h"
#include "core/purse.h"
#include "io/handover.h"

/* ---- probes ---- */

static void pass_turn(struct probe *probe, struct handover *h, const struct probe_turn *turn)
{
	char *body = turn ? turn->body : NULL;
	size_t len = turn ? turn->len : 0;

	handover_begin(h, NULL);
	handover_bytes(h, "body", &body, &len);
	handover_end(h);
	if (turn)
		return;
	if (body)
		probe_add_turn(probe, body, len, "");
	mem_free(&body);
}

static void pass_turns(struct probe *probe, struct handover *h)
{
	size_t count = handover_begin_list(h, "turns", probe->turn_count);

	for (size_t i = 0; i < count; i++)
		pass_turn(probe, h, handover_is_read(h) ? NULL : &probe->turns[i]);
	handover_end(h);
}

static void pass_probe(struct probe *probe, struct handover *h)
{
	handover_number(h, "id", &probe->id);
	handover_enum(h, "state", PROBE_BETWEEN, &probe->state);
	handover_int(h, "attempt", 0, INT_MAX, &probe->attempt);
	handover_int(h, "lease", 0, INT_MAX, &probe->lease);
	handover_text(h, "run", &probe->run_id);
	handover_text(h, "model", &probe->model_id);
	handover_bytes(h, "input", &probe->input, &probe->input_len);
	handover_bytes(h, "earlier", &probe->earlier, &probe->earlier_len);
	pass_turns(probe, h);
	/* Counted and chained by probe_add_turn() already, but for the earlier ones. */
	handover_int(h, "turnsDone", 0, INT_MAX, &probe->turns_done);
	handover_chars(h, "digest", probe->digest, sizeof(probe->digest));
	handover_bool(h, "lastSeen", &probe->last_seen);
	handover_time(h, "inputTokens", &probe->input_tokens);
	handover_time(h, "outputTokens", &probe->output_tokens);
	handover_time(h, "reasoningTokens", &probe->reasoning_tokens);
	handover_time(h, "durationMs", &probe->duration_ms);
	handover_int(h, "fails", 0, INT_MAX, &probe->fails);
	handover_int(h, "deaths", 0, INT_MAX, &probe->deaths);
	handover_int(h, "soloDeaths", 0, INT_MAX, &probe->solo_deaths);
	handover_time(h, "limitedSinceMs", &probe->limited_since_ms);
	handover_time(h, "callMs", &probe->call_ms);
	handover_time(h, "queuedMs", &probe->queued_ms);
	if (handover_has(h, "contextTokens"))
		handover_time(h, "contextTokens", &probe->context_tokens);
	probe->cost_e10 = handover_is_read(h) ? -1 : probe->cost_e10;
	if (handover_has(h, "costE10"))
		handover_number(h, "costE10", &probe->cost_e10);
	if (handover_has(h, "reservedE10"))
		handover_time(h, "reservedE10", &probe->ticket.reserved.of[GATE_MONEY_DAY]);
	handover_bool(h, "cancelling", &probe->cancelling);
	handover_bool(h, "lost", &probe->lost);
}

static void write_probe(struct probe *probe, struct handover *h)
{
	char *lane = probe->lane->name;

	handover_begin(h, NULL);
	handover_text(h, "lane", &lane);
	pass_probe(probe, h);
	handover_end(h);
}

static void read_probe(struct dispatch *dispatch, struct handover *h)
{
	AUTO(mem_free_str) char *lane = NULL;
	struct probe *probe = mem_alloc(sizeof(*probe));

	list_init(&probe->link);
	list_init(&probe->in_worker);
	handover_begin(h, NULL);
	handover_text(h, "lane", &lane);
	pass_probe(probe, h);
	probe->lane = lane ? dispatch_lane(dispatch, lane) : NULL;
	if (!probe->lane || !probe->run_id || !probe->model_id || map_get_id(dispatch->probes, probe->id)) {
		handover_fault(h, "job %lld of lane \"%s\" has no place here", (long long)probe->id,
			       lane ? lane : "");
		probe_free(&probe);
	} else {
		(void)map_set_id(dispatch->probes, probe->id, probe);
		store_know(dispatch->store, probe->id, probe->lease, probe->run_id, probe->model_id);
	}
	handover_end(h);
}

static void pass_stats(struct dispatch *dispatch, struct handover *h)
{
	struct dispatch_stats *stats = &dispatch->stats;

	handover_begin(h, "stats");
	handover_time(h, "claimed", &stats->claimed);
	handover_time(h, "completed", &stats->completed);
	handover_time(h, "failed", &stats->failed);
	handover_time(h, "cancelled", &stats->cancelled);
	handover_time(h, "retried", &stats->retried);
	handover_time(h, "turns", &stats->turns);
	if (handover_has(h, "runsEnded"))
		handover_counts(h, "runsEnded", stats->runs_ended, ARRAY_LEN(stats->runs_ended));
	handover_end(h);
}

void dispatch_pass_probes(struct dispatch *dispatch, struct handover *h)
{
	size_t count, cursor = 0;

	pass_stats(dispatch, h);
	count = handover_begin_list(h, "probes", map_len(dispatch->probes));
	for (size_t i = 0; i < count; i++) {
		if (handover_is_read(h))
			read_probe(dispatch, h);
		else
			write_probe(map_next(dispatch->probes, &cursor), h);
	}
	handover_end(h);
}

/* ---- lanes ---- */

/* The ids of the probes in a list of each family, in its order; fresh. */
static int64_t *ids_of(const struct lane *lane, enum probe_state state, size_t *ret_count)
{
	int64_t *ids = mem_array((size_t)(lane->queued + lane->between_count) + 1, sizeof(*ids));
	size_t count = 0;

	for (size_t i = 0; i < lane->family_count; i++) {
		const struct lane_family *family = &lane->families[i];
		const struct list *list = state == PROBE_QUEUED ? &family->queue : &family->between;

		list_foreach (at, list) {
			ids[count++] = list_entry(at, struct probe, link)->id;
		}
	}
	*ret_count = count;
	return ids;
}

/* Those that wait in the lane's lists of one sort, family by family, in order. */
static void pass_waiting(struct dispatch *dispatch, struct lane *lane, struct handover *h, const char *name,
			 enum probe_state state)
{
	size_t count;
	int64_t *ids = ids_of(lane, state, &count);

	handover_numbers(h, name, &ids, &count);
	for (size_t i = 0; handover_is_read(h) && i < count; i++) {
		struct probe *probe = map_get_id(dispatch->probes, ids[i]);

		if (!probe || probe->lane != lane || probe->state != state || !list_is_empty(&probe->link) ||
		    !probe->worker != (state == PROBE_QUEUED))
			handover_fault(h, "%s: job %lld does not wait here", name, (long long)ids[i]);
		else if (state == PROBE_QUEUED)
			lane_queue(lane, probe, false);
		else
			lane_wait_between(lane, probe);
	}
	mem_free(&ids);
}

/* ---- gates ---- */

/* The call holds its slot again. What it has taken from limits of a minute is in the past that a new gate
 * assumes anyway; the money reserved for it is in what the day has used, and in the run's purse. */
static void readmit(struct dispatch *dispatch, struct probe *probe)
{
	int64_t reserved_e10 = probe->ticket.reserved.of[GATE_MONEY_DAY];

	gate_readmit(probe->lane->gate, probe->family, dispatch_now_ms(dispatch), &probe->ticket);
	probe->ticket.reserved.of[GATE_MONEY_DAY] = reserved_e10;
	purse_reserve(dispatch->purse, probe->run_id, reserved_e10);
}

/* Calls that the lane's gate let in, and whose answer is not known. */
static void readmit_calls(struct dispatch *dispatch, struct lane *lane)
{
	struct probe *probe;
	size_t cursor = 0;

	while ((probe = map_next(dispatch->probes, &cursor))) {
		if (probe->lane != lane)
			continue;
		probe->family = lane_family_of(lane, probe->model_id);
		if (probe->state == PROBE_CALLING && !probe->last_seen)
			readmit(dispatch, probe);
	}
}

/* Of one unit, what was told, learned and, of a day's, used. */
static void pass_unit(struct handover *h, struct gate_scope_view *view, enum gate_unit unit)
{
	handover_begin(h, gate_unit_name(unit));
	handover_time(h, "told", &view->unit[unit].told);
	handover_time(h, "learned", &view->unit[unit].learned);
	handover_time(h, "used", &view->unit[unit].used);
	handover_end(h);
}

static void pass_scope(struct dispatch *dispatch, struct lane *lane, struct handover *h, size_t index)
{
	struct gate_scope_view view;
	AUTO(mem_free_str) char *glob = NULL;

	gate_view(lane->gate, index, dispatch_now_ms(dispatch), &view);
	glob = mem_strdup(view.glob);
	handover_begin(h, NULL);
	handover_text(h, "glob", &glob);
	handover_time(h, "pausedUntilMs", &view.paused_until_ms);
	handover_int(h, "learnedConcurrency", 0, INT_MAX, &view.learned_concurrency);
	for (size_t i = 0; i < GATE_UNITS; i++)
		pass_unit(h, &view, (enum gate_unit)i);
	handover_end(h);
	if (handover_is_read(h) && glob && strcmp(glob, view.glob) == 0)
		gate_go_on(lane->gate, index, &view);
}

static void pass_scopes(struct dispatch *dispatch, struct lane *lane, struct handover *h)
{
	size_t count = handover_begin_list(h, "scopes", gate_scopes(lane->gate));

	for (size_t i = 0; i < count; i++)
		if (i < gate_scopes(lane->gate))
			pass_scope(dispatch, lane, h, i);
	handover_end(h);
}

static void pass_parking(struct dispatch *dispatch, struct lane *lane, struct handover *h)
{
	AUTO(mem_free_str) char *reason = mem_strdup(gate_parked_reason(lane->gate));
	enum gate_park kind = gate_parked_kind(lane->gate);
	int64_t recheck_at_ms = gate_recheck_at(lane->gate), now_ms = dispatch_now_ms(dispatch);

	handover_text(h, "parked", &reason);
	if (handover_has(h, "parkedFor"))
		handover_enum(h, "parkedFor", GATE_PARK_AUTH, &kind);
	if (handover_has(h, "recheckAtMs"))
		handover_time(h, "recheckAtMs", &recheck_at_ms);
	if (handover_is_read(h) && reason)
		gate_park(lane->gate, kind, reason, now_ms,
			  recheck_at_ms == 0	   ? 0
			  : recheck_at_ms > now_ms ? recheck_at_ms - now_ms
						   : 1,
			  DISPATCH_RECHECK_MAX_MS);
}

static void pass_gate(struct dispatch *dispatch, struct lane *lane, struct handover *h)
{
	handover_begin(h, "gate");
	if (handover_has(h, "scopes"))
		pass_scopes(dispatch, lane, h);
	pass_parking(dispatch, lane, h);
	handover_end(h);
	if (handover_is_read(h))
		readmit_calls(dispatch, lane);
}

static void pass_lane(struct dispatch *dispatch, struct lane *lane, struct handover *h)
{
	handover_begin(h, lane->name);
	handover_time(h, "calls", &lane->calls);
	handover_time(h, "turns", &lane->turns);
	handover_time(h, "completed", &lane->completed);
	handover_time(h, "failed", &lane->failed);
	handover_time(h, "retried", &lane->retried);
	handover_time(h, "limited", &lane->limited);
	if (handover_has(h, "hasWorked"))
		handover_bool(h, "hasWorked", &lane->has_worked);
	if (handover_has(h, "refusedKeys"))
		handover_int(h, "refusedKeys", 0, INT_MAX, &lane->refused_keys);
	if (handover_has(h, "tally"))
		tally_pass(&lane->tally, h);
	handover_time(h, "lastSuccessMs", &lane->last_success_ms);
	handover_text(h, "lastError", &lane->last_error);
	pass_gate(dispatch, lane, h);
	pass_waiting(dispatch, lane, h, "queue", PROBE_QUEUED);
	pass_waiting(dispatch, lane, h, "between", PROBE_BETWEEN);
	handover_end(h);
}

/* Whether every probe is somewhere: in a lane's list, or calling in its worker's. */
static void check_places(const struct dispatch *dispatch, struct handover *h)
{
	const struct probe *probe;
	size_t cursor = 0;

	while ((probe = map_next(dispatch->probes, &cursor)))
		if (list_is_empty(&probe->link) || (probe->state == PROBE_CALLING && !probe->worker))
			handover_fault(h, "job %lld is nowhere", (long long)probe->id);
}

void dispatch_pass_lanes(struct dispatch *dispatch, struct handover *h)
{
	if (handover_has(h, "purse"))
		purse_pass(dispatch->purse, h);
	handover_begin(h, "lanes");
	for (size_t i = 0; i < ARRAY_LEN(dispatch->lanes); i++)
		if (handover_has(h, dispatch->lanes[i]->name))
			pass_lane(dispatch, dispatch->lanes[i], h);
	handover_end(h);
	if (handover_is_read(h)) {
		check_places(dispatch, h);
		dispatch_share_limits(dispatch);
	}
}

const struct map *dispatch_probes(const struct dispatch *dispatch)
{
	return dispatch->probes;
}

void dispatch_hold_claims(struct dispatch *dispatch, bool hold)
{
	claim_hold(dispatch->claim, hold);
}
