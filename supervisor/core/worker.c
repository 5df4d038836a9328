#include "core/worker.h"

#include <assert.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/forkserver.h"
#include "core/probe.h"
#include "core/worker_private.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/loop.h"

enum {
	DUMP_MS = 1000,
	TERM_MS = 2000, /* from TERM to KILL of a sick one */
	KILL_MS = 5000,
	QUEUED_BYTES = 96 * 1024 * 1024, /* to one worker: a conversation of the largest size and some more */
	DRAIN_BYTES = 128 * 1024 * 1024, /* read from a dead worker's pipe */
	TAIL_BYTES = 64 * 1024,		 /* of stderr, in the record of a death */
};

void worker_fault(struct worker *worker, enum worker_event event, const char *format, ...)
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
	worker_step(worker, event);
}

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

static void describe_death(struct worker *worker, const struct child_exit *exit, struct worker_death *ret)
{
	struct worker_own *own = worker->own;

	*ret = (struct worker_death){
		.blame = { .planned = own->planned && !own->faulty,
			   .faulty = own->faulty,
			   .sent_by_us = own->signalled,
			   .oom_evidence = exit->oom,
			   .signo = exit->signo,
			   .exit_code = exit->signo ? 0 : exit->code },
		.text = child_exit_text(exit),
		.fault = own->fault,
		.lived_ms = loop_now_ms(own->loop) - worker->started_ms,
		.proven = own->proven,
		.alone = worker->solo,
		.held = worker->held,
		.jobs = mem_array(WORKER_DEATH_JOBS, sizeof(int64_t)),
	};
	ret->whom = blame_whom(&ret->blame);
	list_foreach (at, &own->held) {
		if (ret->job_count < WORKER_DEATH_JOBS)
			ret->jobs[ret->job_count++] = list_entry(at, struct probe, in_worker)->id;
	}
}

static void release_held(struct worker *worker, const struct worker_death *death)
{
	struct worker_own *own = worker->own;

	/* The newest first: each goes to the front of its queue, so that the oldest ends up at the head. */
	while (!list_is_empty(&own->held)) {
		struct probe *probe = list_entry(own->held.prev, struct probe, in_worker);

		worker_let_go(worker, probe);
		own->events.released(own->events.arg, worker, probe, death);
	}
}

static void finish_life(struct worker *worker, const struct child_exit *exit, enum worker_event event)
{
	struct worker_own *own = worker->own;
	AUTO(mem_free_str) char *tail = NULL, *stack = NULL;
	struct worker_death death;
	struct fsm_step next;

	next = worker_fsm_step(worker->state, event);
	if (next.actions & WA_FAULT)
		own->faulty = true;
	describe_death(worker, exit, &death);
	if (own->tail) {
		errtail_drain(own->tail, DRAIN_BYTES);
		tail = errtail_text(own->tail, TAIL_BYTES);
		stack = own->dumped ? errtail_text_since(own->tail, own->dump_mark) : NULL;
	}
	death.stderr_tail = tail ? tail : "";
	death.stack = stack ? stack : "";
	log_write(death.blame.planned ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "worker.exit",
		  "worker=%s %s up_ms=%lld held=%d planned=%s blame=%s%s%s%s", worker->name, death.text,
		  (long long)death.lived_ms, death.held, death.blame.planned ? "yes" : "no",
		  blame_whom_name(death.whom), death.fault[0] ? " reason=\"" : "", death.fault,
		  death.fault[0] ? "\"" : "");
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
	mem_free(&death.jobs);
}

void worker_on_child_exit(void *arg, const struct child_exit *exit)
{
	struct worker *worker = arg;

	worker->own->child = NULL;
	/* What it still said counts: an answer in the pipe is paid for. */
	if (worker->own->conn && !worker->own->faulty)
		lineconn_drain(worker->own->conn, DRAIN_BYTES);
	finish_life(worker, exit, WE_EXIT);
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

static void kill_group(struct worker *worker)
{
	if (!worker->own->child)
		return;
	worker->own->signalled = true;
	child_signal_group(worker->own->child, SIGKILL);
}

/* Takes the near ends of a life's pipes. */
void worker_attach(struct worker *worker, const struct child_fds *fds)
{
	struct worker_own *own = worker->own;
	const struct lineconn_options options = {
		.read_fd = fds->from_stdout,
		.write_fd = fds->to_stdin,
		.max_line = MSG_MAX_LINE,
		.max_queued = QUEUED_BYTES,
		.on_line = worker_on_line,
		.on_end = worker_on_conn_end,
		.arg = worker,
	};
	AUTO(mem_free_str) char *who = mem_printf("worker=%s", worker->name);

	if (lineconn_new(own->loop, &options, &own->conn) < 0 ||
	    errtail_new(own->loop, fds->from_stderr, who, &own->tail) < 0)
		abort(); /* descriptors that were just made cannot refuse O_NONBLOCK */
}

static void limit(struct worker *worker)
{
	AUTO(mem_free_str) char *group = mem_printf("worker-%s", worker->name);
	const struct child_limits limits = {
		.group = group,
		.memory_bytes = worker->config->memory_limit_bytes,
		.cpu_ms = worker->config->cpu_limit_ms,
	};

	child_set_limits(worker->own->child, &limits);
}

static void spawn_by_exec(struct worker *worker)
{
	struct worker_own *own = worker->own;
	const struct child_spec spec = {
		.argv = own->argv,
		.env = own->env,
		.death_signal = SIGKILL,
		.want_stdin = true,
		.want_stdout = true,
	};
	struct child_exit never = { .code = 127 };
	struct child_fds fds;
	int r = child_spawn(own->loop, &spec, worker_on_child_exit, worker, &own->child, &fds);

	if (r < 0) {
		(void)snprintf(own->fault, sizeof(own->fault), "%s cannot be started: %s", own->argv[0],
			       strerror(-r));
		never.exec_error = -r;
		finish_life(worker, &never, WE_SPAWN_FAILED);
		return;
	}
	worker_attach(worker, &fds);
	limit(worker);
	log_debug("worker.start", "worker=%s pid=%d by=exec", worker->name, (int)child_pid(own->child));
}

/* What was decided about a life before its process had a name. */
static void catch_up(struct worker *worker)
{
	if (worker->state == W_STOPPING)
		terminate(worker);
	else if (worker->state == W_KILLING)
		kill_group(worker);
}

static void close_near(struct worker_own *own)
{
	fd_close(&own->near.to_stdin);
	fd_close(&own->near.from_stdout);
	fd_close(&own->near.from_stderr);
}

/* Only now is it listened to: its `ready` may be in the pipe before we know its pid. */
void worker_on_forked(void *arg, pid_t pid)
{
	struct worker *worker = arg;
	struct worker_own *own = worker->own;
	const struct child_exit never = { .code = 0 };

	own->forking = false;
	if (pid > 0 && child_adopt(own->loop, pid, worker_on_child_exit, worker, &own->child) == 0) {
		worker_attach(worker, &own->near);
		limit(worker);
		log_debug("worker.start", "worker=%s pid=%d by=fork", worker->name, (int)pid);
		catch_up(worker);
		return;
	}
	close_near(own);
	if (worker->state == W_STARTING)
		spawn_by_exec(worker);
	else
		finish_life(worker, &never, WE_EXIT);
}

static bool spawn_by_fork(struct worker *worker)
{
	struct worker_own *own = worker->own;
	int far[3];

	if (!own->forkserver || !forkserver_is_ready(own->forkserver) || child_pipes(&own->near, far) < 0)
		return false;
	own->forking = forkserver_fork(own->forkserver, far, worker_on_forked, worker) == 0;
	for (size_t i = 0; i < ARRAY_LEN(far); i++)
		fd_close(&far[i]);
	if (!own->forking)
		close_near(own);
	return own->forking;
}

static void spawn(struct worker *worker)
{
	const struct health_params health = worker_health_params(worker);
	const struct recycle_limits limits = {
		.max_jobs = worker->config->max_jobs,
		.max_age_ms = worker->config->max_age_ms,
		.max_rss_bytes = worker->config->max_rss_bytes,
	};
	struct worker_own *own = worker->own;

	own->planned = own->faulty = own->signalled = own->proven = own->overdue = own->dumped = false;
	own->recycle_told = worker->outdated = false;
	own->hang = (struct hang){ 0 };
	worker->verdict = HANG_NONE;
	worker->ailment = NULL;
	own->fault[0] = '\0';
	if (worker->last_death)
		worker->restarts++;
	worker->started_ms = loop_now_ms(own->loop);
	health_init(&own->health, &health, worker->started_ms);
	recycle_init(&own->recycle, &limits, clock_random());
	if (!spawn_by_fork(worker))
		spawn_by_exec(worker);
}

static void on_deadline(void *arg)
{
	struct worker *worker = arg;

	if (worker->state == W_STARTING || worker->state == W_BOOTING) {
		worker_fault(worker, WE_DEADLINE, "not ready %lld ms after its start (boot_timeout)",
			     (long long)worker->config->boot_timeout_ms);
		return;
	}
	worker_step(worker, WE_DEADLINE);
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
	worker_start_health(worker);
	worker->own->events.serving(worker->own->events.arg, worker, true);
}

static void ask_shutdown(struct worker *worker)
{
	msg_put_shutdown(&worker->own->scratch, worker->own->drain_ms);
	(void)worker_send_scratch(worker);
}

/* Python's faulthandler writes a traceback of all threads, also while the interpreter is stuck. */
static void ask_dump(struct worker *worker)
{
	struct worker_own *own = worker->own;

	if (!own->child)
		return;
	own->dumped = true;
	own->dump_mark = errtail_total(own->tail);
	child_signal(own->child, SIGUSR1);
	/* One that was stopped again would write it no sooner than TERM ends it. */
	child_signal_group(own->child, SIGCONT);
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
	if (actions & WA_DUMP)
		ask_dump(worker);
	if (actions & WA_TERM)
		terminate(worker);
	if (actions & WA_KILL)
		kill_group(worker);
	if (actions & WA_SPAWN)
		spawn(worker);
}

/* Every event but the process's end, which finish_life() takes through the table itself. */
void worker_step(struct worker *worker, enum worker_event event)
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
	own->near = (struct child_fds){ -1, -1, -1, -1 };
	own->events = *events;
	list_init(&own->held);
	list_init(&own->calling);
	map_new(&own->by_id);
	loop_timer_new(loop, on_deadline, worker, &own->deadline);
	loop_timer_new(loop, worker_tick_health, worker, &own->health_timer);
	loop_timer_new(loop, worker_on_call_timer, worker, &own->call_timer);
	loop_timer_new(loop, on_restart_timer, worker, &own->restart_timer);
	loop_timer_new(loop, worker_on_eof_timer, worker, &own->eof_timer);
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
	if (own->forking) {
		forkserver_forget(own->forkserver, dead);
		close_near(own);
	}
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

void worker_set_forkserver(struct worker *worker, struct forkserver *forkserver)
{
	worker->own->forkserver = forkserver;
}

void worker_start(struct worker *worker)
{
	if (worker->state == W_PARKED)
		worker_step(worker, WE_UNPARK);
	worker_step(worker, WE_START);
}

void worker_start_after(struct worker *worker, int64_t delay_ms)
{
	worker->next_start_ms = loop_now_ms(worker->own->loop) + delay_ms;
	loop_timer_start(worker->own->restart_timer, delay_ms);
}

void worker_park(struct worker *worker)
{
	worker_step(worker, WE_PARK);
}

void worker_drain(struct worker *worker, int64_t grace_ms)
{
	worker->own->planned = true;
	worker->own->drain_ms = grace_ms;
	worker_step(worker, WE_DRAIN);
	/* One that drains already gets no more time than it had: it was told of no more. */
	if (worker->state == W_DRAINING)
		loop_timer_start_by(worker->own->deadline, grace_ms);
}

void worker_kill(struct worker *worker)
{
	worker->own->planned = true;
	worker_step(worker, WE_KILL);
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
