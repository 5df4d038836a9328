/* Whether one worker is well: pings, calls that take too long, and age. */

#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/probe.h"
#include "core/worker_private.h"
#include "io/child.h"
#include "io/loop.h"

enum {
	PING_MISSES = 2,
	UNREAD_BYTES = 1024 * 1024, /* read before a verdict */
};

struct health_params worker_health_params(const struct worker *worker)
{
	return (struct health_params){
		.interval_ms = worker->config->ping_interval_ms,
		.timeout_ms = worker->config->ping_timeout_ms,
		.misses = PING_MISSES,
	};
}

void worker_start_health(struct worker *worker)
{
	const struct health_params params = worker_health_params(worker);

	health_forgive(&worker->own->health, &params, loop_now_ms(worker->own->loop));
	loop_timer_start(worker->own->health_timer, params.interval_ms);
}

/* A row of pongs is missing: who is to blame, and what is done about it. */
static void judge(struct worker *worker)
{
	struct worker_own *own = worker->own;
	const struct health_params params = worker_health_params(worker);
	struct hang_signs signs = {
		.now_ms = loop_now_ms(own->loop),
		.misses = PING_MISSES,
		.misses_wanted = PING_MISSES,
		.proc_state = own->child ? child_proc_state(own->child) : '?',
		.loop_lag_ms = loop_late_ms(own->loop),
		.timeout_ms = params.timeout_ms,
	};
	enum hang_verdict verdict;
	const char *text;

	own->events.count_suspects(own->events.arg, worker, &signs.suspects, &signs.pool_size);
	verdict = hang_judge(&own->hang, &signs);
	text = hang_text(verdict, signs.proc_state);
	worker->verdict = verdict;
	worker->ailment = text;
	own->events.judged(own->events.arg, verdict);
	if (verdict == HANG_DEAD) {
		worker_fault(worker, WE_HUNG, "no pong to %d pings: %s", PING_MISSES, text);
		return;
	}
	log_warning("worker.suspect", "worker=%s pid=%d verdict=%s reason=\"%s\"", worker->name,
		    (int)worker_pid(worker), hang_name(verdict), text);
	own->events.suspect(own->events.arg, worker, verdict, text);
	if (verdict == HANG_STOPPED && own->child)
		child_signal_group(own->child, SIGCONT);
	health_forgive(&own->health, &params, loop_now_ms(own->loop));
}

void worker_check_recycling(struct worker *worker)
{
	struct worker_own *own = worker->own;
	enum recycle_why why = recycle_check(&own->recycle, worker->jobs_done,
					     loop_now_ms(own->loop) - worker->started_ms,
					     worker->rss_kb * 1024);

	if (why == RECYCLE_NO || own->recycle_told || worker->state != W_READY)
		return;
	own->recycle_told = true;
	log_info("worker.recycle", "worker=%s pid=%d why=%s jobs=%lld rss_kb=%lld", worker->name,
		 (int)worker_pid(worker), recycle_why_name(why), (long long)worker->jobs_done,
		 (long long)worker->rss_kb);
	own->events.recycle(own->events.arg, worker);
}

void worker_tick_health(void *arg)
{
	struct worker *worker = arg;
	struct worker_own *own = worker->own;
	const struct health_params params = worker_health_params(worker);
	int64_t next_ms;

	/* Timers fire before pipes are read: when it was us who were late, the pong lies there. */
	if (health_is_overdue(&own->health, loop_now_ms(own->loop)) && own->conn)
		lineconn_drain(own->conn, UNREAD_BYTES);
	if (worker->state != W_READY && worker->state != W_SUSPECT)
		return;
	switch (health_tick(&own->health, &params, loop_now_ms(own->loop), loop_late_ms(own->loop),
			    &next_ms)) {
	case HEALTH_PING:
		msg_put_ping(&own->scratch, health_seq(&own->health));
		(void)worker_send_scratch(worker);
		break;
	case HEALTH_SUSPECT:
		judge(worker);
		next_ms = own->health.next_ms;
		break;
	case HEALTH_NOTHING:
		break;
	}
	if (worker->state == W_READY || worker->state == W_SUSPECT)
		loop_timer_start(own->health_timer, next_ms - loop_now_ms(own->loop));
}

void worker_on_call_timer(void *arg)
{
	struct worker *worker = arg;
	struct worker_own *own = worker->own;
	int64_t now = loop_now_ms(own->loop);
	struct probe *oldest;
	int64_t due;

	if (list_is_empty(&own->calling))
		return;
	oldest = list_entry(own->calling.next, struct probe, link);
	due = oldest->call_ms + worker->config->job_timeout_ms + WORKER_CALL_SLACK_MS +
	      loop_late_ms(own->loop);
	if (now < due) {
		loop_timer_start(own->call_timer, due - now);
		return;
	}
	own->overdue = true;
	worker_fault(worker, WE_HUNG, "job %lld had no answer %lld ms after its call was permitted",
		     (long long)oldest->id, (long long)(now - oldest->call_ms));
}
