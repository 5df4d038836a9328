/* What becomes of an attempt that has ended: an outcome, another attempt, a place in the lane, or a lane that
 * waits. */

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/dispatch_private.h"
#include "core/lane.h"
#include "core/probe.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "io/msg.h"
#include "policy/blame.h"
#include "policy/error.h"
#include "policy/retry.h"

enum { POISON_WORDS = 4000 }; /* of its worker's stderr, kept with a job that is POISON */

void dispatch_drop(struct dispatch *dispatch, struct probe *probe)
{
	(void)map_remove_id(dispatch->probes, probe->id);
	if (!list_is_empty(&probe->link))
		lane_unlink(probe->lane, probe);
	probe_free(&probe);
}

static int64_t limited_for(const struct dispatch *dispatch, const struct probe *probe)
{
	return probe->limited_since_ms ? dispatch_now_ms(dispatch) - probe->limited_since_ms + 1 : 0;
}

/* Hands the end of the attempt to the store and forgets the probe. */
static void finish(struct dispatch *dispatch, struct probe *probe, enum store_fate fate,
		   const char *model_version, const char *error, int64_t delay_ms)
{
	struct store_end end = {
		.job_id = probe->id,
		.attempt = probe->lease,
		.fate = fate,
		.turn_count = probe->turns_done,
		.digest = probe->digest,
		.model_version = model_version,
		.input_tokens = probe->input_tokens,
		.output_tokens = probe->output_tokens,
		.reasoning_tokens = probe->reasoning_tokens,
		.duration_ms = probe->duration_ms,
		.cost_e10 = probe->turns_done > 0 ? probe->cost_e10 : -1,
		.error = error,
		.delay_ms = delay_ms,
		.fails = probe->fails,
		.deaths = probe->deaths,
		.solo_deaths = probe->solo_deaths,
		.limited_for_ms = limited_for(dispatch, probe),
	};

	store_finish(dispatch->store, &end);
	dispatch_drop(dispatch, probe);
}

/* `worker` had the probe until now; NULL when none had. */
static void fail(struct dispatch *dispatch, const struct worker *worker, struct probe *probe,
		 const char *error, const char *code, const char *message)
{
	dispatch->stats.failed++;
	probe->lane->failed++;
	probe->lane->tally.failures[error_parse(code)]++;
	mem_set_str(&probe->lane->last_error, mem_printf("%s: %s", code, message));
	log_info("probe.failed", "run=%s job=%lld model=%s worker=%s attempt=%d code=%s message=\"%s\"",
		 probe->run_id, (long long)probe->id, probe->model_id, worker ? worker->name : "none",
		 probe->attempt, code, message);
	finish(dispatch, probe, STORE_FAILED, NULL, error, 0);
}

void dispatch_end_cancelled(struct dispatch *dispatch, struct probe *probe)
{
	AUTO(mem_free_str) char *error = msg_own_error("CANCELLED", "the run was cancelled");

	dispatch->stats.cancelled++;
	probe->lane->tally.cancelled++;
	finish(dispatch, probe, STORE_CANCELLED, NULL, error, 0);
}

/* Back to the queue with all that it has, blaming nobody. */
void dispatch_give_back(struct dispatch *dispatch, struct probe *probe)
{
	finish(dispatch, probe, STORE_LATER, NULL, NULL, 0);
}

/* A worker would take a broken turn for a broken supervisor, and end with all that it holds. */
void dispatch_refuse_broken(struct dispatch *dispatch, struct probe *probe)
{
	static const char message[] = "a worker gave an answer that is no JSON object";
	AUTO(mem_free_str) char *error = msg_own_error("INVALID_RESPONSE", message);

	fail(dispatch, NULL, probe, error, "INVALID_RESPONSE", message);
}

void dispatch_record(struct dispatch *dispatch, const char *level, const char *kind, const struct lane *lane,
		     const char *reason)
{
	AUTO(mem_free_str) char *data = jsontext_pack("{s:s}", "reason", reason);

	store_event(dispatch->store, level, kind, NULL, 0, lane->name, data);
}

void dispatch_say_open(struct dispatch *dispatch, const struct lane *lane, const char *kind,
		       const char *reason)
{
	log_info(kind, "lane=%s by=\"%s\"", lane->name, reason);
	dispatch_record(dispatch, "info", kind, lane, reason);
}

/* ---- parking ---- */

enum { AUTH_TOLERATED = 2 }; /* jobs of a lane that a refused key may cost before the lane is parked */

/* No wait of a minute mends it: an operator must, or a trial call finds out that it is mended. The probe is
 * the one whose call told. */
static void park(struct dispatch *dispatch, const struct worker *worker, const struct probe *probe,
		 enum gate_park kind, const char *reason)
{
	struct lane *lane = probe->lane;
	const struct config_provider *config = &dispatch->config->providers[lane->index];

	if (gate_parked_reason(lane->gate))
		return;
	gate_park(lane->gate, kind, reason, dispatch_now_ms(dispatch), config->recheck_ms,
		  DISPATCH_RECHECK_MAX_MS);
	log_error("lane.parked",
		  "lane=%s run=%s job=%lld model=%s worker=%s reason=\"%s\" recheck_ms=%lld "
		  "remedy=\"proctorctl providers resume %s\"",
		  lane->name, probe->run_id, (long long)probe->id, probe->model_id, worker->name, reason,
		  (long long)config->recheck_ms, lane->name);
	dispatch_record(dispatch, "error", "lane.parked", lane, reason);
}

/* A key that is refused once may be a matter of one model; one that is refused again and again would fail a
 * whole run. True when the lane is parked for it, so that the probe may wait. */
static bool is_key_refused(struct dispatch *dispatch, const struct worker *worker, const struct probe *probe,
			   const struct msg *msg)
{
	struct lane *lane = probe->lane;
	const char *key_env = dispatch->config->providers[lane->index].key_env;
	AUTO(mem_free_str) char *reason = NULL;

	if (error_parse(msg->error_code) != ERROR_AUTH_ERROR)
		return false;
	if (++lane->refused_keys <= AUTH_TOLERATED)
		return false;
	reason = mem_printf("the key was refused %d times in a row (%s): put a good one into %s and reload",
			    lane->refused_keys, msg->error_message, key_env);
	park(dispatch, worker, probe, GATE_PARK_AUTH, reason);
	return true;
}

/* ---- failures ---- */

/* The probe goes back into its queue, `front` = to the place that it had, while its lane waits. */
static void wait_in_lane(const struct dispatch *dispatch, struct probe *probe, const struct msg *msg,
			 bool front)
{
	mem_set_str(&probe->lane->last_error, mem_printf("%s: %s", msg->error_code, msg->error_message));
	probe->queued_ms = dispatch_now_ms(dispatch);
	lane_queue(probe->lane, probe, front);
}

static void wait_out_limit(struct dispatch *dispatch, const struct worker *worker, struct probe *probe,
			   const struct msg *msg, int64_t delay_ms)
{
	struct lane *lane = probe->lane;

	lane->limited++;
	if (!probe->limited_since_ms)
		probe->limited_since_ms = dispatch_now_ms(dispatch);
	log_info("lane.limited", "lane=%s wait_ms=%lld run=%s job=%lld model=%s worker=%s", lane->name,
		 (long long)delay_ms, probe->run_id, (long long)probe->id, probe->model_id, worker->name);
	wait_in_lane(dispatch, probe, msg, true);
}

static void try_later(struct dispatch *dispatch, const struct worker *worker, struct probe *probe,
		      const struct msg *msg, int64_t delay_ms)
{
	AUTO(mem_free_str) char *error = msg_outcome_error(msg);

	dispatch->stats.retried++;
	probe->lane->retried++;
	mem_set_str(&probe->lane->last_error, mem_printf("%s: %s", msg->error_code, msg->error_message));
	log_info(
		"probe.retry",
		"run=%s job=%lld model=%s worker=%s attempt=%d code=%s fails=%d delay_ms=%lld message=\"%s\"",
		probe->run_id, (long long)probe->id, probe->model_id, worker->name, probe->attempt,
		msg->error_code, probe->fails, (long long)delay_ms, msg->error_message);
	finish(dispatch, probe, STORE_LATER, NULL, error, delay_ms);
}

static struct retry_verdict decide(const struct dispatch *dispatch, const struct probe *probe,
				   const struct msg *msg)
{
	const struct config_retry *retry = &dispatch->config->retry;
	const struct retry_params params = {
		.max_tries = retry->max_tries,
		.base_delay_ms = retry->base_delay_ms,
		.max_delay_ms = retry->max_delay_ms,
		.rate_limit_patience_ms = retry->rate_limit_patience_ms,
	};
	const struct retry_state state = { .fails = probe->fails,
					   .limited_for_ms = limited_for(dispatch, probe),
					   .word = msg->retryable ? RETRY_SAID_YES : RETRY_SAID_NO };

	return retry_decide(&params, &state, error_parse(msg->error_code), msg->retry_after_ms,
			    clock_random());
}

static void on_failure(struct dispatch *dispatch, const struct worker *worker, struct probe *probe,
		       const struct msg *msg, const struct retry_verdict *verdict, bool trial)
{
	AUTO(mem_free_str) char *error = NULL;

	if (probe->cancelling) {
		dispatch_end_cancelled(dispatch, probe);
		return;
	}
	/* Who is sent ahead to find out whether the provider is back does not pay for it, and another goes
	 * next time; but what breaks every provider comes to its end. */
	if (trial && dispatch_end_of(msg) == GATE_BROKEN &&
	    probe->trials < dispatch->config->retry.max_tries) {
		probe->trials++;
		wait_in_lane(dispatch, probe, msg, false);
		return;
	}
	probe->fails = verdict->fails;
	switch (verdict->action) {
	case RETRY_FAIL:
		if (is_key_refused(dispatch, worker, probe, msg)) {
			wait_in_lane(dispatch, probe, msg, true);
			break;
		}
		error = msg_outcome_error(msg);
		fail(dispatch, worker, probe, error, msg->error_code, msg->error_message);
		break;
	case RETRY_LATER:
		try_later(dispatch, worker, probe, msg, verdict->delay_ms);
		break;
	case RETRY_WAIT_LANE:
		wait_out_limit(dispatch, worker, probe, msg, verdict->delay_ms);
		break;
	case RETRY_PARK_LANE:
		park(dispatch, worker, probe, GATE_PARK_QUOTA, msg->error_message);
		wait_in_lane(dispatch, probe, msg, true);
		break;
	}
}

/* The call failed: the gate hears what the provider said before it gets the ticket back. */
static void leave(struct dispatch *dispatch, struct probe *probe, const struct msg *msg, int64_t pause_ms)
{
	const struct gate_told told = dispatch_told(probe->lane, msg);
	struct gate *gate = probe->lane->gate;
	int64_t now_ms = dispatch_now_ms(dispatch);
	enum gate_end end = dispatch_end_of(msg);

	if (end != GATE_UNSENT)
		probe->lane->tally.errors[error_parse(msg->error_code)]++;
	if (end == GATE_REFUSED)
		gate_refuse(gate, &probe->ticket, now_ms, &told, msg->retry_after_ms,
			    pause_ms > 0 ? pause_ms : msg->retry_after_ms);
	else
		gate_hear(gate, &probe->ticket, now_ms, &told);
	dispatch_call_over(dispatch, probe, end, NULL);
}

void dispatch_on_result(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
			const struct msg *msg)
{
	/* A call that has answered left the gate with its last turn; one that failed leaves it now, and so
	 * does one that was not made, because all turns were there already. */
	bool calling = probe->state == PROBE_CALLING && !probe->last_seen;
	bool trial = calling && probe->ticket.trial;
	struct retry_verdict verdict = { .action = RETRY_FAIL };

	if (calling && msg->success) {
		dispatch_call_over(dispatch, probe, GATE_UNSENT, NULL);
	} else if (!msg->success) {
		verdict = decide(dispatch, probe, msg);
		if (calling)
			leave(dispatch, probe, msg, verdict.delay_ms);
	}
	if (msg->success) {
		dispatch->stats.completed++;
		probe->lane->completed++;
		finish(dispatch, probe, STORE_COMPLETED, msg->model_version, NULL, 0);
	} else if (probe->lost) {
		dispatch_drop(dispatch, probe);
	} else if (msg->given_back) {
		dispatch_give_back(dispatch, probe);
	} else if (probe->cancelling && strcmp(msg->error_code, "CANCELLED") == 0) {
		dispatch_end_cancelled(dispatch, probe);
	} else if (strcmp(msg->error_code, "CANCELLED") == 0) {
		dispatch_give_back(dispatch, probe); /* was lost, and came back meanwhile */
	} else {
		on_failure(dispatch, worker, probe, msg, &verdict, trial);
	}
	dispatch_pump(dispatch);
}

static void poison(struct dispatch *dispatch, const struct worker *worker, struct probe *probe,
		   const struct worker_death *death)
{
	AUTO(mem_free_str)
	char *message = mem_printf("the job, running alone, killed its worker %d times (%s)",
				   probe->solo_deaths, death->text);
	const char *words = death->stderr_tail;
	size_t len = strlen(words);
	AUTO(mem_free_str)
	char *error = msg_own_error_with("POISON", message, "stderr",
					 len > POISON_WORDS ? words + len - POISON_WORDS : words);

	fail(dispatch, worker, probe, error, "POISON", message);
}

void dispatch_on_released(struct dispatch *dispatch, struct worker *worker, struct probe *probe,
			  const struct worker_death *death)
{
	const struct blame_job job = { .deaths = probe->deaths, .solo_deaths = probe->solo_deaths };
	struct blame blame = blame_decide(&death->blame, &job, death->alone);

	if (probe->state == PROBE_CALLING && !probe->last_seen) {
		probe->lane->tally.errors[ERROR_WORKER_CRASH]++;
		dispatch_call_over(dispatch, probe, GATE_FAILED, NULL);
	}
	probe->deaths = blame.job.deaths;
	probe->solo_deaths = blame.job.solo_deaths;
	if (probe->lost) {
		dispatch_drop(dispatch, probe);
	} else if (probe->cancelling) {
		dispatch_end_cancelled(dispatch, probe);
	} else if (blame.poison) {
		poison(dispatch, worker, probe, death);
	} else if (dispatch->stopping) {
		dispatch_give_back(dispatch, probe);
	} else {
		probe->last_seen = false;
		probe->queued_ms = dispatch_now_ms(dispatch);
		lane_queue(probe->lane, probe, true);
	}
	dispatch_pump(dispatch);
}
