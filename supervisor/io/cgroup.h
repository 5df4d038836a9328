#ifndef IO_CGROUP_H
#define IO_CGROUP_H

/* Memory limits by control groups (cgroup v2), where the group that we were started in is ours to divide:
 * systemd's Delegate=memory, a container, or a group handed over by hand.
 *
 *   OURS/                 memory is enabled for what is below
 *   OURS/daemon           we, and all children without a limit: a group with controllers holds no processes
 * itself OURS/worker-probe-1   one life of one child, with memory.max; all of it dies together when it needs
 * more
 *
 * OURS is what /proc/self/cgroup says. The environment may name another folder in PROCTOR_CGROUP_ROOT, a tree
 * of plain files even; that is for tests alone.
 *
 * One per process, like the group itself. Everything here is a few short writes into the kernel's own file
 * system. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup;
struct handover;
struct loop;

/* Once, before any other process is forked. 0, or why there is nothing to divide, which it logs: -ENOENT (no
 * cgroup v2), -ENOTSUP (it does not control memory), -EBUSY (it holds processes of others), -EACCES, -EROFS,
 * … (it is not ours). Nothing has changed then, and cgroup_new() gives -ENOTSUP. */
int cgroup_start(void) __attribute__((warn_unused_result));

/* Groups that do not get empty at once are removed from this loop, until cgroup_stop(), behind the last
 * child: what is not empty by then stays behind. */
void cgroup_watch(struct loop *loop);
void cgroup_stop(void);

/* A group for this process and all it will fork. `name` becomes a file's name: other characters than letters,
 * digits,
 * '.', '_' and '-' become '-', and a number is added while a group of that name is still there. memory_bytes
 * > 0. -ENOTSUP where nothing is ours to divide, else -errno: the process is where it was. */
int cgroup_new(const char *name, pid_t pid, int64_t memory_bytes, struct cgroup **ret)
	__attribute__((warn_unused_result));

/* Whether the kernel has killed in it for the memory that it took. */
bool cgroup_had_oom(const struct cgroup *group);

/* Kills what is left in it, and removes it as soon as that is gone. Safe on NULL. */
void cgroup_free(struct cgroup **group);

/* For a handover: that of the daemon, in place of cgroup_start(), and that of one life; NULL = none. */
void cgroup_pass_ours(struct handover *h, const char *name);
void cgroup_pass(struct handover *h, const char *name, struct cgroup **group);

#endif
