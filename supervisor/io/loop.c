#include "io/loop.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

enum { LAG_WINDOW_MS = 10000 };

struct deferred {
	void (*fn)(void *arg);
	void *arg;
};

struct loop {
	struct ev_loop *ev;
	ev_prepare prepare; /* end of turn: runs what was deferred, just before the loop would sleep */
	ev_check check;	    /* start of turn: takes the time */
	ev_idle idle;	    /* keeps the loop from sleeping while something is deferred */
	int64_t now_ms;
	struct deferred *deferred;
	size_t deferred_len, deferred_room;
	int64_t lag_ms, lag_before_ms; /* the worst of this window and of the one before */
	int64_t lag_window_ms;	       /* when this window began */
	int64_t late_ms;	       /* of the last timer */
};

struct loop_timer {
	ev_timer ev;
	struct loop *loop;
	void (*fire)(void *arg);
	void *arg;
	int64_t due_ms; /* while armed */
};

struct loop_fd {
	ev_io ev;
	struct loop *loop;
	void (*ready)(void *arg, unsigned events);
	void *arg;
};

struct loop_signal {
	ev_signal ev;
	struct loop *loop;
	void (*got)(void *arg, int signo);
	void *arg;
};

struct loop_wake {
	ev_async ev;
	struct loop *loop;
	void (*woken)(void *arg);
	void *arg;
};

static void on_idle(struct ev_loop *ev, ev_idle *watcher, int revents)
{
	(void)ev;
	(void)watcher;
	(void)revents;
}

static void on_prepare(struct ev_loop *ev, ev_prepare *watcher, int revents)
{
	struct loop *loop = watcher->data;
	size_t count = loop->deferred_len;

	(void)revents;
	/* A deferred call may defer another: that one belongs to the next turn. */
	for (size_t i = 0; i < count; i++) {
		struct deferred call = loop->deferred[i];

		if (call.fn)
			call.fn(call.arg);
	}
	for (size_t i = count; i < loop->deferred_len; i++)
		loop->deferred[i - count] = loop->deferred[i];
	loop->deferred_len -= count;
	if (loop->deferred_len > 0)
		ev_idle_start(ev, &loop->idle);
	else
		ev_idle_stop(ev, &loop->idle);
}

static void on_check(struct ev_loop *ev, ev_check *watcher, int revents)
{
	struct loop *loop = watcher->data;

	(void)ev;
	(void)revents;
	loop->now_ms = clock_now_ms();
}

int loop_new(struct loop **ret)
{
	/* Not the default loop: that one reaps children behind our back. */
	struct ev_loop *ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	struct loop *loop;

	if (!ev)
		return -ENOSYS;
	loop = mem_alloc(sizeof(*loop));
	loop->ev = ev;
	loop->now_ms = loop->lag_window_ms = clock_now_ms();
	ev_prepare_init(&loop->prepare, on_prepare);
	ev_check_init(&loop->check, on_check);
	ev_idle_init(&loop->idle, on_idle);
	loop->prepare.data = loop->check.data = loop->idle.data = loop;
	ev_set_priority(&loop->check, EV_MAXPRI);
	ev_prepare_start(ev, &loop->prepare);
	ev_check_start(ev, &loop->check);
	*ret = loop;
	return 0;
}

void loop_free(struct loop **loop)
{
	if (!*loop)
		return;
	ev_loop_destroy((*loop)->ev);
	free((*loop)->deferred);
	mem_free(loop);
}

void loop_run(struct loop *loop)
{
	ev_run(loop->ev, 0);
}

void loop_stop(struct loop *loop)
{
	ev_break(loop->ev, EVBREAK_ALL);
}

int64_t loop_now_ms(const struct loop *loop)
{
	return loop->now_ms;
}

int64_t loop_lag_ms(const struct loop *loop)
{
	return loop->lag_ms > loop->lag_before_ms ? loop->lag_ms : loop->lag_before_ms;
}

int64_t loop_late_ms(const struct loop *loop)
{
	return loop->late_ms;
}

static void note_lag(struct loop *loop, int64_t late_ms)
{
	if (loop->now_ms - loop->lag_window_ms > LAG_WINDOW_MS) {
		loop->lag_before_ms = loop->now_ms - loop->lag_window_ms > 2 * LAG_WINDOW_MS ? 0
											     : loop->lag_ms;
		loop->lag_ms = 0;
		loop->lag_window_ms = loop->now_ms;
	}
	if (late_ms > loop->lag_ms)
		loop->lag_ms = late_ms;
}

static void on_timer(struct ev_loop *ev, ev_timer *watcher, int revents)
{
	struct loop_timer *timer = watcher->data;

	(void)ev;
	(void)revents;
	timer->loop->late_ms = timer->loop->now_ms - timer->due_ms;
	note_lag(timer->loop, timer->loop->late_ms);
	timer->fire(timer->arg);
}

void loop_timer_new(struct loop *loop, void (*fire)(void *arg), void *arg, struct loop_timer **ret)
{
	struct loop_timer *timer = mem_alloc(sizeof(*timer));

	timer->loop = loop;
	timer->fire = fire;
	timer->arg = arg;
	ev_timer_init(&timer->ev, on_timer, 0., 0.);
	timer->ev.data = timer;
	*ret = timer;
}

void loop_timer_free(struct loop_timer **timer)
{
	if (!*timer)
		return;
	ev_timer_stop((*timer)->loop->ev, &(*timer)->ev);
	mem_free(timer);
}

void loop_timer_start(struct loop_timer *timer, int64_t ms)
{
	struct loop *loop = timer->loop;

	if (ms < 0)
		ms = 0;
	ev_timer_stop(loop->ev, &timer->ev);
	ev_now_update(loop->ev);
	ev_timer_set(&timer->ev, (double)ms / 1000., 0.);
	timer->due_ms = clock_now_ms() + ms;
	ev_timer_start(loop->ev, &timer->ev);
}

void loop_timer_start_by(struct loop_timer *timer, int64_t ms)
{
	if (loop_timer_armed(timer) && timer->due_ms <= clock_now_ms() + ms)
		return;
	loop_timer_start(timer, ms);
}

void loop_timer_stop(struct loop_timer *timer)
{
	ev_timer_stop(timer->loop->ev, &timer->ev);
}

bool loop_timer_armed(const struct loop_timer *timer)
{
	return timer->ev.active != 0; /* ev_is_active() would cast const away */
}

int64_t loop_timer_due_ms(const struct loop_timer *timer)
{
	return loop_timer_armed(timer) ? timer->due_ms : 0;
}

static int ev_events(unsigned events)
{
	return ((events & LOOP_READ) ? EV_READ : 0) | ((events & LOOP_WRITE) ? EV_WRITE : 0);
}

static void on_fd(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct loop_fd *watch = watcher->data;
	unsigned events = 0;

	(void)ev;
	if (revents & EV_READ)
		events |= LOOP_READ;
	if (revents & EV_WRITE)
		events |= LOOP_WRITE;
	watch->ready(watch->arg, events);
}

void loop_fd_new(struct loop *loop, int fd, unsigned events, void (*ready)(void *arg, unsigned events),
		 void *arg, struct loop_fd **ret)
{
	struct loop_fd *watch = mem_alloc(sizeof(*watch));

	watch->loop = loop;
	watch->ready = ready;
	watch->arg = arg;
	ev_io_init(&watch->ev, on_fd, fd, ev_events(events));
	watch->ev.data = watch;
	if (events)
		ev_io_start(loop->ev, &watch->ev);
	*ret = watch;
}

void loop_fd_set(struct loop_fd *watch, unsigned events)
{
	int wanted = ev_events(events);

	if (ev_is_active(&watch->ev) && (watch->ev.events & (EV_READ | EV_WRITE)) == wanted)
		return;
	ev_io_stop(watch->loop->ev, &watch->ev);
	if (!wanted)
		return;
	ev_io_set(&watch->ev, watch->ev.fd, wanted);
	ev_io_start(watch->loop->ev, &watch->ev);
}

void loop_fd_free(struct loop_fd **watch)
{
	if (!*watch)
		return;
	ev_io_stop((*watch)->loop->ev, &(*watch)->ev);
	mem_free(watch);
}

static void on_signal(struct ev_loop *ev, ev_signal *watcher, int revents)
{
	struct loop_signal *watch = watcher->data;

	(void)ev;
	(void)revents;
	watch->got(watch->arg, watcher->signum);
}

void loop_signal_new(struct loop *loop, int signo, void (*got)(void *arg, int signo), void *arg,
		     struct loop_signal **ret)
{
	struct loop_signal *watch = mem_alloc(sizeof(*watch));

	watch->loop = loop;
	watch->got = got;
	watch->arg = arg;
	ev_signal_init(&watch->ev, on_signal, signo);
	watch->ev.data = watch;
	ev_signal_start(loop->ev, &watch->ev);
	*ret = watch;
}

void loop_signal_free(struct loop_signal **watch)
{
	if (!*watch)
		return;
	ev_signal_stop((*watch)->loop->ev, &(*watch)->ev);
	mem_free(watch);
}

static void on_wake(struct ev_loop *ev, ev_async *watcher, int revents)
{
	struct loop_wake *wake = watcher->data;

	(void)ev;
	(void)revents;
	wake->woken(wake->arg);
}

void loop_wake_new(struct loop *loop, void (*woken)(void *arg), void *arg, struct loop_wake **ret)
{
	struct loop_wake *wake = mem_alloc(sizeof(*wake));

	wake->loop = loop;
	wake->woken = woken;
	wake->arg = arg;
	ev_async_init(&wake->ev, on_wake);
	wake->ev.data = wake;
	ev_async_start(loop->ev, &wake->ev);
	*ret = wake;
}

void loop_wake_send(struct loop_wake *wake)
{
	ev_async_send(wake->loop->ev, &wake->ev);
}

void loop_wake_free(struct loop_wake **wake)
{
	if (!*wake)
		return;
	ev_async_stop((*wake)->loop->ev, &(*wake)->ev);
	mem_free(wake);
}

void loop_defer(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	if (loop->deferred_len == loop->deferred_room) {
		loop->deferred_room = loop->deferred_room ? loop->deferred_room * 2 : 16;
		loop->deferred = mem_resize(loop->deferred, loop->deferred_room, sizeof(*loop->deferred));
	}
	loop->deferred[loop->deferred_len++] = (struct deferred){ .fn = fn, .arg = arg };
	ev_idle_start(loop->ev, &loop->idle);
}

void loop_undefer(struct loop *loop, const void *arg)
{
	for (size_t i = 0; i < loop->deferred_len; i++)
		if (loop->deferred[i].arg == arg)
			loop->deferred[i].fn = NULL;
}
