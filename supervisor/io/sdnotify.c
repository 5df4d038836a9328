#include "io/sdnotify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

static struct sockaddr_un address;
static socklen_t address_len;
static char *given; /* $NOTIFY_SOCKET */
static int64_t watchdog_ms;

/* sd_watchdog_enabled(3). $WATCHDOG_PID says who is meant, so it may stay in the environment of our children.
 */
static int64_t read_watchdog(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!usec || (pid && atoll(pid) != getpid()))
		return 0;
	return atoll(usec) / 1000;
}

void sdnotify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (len > 1 && len < sizeof(address.sun_path) && (path[0] == '/' || path[0] == '@')) {
		address.sun_family = AF_UNIX;
		memcpy(address.sun_path, path, len);
		if (path[0] == '@') /* the abstract namespace */
			address.sun_path[0] = '\0';
		address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
		mem_set_str(&given, mem_strdup(path));
	}
	(void)unsetenv("NOTIFY_SOCKET");
	watchdog_ms = read_watchdog();
}

int64_t sdnotify_watchdog_ms(void)
{
	return watchdog_ms;
}

void sdnotify_send(const char *lines)
{
	AUTO(fd_close) int fd = -1;

	if (address_len == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || sendto(fd, lines, strlen(lines), MSG_NOSIGNAL, (const struct sockaddr *)&address,
			     address_len) < 0)
		log_warning("sdnotify.failed", "error=\"%s\"", strerror(errno));
}

void sdnotify_reloading(void)
{
	AUTO(mem_free_str)
	char *lines = mem_printf("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_now_us());

	sdnotify_send(lines);
}

const char *sdnotify_path(void)
{
	return given;
}
