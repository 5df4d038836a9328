#ifndef CORE_WORKER_H
#define CORE_WORKER_H

/* One slot of a pool: a process that speaks the worker protocol, its state machine, its health, and the
 * probes it holds. The pool owns it and decides on restarts; the dispatcher gives it probes.
 *
 * The process comes and goes; the slot stays. Probes held are borrowed from the dispatcher, which gets each
 * of them back by `turn`, `result`, or `released` when the process is gone. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "policy/blame.h"
#include "policy/hang.h"
#include "policy/restart.h"
#include "policy/worker_fsm.h"

struct child;
struct config_pool;
struct forkserver;
struct handover;
struct loop;
struct map;
struct msg;
struct probe;
struct worker;

/* How a life ended: for the restart decision, the crash record and blame. Texts are valid during the
 * callback. */
struct worker_death {
	struct blame_death blame;
	enum blame_whom whom;
	const char *text;	 /* "exit=1", "signal=11 core=yes", … */
	const char *fault;	 /* what it did wrong, when faulty; "" otherwise */
	const char *stderr_tail; /* its last words */
	const char *stack;	 /* what it wrote after a stack dump was asked for; "" when none was */
	int64_t lived_ms;
	bool proven;
	bool alone;	  /* it held one probe that ran alone */
	int held;	  /* probes held at the death */
	int64_t *jobs;	  /* ids of the first of them */
	size_t job_count; /* at most WORKER_DEATH_JOBS */
};

enum { WORKER_DEATH_JOBS = 100 };

struct worker_events {
	/* The slot may be given probes, or no more. */
	void (*serving)(void *arg, struct worker *worker, bool serving);
	/* First good answer or pong of this life. */
	void (*proven)(void *arg, struct worker *worker);
	/* One answer of `probe`, already appended to it; msg holds usage and whether it was the last. */
	void (*turn)(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg);
	/* The end of `probe`, which has left the worker. */
	void (*result)(void *arg, struct worker *worker, struct probe *probe, const struct msg *msg);
	/* How many of its pool are suspect, it included, and how many there are. */
	void (*count_suspects)(void *arg, const struct worker *worker, int *ret_suspects, int *ret_size);
	/* It does not answer, and this was found to ail it: before it is given another chance, or killed. */
	void (*judged)(void *arg, enum hang_verdict verdict);
	/* It does not answer, and is given another chance; `text` says why, in one line. */
	void (*suspect)(void *arg, struct worker *worker, enum hang_verdict verdict, const char *text);
	/* It has served, grown or aged enough: another is to take its place. Once a life. */
	void (*recycle)(void *arg, struct worker *worker);
	/* The process is gone; `probe` was held and has left the worker. Called for each, before `died`. */
	void (*released)(void *arg, struct worker *worker, struct probe *probe,
			 const struct worker_death *death);
	/* Decide on the restart: answer with worker_start, worker_start_after or worker_park. */
	void (*died)(void *arg, struct worker *worker, const struct worker_death *death);
	void *arg;
};

struct worker {
	char *name; /* "probe/1" */
	int number; /* from 1 */
	const struct config_pool *config;
	enum worker_state state;
	struct restart_slot slot; /* the pool's, for policy/restart.h */
	struct list link;	  /* the pool's */
	bool solo;		  /* holds one probe that runs alone, and gets no other */
	bool retiring;		  /* the pool shrinks: no restart after this life */
	bool given_up;	      /* the pool's: its place has used up its budget of restarts, and is on trial */
	bool boot_failed;     /* a life since the start of its pool has ended, and none was ready before */
	bool outdated;	      /* the pool's: this life was started with what is replaced since */
	bool replace;	      /* the pool's: start anew at once when this life has ended */
	struct worker *heir;  /* the pool's: takes its place once it is ready; NULL = none does */
	struct worker *elder; /* the pool's: the one whose place it is to take */
	int held;	      /* probes in it */
	int capacity;	      /* as its hello said */

	/* For people. */
	int64_t started_ms;	   /* this life; 0 while down */
	int64_t ready_ms;	   /* 0 until ready */
	int64_t boot_took_ms;	   /* of the last start that got ready; 0 = none yet */
	int restarts;		   /* lives after the first */
	int64_t jobs_done;	   /* of this life */
	int64_t rss_kb;		   /* as its last pong said */
	int64_t last_pong_ms;	   /* 0 = none yet in this life */
	enum hang_verdict verdict; /* on the pongs that it owes; HANG_NONE while it answers */
	const char *ailment;	   /* the verdict's one line; NULL while it answers */
	int64_t next_start_ms;	   /* while a restart timer is armed; else 0 */
	char *last_death;	   /* one line; NULL = none yet */
	char *version, *python;	   /* as its hello said; NULL before the first */

	struct worker_own *own; /* private: process, pipes, timers */
};

void worker_new(struct loop *loop, const struct config_pool *config, int number,
		const struct worker_events *events, struct worker **ret);

/* Kills what runs, without callbacks. Held probes must have been taken back before. */
void worker_free(struct worker **worker);

/* The same, for loop_defer(). */
void worker_free_deferred(void *worker);

/* `env` is the whole environment (copied at each start, borrowed until replaced); `argv` the command. */
void worker_set_program(struct worker *worker, const char *const *argv, const char *const *env);

/* Lives are forked from it where it is ready; borrowed, must outlive the worker. NULL = by exec. */
void worker_set_forkserver(struct worker *worker, struct forkserver *forkserver);

void worker_start(struct worker *worker);
void worker_start_after(struct worker *worker, int64_t delay_ms);
void worker_park(struct worker *worker);

/* Asks it to finish and exit within grace_ms; TERM, then KILL follow. No-op when nothing runs. */
void worker_drain(struct worker *worker, int64_t grace_ms);

/* No more patience: KILL. */
void worker_kill(struct worker *worker);

bool worker_is_serving(const struct worker *worker);

/* It has missed a ping at least. */
bool worker_is_late(const struct worker *worker);

/* It has room for one more probe and is not reserved for a solo one. */
bool worker_has_room(const struct worker *worker);

/* Hands over a probe with its first call permitted. -EPIPE or -ENOBUFS: not taken, the worker is failing. */
int worker_send_job(struct worker *worker, struct probe *probe) __attribute__((warn_unused_result));

/* Permits the next call of a probe it holds. */
int worker_send_go(struct worker *worker, struct probe *probe) __attribute__((warn_unused_result));
void worker_send_cancel(struct worker *worker, struct probe *probe);

/* ---- while the daemon's program is replaced ---- */

/* All of it, either way; one that goes on is fresh, and holds probes of `probes` (id → struct probe). */
void worker_pass(struct worker *worker, struct handover *h, const struct map *probes);

/* Its prepared parent was asked for a process, and it is not known yet what has come of that. */
bool worker_is_forking(const struct worker *worker);

/* Leaves what it says unread, for a moment. */
void worker_hold_back(struct worker *worker, bool hold_back);

/* 0 while down. */
pid_t worker_pid(const struct worker *worker);

#endif
