#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

/* Where to listen: an IP address and a port, as people write it. Names are not looked up. */

#include <stdbool.h>
#include <sys/socket.h>

struct address {
	struct sockaddr_storage at;
	socklen_t len;
};

/* "127.0.0.1:9469" or "[::1]:9469"; port 0 = any that is free. -EINVAL for anything else. */
int address_parse(const char *text, struct address *ret) __attribute__((warn_unused_result));

/* Whether what is sent to the URL can be read by nobody between: https, or http to this very machine. A
 * user's name in it is refused. */
bool address_url_is_private(const char *url);

/* Only this machine reaches it. */
bool address_is_loopback(const struct address *address);

#endif
