#include "core/forkserver.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/signo.h"
#include "io/channel.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "policy/restart.h"

enum {
	ANSWER_MS = 2000, /* a fork takes milliseconds: with none in so long, none will come */
	DELAY_MS = 200,
	DELAY_MAX_MS = 60000,
	STABLE_MS = 10000,
};

struct request {
	struct list link;
	int64_t seq;
	int64_t asked_ms;
	void (*forked)(void *arg, pid_t pid); /* NULL once forgotten */
	void *arg;
};

struct forkserver {
	struct loop *loop;
	char *who;
	void (*changed)(void *arg, bool ready);
	void *arg;
	const char *const *argv, *const *env;
	struct child *child;
	struct channel *channel;
	struct errtail *tail;
	struct list requests; /* asked and not answered, oldest first */
	struct loop_timer *answer_timer, *restart_timer;
	struct restart_slot slot;
	int64_t seq, started_ms;
	int64_t answered_ms; /* its last answer; 0 = none yet in this life */
	bool ready, wanted, ended_by_us;
};

static void launch(struct forkserver *server);

/* ---- requests ---- */

static void answer(struct request *request, pid_t pid)
{
	list_remove(&request->link);
	if (request->forked)
		request->forked(request->arg, pid);
	else if (pid > 0)
		(void)kill(pid, SIGKILL); /* reaped as a stray */
	free(request);
}

static void fail_all(struct forkserver *server)
{
	while (!list_is_empty(&server->requests))
		answer(list_entry(server->requests.next, struct request, link), -1);
}

static struct request *find(struct forkserver *server, int64_t seq)
{
	list_foreach (at, &server->requests) {
		struct request *request = list_entry(at, struct request, link);

		if (request->seq == seq)
			return request;
	}
	return NULL;
}

/* When it will have been silent for too long. A pool that starts asks for hundreds at once, so that the time
 * runs from the last answer, not from the asking. */
static int64_t due_ms(const struct forkserver *server)
{
	const struct request *oldest = list_entry(server->requests.next, struct request, link);

	return (oldest->asked_ms > server->answered_ms ? oldest->asked_ms : server->answered_ms) + ANSWER_MS +
	       loop_lag_ms(server->loop);
}

static void watch_oldest(struct forkserver *server)
{
	if (list_is_empty(&server->requests))
		loop_timer_stop(server->answer_timer);
	else
		loop_timer_start(server->answer_timer, due_ms(server) - loop_now_ms(server->loop));
}

static void on_late(void *arg)
{
	struct forkserver *server = arg;

	/* Our own loop was late: its answer may lie unread. */
	if (loop_now_ms(server->loop) < due_ms(server)) {
		watch_oldest(server);
		return;
	}
	log_warning("forkserver.stuck", "pool=%s pid=%d", server->who, (int)forkserver_pid(server));
	server->ready = false;
	if (server->child)
		child_signal_group(server->child, SIGKILL);
	fail_all(server);
}

int forkserver_fork(struct forkserver *server, const int fds[3], void (*forked)(void *arg, pid_t pid),
		    void *arg)
{
	char text[96];
	struct request *request;
	int len, r;

	if (!server->ready)
		return -EAGAIN;
	len = snprintf(text, sizeof(text), "{\"type\":\"fork\",\"seq\":%" PRId64 "}", ++server->seq);
	r = channel_send(server->channel, text, (size_t)len, fds, 3);
	if (r < 0)
		return -EAGAIN;
	request = mem_alloc(sizeof(*request));
	request->seq = server->seq;
	request->asked_ms = loop_now_ms(server->loop);
	request->forked = forked;
	request->arg = arg;
	list_push_back(&server->requests, &request->link);
	watch_oldest(server);
	return 0;
}

void forkserver_forget(struct forkserver *server, const void *arg)
{
	list_foreach (at, &server->requests) {
		struct request *request = list_entry(at, struct request, link);

		if (request->arg == arg)
			request->forked = NULL;
	}
}

/* ---- messages ---- */

static void on_message(void *arg, const char *text, size_t len)
{
	struct forkserver *server = arg;
	AUTO(jsontext_free) struct jsontext *message = NULL;
	const char *type;
	struct request *request;

	if (jsontext_parse(text, len, &message) < 0 || !(type = jsontext_text(message, "type"))) {
		log_warning("forkserver.nonsense", "pool=%s bytes=%zu", server->who, len);
		return;
	}
	if (strcmp(type, "prepared") == 0) {
		server->ready = true;
		log_info("forkserver.ready", "pool=%s pid=%d boot_ms=%lld", server->who,
			 (int)forkserver_pid(server),
			 (long long)(loop_now_ms(server->loop) - server->started_ms));
		server->changed(server->arg, true);
		return;
	}
	server->answered_ms = loop_now_ms(server->loop);
	request = find(server, jsontext_number(message, "seq", -1));
	if (strcmp(type, "failed") == 0) {
		const char *reason = jsontext_text(message, "reason");

		log_warning("forkserver.failed", "pool=%s reason=\"%s\"", server->who, reason ? reason : "");
		if (request)
			answer(request, -1);
	} else if (strcmp(type, "forked") == 0 && request) {
		answer(request, (pid_t)jsontext_number(message, "pid", -1));
	}
	watch_oldest(server);
}

static void on_closed(void *arg)
{
	struct forkserver *server = arg;

	server->ready = false; /* its exit follows */
}

/* ---- life ---- */

static void on_child_exit(void *arg, const struct child_exit *exit)
{
	struct forkserver *server = arg;
	const struct restart_params params = {
		.type = RESTART_PERMANENT,
		.base_delay_ms = DELAY_MS,
		.max_delay_ms = DELAY_MAX_MS,
		.stable_after_ms = STABLE_MS,
	};
	const struct restart_exit life = {
		.planned = server->ended_by_us,
		.killed_from_outside = exit->signo && signo_kind(exit->signo) != SIGNO_OWN &&
				       !server->ended_by_us,
		.exit_code = exit->signo ? 128 + exit->signo : exit->code,
		.lived_ms = loop_now_ms(server->loop) - server->started_ms,
		.proven = server->seq > 0,
	};
	struct restart_verdict verdict = restart_decide(&params, &server->slot, &life, clock_random());

	server->child = NULL;
	server->ready = false;
	channel_free(&server->channel);
	errtail_free(&server->tail);
	fail_all(server);
	watch_oldest(server);
	if (!server->ended_by_us)
		log_warning("forkserver.exit",
			    "pool=%s %s next=%s delay_ms=%lld effect=\"workers start by exec\"", server->who,
			    child_exit_text(exit), restart_action_name(verdict.action),
			    (long long)verdict.delay_ms);
	server->ended_by_us = false;
	if (server->wanted && verdict.action != RESTART_PARK)
		loop_timer_start(server->restart_timer, verdict.delay_ms);
	server->changed(server->arg, false);
}

static void launch(struct forkserver *server)
{
	const struct child_spec spec = {
		.argv = server->argv,
		.env = server->env,
		.death_signal = SIGKILL,
		.fd3 = CHILD_FD3_CHANNEL,
	};
	AUTO(mem_free_str) char *who = mem_printf("forkserver=%s", server->who);
	struct child_fds fds;
	int r;

	if (server->child || !server->argv)
		return;
	server->started_ms = loop_now_ms(server->loop);
	server->answered_ms = 0;
	r = child_spawn(server->loop, &spec, on_child_exit, server, &server->child, &fds);
	if (r < 0) {
		log_warning("forkserver.start_failed", "pool=%s error=\"%s\"", server->who, strerror(-r));
		loop_timer_start(server->restart_timer, DELAY_MAX_MS);
		server->changed(server->arg, false);
		return;
	}
	if (errtail_new(server->loop, fds.from_stderr, who, &server->tail) < 0 ||
	    channel_new(server->loop, fds.fd3, on_message, on_closed, server, &server->channel) < 0)
		abort(); /* descriptors that were just made cannot refuse O_NONBLOCK */
}

static void on_restart(void *arg)
{
	launch(arg);
}

void forkserver_new(struct loop *loop, const char *who, void (*changed)(void *arg, bool ready), void *arg,
		    struct forkserver **ret)
{
	struct forkserver *server = mem_alloc(sizeof(*server));

	server->loop = loop;
	server->who = mem_strdup(who);
	server->changed = changed;
	server->arg = arg;
	list_init(&server->requests);
	loop_timer_new(loop, on_late, server, &server->answer_timer);
	loop_timer_new(loop, on_restart, server, &server->restart_timer);
	*ret = server;
}

void forkserver_free(struct forkserver **server)
{
	struct forkserver *dead = *server;

	if (!dead)
		return;
	child_abandon(&dead->child);
	channel_free(&dead->channel);
	errtail_free(&dead->tail);
	while (!list_is_empty(&dead->requests))
		free(list_entry(list_pop_front(&dead->requests), struct request, link));
	loop_timer_free(&dead->answer_timer);
	loop_timer_free(&dead->restart_timer);
	free(dead->who);
	mem_free(server);
}

static void end(struct forkserver *server)
{
	loop_timer_stop(server->restart_timer);
	server->ready = false;
	if (!server->child)
		return;
	server->ended_by_us = true;
	child_signal_group(server->child, SIGKILL); /* it holds nothing that is to be saved */
}

void forkserver_set_program(struct forkserver *server, const char *const *argv, const char *const *env)
{
	server->argv = argv;
	server->env = env;
	if (!server->wanted)
		return;
	end(server);
	if (!server->child)
		launch(server);
}

void forkserver_start(struct forkserver *server)
{
	server->wanted = true;
	launch(server);
}

void forkserver_stop(struct forkserver *server)
{
	server->wanted = false;
	end(server);
}

bool forkserver_is_ready(const struct forkserver *server)
{
	return server->ready;
}

pid_t forkserver_pid(const struct forkserver *server)
{
	return server->child ? child_pid(server->child) : 0;
}
