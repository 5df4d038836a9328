#include "io/httpserver.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"
#include "base/fd.h"
#include "base/mem.h"
#include "io/handover.h"
#include "io/loop.h"

enum { BACKLOG = 64 };

struct httpserver {
	struct loop *loop;
	struct MHD_Daemon *mhd; /* owns `fd` */
	int fd;			/* listens */
	struct loop_fd *watch;	/* of the library's epoll descriptor, which has all others in it */
	struct loop_timer *timer;
	httpserver_fn *fn;
	void *arg;
};

/* What is silent for too long is closed by the library, when it is asked to look. */
static void arm(struct httpserver *server)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	if (MHD_get_timeout(server->mhd, &wait_ms) == MHD_YES)
		loop_timer_start(server->timer, (int64_t)wait_ms);
	else
		loop_timer_stop(server->timer);
}

static unsigned connections(const struct httpserver *server)
{
	return MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

/* When all places are taken, the library leaves off listening; and it begins again with the next run, not
 * when one is free: which might never come, for nobody is left to say anything. */
static void run(struct httpserver *server)
{
	unsigned before = connections(server);

	(void)MHD_run(server->mhd);
	if (connections(server) < before)
		loop_timer_start(server->timer, 0);
	else
		arm(server);
}

static void on_ready(void *arg, unsigned events)
{
	(void)events;
	run(arg);
}

static void on_timer(void *arg)
{
	run(arg);
}

/* ---- requests ---- */

static enum MHD_Result send_page(struct MHD_Connection *connection, struct httpserver_page *page)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(page->len, page->body,
									MHD_RESPMEM_MUST_FREE);
	enum MHD_Result r;

	if (!response) {
		free(page->body);
		return MHD_NO;
	}
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page->type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	r = MHD_queue_response(connection, (unsigned)page->status, response);
	MHD_destroy_response(response);
	return r;
}

static struct httpserver_page refusal(void)
{
	static const char words[] = "GET and HEAD are all there is\n";

	return (struct httpserver_page){
		.status = MHD_HTTP_METHOD_NOT_ALLOWED,
		.type = "text/plain",
		.body = mem_strdup(words),
		.len = strlen(words),
	};
}

/* Called with the headers first, when it is too early to answer, then for what body there is, then at the
 * end.
 */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_len, void **state)
{
	struct httpserver *server = arg;
	struct httpserver_page page;
	bool reads = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;

	(void)version;
	(void)upload;
	/* Who sends a body with what is refused anyway is not listened to. */
	if (reads && !*state) {
		*state = server;
		return MHD_YES;
	}
	if (*upload_len > 0) {
		*upload_len = 0;
		return MHD_YES;
	}
	page = reads ? server->fn(server->arg, url) : refusal();
	return send_page(connection, &page);
}

/* ---- making and ending ---- */

/* Takes `fd`, which listens, whatever comes of it. */
static int start(struct loop *loop, int fd, httpserver_fn *fn, void *arg, struct httpserver **ret)
{
	struct httpserver *server = mem_alloc(sizeof(*server));
	const union MHD_DaemonInfo *info = NULL;

	server->loop = loop;
	server->fd = fd;
	server->fn = fn;
	server->arg = arg;
	server->mhd = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, server,
				       MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
				       (unsigned)HTTPSERVER_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
				       (unsigned)HTTPSERVER_SILENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				       (size_t)HTTPSERVER_MEMORY, MHD_OPTION_END);
	if (server->mhd)
		info = MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info) {
		if (!server->mhd)
			(void)close(fd);
		httpserver_free(&server);
		return -ENOMEM;
	}
	loop_fd_new(loop, info->epoll_fd, LOOP_READ, on_ready, server, &server->watch);
	loop_timer_new(loop, on_timer, server, &server->timer);
	*ret = server;
	return 0;
}

static int listen_at(const struct address *address, int *ret_fd)
{
	AUTO(fd_close)
	int fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int yes = 1;

	if (fd < 0)
		return -errno;
	/* Connections of an earlier life that the kernel still remembers are in nobody's way. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (const struct sockaddr *)&address->at, address->len) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	*ret_fd = fd_take(&fd);
	return 0;
}

int httpserver_new(struct loop *loop, const struct address *address, httpserver_fn *fn, void *arg,
		   struct httpserver **ret, char **ret_error)
{
	int fd = -1;
	int r = listen_at(address, &fd);

	if (r == 0)
		r = start(loop, fd, fn, arg, ret);
	if (r < 0)
		*ret_error = mem_printf("cannot listen there: %s", strerror(-r));
	return r;
}

void httpserver_free(struct httpserver **server)
{
	if (!*server)
		return;
	loop_fd_free(&(*server)->watch);
	loop_timer_free(&(*server)->timer);
	if ((*server)->mhd)
		MHD_stop_daemon((*server)->mhd);
	mem_free(server);
}

void httpserver_pass(struct httpserver *server, struct handover *h)
{
	handover_fd(h, "fd", &server->fd);
}

int httpserver_take(struct loop *loop, struct handover *h, httpserver_fn *fn, void *arg,
		    struct httpserver **ret)
{
	int fd = -1;

	handover_fd(h, "fd", &fd);
	if (fd < 0)
		return -ENOENT;
	if (!handover_is_rehearsal(h))
		return start(loop, fd, fn, arg, ret);
	(void)close(fd);
	return -ENOENT;
}
