#include "core/service.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/signo.h"
#include "config/config.h"
#include "core/service_private.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/jsontext.h"
#include "io/lineconn.h"
#include "io/loop.h"

enum { READY_LINE = 256, KILL_AGAIN_MS = 5000, TAIL_BYTES = 64 * 1024, BROKEN_EXIT = 78 };

static const char *const state_names[] = {
	[SERVICE_DOWN] = "down", [SERVICE_PREPARING] = "preparing", [SERVICE_STARTING] = "starting",
	[SERVICE_UP] = "up",	 [SERVICE_STOPPING] = "stopping",   [SERVICE_PARKED] = "parked",
};

const char *service_state_name(enum service_state state)
{
	return (size_t)state < ARRAY_LEN(state_names) ? state_names[state] : "?";
}

static void set_state(struct service *service, enum service_state state)
{
	log_debug("service.state", "service=%s state=%s was=%s", service->name, service_state_name(state),
		  service_state_name(service->state));
	service->state = state;
	service->next_start_ms = 0;
	loop_timer_stop(service->timer);
}

/* Whatever tells readiness. */
static void stop_watching(struct service *service)
{
	lineconn_free(&service->ready_conn);
	child_abandon(&service->ready_child);
	errtail_free(&service->ready_tail);
	loop_timer_stop(service->ready_timer);
}

static void become_ready(struct service *service)
{
	stop_watching(service);
	set_state(service, SERVICE_UP);
	service->up_ms = loop_now_ms(service->loop);
	log_info("service.ready", "service=%s pid=%d boot_ms=%lld", service->name, (int)service_pid(service),
		 (long long)(service->up_ms - service->started_ms));
	service->events.up(service->events.arg, service);
}

static void on_ready_line(void *arg, char *line, size_t len)
{
	(void)line;
	(void)len;
	become_ready(arg);
}

static void on_ready_end(void *arg, enum lineconn_end end, int error)
{
	(void)arg;
	(void)end;
	(void)error;
}

static void is_down(struct service *service)
{
	set_state(service, SERVICE_DOWN);
	service->events.down(service->events.arg, service);
}

static void end(struct service *service, bool parked)
{
	set_state(service, SERVICE_PARKED);
	service->events.ended(service->events.arg, service, parked);
}

static void restart_after(struct service *service, int64_t delay_ms)
{
	service->next_start_ms = loop_now_ms(service->loop) + delay_ms;
	loop_timer_start(service->timer, delay_ms);
}

/* Its group may have other plans: then it stays down until it is started. */
static void restart(struct service *service, const struct restart_verdict *verdict)
{
	unsigned failures = service->slot.failures;

	service->restarts++;
	if (!service->events.failed(service->events.arg, service, verdict->counts, verdict->delay_ms))
		return;
	log_info("service.restart", "service=%s next=%s delay_ms=%lld failures=%u", service->name,
		 restart_action_name(verdict->action), (long long)verdict->delay_ms, failures);
	restart_after(service, verdict->delay_ms);
}

/* The record of an end: what a worker's holds, but for the jobs (crash.h). */
static void tell_exit(const struct service *service, const char *text, const char *tail, int64_t lived_ms,
		      const struct restart_verdict *verdict)
{
	bool planned = service->stop_asked || service->replace;
	AUTO(mem_free_str) char *exit = jsontext_clean(mem_strdup(text));
	AUTO(mem_free_str)
	char *data = jsontext_pack("{s:s, s:s, s:I, s:b, s:s, s:I, s:i, s:s}", "exit", exit, "reason",
				   service->fault ? service->fault : "", "upMs", (long long)lived_ms,
				   "planned", planned, "next", restart_action_name(verdict->action),
				   "delayMs", (long long)verdict->delay_ms, "failures",
				   (int)service->slot.failures, "stderr", tail);

	service->events.event(service->events.arg, planned ? "info" : "warning", "service.exit",
			      service->name, data);
}

/* A life, or a start, has ended (`text` says how, `tail` is its last words): what next. */
static void decide(struct service *service, const struct restart_exit *exit, const char *text,
		   const char *tail)
{
	const struct restart_params params = {
		.type = service->spec.type,
		.base_delay_ms = service->spec.restart_delay_ms,
		.max_delay_ms = service->spec.restart_delay_max_ms,
		.stable_after_ms = service->spec.stable_after_ms,
	};
	struct restart_verdict verdict = restart_decide(&params, &service->slot, exit, clock_random());

	tell_exit(service, text, tail, exit->lived_ms, &verdict);
	service->up_ms = 0;
	if (service->stop_asked) {
		is_down(service);
		return;
	}
	set_state(service, SERVICE_DOWN);
	if (service->replace) {
		service->replace = false;
		restart_after(service, 0);
		return;
	}
	switch (verdict.action) {
	case RESTART_NOW:
	case RESTART_AFTER:
		restart(service, &verdict);
		break;
	case RESTART_PARK:
		log_error("service.parked", "service=%s reason=\"%s\"", service->name,
			  service_last_error(service));
		end(service, true);
		break;
	case RESTART_NEVER:
		end(service, false);
		break;
	}
}

/* How a life ended, for people; fresh. */
static char *exit_error(const struct service *service, const struct child_exit *exit)
{
	if (exit->exec_error)
		return mem_printf("%s cannot be started: %s", service->spec.argv[0],
				  strerror(exit->exec_error));
	if (service->fault)
		return mem_printf("%s: %s", service->fault, child_exit_text(exit));
	return mem_strdup(child_exit_text(exit));
}

void service_on_child_exit(void *arg, const struct child_exit *exit)
{
	struct service *service = arg;
	AUTO(mem_free_str) char *tail = NULL;
	struct restart_exit life;

	/* That it was ready may still lie unread. */
	if (service->state == SERVICE_STARTING && service->ready_conn)
		lineconn_drain(service->ready_conn, READY_LINE);
	life = (struct restart_exit){
		.stopped = service->stop_asked,
		.failed = service->failed,
		.killed_from_outside = !service->signalled && exit->signo && !exit->oom &&
				       signo_kind(exit->signo) != SIGNO_OWN,
		.exit_code = exit->signo ? 128 + exit->signo : exit->code,
		.lived_ms = loop_now_ms(service->loop) - service->started_ms,
		.proven = service->up_ms &&
			  loop_now_ms(service->loop) - service->up_ms >= service->spec.stable_after_ms,
	};

	service->child = NULL;
	errtail_drain(service->tail, TAIL_BYTES);
	tail = jsontext_clean(errtail_text(service->tail, TAIL_BYTES));
	mem_set_str(&service->last_error, exit_error(service, exit));
	log_write(service->stop_asked || service->replace ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
		  "service.exit", "service=%s %s up_ms=%lld", service->name, child_exit_text(exit),
		  (long long)life.lived_ms);
	if (exit->exec_error)
		log_error("service.start_failed", "service=%s reason=\"%s\"", service->name,
			  service->last_error);
	errtail_free(&service->tail);
	stop_watching(service);
	decide(service, &life, child_exit_text(exit), tail);
}

static void fail_start(struct service *service, const char *error, bool broken)
{
	const struct restart_exit life = { .failed = true, .exit_code = broken ? BROKEN_EXIT : 1 };

	mem_set_str(&service->last_error, mem_strdup(error));
	log_error("service.start_failed", "service=%s reason=\"%s\"", service->name, error);
	decide(service, &life, error, "");
}

void service_await_line(struct service *service, int fd)
{
	const struct lineconn_options options = {
		.read_fd = fd,
		.write_fd = -1,
		.max_line = READY_LINE,
		.on_line = on_ready_line,
		.on_end = on_ready_end,
		.arg = service,
	};

	if (lineconn_new(service->loop, &options, &service->ready_conn) < 0)
		abort(); /* a descriptor that was just made cannot refuse O_NONBLOCK */
}

static void watch_ready(struct service *service, int fd)
{
	switch (service->spec.ready_ms) {
	case CONFIG_READY_FD:
		service_await_line(service, fd);
		loop_timer_start(service->timer, service->spec.ready_timeout_ms);
		break;
	case CONFIG_READY_COMMAND:
		loop_timer_start(service->timer, service->spec.ready_timeout_ms);
		loop_timer_start(service->ready_timer, 0);
		break;
	default:
		loop_timer_start(service->timer, service->spec.ready_ms);
		break;
	}
}

static void on_tried(void *arg, const struct child_exit *exit)
{
	struct service *service = arg;

	service->ready_child = NULL;
	errtail_free(&service->ready_tail);
	if (service->state != SERVICE_STARTING)
		return;
	if (exit->code == 0)
		become_ready(service);
	else
		loop_timer_start(service->ready_timer, service->spec.ready_interval_ms);
}

static void try_ready(void *arg)
{
	struct service *service = arg;
	const struct child_spec spec = {
		.argv = service->spec.ready_argv,
		.env = service->spec.env,
		.death_signal = SIGKILL,
	};
	AUTO(mem_free_str) char *who = mem_printf("ready_command=%s", service->name);
	struct child_fds fds;
	int r = child_spawn(service->loop, &spec, on_tried, service, &service->ready_child, &fds);

	if (r < 0) {
		log_warning("service.ready_command", "service=%s program=%s error=\"%s\"", service->name,
			    spec.argv[0], strerror(-r));
		loop_timer_start(service->ready_timer, service->spec.ready_interval_ms);
		return;
	}
	if (errtail_new(service->loop, fds.from_stderr, who, &service->ready_tail) < 0)
		abort(); /* as above */
}

void service_listen(struct service *service, int fd)
{
	AUTO(mem_free_str) char *who = mem_printf("service=%s", service->name);

	if (errtail_new(service->loop, fd, who, &service->tail) < 0)
		abort(); /* as above */
}

static void spawn(struct service *service)
{
	const struct child_spec spec = {
		.argv = service->spec.argv,
		.env = service->spec.env,
		.death_signal = service->spec.death_signal,
		.fd3 = service->spec.ready_ms == CONFIG_READY_FD ? CHILD_FD3_PIPE : CHILD_FD3_NONE,
	};
	AUTO(mem_free_str) char *group = mem_printf("service-%s", service->name);
	struct child_limits limits = service->spec.limits;
	struct child_fds fds;
	int r = child_spawn(service->loop, &spec, service_on_child_exit, service, &service->child, &fds);

	if (r < 0) {
		AUTO(mem_free_str)
		char *error = mem_printf("%s cannot be started: %s", spec.argv[0], strerror(-r));

		fail_start(service, error, false);
		return;
	}
	service_listen(service, fds.from_stderr);
	limits.group = group;
	child_set_limits(service->child, &limits);
	set_state(service, SERVICE_STARTING);
	watch_ready(service, fds.fd3);
}

void service_prepared(struct service *service, const char *error, bool broken)
{
	if (service->state != SERVICE_PREPARING)
		return;
	if (service->stop_asked)
		is_down(service);
	else if (error)
		fail_start(service, error, broken);
	else
		spawn(service);
}

static void terminate(struct service *service)
{
	stop_watching(service);
	service->signalled = true;
	child_signal(service->child, service->spec.stop_signal);
	child_signal_group(service->child, SIGCONT);
	set_state(service, SERVICE_STOPPING);
	loop_timer_start(service->timer, service->spec.shutdown_timeout_ms);
}

static void on_timer(void *arg)
{
	struct service *service = arg;

	switch (service->state) {
	case SERVICE_DOWN:
		service_start(service);
		break;
	case SERVICE_STARTING:
		if (service->spec.ready_ms >= 0) {
			become_ready(service);
			break;
		}
		service->failed = true;
		mem_set_str(&service->fault, mem_printf("not ready within %lld ms",
							(long long)service->spec.ready_timeout_ms));
		log_warning("service.not_ready", "service=%s after_ms=%lld", service->name,
			    (long long)service->spec.ready_timeout_ms);
		terminate(service);
		break;
	case SERVICE_STOPPING:
		child_signal_group(service->child, SIGKILL);
		loop_timer_start(service->timer, KILL_AGAIN_MS);
		break;
	case SERVICE_PREPARING:
	case SERVICE_UP:
	case SERVICE_PARKED:
		break;
	}
}

static void take_spec(struct service *service, const struct service_spec *spec)
{
	service->spec = *spec;
	mem_free_words(&service->argv);
	mem_free_words(&service->env);
	mem_free_words(&service->ready_argv);
	mem_set_str(&service->name, mem_strdup(spec->name));
	service->argv = mem_copy_words(spec->argv);
	service->env = mem_copy_words(spec->env);
	service->ready_argv = mem_copy_words(spec->ready_argv);
	service->spec.name = service->name;
	service->spec.argv = (const char *const *)service->argv;
	service->spec.env = (const char *const *)service->env;
	service->spec.ready_argv = (const char *const *)service->ready_argv;
}

void service_new(struct loop *loop, const struct service_spec *spec, const struct service_events *events,
		 struct service **ret)
{
	struct service *service = mem_alloc(sizeof(*service));

	service->loop = loop;
	service->events = *events;
	take_spec(service, spec);
	loop_timer_new(loop, on_timer, service, &service->timer);
	loop_timer_new(loop, try_ready, service, &service->ready_timer);
	*ret = service;
}

void service_free(struct service **service)
{
	struct service *dead = *service;

	if (!dead)
		return;
	child_abandon(&dead->child);
	errtail_free(&dead->tail);
	stop_watching(dead);
	loop_timer_free(&dead->timer);
	loop_timer_free(&dead->ready_timer);
	mem_free_words(&dead->argv);
	mem_free_words(&dead->env);
	mem_free_words(&dead->ready_argv);
	free(dead->fault);
	free(dead->last_error);
	free(dead->name);
	mem_free(service);
}

void service_start(struct service *service)
{
	if (service->state != SERVICE_DOWN && service->state != SERVICE_PARKED)
		return;
	if (service->slot.parked)
		restart_unpark(&service->slot);
	service->signalled = service->failed = service->stop_asked = service->replace = false;
	mem_set_str(&service->fault, NULL);
	service->started_ms = loop_now_ms(service->loop);
	set_state(service, SERVICE_PREPARING);
	if (service->spec.prepare)
		service->spec.prepare(service->spec.prepare_arg, service);
	else
		service_prepared(service, NULL, false);
}

void service_forget_failures(struct service *service)
{
	restart_unpark(&service->slot);
}

void service_reconfigure(struct service *service, const struct service_spec *spec)
{
	take_spec(service, spec);
	switch (service->state) {
	case SERVICE_STARTING:
	case SERVICE_UP:
		log_info("service.replace", "service=%s reason=\"its configuration changed\"", service->name);
		service->replace = true;
		terminate(service);
		break;
	case SERVICE_PREPARING:
	case SERVICE_STOPPING:
	case SERVICE_DOWN:
	case SERVICE_PARKED:
		break; /* its next start is with the new spec */
	}
}

void service_stop(struct service *service)
{
	bool again = service->stop_asked;

	service->stop_asked = true;
	switch (service->state) {
	case SERVICE_DOWN:
	case SERVICE_PARKED:
		is_down(service);
		break;
	case SERVICE_PREPARING:
		break; /* service_prepared() will tell */
	case SERVICE_STARTING:
	case SERVICE_UP:
		terminate(service);
		break;
	case SERVICE_STOPPING:
		if (again)
			child_signal_group(service->child, SIGKILL);
		break;
	}
}

const char *service_name(const struct service *service)
{
	return service->name;
}

enum service_state service_state(const struct service *service)
{
	return service->state;
}

pid_t service_pid(const struct service *service)
{
	return service->child ? child_pid(service->child) : 0;
}

int service_restarts(const struct service *service)
{
	return service->restarts;
}

const char *service_last_error(const struct service *service)
{
	return service->last_error ? service->last_error : "";
}

int64_t service_up_since_ms(const struct service *service)
{
	return service->up_ms;
}

int64_t service_next_start_ms(const struct service *service)
{
	return service->next_start_ms;
}

bool service_is_stopping(const struct service *service)
{
	return service->stop_asked;
}
