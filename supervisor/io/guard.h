#ifndef IO_GUARD_H
#define IO_GUARD_H

/* A small process beside the daemon that ends what the daemon leaves behind, however the daemon ends.
 *
 * The kernel's death signal reaches only our own children. What they forked, in their process group or away
 * from it in a session of its own, would live on after a SIGKILL of the daemon; the guard finds it by a mark
 * in its environment. Who has changed its environment (env -i, or Postgres, which writes its title over it)
 * is not found: Postgres ends by itself, and for the others there is the unit's cgroup. */

struct handover;
struct loop;

/* Forks the guard: once, before the first thread and the first child. 0 or -errno. A daemon that replaces
 * itself by exec must pass on the descriptor that is held here, or all its children are ended. */
int guard_start(void) __attribute__((warn_unused_result));

/* Warns once, should somebody end the guard. */
void guard_watch(struct loop *loop);
void guard_unwatch(void);

/* Before the process ends by itself: lets the guard end first, and waits for it, 2 s at most. A service
 * manager that sees the daemon gone then finds nobody left. */
void guard_end(void);

/* "NAME=value", which every child has in its environment; NULL before guard_start(). */
const char *guard_mark(void);

/* For a handover: the guard that there is goes on. */
void guard_pass(struct handover *h, const char *name);

/* A child that only tries what it would be to take the daemon's place shall not see the mark that it bears.
 */
void guard_unmark(void);

#endif
