#include "policy/blame.h"

#include <signal.h>

#include "base/mem.h"
#include "policy/restart.h"

/* Signals that a process brings upon itself: faults, limits, broken pipes, its own timers. All others come
 * from somebody who sent them. */
static bool is_own_doing(int signo)
{
	switch (signo) {
	case SIGILL:
	case SIGTRAP:
	case SIGABRT:
	case SIGBUS:
	case SIGFPE:
	case SIGSEGV:
	case SIGPIPE:
	case SIGALRM:
	case SIGXCPU:
	case SIGXFSZ:
	case SIGVTALRM:
	case SIGPROF:
	case SIGSYS:
		return true;
	default:
		return false;
	}
}

static int signal_of(const struct blame_death *death)
{
	if (death->signo || death->exit_code <= 128 || death->exit_code > 128 + SIGRTMAX)
		return death->signo;
	return death->exit_code - 128;
}

enum blame_whom blame_whom(const struct blame_death *death)
{
	int signo = signal_of(death);

	if (death->faulty)
		return BLAME_JOBS;
	if (signo) {
		/* A crash is one also while the worker was on its way out. */
		if (is_own_doing(signo))
			return BLAME_JOBS;
		if (death->sent_by_us || death->planned)
			return BLAME_US;
		return signo == SIGKILL && death->oom_evidence ? BLAME_JOBS : BLAME_OUTSIDE;
	}
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
