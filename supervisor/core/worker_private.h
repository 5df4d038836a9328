#ifndef CORE_WORKER_PRIVATE_H
#define CORE_WORKER_PRIVATE_H

/* Shared by worker.c (life and death), worker_talk.c (the protocol, and the probes held) and worker_health.c.
 */

#include <sys/types.h>

#include "base/buf.h"
#include "core/worker.h"
#include "io/child.h"
#include "io/lineconn.h"
#include "io/msg.h"
#include "policy/hang.h"
#include "policy/health.h"
#include "policy/recycle.h"

struct child_exit;
struct child_fds;

/* A worker ends a call by itself; one that is so much later counts as hung. */
enum { WORKER_CALL_SLACK_MS = 10000 };

struct worker_own {
	struct loop *loop;
	struct worker_events events;
	const char *const *argv, *const *env;

	struct forkserver *forkserver; /* the pool's; NULL = workers start by exec */
	bool forking;		       /* it was asked for this life, and has not named the process yet */
	struct child_fds near;	       /* our ends of its pipes, while it forks */
	struct child *child;	       /* NULL once reaped */
	struct lineconn *conn;
	struct errtail *tail;
	struct loop_timer *deadline; /* of the state */
	struct loop_timer *health_timer;
	struct loop_timer *call_timer; /* of the oldest call under way */
	struct loop_timer *restart_timer;
	struct loop_timer *eof_timer; /* between the end of its stdout and its own end */
	struct health health;
	struct hang hang;
	struct recycle recycle;
	bool recycle_told; /* once a life */
	int64_t drain_ms;

	struct list held;    /* probes, by in_worker */
	struct list calling; /* of them those with a call under way, by link, oldest first */
	struct map *by_id;   /* id → probe */

	struct msg turn; /* whose body is the next line */
	bool body_due;

	bool planned, faulty, signalled, proven;
	bool overdue;	  /* suspect of a call that never ended: a pong is no defence */
	bool dumped;	  /* a stack dump was asked for */
	size_t dump_mark; /* how much stderr there had been by then */
	char fault[256];
	struct buf scratch; /* lines under way out */
};

/* worker.c. The first reason given is the one that is kept. */
void worker_step(struct worker *worker, enum worker_event event);
void worker_fault(struct worker *worker, enum worker_event event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Takes the near ends of a life's pipes. */
void worker_attach(struct worker *worker, const struct child_fds *fds);
void worker_on_child_exit(void *worker, const struct child_exit *exit);
/* The prepared parent's answer; -1 = there is no process. */
void worker_on_forked(void *worker, pid_t pid);

/* worker_talk.c */
void worker_prove(struct worker *worker);
void worker_hold(struct worker *worker, struct probe *probe);
void worker_let_go(struct worker *worker, struct probe *probe);
void worker_on_line(void *arg, char *line, size_t len);
void worker_on_conn_end(void *arg, enum lineconn_end end, int error);
void worker_on_eof_timer(void *arg);
int worker_send_scratch(struct worker *worker);

/* worker_health.c */
struct health_params worker_health_params(const struct worker *worker);
void worker_start_health(struct worker *worker);
void worker_tick_health(void *arg);
void worker_on_call_timer(void *arg);
/* It has served, grown or aged: is it time for another? */
void worker_check_recycling(struct worker *worker);

#endif
