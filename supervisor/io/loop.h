#ifndef IO_LOOP_H
#define IO_LOOP_H

/* The one event loop, around libev. It owns no state but its watchers; every other part reaches the world
 * through it, and only from the main thread, but for loop_wake_send().
 *
 * Callbacks take the `arg` given at creation. A watcher may be freed from any callback, its own included. */

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
struct loop_fd;
struct loop_signal;
struct loop_wake;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

int loop_new(struct loop **ret) __attribute__((warn_unused_result));
void loop_free(struct loop **loop);

/* Runs until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Monotonic ms, taken at the start of this turn of the loop. */
int64_t loop_now_ms(const struct loop *loop);

/* How late the last turns were, in ms: the longest delay of a timer within the last 10 s. */
int64_t loop_lag_ms(const struct loop *loop);

/* How late the timer is whose callback runs, in ms. */
int64_t loop_late_ms(const struct loop *loop);

/* One-shot timer; starts stopped. */
void loop_timer_new(struct loop *loop, void (*fire)(void *arg), void *arg, struct loop_timer **ret);
void loop_timer_free(struct loop_timer **timer);
/* (Re)arms for `ms` from now (0 = next turn). */
void loop_timer_start(struct loop_timer *timer, int64_t ms);
/* As start, unless it is armed for an earlier time already. */
void loop_timer_start_by(struct loop_timer *timer, int64_t ms);
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_armed(const struct loop_timer *timer);
/* Monotonic ms; 0 = it is not armed. */
int64_t loop_timer_due_ms(const struct loop_timer *timer);

/* Watches `fd` (borrowed) for LOOP_READ | LOOP_WRITE; starts with `events`. */
void loop_fd_new(struct loop *loop, int fd, unsigned events, void (*ready)(void *arg, unsigned events),
		 void *arg, struct loop_fd **ret);
void loop_fd_set(struct loop_fd *watch, unsigned events);
void loop_fd_free(struct loop_fd **watch);

void loop_signal_new(struct loop *loop, int signo, void (*got)(void *arg, int signo), void *arg,
		     struct loop_signal **ret);
void loop_signal_free(struct loop_signal **watch);

/* Wakes the loop from another thread. */
void loop_wake_new(struct loop *loop, void (*woken)(void *arg), void *arg, struct loop_wake **ret);
void loop_wake_send(struct loop_wake *wake);
void loop_wake_free(struct loop_wake **wake);

/* Calls `fn` once at the end of this turn: where what a callback marked dead is freed. */
void loop_defer(struct loop *loop, void (*fn)(void *arg), void *arg);
/* Forgets every deferred call for `arg`. */
void loop_undefer(struct loop *loop, const void *arg);

#endif
