#include "io/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/cgroup.h"
#include "io/child_private.h"
#include "io/guard.h"
#include "io/loop.h"

enum { READY_FD = 3, EXEC_FAILED = 127, CPU_GRACE_S = 5 };

/* A process that we reaped and did not know: perhaps one that is about to be named to us. */
struct stray {
	pid_t pid;
	struct child_exit exit;
};

static struct list children = LIST_INIT(children);
static struct stray strays[64]; /* a ring: the newest are enough, a name follows within milliseconds */
static size_t stray_next;
static struct loop_signal *sigchld;

static int pidfd_open_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void forget(struct child *child)
{
	loop_undefer(child->loop, child);
	list_remove(&child->link);
	loop_fd_free(&child->watch);
	fd_close(&child->pidfd);
	fd_close(&child->error_fd);
	cgroup_free(&child->group);
	mem_free(&child);
}

static struct child_exit exit_of(const siginfo_t *info)
{
	return (struct child_exit){
		.code = info->si_code == CLD_EXITED ? info->si_status : -1,
		.signo = info->si_code == CLD_EXITED ? 0 : info->si_status,
		.core = info->si_code == CLD_DUMPED,
	};
}

/* Kills the group of an ended child while its id cannot be reused yet, then reaps it. */
static void reap(struct child *child)
{
	struct child_exit exit;
	siginfo_t info = { 0 };
	int exec_error = 0;

	if (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
		return;
	(void)kill(-child->pid, SIGKILL);
	(void)waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG);
	exit = exit_of(&info);
	exit.oom = exit.signo == SIGKILL && child->group && cgroup_had_oom(child->group);
	if (child->error_fd >= 0 &&
	    read(child->error_fd, &exec_error, sizeof(exec_error)) == sizeof(exec_error))
		exit.exec_error = exec_error;
	if (child->on_exit)
		child->on_exit(child->arg, &exit);
	forget(child);
}

static void on_pidfd(void *arg, unsigned events)
{
	(void)events;
	reap(arg);
}

void child_watch(struct child *child, int pidfd)
{
	child->pidfd = pidfd;
	loop_fd_new(child->loop, pidfd, LOOP_READ, on_pidfd, child, &child->watch);
}

struct list *child_all(void)
{
	return &children;
}

static struct child *find(pid_t pid)
{
	list_foreach (at, &children) {
		struct child *child = list_entry(at, struct child, link);

		if (child->pid == pid)
			return child;
	}
	return NULL;
}

static void reap_stray(pid_t pid)
{
	siginfo_t info = { 0 };

	(void)kill(-pid, SIGKILL); /* its group, if it leads one */
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return;
	strays[stray_next] = (struct stray){ .pid = pid, .exit = exit_of(&info) };
	stray_next = (stray_next + 1) % ARRAY_LEN(strays);
}

/* Reaps what we adopted. Our own children have their pidfd, but one that is seen first here is taken at once:
 * else it would hide the adopted ones behind it. */
static void on_sigchld(void *arg, int signo)
{
	(void)arg;
	(void)signo;
	for (;;) {
		siginfo_t info = { 0 };
		struct child *child;

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return;
		child = find(info.si_pid);
		if (child)
			reap(child);
		else
			reap_stray(info.si_pid);
	}
}

int child_init(struct loop *loop)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return -errno;
	loop_signal_new(loop, SIGCHLD, on_sigchld, NULL, &sigchld);
	return 0;
}

void child_fini(void)
{
	loop_signal_free(&sigchld);
	list_foreach_safe (at, &children) {
		struct child *child = list_entry(at, struct child, link);

		child_signal_group(child, SIGKILL);
		forget(child);
	}
}

static const char *env_value(const char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; *env; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

/* The program's path in fresh memory; NULL with *ret_error set when it cannot be run. */
static char *resolve(const struct child_spec *spec, int *ret_error)
{
	const char *name = spec->argv[0];
	const char *path = env_value(spec->env, "PATH");

	*ret_error = -ENOENT;
	if (strchr(name, '/')) {
		if (access(name, X_OK) == 0)
			return mem_strdup(name);
		*ret_error = -errno;
		return NULL;
	}
	if (!path)
		path = "/usr/local/bin:/usr/bin:/bin";
	while (*path) {
		size_t len = strcspn(path, ":");
		char *full = mem_printf("%.*s/%s", (int)len, path, name);

		if (access(full, X_OK) == 0)
			return full;
		/* Not of a folder on the way that we may not search: then it may be anywhere. */
		if (errno == EACCES && access(full, F_OK) == 0)
			*ret_error = -EACCES;
		free(full);
		path += len + (path[len] == ':');
	}
	return NULL;
}

struct pipes {
	int in[2], out[2], err[2], ready[2], error[2];
};

static void pipe_close(int ends[2])
{
	fd_close(&ends[0]);
	fd_close(&ends[1]);
}

static void pipes_close(struct pipes *p)
{
	pipe_close(p->in);
	pipe_close(p->out);
	pipe_close(p->err);
	pipe_close(p->ready);
	pipe_close(p->error);
}

static int open_fd3(enum child_fd3 kind, int ends[2])
{
	switch (kind) {
	case CHILD_FD3_PIPE:
		return pipe2(ends, O_CLOEXEC);
	case CHILD_FD3_GIVEN:
		return 0;
	case CHILD_FD3_CHANNEL:
		return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
	case CHILD_FD3_NONE:
		break;
	}
	return 0;
}

static int pipes_open(const struct child_spec *spec, struct pipes *p)
{
	if ((spec->want_stdin && pipe2(p->in, O_CLOEXEC) < 0) ||
	    (spec->want_stdout && pipe2(p->out, O_CLOEXEC) < 0) || pipe2(p->err, O_CLOEXEC) < 0 ||
	    open_fd3(spec->fd3, p->ready) < 0 || pipe2(p->error, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

/* In the child, where only async-signal-safe calls are allowed: other threads may have held locks. */
static void become(const struct child_spec *spec, const char *program, struct pipes *p, pid_t parent)
{
	sigset_t none;
	int error_fd, error;

	(void)setpgid(0, 0);
	if (spec->death_signal && prctl(PR_SET_PDEATHSIG, spec->death_signal, 0, 0, 0) < 0)
		goto failed;
	if (getppid() != parent)
		_exit(EXEC_FAILED);
	for (int signo = 1; signo < NSIG; signo++)
		(void)signal(signo, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);

	/* First out of the way of the numbers that the child is to find. */
	error_fd = fcntl(p->error[1], F_DUPFD_CLOEXEC, 10);
	if (spec->fd3 != CHILD_FD3_NONE) {
		int high = fcntl(spec->fd3 == CHILD_FD3_GIVEN ? spec->given_fd : p->ready[1], F_DUPFD_CLOEXEC,
				 10);

		p->ready[1] = high;
	}
	if (error_fd < 0)
		_exit(EXEC_FAILED);
	p->error[1] = error_fd;
	if (!spec->want_stdin)
		p->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (dup2(p->in[0], STDIN_FILENO) < 0 ||
	    dup2(spec->want_stdout ? p->out[1] : p->err[1], STDOUT_FILENO) < 0 ||
	    dup2(p->err[1], STDERR_FILENO) < 0)
		goto failed;
	if (spec->fd3 != CHILD_FD3_NONE && dup2(p->ready[1], READY_FD) < 0)
		goto failed;
	/* What others opened without O_CLOEXEC: a sibling's write end kept open would hide its EOF. */
	(void)close_range(spec->fd3 != CHILD_FD3_NONE ? READY_FD + 1 : READY_FD, ~0u, CLOSE_RANGE_CLOEXEC);
	if (spec->cwd && chdir(spec->cwd) < 0)
		goto failed;
	(void)execve(program, (char *const *)(uintptr_t)spec->argv, (char *const *)(uintptr_t)spec->env);
failed:
	error = errno;
	(void)!write(p->error[1], &error, sizeof(error));
	_exit(EXEC_FAILED);
}

struct child *child_enlist(struct loop *loop, pid_t pid,
			   void (*on_exit)(void *arg, const struct child_exit *exit), void *arg)
{
	struct child *child = mem_alloc(sizeof(*child));

	child->loop = loop;
	child->pid = pid;
	child->pidfd = child->error_fd = -1;
	child->on_exit = on_exit;
	child->arg = arg;
	list_push_back(&children, &child->link);
	return child;
}

/* The environment with the guard's mark in it; the entries are borrowed. */
static const char **mark_env(const char *const *env)
{
	const char *mark = guard_mark();
	const char **marked;
	size_t count = 0;

	while (env[count])
		count++;
	marked = mem_array(count + 2, sizeof(*marked));
	for (size_t i = 0; i < count; i++)
		marked[i] = env[i];
	marked[count] = mark;
	return marked;
}

static void free_env(const char ***env)
{
	free((void *)(uintptr_t)*env);
}

int child_spawn(struct loop *loop, const struct child_spec *spec,
		void (*on_exit)(void *arg, const struct child_exit *exit), void *arg, struct child **ret,
		struct child_fds *ret_fds)
{
	struct pipes p = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 } };
	AUTO(mem_free_str) char *program = NULL;
	AUTO(free_env) const char **env = mark_env(spec->env);
	struct child_spec marked = *spec;
	struct child *child;
	sigset_t all, old;
	int r, pidfd;
	pid_t pid, parent = getpid();

	program = resolve(spec, &r);
	if (!program)
		return r;
	r = pipes_open(spec, &p);
	if (r < 0) {
		pipes_close(&p);
		return r;
	}
	/* No handler of ours may run in the child before it has reset them. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	marked.env = env;
	pid = fork();
	if (pid == 0)
		become(&marked, program, &p, parent);
	r = -errno;
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid < 0) {
		pipes_close(&p);
		return r;
	}
	(void)setpgid(pid, pid); /* in both, so that neither has to wait for the other */
	pidfd = pidfd_open_of(pid);
	if (pidfd < 0) {
		r = -errno;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		pipes_close(&p);
		return r;
	}
	child = child_enlist(loop, pid, on_exit, arg);
	child->error_fd = fd_take(&p.error[0]);
	child_watch(child, pidfd);
	ret_fds->to_stdin = fd_take(&p.in[1]);
	ret_fds->from_stdout = fd_take(&p.out[0]);
	ret_fds->from_stderr = fd_take(&p.err[0]);
	ret_fds->fd3 = fd_take(&p.ready[0]);
	pipes_close(&p);
	*ret = child;
	return 0;
}

static void tell_late(void *arg)
{
	struct child *child = arg;

	if (child->on_exit)
		child->on_exit(child->arg, &child->late);
	forget(child);
}

static bool is_ours(pid_t pid)
{
	siginfo_t info;

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static struct child *adopt_reaped(struct loop *loop, struct stray *stray,
				  void (*on_exit)(void *, const struct child_exit *), void *arg)
{
	/* Without a pid: it is not to be signalled, as the number is free again. */
	struct child *child = child_enlist(loop, 0, on_exit, arg);

	child->late = stray->exit;
	stray->pid = 0;
	loop_defer(loop, tell_late, child);
	return child;
}

int child_adopt(struct loop *loop, pid_t pid, void (*on_exit)(void *arg, const struct child_exit *exit),
		void *arg, struct child **ret)
{
	struct child *child;
	int pidfd;

	/* One that lives, or waits to be reaped, is not that stray which once had its number. */
	if (!is_ours(pid)) {
		for (size_t i = 0; i < ARRAY_LEN(strays); i++) {
			if (strays[i].pid == pid) {
				*ret = adopt_reaped(loop, &strays[i], on_exit, arg);
				return 0;
			}
		}
		return -ESRCH;
	}
	pidfd = pidfd_open_of(pid);
	if (pidfd < 0)
		return -errno;
	child = child_enlist(loop, pid, on_exit, arg);
	child_watch(child, pidfd);
	*ret = child;
	return 0;
}

int child_pipes(struct child_fds *ret_near, int ret_far[3])
{
	const struct child_spec spec = { .want_stdin = true, .want_stdout = true };
	struct pipes p = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 } };
	int r = pipes_open(&spec, &p);

	if (r == 0) {
		*ret_near = (struct child_fds){ fd_take(&p.in[1]), fd_take(&p.out[0]), fd_take(&p.err[0]),
						-1 };
		ret_far[0] = fd_take(&p.in[0]);
		ret_far[1] = fd_take(&p.out[1]);
		ret_far[2] = fd_take(&p.err[1]);
	}
	pipes_close(&p);
	return r;
}

pid_t child_pid(const struct child *child)
{
	return child->pid;
}

void child_signal(struct child *child, int signo)
{
	if (child->pid)
		(void)kill(child->pid, signo);
}

void child_signal_group(struct child *child, int signo)
{
	/* The group is not there yet when the child has not come to setpgid() and neither have we. */
	if (child->pid && kill(-child->pid, signo) < 0)
		(void)kill(child->pid, signo);
}

static void set_limit(const struct child *child, __rlimit_resource_t resource, int64_t soft, int64_t hard)
{
	const struct rlimit limit = { .rlim_cur = (rlim_t)soft, .rlim_max = (rlim_t)hard };

	if (soft > 0 && prlimit(child->pid, resource, &limit, NULL) < 0)
		log_warning("child.limit", "pid=%d error=\"%s\"", (int)child->pid, strerror(errno));
}

static bool limit_by_group(struct child *child, const struct child_limits *limits)
{
	int r = cgroup_new(limits->group, child->pid, limits->memory_bytes, &child->group);

	if (r < 0 && r != -ENOTSUP)
		log_warning("child.group", "group=%s pid=%d error=\"%s\" effect=\"limited by rlimit\"",
			    limits->group, (int)child->pid, strerror(-r));
	return r == 0;
}

void child_set_limits(struct child *child, const struct child_limits *limits)
{
	int64_t cpu_s = (limits->cpu_ms + 999) / 1000;

	if (!child->pid)
		return;
	if (limits->memory_bytes > 0 && !limit_by_group(child, limits))
		set_limit(child, RLIMIT_DATA, limits->memory_bytes, limits->memory_bytes);
	/* Where both are the same the kernel sends KILL, which tells nobody why. */
	set_limit(child, RLIMIT_CPU, cpu_s, cpu_s + CPU_GRACE_S);
}

void child_abandon(struct child **child)
{
	if (!*child)
		return;
	(*child)->on_exit = NULL;
	child_signal_group(*child, SIGKILL);
	*child = NULL;
}

char child_proc_state(const struct child *child)
{
	AUTO(mem_free_str) char *path = mem_printf("/proc/%d/stat", (int)child->pid);
	AUTO(mem_free_str) char *text = NULL;
	const char *paren;
	size_t len;

	if (fd_read_file(path, 4096, &text, &len) < 0)
		return '?';
	paren = strrchr(text, ')'); /* the name before it may hold anything */
	return paren && paren[1] == ' ' && paren[2] ? paren[2] : '?';
}

int64_t child_rss_kb(const struct child *child)
{
	AUTO(mem_free_str) char *path = mem_printf("/proc/%d/statm", (int)child->pid);
	AUTO(mem_free_str) char *text = NULL;
	long long total, resident;
	size_t len;

	if (fd_read_file(path, 4096, &text, &len) < 0 || sscanf(text, "%lld %lld", &total, &resident) != 2)
		return 0;
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

const char *child_exit_text(const struct child_exit *exit)
{
	static char text[96];

	if (exit->exec_error)
		(void)snprintf(text, sizeof(text), "exec_error=\"%s\"", strerror(exit->exec_error));
	else if (exit->signo)
		(void)snprintf(text, sizeof(text), "signal=%d%s%s", exit->signo,
			       exit->core ? " core=yes" : "", exit->oom ? " oom=yes" : "");
	else
		(void)snprintf(text, sizeof(text), "exit=%d", exit->code);
	return text;
}
