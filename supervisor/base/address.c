#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

static int parse_port(const char *text, in_port_t *ret)
{
	size_t len = strspn(text, "0123456789");
	unsigned long port = strtoul(text, NULL, 10);

	if (len == 0 || len > 5 || text[len] || port > UINT16_MAX)
		return -EINVAL;
	*ret = htons((uint16_t)port);
	return 0;
}

static int parse_v4(const char *host, in_port_t port, struct address *ret)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = port };

	if (inet_pton(AF_INET, host, &at.sin_addr) != 1)
		return -EINVAL;
	memcpy(&ret->at, &at, sizeof(at));
	ret->len = sizeof(at);
	return 0;
}

static int parse_v6(const char *host, in_port_t port, struct address *ret)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = port };

	if (inet_pton(AF_INET6, host, &at.sin6_addr) != 1)
		return -EINVAL;
	memcpy(&ret->at, &at, sizeof(at));
	ret->len = sizeof(at);
	return 0;
}

int address_parse(const char *text, struct address *ret)
{
	char host[INET6_ADDRSTRLEN];
	bool v6 = text[0] == '[';
	const char *begin = text + v6, *end = v6 ? strchr(text, ']') : strchr(text, ':');
	in_port_t port;

	if (!end || end[v6] != ':' || (size_t)(end - begin) >= sizeof(host) ||
	    parse_port(end + v6 + 1, &port) < 0)
		return -EINVAL;
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = '\0';
	*ret = (struct address){ .len = 0 };
	return v6 ? parse_v6(host, port, ret) : parse_v4(host, port, ret);
}

bool address_is_loopback(const struct address *address)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (address->at.ss_family == AF_INET) {
		memcpy(&v4, &address->at, sizeof(v4));
		return ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	memcpy(&v6, &address->at, sizeof(v6));
	return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

/* Of the host in "host:port" or "[v6]:port", `len` bytes. */
static bool is_this_machine(const char *host, size_t len)
{
	AUTO(mem_free_str) char *port = mem_printf("%.*s:80", (int)len, host);
	struct address address;

	if (len == strlen("localhost") && strncasecmp(host, "localhost", len) == 0)
		return true;
	return address_parse(port, &address) == 0 && address_is_loopback(&address);
}

bool address_url_is_private(const char *url)
{
	static const char secure[] = "https://", plain[] = "http://";
	const char *host = url + strlen(plain);
	size_t authority, len;

	if (strncasecmp(url, secure, strlen(secure)) == 0)
		return true;
	if (strncasecmp(url, plain, strlen(plain)) != 0)
		return false;
	authority = strcspn(host, "/?#\\");
	if (memchr(host, '@', authority))
		return false;
	len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#\\");
	return len <= authority && is_this_machine(host, len);
}
