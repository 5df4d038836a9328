/* Children live on when the program of their parent is replaced. Who goes on with one watches it anew. What
 * nobody goes on with, such as a health check, is ended. */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "io/cgroup.h"
#include "io/child_private.h"
#include "io/handover.h"

/* Handed over, and nobody goes on with it yet; 0 = somebody does. */
static int64_t *rest;
static size_t rest_count;

void child_pass_all(struct handover *h)
{
	size_t count = 0;

	if (!handover_is_read(h)) {
		list_foreach (at, child_all()) {
			rest = mem_resize(rest, count + 1, sizeof(*rest));
			rest[count++] = list_entry(at, struct child, link)->pid;
		}
		rest_count = count;
	}
	handover_numbers(h, "children", &rest, &rest_count);
	if (!handover_is_read(h)) {
		mem_free(&rest);
		rest_count = 0;
	}
}

static bool claim(pid_t pid)
{
	for (size_t i = 0; i < rest_count; i++)
		if (rest[i] == pid) {
			rest[i] = 0;
			return true;
		}
	return false;
}

/* It may have ended by now: nobody else can reap it, so that its id is still its own. */
static struct child *go_on(struct handover *h, struct loop *loop, pid_t pid,
			   void (*on_exit)(void *arg, const struct child_exit *exit), void *arg)
{
	int pidfd = handover_is_rehearsal(h) ? 0 : (int)syscall(SYS_pidfd_open, pid, 0);
	struct child *child;

	if (!claim(pid) || pidfd < 0) {
		handover_fault(h, "there is no child %d", (int)pid);
		return NULL;
	}
	child = child_enlist(loop, pid, on_exit, arg);
	if (!handover_is_rehearsal(h))
		child_watch(child, pidfd);
	return child;
}

void child_pass(struct handover *h, const char *name, struct loop *loop,
		void (*on_exit)(void *arg, const struct child_exit *exit), void *arg, struct child **child)
{
	int64_t pid = *child ? (*child)->pid : 0;

	handover_begin(h, name);
	handover_time(h, "pid", &pid);
	if (handover_is_read(h))
		*child = pid > 0 ? go_on(h, loop, (pid_t)pid, on_exit, arg) : NULL;
	if (*child) {
		handover_fd(h, "errorFd", &(*child)->error_fd);
		cgroup_pass(h, "group", &(*child)->group);
	}
	handover_end(h);
}

void child_end_rest(void)
{
	for (size_t i = 0; i < rest_count; i++)
		if (rest[i] > 0 && kill(-(pid_t)rest[i], SIGKILL) < 0)
			(void)kill((pid_t)rest[i], SIGKILL);
	mem_free(&rest);
	rest_count = 0;
	/* News of an end that came to the former program alone. */
	(void)raise(SIGCHLD);
}
