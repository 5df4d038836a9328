#ifndef CORE_FORKSERVER_H
#define CORE_FORKSERVER_H

/* The prepared parent of a pool: a Python process with everything imported, which forks workers when asked
 * (workers/proctor/forkserver.py). It is a convenience, never a need: while it is not there, or when it does
 * not answer, workers are started by exec as ever. Its own end is survived by its workers. */

#include <stdbool.h>
#include <sys/types.h>

struct forkserver;
struct loop;

/* `who` names it in the log. `changed`: it became ready, or a start or a life of it ended. */
void forkserver_new(struct loop *loop, const char *who, void (*changed)(void *arg, bool ready), void *arg,
		    struct forkserver **ret);
void forkserver_free(struct forkserver **server);

/* How it is started (borrowed until the next call); a running server is replaced. argv NULL = there is to be
 * none. */
void forkserver_set_program(struct forkserver *server, const char *const *argv, const char *const *env);

void forkserver_start(struct forkserver *server);

/* Ends it; workers it forked live on. */
void forkserver_stop(struct forkserver *server);

bool forkserver_is_ready(const struct forkserver *server);
pid_t forkserver_pid(const struct forkserver *server); /* 0 while there is none */

/* Asks for a worker on these three descriptors (borrowed: close them after). `forked` is called once, later:
 * with the new process, or -1 when there will be none. -EAGAIN when it cannot be asked now. */
int forkserver_fork(struct forkserver *server, const int fds[3], void (*forked)(void *arg, pid_t pid),
		    void *arg) __attribute__((warn_unused_result));

/* Who asked is gone: its `forked` is not called. A process that still comes is killed. */
void forkserver_forget(struct forkserver *server, const void *arg);

#endif
