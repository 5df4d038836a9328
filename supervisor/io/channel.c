#include "io/channel.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/mem.h"
#include "io/loop.h"

enum { MESSAGES_A_WAKE = 64 };

struct channel {
	struct loop *loop;
	struct loop_fd *watch; /* NULL once closed */
	int fd;
	void (*message)(void *arg, const char *text, size_t len);
	void (*closed)(void *arg);
	void *arg;
	bool in_callback, freed;
};

static void destroy(struct channel *channel)
{
	loop_fd_free(&channel->watch);
	fd_close(&channel->fd);
	mem_free(&channel);
}

static void on_ready(void *arg, unsigned events)
{
	struct channel *channel = arg;
	char text[CHANNEL_MESSAGE_MAX + 1];

	(void)events;
	channel->in_callback = true;
	for (int i = 0; i < MESSAGES_A_WAKE && !channel->freed; i++) {
		ssize_t n = recv(channel->fd, text, CHANNEL_MESSAGE_MAX, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			loop_fd_free(&channel->watch);
			channel->closed(channel->arg);
			break;
		}
		text[n] = '\0';
		channel->message(channel->arg, text, (size_t)n);
	}
	channel->in_callback = false;
	if (channel->freed)
		destroy(channel);
}

int channel_new(struct loop *loop, int fd, void (*message)(void *arg, const char *text, size_t len),
		void (*closed)(void *arg), void *arg, struct channel **ret)
{
	struct channel *channel;
	int r = fd_set_nonblock(fd);

	if (r < 0)
		return r;
	channel = mem_alloc(sizeof(*channel));
	channel->loop = loop;
	channel->fd = fd;
	channel->message = message;
	channel->closed = closed;
	channel->arg = arg;
	loop_fd_new(loop, fd, LOOP_READ, on_ready, channel, &channel->watch);
	*ret = channel;
	return 0;
}

void channel_free(struct channel **channel)
{
	struct channel *dead = *channel;

	if (!dead)
		return;
	*channel = NULL;
	if (dead->in_callback)
		dead->freed = true;
	else
		destroy(dead);
}

int channel_send(struct channel *channel, const char *text, size_t len, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec part = { .iov_base = (void *)(uintptr_t)text, .iov_len = len };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (fd_count > CHANNEL_FDS_MAX)
		return -EINVAL;
	if (fd_count > 0) {
		struct cmsghdr *header;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, fd_count * sizeof(int));
	}
	if (sendmsg(channel->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}
