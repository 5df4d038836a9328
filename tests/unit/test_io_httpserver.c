/* The small HTTP server against clients in a thread of their own, which speak plain sockets. */

#include "io/httpserver.h"

#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/address.h"
#include "base/mem.h"
#include "io/loop.h"
#include "row.h"

enum { DEADLINE_MS = 20000, ANSWER_BYTES = 65536 };

static struct {
	struct loop *loop;
	struct httpserver *server;
	struct loop_timer *deadline;
	struct loop_wake *wake, *turn_wake;
	sem_t turned;
	struct sockaddr_in at;
	int pages; /* made so far */
} it;

static struct httpserver_page on_get(void *arg, const char *path)
{
	struct httpserver_page page = { .status = strcmp(path, "/none") == 0 ? 404 : 200,
					.type = "text/x-test" };

	(void)arg;
	page.body = mem_printf("page %d of %s", ++it.pages, path);
	page.len = strlen(page.body);
	return page;
}

static void on_deadline(void *arg)
{
	(void)arg;
	fail_msg("the clients were not served within %d ms", DEADLINE_MS);
}

static void on_wake(void *arg)
{
	(void)arg;
	loop_stop(it.loop);
}

static void on_turn(void *arg)
{
	(void)arg;
	(void)sem_post(&it.turned);
}

/* A port that was free a moment ago: the server's own is not told to anybody. */
static in_port_t free_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	(void)close(fd);
	return at.sin_port;
}

static int set_up(void **state)
{
	AUTO(mem_free_str) char *error = NULL;
	struct address address = { .len = sizeof(it.at) };

	(void)state;
	it.pages = 0;
	it.at = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_port = free_port(),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	memcpy(&address.at, &it.at, sizeof(it.at));
	if (loop_new(&it.loop) < 0 || httpserver_new(it.loop, &address, on_get, NULL, &it.server, &error) < 0)
		return -1;
	loop_timer_new(it.loop, on_deadline, NULL, &it.deadline);
	loop_timer_start(it.deadline, DEADLINE_MS);
	loop_wake_new(it.loop, on_wake, NULL, &it.wake);
	loop_wake_new(it.loop, on_turn, NULL, &it.turn_wake);
	(void)sem_init(&it.turned, 0, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	httpserver_free(&it.server);
	loop_wake_free(&it.wake);
	loop_wake_free(&it.turn_wake);
	(void)sem_destroy(&it.turned);
	loop_timer_free(&it.deadline);
	loop_free(&it.loop);
	return 0;
}

/* ---- clients ---- */

static int open_connection(void)
{
	const struct timeval patience = { .tv_sec = DEADLINE_MS / 1000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return connect(fd, (const struct sockaddr *)&it.at, sizeof(it.at)) == 0 ? fd : -1;
}

static void say(int fd, const char *text)
{
	(void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* All that comes until the server closes, or nothing does. */
static void hear(int fd, char answer[ANSWER_BYTES])
{
	size_t len = 0;
	ssize_t n;

	while (len < ANSWER_BYTES - 1 && (n = read(fd, answer + len, ANSWER_BYTES - 1 - len)) > 0)
		len += (size_t)n;
	answer[len] = '\0';
	(void)close(fd);
}

struct client {
	const char *request;
	char answer[ANSWER_BYTES];
};

static void *ask(void *arg)
{
	struct client *client = arg;
	int fd = open_connection();

	say(fd, client->request);
	hear(fd, client->answer);
	loop_wake_send(it.wake);
	return NULL;
}

static void serve(void *(*clients)(void *), void *arg)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, clients, arg), 0);
	loop_run(it.loop);
	(void)pthread_join(thread, NULL);
}

static void test_requests_are_answered_or_refused(void **state)
{
	static const struct {
		const char *request, *want, *want_not;
		int pages;
	} rows[] = {
		{ "GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "page 1 of /metrics",
		  "404", 1 },
		{ "GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 404",
		  "HTTP/1.1 200", 1 },
		{ "GET /a?b=c HTTP/1.0\r\n\r\n", "page 1 of /a", "?b=c", 1 },
		{ "HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "Content-Length: 12", "page 1",
		  1 },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		  "HTTP/1.1 405", "page", 0 },
		{ "DELETE /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 405", "page", 0 },
		{ "\x16\x03\x01 garbage\r\n\r\n", "", "200", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct client *client = mem_alloc(sizeof(*client));

		it.pages = 0;
		client->request = rows[i].request;
		serve(ask, client);
		expect(strstr(client->answer, rows[i].want), "%s\n%s", rows[i].request, client->answer);
		expect(!strstr(client->answer, rows[i].want_not), "%s\n%s", rows[i].request, client->answer);
		expect(it.pages == rows[i].pages, "%s: %d pages", rows[i].request, it.pages);
		mem_free(&client);
	}
}

static void test_an_answer_tells_its_type_and_is_not_to_be_kept(void **state)
{
	struct client *client = mem_alloc(sizeof(*client));

	(void)state;
	client->request = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
	serve(ask, client);
	assert_non_null(strstr(client->answer, "Content-Type: text/x-test\r\n"));
	assert_non_null(strstr(client->answer, "Cache-Control: no-store\r\n"));
	mem_free(&client);
}

static void test_a_request_beyond_its_memory_is_refused(void **state)
{
	struct client *client = mem_alloc(sizeof(*client));
	AUTO(mem_free_str) char *filler = mem_alloc(2 * HTTPSERVER_MEMORY + 1);
	AUTO(mem_free_str) char *request = NULL;

	(void)state;
	memset(filler, 'x', 2 * (size_t)HTTPSERVER_MEMORY);
	request = mem_printf("GET /a HTTP/1.1\r\nHost: h\r\nX: %s\r\n\r\n", filler);
	client->request = request;
	serve(ask, client);
	assert_int_equal(it.pages, 0);
	mem_free(&client);
}

/* The loop has turned so often that what was sent before would have been answered. */
static void await_turns(void)
{
	for (int i = 0; i < 5; i++) {
		loop_wake_send(it.turn_wake);
		while (sem_wait(&it.turned) < 0)
			continue;
	}
}

struct crowd {
	int silent[HTTPSERVER_CONNECTIONS];
	char first[ANSWER_BYTES], beyond[ANSWER_BYTES];
};

/* All places are taken by half a request each; one more asks; then one of the others ends its request. */
static void *crowd_in(void *arg)
{
	struct crowd *crowd = arg;
	int beyond;

	for (size_t i = 0; i < HTTPSERVER_CONNECTIONS; i++) {
		crowd->silent[i] = open_connection();
		say(crowd->silent[i], "GET /silent HTTP/1.1\r\nHost: h\r\n");
	}
	beyond = open_connection();
	say(beyond, "GET /beyond HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	await_turns();
	say(crowd->silent[0], "Connection: close\r\n\r\n");
	hear(crowd->silent[0], crowd->first);
	hear(beyond, crowd->beyond);
	loop_wake_send(it.wake);
	return NULL;
}

static void test_who_comes_beyond_the_budget_waits_for_a_place(void **state)
{
	struct crowd *crowd = mem_alloc(sizeof(*crowd));

	(void)state;
	serve(crowd_in, crowd);
	expect(strstr(crowd->first, "page 1 of /silent"), "%s", crowd->first);
	expect(strstr(crowd->beyond, "page 2 of /beyond"), "%s", crowd->beyond);
	for (size_t i = 1; i < HTTPSERVER_CONNECTIONS; i++)
		(void)close(crowd->silent[i]);
	mem_free(&crowd);
}

/* All places are taken by clients who leave without a word; one more came meanwhile. */
static void *crowd_out(void *arg)
{
	struct crowd *crowd = arg;
	int beyond;

	for (size_t i = 0; i < HTTPSERVER_CONNECTIONS; i++)
		crowd->silent[i] = open_connection();
	await_turns();
	beyond = open_connection();
	say(beyond, "GET /beyond HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	await_turns();
	for (size_t i = 0; i < HTTPSERVER_CONNECTIONS; i++)
		(void)close(crowd->silent[i]);
	hear(beyond, crowd->beyond);
	loop_wake_send(it.wake);
	return NULL;
}

static void test_places_that_are_left_are_free_again(void **state)
{
	struct crowd *crowd = mem_alloc(sizeof(*crowd));

	(void)state;
	serve(crowd_out, crowd);
	expect(strstr(crowd->beyond, "page 1 of /beyond"), "%s", crowd->beyond);
	mem_free(&crowd);
}

static void test_an_address_that_is_taken_is_refused_with_the_reason(void **state)
{
	struct address address = { .len = sizeof(it.at) };
	struct httpserver *second = NULL;
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	memcpy(&address.at, &it.at, sizeof(it.at));
	assert_int_not_equal(httpserver_new(it.loop, &address, on_get, NULL, &second, &error), 0);
	assert_null(second);
	assert_string_equal(error, "cannot listen there: Address already in use");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_requests_are_answered_or_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_an_answer_tells_its_type_and_is_not_to_be_kept, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_request_beyond_its_memory_is_refused, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_who_comes_beyond_the_budget_waits_for_a_place, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_places_that_are_left_are_free_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_an_address_that_is_taken_is_refused_with_the_reason,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
