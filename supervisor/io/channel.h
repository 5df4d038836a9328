#ifndef IO_CHANNEL_H
#define IO_CHANNEL_H

/* Messages with descriptors over a SOCK_SEQPACKET socket, on the loop: how the fork server is spoken to. */

#include <stdbool.h>
#include <stddef.h>

struct channel;
struct loop;

enum { CHANNEL_MESSAGE_MAX = 4096, CHANNEL_FDS_MAX = 3 };

/* Owns `fd`. `message`: one message, NUL-terminated, valid during the call. `closed`: once, at the end. */
int channel_new(struct loop *loop, int fd, void (*message)(void *arg, const char *text, size_t len),
		void (*closed)(void *arg), void *arg, struct channel **ret)
	__attribute__((warn_unused_result));
/* Safe from its own callbacks. */
void channel_free(struct channel **channel);

/* Sends one message; `fds` (borrowed) go with it. -EAGAIN when the peer is behind, else -errno. */
int channel_send(struct channel *channel, const char *text, size_t len, const int *fds, size_t fd_count)
	__attribute__((warn_unused_result));

#endif
