#include "policy/blame.h"

#include "base/mem.h"
#include "base/signo.h"
#include "policy/restart.h"

static enum blame_whom whom_of_signal(const struct blame_death *death, int signo)
{
	enum signo_kind kind = signo_kind(signo);

	/* A crash is one also while the worker was on its way out. */
	if (kind == SIGNO_OWN)
		return BLAME_JOBS;
	if (death->sent_by_us || death->planned)
		return BLAME_US;
	return kind == SIGNO_KILL && death->oom_evidence ? BLAME_JOBS : BLAME_OUTSIDE;
}

enum blame_whom blame_whom(const struct blame_death *death)
{
	int signo = death->signo ? death->signo : signo_of_status(death->exit_code);

	if (death->faulty)
		return BLAME_JOBS;
	if (signo)
		return whom_of_signal(death, signo);
	if (death->planned)
		return BLAME_US;
	return restart_is_broken_install(death->exit_code) ? BLAME_INSTALL : BLAME_JOBS;
}

bool blame_runs_alone(const struct blame_job *job)
{
	return job->deaths >= BLAME_DEATHS_BEFORE_ALONE;
}

struct blame blame_decide(const struct blame_death *death, const struct blame_job *job, bool alone)
{
	struct blame blame = { .blames = blame_whom(death) == BLAME_JOBS, .job = *job };

	if (blame.blames) {
		blame.job.deaths++;
		blame.job.solo_deaths += alone;
	}
	blame.runs_alone_next = blame_runs_alone(&blame.job);
	blame.poison = blame.job.solo_deaths >= BLAME_SOLO_DEATHS_OF_POISON;
	return blame;
}

const char *blame_whom_name(enum blame_whom whom)
{
	static const char *const names[] = {
		[BLAME_US] = "us",
		[BLAME_OUTSIDE] = "outside",
		[BLAME_INSTALL] = "install",
		[BLAME_JOBS] = "jobs",
	};

	return (unsigned)whom < ARRAY_LEN(names) ? names[whom] : "?";
}

enum blame_cause blame_cause(const struct blame_death *death)
{
	int signo = death->signo ? death->signo : signo_of_status(death->exit_code);

	if (death->faulty)
		return BLAME_FAULT;
	switch (blame_whom(death)) {
	case BLAME_US:
		return BLAME_PLANNED;
	case BLAME_OUTSIDE:
		return BLAME_KILLED;
	case BLAME_INSTALL:
		return BLAME_BROKEN;
	case BLAME_JOBS:
		break;
	}
	if (!signo)
		return BLAME_EXIT;
	return signo_kind(signo) == SIGNO_OWN ? BLAME_CRASH : BLAME_MEMORY;
}

const char *blame_cause_name(enum blame_cause cause)
{
	static const char *const names[] = {
#define X(cause_, name) [cause_] = name,
		BLAME_CAUSES(X)
#undef X
	};

	return (unsigned)cause < ARRAY_LEN(names) ? names[cause] : "?";
}
