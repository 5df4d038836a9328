#include "io/http.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/loop.h"
#include "row.h"

enum { DEADLINE_MS = 20000, REQUEST_BYTES = 16384, BIG = 1024 * 1024 };
#define SLOW_HOST "slow.test"
#define KEY	  "sk-very-secret"

/* ---- a server: takes one connection after the other, in a thread of its own ---- */

struct server {
	int fd, port;
	pthread_t thread;
	const char *answer;	     /* sent as it is; NULL = silence until the client leaves */
	int more;		     /* bytes that follow it */
	char request[REQUEST_BYTES]; /* the last one, with its body */
	atomic_int taken;	     /* connections */
};

static bool is_whole(const char *request, size_t len)
{
	const char *head_end = strstr(request, "\r\n\r\n");
	const char *length = strstr(request, "Content-Length: ");
	size_t body = length ? (size_t)atoi(length + strlen("Content-Length: ")) : 0;

	return head_end && (size_t)(head_end + 4 - request) + body <= len;
}

static void read_request(struct server *server, int fd)
{
	size_t len = 0;
	ssize_t n = 1;

	memset(server->request, 0, sizeof(server->request));
	while (n > 0 && !is_whole(server->request, len)) {
		n = read(fd, server->request + len, sizeof(server->request) - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	server->taken++;
}

static void answer(const struct server *server, int fd)
{
	static const char filler[4096] = { [0] = 'x', [4095] = 'y' };
	char byte;

	if (!server->answer) {
		(void)!read(fd, &byte, 1);
		return;
	}
	if (send(fd, server->answer, strlen(server->answer), MSG_NOSIGNAL) < 0)
		return;
	for (int sent = 0; sent < server->more; sent += (int)sizeof(filler))
		if (send(fd, filler, sizeof(filler), MSG_NOSIGNAL) < 0)
			return;
}

static void *serve(void *arg)
{
	struct server *server = arg;
	int fd;

	while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
		read_request(server, fd);
		answer(server, fd);
		(void)close(fd);
	}
	return NULL;
}

static int server_start(struct server *server)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);

	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(server->fd, (struct sockaddr *)&address, len) < 0 || listen(server->fd, 8) < 0 ||
	    getsockname(server->fd, (struct sockaddr *)&address, &len) < 0)
		return -1;
	server->port = ntohs(address.sin_port);
	return pthread_create(&server->thread, NULL, serve, server);
}

static void server_stop(struct server *server)
{
	(void)shutdown(server->fd, SHUT_RDWR);
	(void)pthread_join(server->thread, NULL);
	(void)close(server->fd);
}

/* ---- a name server that takes its time: libcurl finds this in the place of libc's ---- */

static sem_t name_server;
static atomic_int look_ups;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	if (node && strcmp(node, SLOW_HOST) == 0) {
		look_ups++;
		while (sem_wait(&name_server) < 0 && errno == EINTR)
			continue;
		return EAI_AGAIN;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(node, service, hints, ret);
}

/* ---- the client ---- */

struct client {
	struct loop *loop;
	struct http *http;
	struct server server;
	struct http_request *request;
	struct loop_timer *deadline, *tick;
	int answers, ticks, status;
	char *error, *body;
	size_t body_len;
	int64_t took_ms;
	bool frees;	       /* the HTTP client, when the answer comes */
	bool (*awaited)(void); /* stops the loop; NULL = only an answer does */
};

static struct client client;

static void on_answer(void *arg, const struct http_answer *answered)
{
	struct client *c = arg;

	c->answers++;
	c->request = NULL;
	c->status = answered->status;
	mem_set_str(&c->error, mem_strdup(answered->error));
	mem_set_str(&c->body, mem_strndup(answered->body, answered->body_len));
	c->body_len = answered->body_len;
	c->took_ms = answered->took_ms;
	if (c->frees)
		http_free(&c->http);
	loop_stop(c->loop);
}

static void on_deadline(void *arg)
{
	(void)arg;
	fail_msg("nothing came of it within %d ms", DEADLINE_MS);
}

static void on_tick(void *arg)
{
	struct client *c = arg;

	c->ticks++;
	if (c->awaited && c->awaited())
		loop_stop(c->loop);
	loop_timer_start(c->tick, 10);
}

static int set_up(void **state)
{
	static const char *const unwanted[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
						"ALL_PROXY",  "no_proxy",    "NO_PROXY" };

	(void)state;
	look_ups = 0;
	client = (struct client){ .server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" };
	for (size_t i = 0; i < ARRAY_LEN(unwanted); i++)
		(void)unsetenv(unwanted[i]);
	(void)signal(SIGPIPE, SIG_IGN);
	if (loop_new(&client.loop) < 0 || http_new(client.loop, &client.http) < 0 ||
	    sem_init(&name_server, 0, 0) < 0)
		return -1;
	loop_timer_new(client.loop, on_deadline, &client, &client.deadline);
	loop_timer_new(client.loop, on_tick, &client, &client.tick);
	loop_timer_start(client.deadline, DEADLINE_MS);
	return server_start(&client.server);
}

static int tear_down(void **state)
{
	(void)state;
	http_free(&client.http);
	server_stop(&client.server);
	loop_timer_free(&client.deadline);
	loop_timer_free(&client.tick);
	loop_free(&client.loop);
	free(client.error);
	free(client.body);
	return 0;
}

static void start(const char *url, const struct http_spec *spec)
{
	AUTO(mem_free_str) char *here = mem_printf("http://127.0.0.1:%d%s", client.server.port, url);
	struct http_spec copy = *spec;

	copy.url = url[0] == '/' ? here : url;
	copy.timeout_ms = spec->timeout_ms ? spec->timeout_ms : DEADLINE_MS;
	http_start(client.http, &copy, on_answer, &client, &client.request);
	assert_int_equal(client.answers, 0);
}

static void ask(const char *url, const struct http_spec *spec)
{
	start(url, spec);
	loop_run(client.loop);
}

static void run_until(bool (*awaited)(void))
{
	client.awaited = awaited;
	loop_timer_start(client.tick, 0);
	loop_run(client.loop);
	client.awaited = NULL;
}

static void assert_error(const char *words)
{
	assert_int_equal(client.answers, 1);
	assert_int_equal(client.status, 0);
	expect(client.error && strstr(client.error, words), "error: %s, not %s", client.error, words);
	assert_null(strchr(client.error, '\n'));
	assert_null(strstr(client.error, KEY));
}

static const struct http_spec plain = { .url = NULL };

/* ---- answers ---- */

static void test_a_get_sends_its_headers_and_brings_status_and_body(void **state)
{
	static const char *const headers[] = { "Authorization: Bearer " KEY, "X-More: yes", NULL };

	(void)state;
	ask("/v1/models?limit=1", &(struct http_spec){ .headers = headers });
	assert_int_equal(client.status, 200);
	assert_null(client.error);
	assert_string_equal(client.body, "hi");
	assert_int_equal(strncmp(client.server.request, "GET /v1/models?limit=1 HTTP/1.1\r\n", 33), 0);
	assert_non_null(strstr(client.server.request, "\r\nAuthorization: Bearer " KEY "\r\n"));
	assert_non_null(strstr(client.server.request, "\r\nX-More: yes\r\n"));
	assert_non_null(strstr(client.server.request, "\r\nUser-Agent: proctor/"));
}

static void test_a_post_sends_its_body_whatever_is_in_it(void **state)
{
	static const char *const headers[] = { "Content-Type: application/json", NULL };
	static const char body[] = "{\"a\":\0\"b\"}";

	(void)state;
	ask("/hook", &(struct http_spec){ .headers = headers, .body = body, .body_len = sizeof(body) - 1 });
	assert_int_equal(client.status, 200);
	assert_int_equal(strncmp(client.server.request, "POST /hook HTTP/1.1\r\n", 21), 0);
	assert_non_null(strstr(client.server.request, "\r\nContent-Type: application/json\r\n"));
	assert_null(strstr(client.server.request, "Expect:"));
	assert_memory_equal(strstr(client.server.request, "\r\n\r\n") + 4, body, sizeof(body) - 1);
}

static void test_any_status_is_an_answer_and_no_redirect_is_followed(void **state)
{
	(void)state;
	client.server.answer = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 5\r\n\r\nmoved";
	ask("/", &plain);
	assert_int_equal(client.status, 302);
	assert_string_equal(client.body, "moved");
	assert_int_equal(client.server.taken, 1);
}

static void test_a_body_beyond_the_cap_is_cut_off(void **state)
{
	(void)state;
	client.server.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
	client.server.more = BIG;
	ask("/", &plain);
	assert_int_equal(client.status, 200);
	assert_int_equal(client.body_len, HTTP_BODY_MAX);
}

static void test_an_answer_without_a_body_has_an_empty_one(void **state)
{
	(void)state;
	client.server.answer = "HTTP/1.1 204 No Content\r\n\r\n";
	ask("/", &plain);
	assert_int_equal(client.status, 204);
	assert_string_equal(client.body, "");
}

static void test_a_proxy_is_taken_from_the_environment(void **state)
{
	AUTO(mem_free_str) char *proxy = mem_printf("http://127.0.0.1:%d", client.server.port);

	(void)state;
	(void)setenv("http_proxy", proxy, 1);
	ask("http://models.test/v1/models", &plain);
	assert_int_equal(client.status, 200);
	assert_int_equal(strncmp(client.server.request, "GET http://models.test/v1/models HTTP/1.1\r\n", 43),
			 0);
}

/* ---- failures ---- */

static void test_a_server_that_is_not_there_is_an_error(void **state)
{
	static const char *const headers[] = { "Authorization: Bearer " KEY, NULL };
	AUTO(mem_free_str) char *url = mem_printf("http://127.0.0.1:%d/", client.server.port);

	(void)state;
	server_stop(&client.server);
	ask(url, &(struct http_spec){ .headers = headers });
	assert_error("connect");
	client.server = (struct server){ .answer = "" };
	assert_int_equal(server_start(&client.server), 0);
}

static void test_a_connection_that_breaks_is_an_error(void **state)
{
	(void)state;
	client.server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf";
	ask("/", &plain);
	assert_error("bytes");
}

static void test_what_is_no_http_is_an_error(void **state)
{
	(void)state;
	client.server.answer = "SSH-2.0-OpenSSH_9.2\r\n";
	ask("/", &plain);
	assert_error("HTTP");
}

static void test_a_url_that_is_none_is_an_error_of_a_later_turn(void **state)
{
	static const char *const urls[] = { "http://", "no url", "ftp://127.0.0.1/x", "file:///etc/passwd",
					    "http://127.0.0.1:99999/" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		client.answers = 0;
		ask(urls[i], &plain);
		expect(client.answers == 1 && client.status == 0 && client.error[0] != '\0', "%s: %d %s",
		       urls[i], client.status, client.error);
	}
}

static void test_a_header_cannot_smuggle_in_another(void **state)
{
	static const char *const headers[] = { "Authorization: Bearer " KEY "\r\nX-Evil: 1", NULL };

	(void)state;
	ask("/", &(struct http_spec){ .headers = headers });
	assert_error("control character");
	assert_int_equal(client.server.taken, 0);
}

static void test_a_silent_server_ends_by_its_timeout_and_holds_nobody_up(void **state)
{
	(void)state;
	client.server.answer = NULL;
	loop_timer_start(client.tick, 0);
	ask("/", &(struct http_spec){ .timeout_ms = 300 });
	assert_error("timed out");
	assert_true(client.took_ms >= 290);
	expect(client.ticks >= 5, "%d ticks of 10 ms in %lld ms", client.ticks, (long long)client.took_ms);
}

static void test_a_silent_name_server_ends_by_the_timeout_and_holds_nobody_up(void **state)
{
	(void)state;
	loop_timer_start(client.tick, 0);
	ask("http://" SLOW_HOST "/", &(struct http_spec){ .timeout_ms = 300 });
	assert_error("timed out");
	expect(client.ticks >= 5, "%d ticks of 10 ms in %lld ms", client.ticks, (long long)client.took_ms);
	assert_true(look_ups > 0);
	(void)sem_post(&name_server);
}

/* ---- giving up ---- */

static bool is_asked(void)
{
	return client.server.taken > 0;
}

static bool is_looked_up(void)
{
	return look_ups > 0;
}

static bool are_both_under_way(void)
{
	return is_asked() && is_looked_up();
}

static bool has_turned(void)
{
	return client.ticks >= 5;
}

/* Nothing more comes of a request that was cancelled, while the loop goes on to serve another. */
static void assert_forgotten(void)
{
	assert_null(client.request);
	client.server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter";
	ask("/after", &plain);
	assert_int_equal(client.answers, 1);
	assert_string_equal(client.body, "after");
}

static void test_a_request_that_is_cancelled_is_never_answered(void **state)
{
	(void)state;
	client.server.answer = NULL;
	start("/", &plain);
	run_until(is_asked);
	http_cancel(&client.request);
	http_cancel(&client.request);
	assert_forgotten();
}

static void test_one_that_has_ended_can_be_cancelled_before_it_is_told(void **state)
{
	static const char *const headers[] = { "X: \n", NULL };

	(void)state;
	start("/", &(struct http_spec){ .headers = headers });
	http_cancel(&client.request);
	assert_forgotten();
}

static void test_cancelling_does_not_wait_for_the_name_server(void **state)
{
	int64_t before_ms;

	(void)state;
	start("http://" SLOW_HOST "/", &plain);
	run_until(is_looked_up);
	before_ms = clock_now_ms();
	http_cancel(&client.request);
	expect(clock_now_ms() - before_ms < 1000, "%lld ms", (long long)(clock_now_ms() - before_ms));
	(void)sem_post(&name_server);
	assert_forgotten();
}

static void test_the_client_can_be_freed_with_requests_under_way(void **state)
{
	struct http_request *another;

	(void)state;
	client.server.answer = NULL;
	start("/one", &plain);
	http_start(client.http, &(struct http_spec){ .url = "http://" SLOW_HOST, .timeout_ms = DEADLINE_MS },
		   on_answer, &client, &another);
	run_until(are_both_under_way);
	http_free(&client.http);
	assert_null(client.http);
	(void)sem_post(&name_server);
	client.ticks = 0;
	run_until(has_turned);
	assert_int_equal(client.answers, 0);
}

static void test_the_client_can_be_freed_by_an_answer(void **state)
{
	(void)state;
	client.frees = true;
	ask("/", &plain);
	assert_int_equal(client.status, 200);
	assert_null(client.http);
	assert_string_equal(client.body, "hi");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_get_sends_its_headers_and_brings_status_and_body),
		TEST(test_a_post_sends_its_body_whatever_is_in_it),
		TEST(test_any_status_is_an_answer_and_no_redirect_is_followed),
		TEST(test_a_body_beyond_the_cap_is_cut_off),
		TEST(test_an_answer_without_a_body_has_an_empty_one),
		TEST(test_a_proxy_is_taken_from_the_environment),
		TEST(test_a_server_that_is_not_there_is_an_error),
		TEST(test_a_connection_that_breaks_is_an_error),
		TEST(test_what_is_no_http_is_an_error),
		TEST(test_a_url_that_is_none_is_an_error_of_a_later_turn),
		TEST(test_a_header_cannot_smuggle_in_another),
		TEST(test_a_silent_server_ends_by_its_timeout_and_holds_nobody_up),
		TEST(test_a_silent_name_server_ends_by_the_timeout_and_holds_nobody_up),
		TEST(test_a_request_that_is_cancelled_is_never_answered),
		TEST(test_one_that_has_ended_can_be_cancelled_before_it_is_told),
		TEST(test_cancelling_does_not_wait_for_the_name_server),
		TEST(test_the_client_can_be_freed_with_requests_under_way),
		TEST(test_the_client_can_be_freed_by_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
