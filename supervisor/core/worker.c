#include "core/worker.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/lane.h"
#include "core/probe.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/lineconn.h"
#include "io/loop.h"
#include "io/msg.h"
#include "policy/health.h"

enum {
	DUMP_MS = 1000,
	TERM_MS = 2000, /* from TERM to KILL of a sick one */
	KILL_MS = 5000,
	EOF_MS = 1000,
	PING_MISSES = 2,
	CALL_SLACK_MS = 10000, /* the worker ends a call by itself; so much later it counts as hung */
	QUEUED_BYTES = 96 * 1024 * 1024, /* to one worker: a conversation of the largest size and some more */
	DRAIN_BYTES = 128 * 1024 * 1024, /* read from a dead worker's pipe */
	PONG_BYTES = 1024 * 1024,	 /* read before the verdict that a pong is missing */
	TAIL_BYTES = 4000,		 /* of stderr, in the record of a death */
};

struct worker_own {
	struct loop *loop;
	struct worker_events events;
	const char *const *argv, *const *env;

	struct child *child; /* NULL once reaped */
	struct lineconn *conn;
	struct errtail *tail;
	struct loop_timer *deadline; /* of the state */
	struct loop_timer *health_timer;
	struct loop_timer *call_timer; /* of the oldest call under way */
	struct loop_timer *restart_timer;
	struct loop_timer *eof_timer; /* between the end of its stdout and its own end */
	struct health health;
	int64_t drain_ms;

	struct list held;    /* probes, by in_worker */
	struct list calling; /* of them those with a call under way, by link, oldest first */
	struct map *by_id;   /* id → probe */

	struct msg turn; /* whose body is the next line */
	bool body_due;

	bool planned, faulty, signalled, proven;
	bool overdue; /* suspect of a call that never ended: a pong is no defence */
	char fault[256];
	struct buf scratch; /* lines under way out */
};

static void step(struct worker *worker, enum worker_event event);

/* A good answer or a pong: this life was worth starting. */
static void prove(struct worker *worker)
{
	if (worker->own->proven)
		return;
	worker->own->proven = true;
	worker->own->events.proven(worker->own->events.arg, worker);
}

static void fault(struct worker *worker, enum worker_event event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void fault(struct worker *worker, enum worker_event event, const char *format, ...)
{
	struct worker_own *own = worker->own;
	va_list args;

	if (!own->fault[0]) {
		va_start(args, format);
		(void)vsnprintf(own->fault, sizeof(own->fault), format, args);
		va_end(args);
		log_warning("worker.fault", "worker=%s pid=%d event=%s reason=\"%s\"", worker->name,
			    (int)worker_pid(worker), worker_event_name(event), own->fault);
	}
	step(worker, event);
}

/* ---- probes in the worker ---- */

static void hold(struct worker *worker, struct probe *probe)
{
	probe->worker = worker;
	list_push_back(&worker->own->held, &probe->in_worker);
	(void)map_set_id(worker->own->by_id, probe->id, probe);
	worker->held++;
}

static void let_go(struct worker *worker, struct probe *probe)
{
	if (probe->state == PROBE_BETWEEN)
		lane_unlink(probe->lane, probe);
	else
		list_remove(&probe->link);
	list_remove(&probe->in_worker);
	(void)map_remove_id(worker->own->by_id, probe->id);
	probe->worker = NULL;
	worker->held--;
	if (worker->held == 0)
		worker->solo = false;
}

static void mark_calling(struct worker *worker, struct probe *probe)
{
	probe->state = PROBE_CALLING;
	probe->call_ms = loop_now_ms(worker->own->loop);
	list_push_back(&worker->own->calling, &probe->link);
	loop_timer_start_by(worker->own->call_timer, worker->config->job_timeout_ms + CALL_SLACK_MS);
}

static void on_call_timer(void *arg)
{
	struct worker *worker = arg;
	struct worker_own *own = worker->own;
	int64_t now = loop_now_ms(own->loop);
	struct probe *oldest;
	int64_t due;

	if (list_is_empty(&own->calling))
		return;
	oldest = list_entry(own->calling.next, struct probe, link);
	due = oldest->call_ms + worker->config->job_timeout_ms + CALL_SLACK_MS + loop_lag_ms(own->loop);
	if (now < due) {
		loop_timer_start(own->call_timer, due - now);
		return;
	}
	own->overdue = true;
	fault(worker, WE_HUNG, "job %lld had no answer %lld ms after its call was permitted",
	      (long long)oldest->id, (long long)(now - oldest->call_ms));
}

/* ---- lines from the worker ---- */

static struct probe *find_probe(struct worker *worker, const struct msg *msg, const char *what)
{
	struct probe *probe = map_get_id(worker->own->by_id, msg->id);

	if (probe && probe->attempt == msg->attempt)
		return probe;
	fault(worker, WE_PROTOCOL_FAULT, "%s for job %lld attempt %d, which it does not hold", what,
	      (long long)msg->id, msg->attempt);
	return NULL;
}

static void on_turn_body(struct worker *worker, const char *body, size_t len)
{
	struct worker_own *own = worker->own;
	struct msg *msg = &own->turn;
	struct probe *probe;

	own->body_due = false;
	if (len != msg->body_bytes || body[0] != '{') {
		fault(worker, WE_PROTOCOL_FAULT,
		      "the body of a turn of job %lld has %zu bytes, announced were %zu", (long long)msg->id,
		      len, msg->body_bytes);
		goto done;
	}
	probe = find_probe(worker, msg, "a turn");
	if (!probe)
		goto done;
	if (probe->state != PROBE_CALLING || probe->last_seen || strcmp(msg->prev, probe->digest) != 0 ||
	    msg->number != probe->turns_done + 1) {
		fault(worker, WE_PROTOCOL_FAULT,
		      "turn %d of job %lld does not extend its conversation of %d turns", msg->number,
		      (long long)msg->id, probe->turns_done);
		goto done;
	}
	probe_add_turn(probe, body, len, msg->digest);
	probe->input_tokens += msg->input_tokens;
	probe->output_tokens += msg->output_tokens;
	probe->reasoning_tokens += msg->reasoning_tokens;
	probe->duration_ms += msg->latency_ms;
	probe->last_seen = msg->last;
	prove(worker);
	if (!msg->last)
		list_remove(&probe->link);
	own->events.turn(own->events.arg, worker, probe, msg);
done:
	msg_free(msg);
}

static void on_result(struct worker *worker, struct msg *msg)
{
	struct probe *probe = find_probe(worker, msg, "a result");

	if (!probe)
		return;
	/* One whose turns were all done in an earlier life succeeds without a new one. */
	if (msg->success && probe->turns_done == 0) {
		fault(worker, WE_PROTOCOL_FAULT, "success of job %lld without a turn", (long long)msg->id);
		return;
	}
	if (msg->success) {
		prove(worker);
		worker->jobs_done++;
	}
	let_go(worker, probe);
	worker->own->events.result(worker->own->events.arg, worker, probe, msg);
}

static void on_hello(struct worker *worker, const struct msg *msg)
{
	if (worker->state != W_STARTING && worker->state != W_STOPPING && worker->state != W_KILLING) {
		fault(worker, WE_PROTOCOL_FAULT, "a second hello");
		return;
	}
	if (msg->protocol != MSG_PROTOCOL || strcmp(msg->kind, "probe") != 0) {
		fault(worker, WE_PROTOCOL_FAULT,
		      "it speaks protocol %d of kind \"%.40s\"; this daemon speaks %d of kind \"probe\"",
		      msg->protocol, msg->kind, MSG_PROTOCOL);
		return;
	}
	worker->capacity = msg->capacity < worker->config->capacity ? msg->capacity
								    : worker->config->capacity;
	mem_set_str(&worker->version, mem_strdup(msg->version));
	mem_set_str(&worker->python, mem_strdup(msg->python));
	step(worker, WE_HELLO);
}

static void on_ready_message(struct worker *worker)
{
	if (worker->state == W_READY || worker->state == W_STARTING) {
		fault(worker, WE_PROTOCOL_FAULT,
		      worker->state == W_READY ? "a second ready" : "ready before hello");
		return;
	}
	step(worker, WE_READY);
}

static void on_pong(struct worker *worker, const struct msg *msg)
{
	struct worker_own *own = worker->own;

	if (!health_pong(&own->health, msg->seq, loop_now_ms(own->loop))) {
		fault(worker, WE_PROTOCOL_FAULT, "a pong for ping %llu, which was not sent",
		      (unsigned long long)msg->seq);
		return;
	}
	worker->rss_kb = msg->rss_kb;
	worker->last_pong_ms = loop_now_ms(own->loop);
	prove(worker);
	if (worker->state == W_SUSPECT && !own->overdue) {
		own->fault[0] = '\0';
		step(worker, WE_RECOVERED);
	}
}

static void on_line(void *arg, char *line, size_t len)
{
	struct worker *worker = arg;
	struct worker_own *own = worker->own;
	char error[160];
	struct msg msg;

	/* Already given up on: what else it says is noise. */
	if (own->faulty)
		return;
	if (own->body_due) {
		on_turn_body(worker, line, len);
		return;
	}
	if (msg_parse(line, len, &msg, error, sizeof(error)) < 0) {
		fault(worker, WE_PROTOCOL_FAULT, "a line of %zu bytes that is not the protocol: %s", len,
		      error);
		return;
	}
	switch (msg.type) {
	case MSG_HELLO:
		on_hello(worker, &msg);
		break;
	case MSG_READY:
		on_ready_message(worker);
		break;
	case MSG_TURN:
		own->turn = msg;
		own->body_due = true;
		return; /* freed with the body */
	case MSG_RESULT:
		on_result(worker, &msg);
		break;
	case MSG_PONG:
		on_pong(worker, &msg);
		break;
	}
	msg_free(&msg);
}

static void on_conn_end(void *arg, enum lineconn_end end, int error)
{
	struct worker *worker = arg;

	(void)error;
	if (end == LINECONN_TOO_LONG)
		fault(worker, WE_PROTOCOL_FAULT, "a line over %u bytes", MSG_MAX_LINE);
	else if (worker->own->child)
		loop_timer_start(worker->own->eof_timer, EOF_MS);
}

/* A process that ends closes its stdout a moment before it can be reaped; one that lives on is no use. */
static void on_eof_timer(void *arg)
{
	fault(arg, WE_PROTOCOL_FAULT, "it closed its stdout");
}

/* ---- lines to the worker ---- */

static int send_scratch(struct worker *worker)
{
	struct worker_own *own = worker->own;
	int r = own->conn ? lineconn_send(own->conn, buf_bytes(&own->scratch), buf_len(&own->scratch))
			  : -EPIPE;

	buf_clear(&own->scratch, 64 * 1024);
	if (r == -ENOBUFS)
		fault(worker, WE_PROTOCOL_FAULT, "it does not read its stdin: %zu bytes wait",
		      lineconn_queued(own->conn));
	return r;
}

int worker_send_job(struct worker *worker, struct probe *probe)
{
	struct buf *out = &worker->own->scratch;
	struct buf turns = BUF_INIT(0);
	int r;

	probe_put_turns(probe, &turns);
	msg_put_job(out, probe->id, probe->attempt, worker->config->job_timeout_ms, probe->input,
		    probe->input_len, buf_bytes(&turns), buf_len(&turns), probe->digest);
	buf_free(&turns);
	r = send_scratch(worker);
	if (r < 0)
		return r;
	hold(worker, probe);
	mark_calling(worker, probe);
	return 0;
}

int worker_send_go(struct worker *worker, struct probe *probe)
{
	int r;

	msg_put_go(&worker->own->scratch, probe->id);
	r = send_scratch(worker);
	if (r < 0)
		return r;
	lane_unlink(probe->lane, probe);
	mark_calling(worker, probe);
	return 0;
}

void worker_send_cancel(struct worker *worker, struct probe *probe)
{
	msg_put_cancel(&worker->own->scratch, probe->id);
	(void)send_scratch(worker);
}

/* ---- health ---- */

static struct health_params health_params_of(const struct worker *worker)
{
	return (struct health_params){
		.interval_ms = worker->config->ping_interval_ms,
		.timeout_ms = worker->config->ping_timeout_ms,
		.misses = PING_MISSES,
	};
}

static void start_health(struct worker *worker)
{
	const struct health_params params = health_params_of(worker);

	health_forgive(&worker->own->health, &params, loop_now_ms(worker->own->loop));
	loop_timer_start(worker->own->health_timer, params.interval_ms);
}

static void tick_health(void *arg)
{
	struct worker *worker = arg;
	struct worker_own *own = worker->own;
	const struct health_params params = health_params_of(worker);
	int64_t next_ms;

	if (health_is_overdue(&own->health, loop_now_ms(own->loop)) && own->conn)
		lineconn_drain(own->conn, PONG_BYTES);
	if (worker->state != W_READY && worker->state != W_SUSPECT)
		return;
	switch (health_tick(&own->health, &params, loop_now_ms(own->loop), loop_late_ms(own->loop),
			    &next_ms)) {
	case HEALTH_PING:
		msg_put_ping(&own->scratch, health_seq(&own->health));
		(void)send_scratch(worker);
		break;
	case HEALTH_SUSPECT:
		if (own->events.hold_kills(own->events.arg, worker)) {
			start_health(worker);
			return;
		}
		/* T: somebody stopped it; D: it waits for a disk. Both are said, neither is forgiven. */
		fault(worker, WE_HUNG, "no pong to %d pings; its process state is %c", PING_MISSES,
		      own->child ? child_proc_state(own->child) : '?');
		break;
	case HEALTH_NOTHING:
		break;
	}
	if (worker->state == W_READY || worker->state == W_SUSPECT)
		loop_timer_start(own->health_timer, next_ms - loop_now_ms(own->loop));
}

/* ---- life and death ---- */

static void end_process(struct worker *worker)
{
	struct worker_own *own = worker->own;

	loop_timer_stop(own->health_timer);
	loop_timer_stop(own->call_timer);
	loop_timer_stop(own->eof_timer);
	lineconn_free(&own->conn);
	errtail_free(&own->tail);
	if (own->body_due)
		msg_free(&own->turn);
	own->body_due = false;
}

static bool is_strangers_signal(int signo)
{
	return signo == SIGKILL || signo == SIGTERM || signo == SIGINT || signo == SIGHUP || signo == SIGQUIT;
}

static void describe_death(struct worker *worker, const struct child_exit *exit, struct worker_death *ret)
{
	struct worker_own *own = worker->own;

	*ret = (struct worker_death){
		.code = exit->code,
		.signo = exit->signo,
		.text = child_exit_text(exit),
		.planned = own->planned && !own->faulty,
		.faulty = own->faulty,
		.fault = own->fault,
		.lived_ms = loop_now_ms(own->loop) - worker->started_ms,
		.proven = own->proven,
		.held = worker->held,
	};
	ret->killed_from_outside = !own->signalled && is_strangers_signal(exit->signo);
	ret->blames_jobs = !ret->planned && !ret->killed_from_outside;
}

static void release_held(struct worker *worker, const struct worker_death *death)
{
	struct worker_own *own = worker->own;

	/* The newest first: each goes to the front of its queue, so that the oldest ends up at the head. */
	while (!list_is_empty(&own->held)) {
		struct probe *probe = list_entry(own->held.prev, struct probe, in_worker);

		let_go(worker, probe);
		own->events.released(own->events.arg, worker, probe, death);
	}
}

static void finish_life(struct worker *worker, const struct child_exit *exit, enum worker_event event)
{
	struct worker_own *own = worker->own;
	AUTO(mem_free_str) char *tail = NULL;
	struct worker_death death;
	struct fsm_step next;

	next = worker_fsm_step(worker->state, event);
	if (next.actions & WA_FAULT)
		own->faulty = true;
	describe_death(worker, exit, &death);
	if (own->tail) {
		errtail_drain(own->tail, DRAIN_BYTES);
		tail = errtail_text(own->tail, TAIL_BYTES);
	}
	death.stderr_tail = tail ? tail : "";
	log_write(death.planned ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "worker.exit",
		  "worker=%s %s up_ms=%lld held=%d planned=%s%s%s%s", worker->name, death.text,
		  (long long)death.lived_ms, death.held, death.planned ? "yes" : "no",
		  death.fault[0] ? " reason=\"" : "", death.fault, death.fault[0] ? "\"" : "");
	mem_set_str(&worker->last_death,
		    mem_printf("%s%s%s", death.text, death.fault[0] ? ": " : "", death.fault));
	worker->state = next.next;
	loop_timer_stop(own->deadline);
	if (next.actions & WA_STOP_SERVING)
		own->events.serving(own->events.arg, worker, false);
	if (next.actions & WA_RELEASE_JOBS)
		release_held(worker, &death);
	end_process(worker);
	worker->started_ms = worker->ready_ms = worker->last_pong_ms = 0;
	worker->jobs_done = worker->rss_kb = 0;
	if (next.actions & WA_DECIDE_RESTART)
		own->events.died(own->events.arg, worker, &death);
}

static void on_child_exit(void *arg, const struct child_exit *exit)
{
	struct worker *worker = arg;

	worker->own->child = NULL;
	/* What it still said counts: an answer in the pipe is paid for. */
	if (worker->own->conn && !worker->own->faulty)
		lineconn_drain(worker->own->conn, DRAIN_BYTES);
	finish_life(worker, exit, WE_EXIT);
}

static void spawn(struct worker *worker)
{
	struct worker_own *own = worker->own;
	const struct child_spec spec = {
		.argv = own->argv,
		.env = own->env,
		.death_signal = SIGKILL,
		.want_stdin = true,
		.want_stdout = true,
	};
	struct lineconn_options options = {
		.max_line = MSG_MAX_LINE,
		.max_queued = QUEUED_BYTES,
		.on_line = on_line,
		.on_end = on_conn_end,
		.arg = worker,
	};
	const struct health_params health = health_params_of(worker);
	struct child_exit never = { .code = 127 };
	AUTO(mem_free_str) char *who = mem_printf("worker=%s", worker->name);
	struct child_fds fds;
	int r;

	own->planned = own->faulty = own->signalled = own->proven = own->overdue = false;
	own->fault[0] = '\0';
	if (worker->last_death)
		worker->restarts++;
	worker->started_ms = loop_now_ms(own->loop);
	health_init(&own->health, &health, worker->started_ms);
	r = child_spawn(own->loop, &spec, on_child_exit, worker, &own->child, &fds);
	if (r < 0) {
		(void)snprintf(own->fault, sizeof(own->fault), "%s cannot be started: %s", own->argv[0],
			       strerror(-r));
		never.exec_error = -r;
		finish_life(worker, &never, WE_SPAWN_FAILED);
		return;
	}
	options.read_fd = fds.from_stdout;
	options.write_fd = fds.to_stdin;
	if (lineconn_new(own->loop, &options, &own->conn) < 0 ||
	    errtail_new(own->loop, fds.from_stderr, who, &own->tail) < 0)
		abort(); /* descriptors that were just made cannot refuse O_NONBLOCK */
	log_debug("worker.start", "worker=%s pid=%d", worker->name, (int)child_pid(own->child));
}

static void on_deadline(void *arg)
{
	struct worker *worker = arg;

	if (worker->state == W_STARTING || worker->state == W_BOOTING) {
		fault(worker, WE_DEADLINE, "not ready %lld ms after its start (boot_timeout)",
		      (long long)worker->config->boot_timeout_ms);
		return;
	}
	step(worker, WE_DEADLINE);
}

static void set_state(struct worker *worker, enum worker_state next)
{
	const struct worker_own *own = worker->own;
	const struct worker_timing timing = {
		.boot_timeout_ms = worker->config->boot_timeout_ms,
		.dump_ms = DUMP_MS,
		.term_ms = own->planned && !own->faulty ? worker->config->shutdown_timeout_ms : TERM_MS,
		.kill_ms = KILL_MS,
		.drain_ms = own->drain_ms,
	};
	int64_t deadline_ms = worker_fsm_deadline_ms(next, &timing);
	enum worker_state was = worker->state;

	worker->state = next;
	/* hello and ready share one boot_timeout. */
	if (was == W_STARTING && next == W_BOOTING)
		return;
	if (deadline_ms >= 0)
		loop_timer_start(worker->own->deadline, deadline_ms);
	else
		loop_timer_stop(worker->own->deadline);
}

static void on_became_ready(struct worker *worker)
{
	if (worker->ready_ms) {
		log_info("worker.recovered", "worker=%s pid=%d", worker->name, (int)worker_pid(worker));
	} else {
		worker->ready_ms = loop_now_ms(worker->own->loop);
		worker->boot_took_ms = worker->ready_ms - worker->started_ms;
		if (worker->boot_took_ms == 0)
			worker->boot_took_ms = 1;
		log_info("worker.ready", "worker=%s pid=%d boot_ms=%lld", worker->name,
			 (int)worker_pid(worker), (long long)worker->boot_took_ms);
	}
	start_health(worker);
	worker->own->events.serving(worker->own->events.arg, worker, true);
}

static void terminate(struct worker *worker)
{
	struct worker_own *own = worker->own;

	if (own->conn)
		lineconn_close_write(own->conn);
	if (!own->child)
		return;
	own->signalled = true;
	child_signal(own->child, SIGTERM);
	child_signal_group(own->child, SIGCONT); /* a stopped process hears nothing else but KILL */
}

static void ask_shutdown(struct worker *worker)
{
	msg_put_shutdown(&worker->own->scratch, worker->own->drain_ms);
	(void)send_scratch(worker);
}

static void act(struct worker *worker, unsigned actions)
{
	struct worker_own *own = worker->own;

	if (actions & WA_CANCEL_RESTART) {
		loop_timer_stop(own->restart_timer);
		worker->next_start_ms = 0;
	}
	if (actions & WA_FAULT)
		own->faulty = true;
	if (actions & WA_SERVE)
		on_became_ready(worker);
	if (actions & WA_STOP_SERVING)
		own->events.serving(own->events.arg, worker, false);
	if (actions & WA_ASK_SHUTDOWN)
		ask_shutdown(worker);
	if ((actions & WA_DUMP) && own->child)
		child_signal(own->child, SIGUSR1);
	if (actions & WA_TERM)
		terminate(worker);
	if ((actions & WA_KILL) && own->child) {
		own->signalled = true;
		child_signal_group(own->child, SIGKILL);
	}
	if (actions & WA_SPAWN)
		spawn(worker);
}

/* Every event but the process's end, which finish_life() takes through the table itself. */
static void step(struct worker *worker, enum worker_event event)
{
	struct fsm_step next = worker_fsm_step(worker->state, event);

	if (!next.legal) {
		log_debug("worker.illegal", "worker=%s state=%s event=%s", worker->name,
			  worker_state_name(worker->state), worker_event_name(event));
		return;
	}
	if (next.next != worker->state || event == WE_DEADLINE)
		set_state(worker, next.next);
	act(worker, next.actions);
}

static void on_restart_timer(void *arg)
{
	worker_start(arg);
}

void worker_new(struct loop *loop, const struct config_pool *config, int number,
		const struct worker_events *events, struct worker **ret)
{
	struct worker *worker = mem_alloc(sizeof(*worker));
	struct worker_own *own = mem_alloc(sizeof(*own));

	worker->own = own;
	worker->name = mem_printf("%s/%d", config->name, number);
	worker->number = number;
	worker->config = config;
	worker->state = W_DOWN;
	list_init(&worker->link);
	own->loop = loop;
	own->events = *events;
	list_init(&own->held);
	list_init(&own->calling);
	map_new(&own->by_id);
	loop_timer_new(loop, on_deadline, worker, &own->deadline);
	loop_timer_new(loop, tick_health, worker, &own->health_timer);
	loop_timer_new(loop, on_call_timer, worker, &own->call_timer);
	loop_timer_new(loop, on_restart_timer, worker, &own->restart_timer);
	loop_timer_new(loop, on_eof_timer, worker, &own->eof_timer);
	*ret = worker;
}

void worker_free(struct worker **worker)
{
	struct worker *dead = *worker;
	struct worker_own *own;

	if (!dead)
		return;
	own = dead->own;
	assert(list_is_empty(&own->held));
	child_abandon(&own->child);
	end_process(dead);
	loop_timer_free(&own->deadline);
	loop_timer_free(&own->health_timer);
	loop_timer_free(&own->call_timer);
	loop_timer_free(&own->restart_timer);
	loop_timer_free(&own->eof_timer);
	map_free(&own->by_id);
	buf_free(&own->scratch);
	free(own);
	list_remove(&dead->link);
	free(dead->name);
	free(dead->last_death);
	free(dead->version);
	free(dead->python);
	mem_free(worker);
}

void worker_free_deferred(void *worker)
{
	struct worker *dead = worker;

	worker_free(&dead);
}

void worker_set_program(struct worker *worker, const char *const *argv, const char *const *env)
{
	worker->own->argv = argv;
	worker->own->env = env;
}

void worker_start(struct worker *worker)
{
	if (worker->state == W_PARKED)
		step(worker, WE_UNPARK);
	step(worker, WE_START);
}

void worker_start_after(struct worker *worker, int64_t delay_ms)
{
	worker->next_start_ms = loop_now_ms(worker->own->loop) + delay_ms;
	loop_timer_start(worker->own->restart_timer, delay_ms);
}

void worker_park(struct worker *worker)
{
	step(worker, WE_PARK);
}

void worker_drain(struct worker *worker, int64_t grace_ms)
{
	worker->own->planned = true;
	/* The worker ends by itself at grace_ms; TERM is for one that does not. */
	worker->own->drain_ms = grace_ms;
	step(worker, WE_DRAIN);
	if (worker->state == W_DRAINING)
		loop_timer_start(worker->own->deadline, grace_ms + 1000);
}

void worker_kill(struct worker *worker)
{
	worker->own->planned = true;
	step(worker, WE_KILL);
}

bool worker_is_serving(const struct worker *worker)
{
	return worker->state == W_READY;
}

bool worker_is_late(const struct worker *worker)
{
	return worker->own->health.misses > 0;
}

bool worker_has_room(const struct worker *worker)
{
	return worker->state == W_READY && !worker->solo && worker->held < worker->capacity;
}

pid_t worker_pid(const struct worker *worker)
{
	return worker->own->child ? child_pid(worker->own->child) : 0;
}
