#include "io/guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/handover.h"
#include "io/loop.h"

enum {
	LOOK_MS = 50,	 /* between looks whether anybody is left */
	GRACE_MS = 1000, /* for those who end by themselves, such as a service with a death_signal other than
			    KILL */
	GIVE_UP_MS = 10000,
	END_MS = 2000, /* for the guard, when the daemon ends by itself and leaves nobody */
	ENVIRONMENT_BYTES = 4 * 1024 * 1024,
};

#define MARK_NAME "PROCTOR_GUARD"

static char mark[64];
static int daemon_end = -1; /* of the pipe whose other end the guard reads: it closes when we are gone */
static struct loop_fd *watch;

/* ---- in the guard ---- */

static bool has_mark(const char *pid)
{
	AUTO(mem_free_str) char *path = mem_printf("/proc/%s/environ", pid);
	AUTO(mem_free_str) char *text = NULL;
	size_t len, mark_len = strlen(mark);

	if (fd_read_file(path, ENVIRONMENT_BYTES, &text, &len) < 0)
		return false;
	for (const char *entry = text; entry < text + len; entry += strlen(entry) + 1)
		if (strncmp(entry, mark, mark_len) == 0 && entry[mark_len] == '\0')
			return true;
	return false;
}

/* The pidfd is there before the look, so that whoever is killed is the one that was seen. */
static bool kill_marked(const char *pid, bool earnest)
{
	AUTO(fd_close) int pidfd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);

	if (pidfd < 0 || !has_mark(pid))
		return false;
	if (earnest)
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	return true;
}

/* How many are left. */
static int sweep(bool earnest)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	while (proc && (entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			count += kill_marked(entry->d_name, earnest);
	if (proc)
		(void)closedir(proc);
	return count;
}

static void end_what_is_left(void)
{
	int64_t begun_ms = clock_now_ms(), age_ms = 0;
	bool told = false;
	int left;

	while ((left = sweep(age_ms >= GRACE_MS)) > 0 && age_ms < GIVE_UP_MS) {
		if (age_ms >= GRACE_MS && !told)
			log_warning("guard.killed", "processes=%d reason=\"the daemon is gone\"", left);
		told = age_ms >= GRACE_MS;
		(void)poll(NULL, 0, LOOK_MS);
		age_ms = clock_now_ms() - begun_ms;
	}
}

static void wait_for_the_end(int fd)
{
	char byte;

	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
}

/* Holds nothing of the daemon's but stderr: no lock, no socket. */
static void be_guard(int fd)
{
	static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE };

	(void)setsid();
	(void)prctl(PR_SET_NAME, "proctor-guard", 0, 0, 0);
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		(void)signal(ignored[i], SIG_IGN);
	if (dup2(fd, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(1);
	(void)close_range(STDERR_FILENO + 1, ~0u, 0);
	(void)!chdir("/");
	wait_for_the_end(STDIN_FILENO);
	end_what_is_left();
	_exit(0);
}

/* ---- in the daemon ---- */

int guard_start(void)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	(void)snprintf(mark, sizeof(mark), MARK_NAME "=%d-%08x%08x", (int)getpid(), clock_random(),
		       clock_random());
	pid = fork();
	if (pid == 0) {
		fd_close(&ends[1]);
		be_guard(ends[0]);
	}
	fd_close(&ends[0]);
	daemon_end = fd_take(&ends[1]);
	if (pid < 0) {
		fd_close(&daemon_end);
		mark[0] = '\0';
		return -EAGAIN;
	}
	return 0;
}

static void on_guard_gone(void *arg, unsigned events)
{
	(void)arg;
	(void)events;
	log_warning("guard.gone", "effect=\"what children forked may outlive the daemon\" "
				  "remedy=\"restart the daemon\"");
	loop_fd_free(&watch);
}

void guard_watch(struct loop *loop)
{
	/* Nothing ever comes to the writing end of a pipe but the news that nobody reads it. */
	if (daemon_end >= 0)
		loop_fd_new(loop, daemon_end, LOOP_READ, on_guard_gone, NULL, &watch);
}

void guard_unwatch(void)
{
	loop_fd_free(&watch);
}

void guard_end(void)
{
	struct pollfd gone = { .fd = daemon_end };

	/* A byte does what the end of the pipe would; that there is no reader any more comes as POLLERR. */
	if (daemon_end >= 0 && write(daemon_end, "", 1) == 1)
		(void)poll(&gone, 1, END_MS);
	fd_close(&daemon_end);
}

const char *guard_mark(void)
{
	return mark[0] ? mark : NULL;
}

void guard_pass(struct handover *h, const char *name)
{
	handover_begin(h, name);
	handover_chars(h, "mark", mark, sizeof(mark));
	handover_fd(h, "pipe", &daemon_end);
	handover_end(h);
}

void guard_unmark(void)
{
	(void)unsetenv(MARK_NAME);
}
