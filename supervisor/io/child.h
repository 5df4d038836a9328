#ifndef IO_CHILD_H
#define IO_CHILD_H

/* Child processes: fork and exec, pidfd, process group, death with the daemon.
 *
 * Every child leads its own process group. When it has ended, its group is killed before it is reaped, so
 * that no grandchild outlives it unless it left the group; one that did is adopted (we are the subreaper)
 * and reaped when it ends. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct child;
struct handover;
struct loop;

enum child_fd3 {
	CHILD_FD3_NONE,
	CHILD_FD3_PIPE,	   /* the write end of a pipe: readiness */
	CHILD_FD3_GIVEN,   /* what the spec gives */
	CHILD_FD3_CHANNEL, /* one end of a SOCK_SEQPACKET pair: messages both ways, with descriptors */
};

struct child_spec {
	const char *const *argv; /* NULL-terminated; argv[0] with a slash, or looked up in PATH of `env` */
	const char *const *env;	 /* the whole environment, NULL-terminated */
	const char *cwd;	 /* NULL = ours */
	int death_signal;	 /* sent by the kernel when we die; 0 = none */
	bool want_stdin;	 /* a pipe; else /dev/null */
	bool want_stdout;	 /* a pipe; else stdout goes where stderr goes */
	enum child_fd3 fd3;	 /* what the child finds as fd 3 */
	int given_fd;		 /* of CHILD_FD3_GIVEN: borrowed */
};

/* Our ends; -1 where none was wanted. The caller owns them. stderr is always a pipe. */
struct child_fds {
	int to_stdin, from_stdout, from_stderr, fd3;
};

struct child_exit {
	int code;	/* exit status 0..255, or -1 when a signal ended it */
	int signo;	/* 0 unless a signal ended it */
	bool core;	/* it left a core file */
	bool oom;	/* the kernel killed it, or one of its own, for the memory that it took */
	int exec_error; /* errno of a failed exec (code is 127 then), else 0 */
};

/* Once per process, before the first spawn: becomes subreaper and reaps what it adopts. */
int child_init(struct loop *loop) __attribute__((warn_unused_result));
void child_fini(void);

/* `on_exit` is called once, from the loop, after the child is reaped; then the child is gone and *ret must
 * not be used any more. 0 or -errno (-ENOENT, -EACCES for a program that cannot be run: nothing was started).
 */
int child_spawn(struct loop *loop, const struct child_spec *spec,
		void (*on_exit)(void *arg, const struct child_exit *exit), void *arg, struct child **ret,
		struct child_fds *ret_fds) __attribute__((warn_unused_result));

/* Watches a process that another child of ours forked and left to us, the subreaper, as if we had spawned it.
 * It is our child and leads its process group by then. It may have ended, and been reaped as a stray: then
 * on_exit comes in this or the next turn. -ESRCH when it neither is a child of ours nor was one lately. */
int child_adopt(struct loop *loop, pid_t pid, void (*on_exit)(void *arg, const struct child_exit *exit),
		void *arg, struct child **ret) __attribute__((warn_unused_result));

/* The pipes of a process that somebody else is to start: *ret_far is for it, *ret_near for us. */
int child_pipes(struct child_fds *ret_near, int ret_far[3]) __attribute__((warn_unused_result));

pid_t child_pid(const struct child *child);

/* To the process alone, or to its whole group. */
void child_signal(struct child *child, int signo);
void child_signal_group(struct child *child, int signo);

/* Limits of a process; 0 = none. */
struct child_limits {
	const char *group;    /* its name among control groups (cgroup.h), where they keep the next */
	int64_t memory_bytes; /* of it and its children; where there are no groups, RLIMIT_DATA of each */
	int64_t cpu_ms;	      /* of processor time: RLIMIT_CPU, in whole seconds; SIGXCPU, KILL 5 s later */
};

/* Sets them on a running child; its own children inherit them. */
void child_set_limits(struct child *child, const struct child_limits *limits);

/* Forgets the child: it is killed, reaped in the background, and no callback comes. Sets *child to NULL. */
void child_abandon(struct child **child);

/* State letter of /proc/PID/stat ('R', 'S', 'D', 'T', …); '?' when it cannot be read. */
char child_proc_state(const struct child *child);

/* Resident set in KiB from /proc; 0 when it cannot be read. */
int64_t child_rss_kb(const struct child *child);

/* "exit=3" or "signal=9" or "signal=9 oom=yes" or "exec_error=ENOENT…", for the log; in a static buffer. */
const char *child_exit_text(const struct child_exit *exit);

/* For a handover. First all that there are, ... */
void child_pass_all(struct handover *h);
/* ... then, of each that is to go on, its one owner's part; on_exit as for child_spawn(). */
void child_pass(struct handover *h, const char *name, struct loop *loop,
		void (*on_exit)(void *arg, const struct child_exit *exit), void *arg, struct child **child);
/* Ends those that nobody went on with. They are reaped in the background. */
void child_end_rest(void);

#endif
