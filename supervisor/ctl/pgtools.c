#include "ctl/pgtools.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "ctl/ctl.h"

enum { TICK_NS = 250 * 1000000, WORDS_MAX = 4000, ANSWER_MAX = 4000 };

/* ---- the daemon's word ---- */

int pgtools_set_environment(struct ctl *ctl, struct pgtools *ret)
{
	struct conn_reply reply;
	const char *name;
	json_t *value;
	int code = ctl_ask(ctl, "config.database", NULL, &reply);

	if (code != CTL_OK)
		return code;
	json_object_foreach(json_object_get(reply.data, "environment"), name, value)
	{
		if (setenv(name, json_string_value(value), 1) < 0) {
			ctl_complain("cannot set %s: %s", name, strerror(errno));
			code = CTL_FAILED;
		}
	}
	*ret = (struct pgtools){
		.embedded = json_is_true(json_object_get(reply.data, "embedded")),
		.programs = mem_strdup(json_string_value(json_object_get(reply.data, "programs"))),
		.database = mem_strdup(getenv("PGDATABASE")),
	};
	conn_reply_clear(&reply);
	conn_free(&ctl->conn);
	return code;
}

static void fill_heard(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGHUP);
}

int pgtools_open(struct ctl *ctl, struct pgtools *ret)
{
	int code = pgtools_set_environment(ctl, ret);
	sigset_t set;

	ret->begun_ms = clock_now_ms();
	fill_heard(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return code;
}

void pgtools_close(struct pgtools *tools)
{
	mem_free(&tools->programs);
	mem_free(&tools->database);
}

int64_t pgtools_elapsed_ms(const struct pgtools *tools)
{
	return clock_now_ms() - tools->begun_ms;
}

bool pgtools_is_interrupted(struct pgtools *tools)
{
	const struct timespec now = { 0 };
	sigset_t set;

	if (tools->uninterrupted)
		return false;
	fill_heard(&set);
	if (!tools->interrupted && sigtimedwait(&set, NULL, &now) > 0) {
		ctl_complain("interrupted: nothing has changed");
		tools->interrupted = true;
	}
	return tools->interrupted;
}

/* ---- running ---- */

/* Those of the newest server last. */
static int by_version(const void *a, const void *b)
{
	return atoi(*(char *const *)a + strlen("/usr/lib/postgresql/")) -
	       atoi(*(char *const *)b + strlen("/usr/lib/postgresql/"));
}

/* Debian keeps a server's programs where no PATH leads. */
static void exec_installed(const char *name, char *const *argv)
{
	AUTO(mem_free_str) char *pattern = mem_printf("/usr/lib/postgresql/*/bin/%s", name);
	glob_t found;

	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	qsort(found.gl_pathv, found.gl_pathc, sizeof(*found.gl_pathv), by_version);
	for (size_t i = found.gl_pathc; i-- > 0;)
		(void)execv(found.gl_pathv[i], argv);
	globfree(&found);
}

int pgtools_exec(const struct pgtools *tools, const char *name, char *const *argv)
{
	AUTO(mem_free_str) char *own = tools->programs ? mem_printf("%s/%s", tools->programs, name) : NULL;

	if (own)
		(void)execv(own, argv);
	exec_installed(name, argv);
	(void)execvp(name, argv);
	return -errno;
}

static void redirect(int from, int to)
{
	int null = from < 0 ? open("/dev/null", O_RDWR) : from;

	if (dup2(null, to) < 0)
		_exit(127);
}

static void become(const struct pgtools *tools, const struct pgtools_job *job, int words_fd)
{
	sigset_t none;

	redirect(job->in_fd, STDIN_FILENO);
	redirect(job->out_fd, STDOUT_FILENO);
	redirect(words_fd, STDERR_FILENO);
	if (job->database)
		(void)setenv("PGDATABASE", job->database, 1);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	/* execv() takes what it does not change without `const`. */
	(void)dprintf(STDERR_FILENO, "it cannot be started: %s (Debian: apt install postgresql-client)\n",
		      strerror(-pgtools_exec(tools, job->argv[0], (char *const *)(uintptr_t)job->argv)));
	_exit(127);
}

/* Its status; -1 when it was interrupted. */
static int await(struct pgtools *tools, const struct pgtools_job *job, pid_t pid)
{
	const struct timespec pause = { .tv_nsec = TICK_NS };
	sigset_t set;
	int status;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (pgtools_is_interrupted(tools)) {
			(void)kill(pid, SIGTERM);
			(void)waitpid(pid, &status, 0);
			return -1;
		}
		if (sigtimedwait(&set, NULL, &pause) < 0 && job->tick)
			job->tick(job->arg);
	}
	return status;
}

/* The beginning of what is in `fd`, fresh, without newlines at its end. */
static char *read_back(int fd, size_t most)
{
	char *text = mem_array(most + 1, 1);
	ssize_t n = pread(fd, text, most, 0);

	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n > 0 ? n : 0] = '\0';
	return text;
}

bool pgtools_run(struct pgtools *tools, const struct pgtools_job *job)
{
	AUTO(fd_close) int words_fd = memfd_create("words", MFD_CLOEXEC);
	AUTO(mem_free_str) char *words = NULL;
	pid_t pid = words_fd < 0 ? -1 : fork();
	int status;

	if (pid < 0) {
		ctl_complain("%s cannot be started: %s", job->argv[0], strerror(errno));
		return false;
	}
	if (pid == 0)
		become(tools, job, words_fd);
	status = await(tools, job, pid);
	if (status == 0 || status == -1)
		return status == 0;
	words = read_back(words_fd, WORDS_MAX);
	ctl_complain("%s failed%s%s", job->argv[0], *words ? ": " : " without a word", words);
	return false;
}

bool pgtools_ask(struct pgtools *tools, const char *database, const char *sql, char **ret)
{
	const char *const argv[] = { "psql",	  "--no-psqlrc", "--no-password",
				     "--quiet",	  "-At",	 "--set=ON_ERROR_STOP=1",
				     "--command", sql,		 NULL };
	AUTO(fd_close) int out_fd = memfd_create("answer", MFD_CLOEXEC);
	const struct pgtools_job job = { .argv = argv, .database = database, .in_fd = -1, .out_fd = out_fd };

	if (out_fd < 0 || !pgtools_run(tools, &job))
		return false;
	if (ret)
		*ret = read_back(out_fd, ANSWER_MAX);
	return true;
}
