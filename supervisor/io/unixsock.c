#include "io/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "io/handover.h"

enum { BACKLOG = 64 };

struct unixsock {
	char *path;
	int fd;
	int lock_fd; /* holds the flock of PATH.lock */
	bool bound;  /* the file at `path` is ours */
	dev_t dev;   /* of that file: so that only our own is removed */
	ino_t ino;
};

static int address(const char *path, struct sockaddr_un *ret, char **ret_error)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(ret->sun_path)) {
		*ret_error = mem_printf(
			"the socket path \"%s\" has %zu bytes; a Unix socket's may have 1 to %zu; "
			"choose a shorter one",
			path, len, sizeof(ret->sun_path) - 1);
		return len ? -ENAMETOOLONG : -EINVAL;
	}
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	memcpy(ret->sun_path, path, len + 1);
	return 0;
}

static int live_error(const char *path, char **ret_error)
{
	*ret_error = mem_printf(
		"another daemon already serves %s; stop it, or give this one a socket of its own", path);
	return -EADDRINUSE;
}

static int take_lock(struct unixsock *sock, char **ret_error)
{
	AUTO(mem_free_str) char *path = mem_printf("%s.lock", sock->path);

	sock->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (sock->lock_fd < 0) {
		int error = errno;

		*ret_error = mem_printf("cannot open %s: %s", path, strerror(error));
		return -error;
	}
	if (flock(sock->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return live_error(sock->path, ret_error);
	*ret_error = mem_printf("cannot lock %s: %s", path, strerror(errno));
	return -errno;
}

/* Whether somebody listens at the address: -EADDRINUSE if so, 0 if not. */
static int probe(const struct sockaddr_un *addr)
{
	AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

/* Removes the file of a dead owner. The lock is held. */
static int clear_path(const struct sockaddr_un *addr, char **ret_error)
{
	struct stat st;
	int r;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode)) {
		*ret_error = mem_printf("%s is there and is no socket; remove it or choose another path",
					addr->sun_path);
		return -ENOTSOCK;
	}
	r = probe(addr);
	if (r == -EADDRINUSE)
		return live_error(addr->sun_path, ret_error);
	if (r < 0)
		return r;
	return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int find_group(const char *group, gid_t *ret, char **ret_error)
{
	const struct group *entry = getgrnam(group);
	char *end;
	unsigned long number;

	if (entry) {
		*ret = entry->gr_gid;
		return 0;
	}
	errno = 0;
	number = strtoul(group, &end, 10);
	if (errno == 0 && *group >= '0' && *group <= '9' && *end == '\0' && number < UINT_MAX) {
		*ret = (gid_t)number;
		return 0;
	}
	*ret_error = mem_printf(
		"there is no group \"%s\" on this machine; create it (groupadd) or name another", group);
	return -ENOENT;
}

static int set_group(const struct unixsock_options *options, char **ret_error)
{
	gid_t gid;
	int r;

	if (!options->group || !*options->group)
		return 0;
	r = find_group(options->group, &gid, ret_error);
	if (r < 0)
		return r;
	if (chown(options->path, (uid_t)-1, gid) == 0)
		return 0;
	r = -errno;
	*ret_error = mem_printf(
		"cannot give %s to the group \"%s\": %s; the daemon's user must be a member of it",
		options->path, options->group, strerror(-r));
	return r;
}

/* Nothing can connect before listen(), so owner and mode are right from the first moment. */
static int open_socket(struct unixsock *sock, const struct unixsock_options *options,
		       const struct sockaddr_un *addr, char **ret_error)
{
	struct stat st;
	int r;

	sock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (sock->fd < 0 || bind(sock->fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return -errno;
	if (lstat(options->path, &st) < 0)
		return -errno;
	sock->bound = true;
	sock->dev = st.st_dev;
	sock->ino = st.st_ino;
	r = set_group(options, ret_error);
	if (r < 0)
		return r;
	if (chmod(options->path, options->mode) < 0 || listen(sock->fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

int unixsock_listen(const struct unixsock_options *options, struct unixsock **ret, char **ret_error)
{
	AUTO(unixsock_free) struct unixsock *sock = mem_alloc(sizeof(*sock));
	struct sockaddr_un addr;
	char *error = NULL;
	int r;

	sock->path = mem_strdup(options->path);
	sock->fd = sock->lock_fd = -1;
	r = address(options->path, &addr, &error);
	if (r == 0)
		r = take_lock(sock, &error);
	if (r == 0)
		r = clear_path(&addr, &error);
	if (r == 0)
		r = open_socket(sock, options, &addr, &error);
	if (r < 0) {
		*ret_error = error ? error
				   : mem_printf("cannot listen on %s: %s", options->path, strerror(-r));
		return r;
	}
	*ret = sock;
	sock = NULL;
	return 0;
}

void unixsock_free(struct unixsock **sock)
{
	struct unixsock *dead = *sock;
	struct stat st;

	if (!dead)
		return;
	*sock = NULL;
	/* The lock goes last: until then nobody else may have put a socket of theirs here. */
	if (dead->bound && lstat(dead->path, &st) == 0 && st.st_dev == dead->dev && st.st_ino == dead->ino)
		(void)unlink(dead->path);
	fd_close(&dead->fd);
	fd_close(&dead->lock_fd);
	mem_free(&dead->path);
	mem_free(&dead);
}

int unixsock_fd(const struct unixsock *sock)
{
	return sock->fd;
}

int unixsock_accept(const struct unixsock *sock, int *ret_fd, struct unixsock_peer *ret_peer)
{
	AUTO(fd_close) int fd = accept4(sock->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret_peer = (struct unixsock_peer){ .pid = cred.pid, .uid = cred.uid, .gid = cred.gid };
	*ret_fd = fd_take(&fd);
	return 0;
}

int unixsock_peer_groups(int fd, gid_t *groups, size_t max)
{
	socklen_t len = (socklen_t)(max * sizeof(*groups));

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return -errno;
	return (int)(len / sizeof(*groups));
}

void unixsock_pass(struct handover *h, const char *name, struct unixsock **sock)
{
	struct unixsock *it = handover_is_read(h) ? mem_alloc(sizeof(*it)) : *sock;
	int64_t dev = (int64_t)it->dev, ino = (int64_t)it->ino;

	handover_begin(h, name);
	handover_text(h, "path", &it->path);
	handover_fd(h, "fd", &it->fd);
	handover_fd(h, "lockFd", &it->lock_fd);
	handover_bool(h, "bound", &it->bound);
	handover_number(h, "dev", &dev);
	handover_number(h, "ino", &ino);
	handover_end(h);
	it->dev = (dev_t)dev;
	it->ino = (ino_t)ino;
	*sock = it;
}
