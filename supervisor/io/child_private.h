#ifndef IO_CHILD_PRIVATE_H
#define IO_CHILD_PRIVATE_H

/* Shared by child.c (starting, reaping, signals) and child_handover.c. */

#include "base/list.h"
#include "io/child.h"

struct cgroup;
struct loop_fd;

struct child {
	struct list link; /* in the list of all */
	struct loop *loop;
	struct loop_fd *watch; /* NULL for one that had ended before it was adopted */
	int pidfd;
	int error_fd; /* read end of the exec error pipe; -1 when adopted */
	pid_t pid;
	struct cgroup *group;	/* NULL when none keeps its memory limit */
	struct child_exit late; /* of one that had ended before it was adopted */
	void (*on_exit)(void *arg, const struct child_exit *exit); /* NULL once abandoned */
	void *arg;
};

/* All that are not reaped yet. */
struct list *child_all(void);

struct child *child_enlist(struct loop *loop, pid_t pid,
			   void (*on_exit)(void *arg, const struct child_exit *exit), void *arg);

/* Its end is noticed from now on; `pidfd` is taken. */
void child_watch(struct child *child, int pidfd);

#endif
