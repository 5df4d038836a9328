#include "io/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"
#include "io/loop.h"

struct http {
	struct loop *loop;
	CURLM *multi;
	struct loop_timer *timer;
	struct list requests;	   /* under way, or ended and not told yet */
	char *ca_file, *ca_folder; /* one of them is NULL */
};

struct http_request {
	struct list link;
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct buf body;
	http_fn *fn;
	void *arg;
	int64_t started_ms, took_ms;
	bool cut; /* the body is beyond HTTP_BODY_MAX */
	int status;
	char error[CURL_ERROR_SIZE];
};

/* One of libcurl's descriptors. */
struct sock {
	struct http *http;
	curl_socket_t fd;
	struct loop_fd *watch;
};

/* ---- requests ---- */

static void wipe(struct curl_slist **headers)
{
	for (struct curl_slist *at = *headers; at; at = at->next)
		explicit_bzero(at->data, strlen(at->data));
	curl_slist_free_all(*headers);
	*headers = NULL;
}

/* From its client and from libcurl; the client is not needed for it any more. */
static void detach(struct http_request *request)
{
	list_remove(&request->link);
	loop_undefer(request->http->loop, request);
	(void)curl_multi_remove_handle(request->http->multi, request->easy);
	curl_easy_cleanup(request->easy);
	wipe(&request->headers);
}

static void request_free(struct http_request *request)
{
	buf_free(&request->body);
	mem_free(&request);
}

static void tell(void *arg)
{
	struct http_request *request = arg;
	const struct http_answer answer = {
		.status = request->status,
		.error = request->status ? NULL : request->error,
		.body = buf_bytes(&request->body),
		.body_len = buf_len(&request->body),
		.took_ms = request->took_ms,
	};

	detach(request);
	request->fn(request->arg, &answer);
	request_free(request);
}

static void end_with_error(struct http_request *request, const char *error)
{
	if (request->error[0] == '\0')
		(void)snprintf(request->error, sizeof(request->error), "%s", error);
	for (char *at = request->error; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = ' ';
	loop_defer(request->http->loop, tell, request);
}

static void end(struct http_request *request, CURLcode result)
{
	long status = 0;

	request->took_ms = loop_now_ms(request->http->loop) - request->started_ms;
	/* What was cut off is no failure. */
	if (result == CURLE_OK || (result == CURLE_WRITE_ERROR && request->cut))
		(void)curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	request->status = (int)status;
	if (request->status > 0)
		loop_defer(request->http->loop, tell, request);
	else
		end_with_error(request,
			       result == CURLE_OK ? "no status in the answer" : curl_easy_strerror(result));
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct http_request *request = arg;
	size_t len = size * count, room = HTTP_BODY_MAX - buf_len(&request->body);

	request->cut = len > room;
	buf_put(&request->body, bytes, request->cut ? room : len);
	return request->cut ? 0 : len;
}

/* libcurl's own would be open in every program that this one becomes. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	(void)arg;
	(void)purpose;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static bool add_header(struct http_request *request, const char *header)
{
	struct curl_slist *longer = NULL;

	for (const char *at = header; *at; at++)
		if ((unsigned char)*at < ' ')
			return false;
	longer = curl_slist_append(request->headers, header);
	if (longer)
		request->headers = longer;
	return longer != NULL;
}

static bool add_headers(struct http_request *request, const struct http_spec *spec)
{
	bool good = add_header(request, "Expect:"); /* no round trip more for a body of some size */

	for (size_t i = 0; good && spec->headers && spec->headers[i]; i++)
		good = add_header(request, spec->headers[i]);
	return good;
}

static void set_body(CURL *easy, const struct http_spec *spec)
{
	if (!spec->body)
		return;
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body_len);
	curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, spec->body);
}

/* Either a file or a folder: reading the system's file takes 0.1 s, each time unless libcurl may keep what it
 * has read, which it does for a file alone. Of a folder only the certificates are read that are needed. */
static void set_trust(CURL *easy, const struct http *http)
{
	curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
	curl_easy_setopt(easy, CURLOPT_CAPATH, http->ca_folder);
}

/* What fails here for want of memory or a bad URL fails again when the request is begun, which is told. */
static void set_up(struct http_request *request, const struct http_spec *spec)
{
	CURL *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
	curl_easy_setopt(easy, CURLOPT_URL, spec->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "proctor/" PROCTOR_VERSION);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)spec->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* One that is given up on while its name is looked up would wait for the name server's answer. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	set_body(easy, spec);
	set_trust(easy, request->http);
}

void http_start(struct http *http, const struct http_spec *spec, http_fn *fn, void *arg,
		struct http_request **ret)
{
	struct http_request *request = mem_alloc(sizeof(*request));

	request->http = http;
	request->fn = fn;
	request->arg = arg;
	request->started_ms = loop_now_ms(http->loop);
	list_push_back(&http->requests, &request->link);
	*ret = request;
	request->easy = curl_easy_init();
	if (!request->easy || !add_headers(request, spec)) {
		end_with_error(request,
			       request->easy ? "a header holds a control character" : "out of memory");
		return;
	}
	set_up(request, spec);
	if (curl_multi_add_handle(http->multi, request->easy) != CURLM_OK)
		end_with_error(request, "the request could not be begun");
}

void http_cancel(struct http_request **request)
{
	if (!*request)
		return;
	detach(*request);
	request_free(*request);
	*request = NULL;
}

/* ---- libcurl on the loop ---- */

static void act(struct http *http, curl_socket_t fd, int events)
{
	const CURLMsg *message;
	int count;

	(void)curl_multi_socket_action(http->multi, fd, events, &count);
	while ((message = curl_multi_info_read(http->multi, &count))) {
		struct http_request *request = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
		end(request, message->data.result);
	}
}

static void on_timer(void *arg)
{
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_ready(void *arg, unsigned events)
{
	const struct sock *sock = arg;

	act(sock->http, sock->fd,
	    ((events & LOOP_READ) ? CURL_CSELECT_IN : 0) | ((events & LOOP_WRITE) ? CURL_CSELECT_OUT : 0));
}

static int on_timeout_wanted(CURLM *multi, long ms, void *arg)
{
	struct http *http = arg;

	(void)multi;
	if (ms < 0)
		loop_timer_stop(http->timer);
	else
		loop_timer_start(http->timer, ms);
	return 0;
}

static int on_events_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct http *http = arg;
	struct sock *sock = known;
	unsigned events = ((what & CURL_POLL_IN) ? LOOP_READ : 0) | ((what & CURL_POLL_OUT) ? LOOP_WRITE : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (sock)
			loop_fd_free(&sock->watch);
		mem_free(&sock);
		return 0;
	}
	if (sock) {
		loop_fd_set(sock->watch, events);
		return 0;
	}
	sock = mem_alloc(sizeof(*sock));
	sock->http = http;
	sock->fd = fd;
	loop_fd_new(http->loop, fd, events, on_ready, sock, &sock->watch);
	(void)curl_multi_assign(http->multi, fd, sock);
	return 0;
}

/* ---- the client ---- */

/* The workers' bundle (see workers/proctor/config.py); without one the system's, which libcurl was built
 * with. */
static void find_trust(struct http *http)
{
	static const char *const variables[] = { "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
						 "SSL_CERT_DIR" };
	const curl_version_info_data *built = curl_version_info(CURLVERSION_NOW);
	const char *path = NULL;
	struct stat info;

	for (size_t i = 0; !path && i < ARRAY_LEN(variables); i++) {
		path = getenv(variables[i]);
		if (path && *path == '\0')
			path = NULL;
	}
	if (!path)
		path = built->capath ? built->capath : built->cainfo;
	if (path && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
		http->ca_folder = mem_strdup(path);
	else
		http->ca_file = mem_strdup(path);
}

int http_new(struct loop *loop, struct http **ret)
{
	struct http *http;
	CURLM *multi;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return -ENOMEM;
	multi = curl_multi_init();
	if (!multi) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	http = mem_alloc(sizeof(*http));
	http->loop = loop;
	http->multi = multi;
	list_init(&http->requests);
	loop_timer_new(loop, on_timer, http, &http->timer);
	find_trust(http);
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_events_wanted);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout_wanted);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, http);
	*ret = http;
	return 0;
}

void http_free(struct http **http)
{
	struct http *dead = *http;

	if (!dead)
		return;
	list_foreach_safe (at, &dead->requests) {
		struct http_request *request = list_entry(at, struct http_request, link);

		http_cancel(&request);
	}
	(void)curl_multi_cleanup(dead->multi);
	loop_timer_free(&dead->timer);
	curl_global_cleanup();
	free(dead->ca_file);
	free(dead->ca_folder);
	mem_free(http);
}
