#ifndef POLICY_BLAME_H
#define POLICY_BLAME_H

/* Who is to blame for the death of a worker, and what follows for each job that it held.
 *
 * A worker holds many innocent jobs, so one death convicts nobody: a job held at two that may be a job's
 * doing runs next alone in a worker, and only a death while alone is its own doing. Two of those are POISON.
 */

#include <stdbool.h>

enum { BLAME_DEATHS_BEFORE_ALONE = 2, BLAME_SOLO_DEATHS_OF_POISON = 2 };

struct blame_death {
	bool planned;	   /* it ended because we asked: recycling, reload, shutdown, an operator's restart */
	bool faulty;	   /* we ended it for what it did: hang, protocol fault, a call far overdue */
	bool sent_by_us;   /* the signal that ended it, if one did */
	bool oom_evidence; /* the kernel killed it for the memory that it took */
	int signo;	   /* 0 = none ended it */
	int exit_code;	   /* 0..255; 128 + signal, as a shell in between tells it, is taken for the signal */
};

enum blame_whom {
	BLAME_US,      /* our own wish or signal */
	BLAME_OUTSIDE, /* a signal that nobody here sent: an operator's, a stranger's */
	BLAME_INSTALL, /* exit code 77, 78 or 125: no worker can run here */
	BLAME_JOBS,    /* one of those it held, or the worker itself: nobody can tell */
};

/* Why a process ended, one word each. */
/* clang-format off */
#define BLAME_CAUSES(X)                                                                                      \
	X(BLAME_PLANNED, "planned") /* we asked it to: recycling, reload, shutdown */                        \
	X(BLAME_FAULT,   "fault")   /* we ended it for what it did: a hang, nonsense, a call overdue */      \
	X(BLAME_CRASH,   "crash")   /* a signal of its own doing, as by a wrong address */                   \
	X(BLAME_EXIT,    "exit")    /* of its own accord */                                                  \
	X(BLAME_MEMORY,  "memory")  /* the kernel, for the memory that it took */                            \
	X(BLAME_KILLED,  "killed")  /* a signal that nobody here sent */                                     \
	X(BLAME_BROKEN,  "install") /* no worker can run here */
/* clang-format on */

enum blame_cause {
#define X(cause, name) cause,
	BLAME_CAUSES(X)
#undef X
		BLAME_CAUSE_COUNT
};

enum blame_cause blame_cause(const struct blame_death *death);
const char *blame_cause_name(enum blame_cause cause);

enum blame_whom blame_whom(const struct blame_death *death);

/* What a job carries from life to life of its workers. */
struct blame_job {
	int deaths;	 /* that may be a job's doing, and at which it was held */
	int solo_deaths; /* of them, those at which it ran alone */
};

struct blame {
	bool blames;	      /* the job, among others */
	struct blame_job job; /* with this death counted */
	bool runs_alone_next;
	bool poison; /* it must not run again */
};

/* `alone`: the job was the only one that its worker could hold. */
struct blame blame_decide(const struct blame_death *death, const struct blame_job *job, bool alone);

/* A job with so many deaths runs alone. */
bool blame_runs_alone(const struct blame_job *job);

/* "us", "outside", "install", "jobs": for the log and the crash record. */
const char *blame_whom_name(enum blame_whom whom);

#endif
