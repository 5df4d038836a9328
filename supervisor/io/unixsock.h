#ifndef IO_UNIXSOCK_H
#define IO_UNIXSOCK_H

/* A listening Unix stream socket.
 *
 * Taking over: `PATH.lock` is locked for as long as the socket lives, so that of two starters one wins. A
 * socket file whose owner is gone (connect() is refused) is removed first; a live one, whoever holds the
 * lock, is left alone. The file never exists with wider permission than asked for while it can be connected
 * to. */

#include <sys/types.h>

struct handover;
struct unixsock;

struct unixsock_options {
	const char *path;
	unsigned mode;	   /* of the socket file, e.g. 0660 */
	const char *group; /* name or number of the file's group; NULL or "" = the process's own */
};

struct unixsock_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/* 0; -EADDRINUSE when a live process serves the path; -ENAMETOOLONG; -ENOTSOCK when something else is
 * there; or another -errno. On an error *ret_error is one fresh line with the remedy. */
int unixsock_listen(const struct unixsock_options *options, struct unixsock **ret, char **ret_error)
	__attribute__((warn_unused_result));

/* Closes, and removes the socket file if it is still ours. Safe on NULL. */
void unixsock_free(struct unixsock **sock);

/* The listening descriptor, non-blocking; borrowed. */
int unixsock_fd(const struct unixsock *sock);

/* A connection, non-blocking and close-on-exec, with who is at its other end. 0 or -errno (-EAGAIN: none). */
int unixsock_accept(const struct unixsock *sock, int *ret_fd, struct unixsock_peer *ret_peer)
	__attribute__((warn_unused_result));

/* The groups of who is at the other end of a connection, besides his own, as of when he connected; at most
 * `max`. How many they are, or -errno (-ERANGE: more than `max`). */
int unixsock_peer_groups(int fd, gid_t *groups, size_t max) __attribute__((warn_unused_result));

/* For a handover: it listens on, and keeps its lock. One that is read is new. */
void unixsock_pass(struct handover *h, const char *name, struct unixsock **sock);

#endif
