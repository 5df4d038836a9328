#include "row.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/control.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"

enum { DEADLINE_MS = 10000, CALLS_MAX = 64, CLIENTS_MAX = 4 };

/* The server, its handler's notes, and one client, all on one loop. */
static struct loop *loop;
static struct control *control;
static struct loop_timer *deadline, *tick;
static char folder[32], path[48];

static struct {
	struct call *calls[CALLS_MAX]; /* not answered yet, while `holding` */
	size_t held;
	bool holding;
	size_t seen;	 /* requests that reached the handler */
	int64_t gone_id; /* of the last client that went */
	size_t gone;	 /* calls told that their client went */
	size_t awaited;	 /* stop the loop when so many requests were seen; 0 = never */
	size_t awaited_gone;
} server;

static struct {
	int fd;
	struct loop_fd *watch;
	struct buf in;
	size_t awaited; /* stop the loop when so many lines are held */
	bool ended;
} client;

static enum command_role role_of(void *arg, const struct unixsock_peer *peer, int fd)
{
	(void)arg;
	(void)peer;
	(void)fd;
	return COMMAND_ADMIN;
}

static size_t lines_held(void)
{
	size_t count = 0;

	for (size_t i = 0; i < buf_len(&client.in); i++)
		count += buf_bytes(&client.in)[i] == '\n';
	return count;
}

static void on_readable(void *arg, unsigned events)
{
	char bytes[65536];
	ssize_t n = read(client.fd, bytes, sizeof(bytes));

	(void)arg;
	(void)events;
	if (n > 0)
		buf_put(&client.in, bytes, (size_t)n);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		client.ended = true;
	if (client.ended || lines_held() >= client.awaited)
		loop_stop(loop);
}

static void on_deadline(void *arg)
{
	(void)arg;
	fail_msg("nothing came within %d ms; held: %s", DEADLINE_MS, buf_bytes(&client.in));
}

static void run(void)
{
	loop_timer_start(deadline, DEADLINE_MS);
	loop_run(loop);
	loop_timer_stop(deadline);
}

static void on_tick(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

/* One turn of the loop, whether anything happens or not. */
static void turn(void)
{
	loop_timer_start(tick, 0);
	loop_run(loop);
}

/* The next line, without its newline; "" once the server has closed. Fresh. */
static char *receive(void)
{
	const char *bytes;
	size_t len;
	char *line;

	client.awaited = 1;
	if (lines_held() < 1 && !client.ended)
		run();
	bytes = buf_bytes(&client.in);
	len = strcspn(bytes, "\n");
	line = mem_strndup(bytes, len);
	buf_drop(&client.in, len + 1);
	return line;
}

static void expect_line(const char *want)
{
	AUTO(mem_free_str) char *line = receive();

	expect(strcmp(line, want) == 0, "%s", line);
}

static void expect_error(const char *id, const char *code, const char *row)
{
	AUTO(mem_free_str) char *line = receive();
	AUTO(mem_free_str)
	char *want = mem_printf("{\"id\":%s,\"ok\":false,\"error\":{\"code\":\"%s\",", id, code);

	expect(strncmp(line, want, strlen(want)) == 0, "%s: %s", row, line);
}

static void send_text(const char *text)
{
	assert_int_equal(send(client.fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static int open_client(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, path, strlen(path) + 1);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void connect_client(void)
{
	client.fd = open_client();
	client.ended = false;
	loop_fd_new(loop, client.fd, LOOP_READ, on_readable, NULL, &client.watch);
}

static void disconnect_client(void)
{
	loop_fd_free(&client.watch);
	fd_close(&client.fd);
	buf_free(&client.in);
}

/* ---- the server's side ---- */

static void handle(void *arg, struct call *call, const json_t *args)
{
	assert_ptr_equal(arg, &server);
	assert_ptr_equal(call_arg(call), &server);
	server.seen++;
	if (server.seen == server.awaited)
		loop_stop(loop);
	if (server.holding) {
		assert_true(server.held < CALLS_MAX);
		server.calls[server.held++] = call;
	} else if (json_object_get(args, "limit")) {
		call_error(call, CALL_CONFLICT, "no %s", "way");
	} else {
		call_ok_raw(call, "[1, 2]", 6);
	}
}

static void on_client_gone(void *arg, int64_t client_id)
{
	(void)arg;
	server.gone_id = client_id;
	if (server.awaited_gone == 0)
		return;
	if (--server.awaited_gone == 0)
		loop_stop(loop);
}

static void on_call_gone(void *arg)
{
	(void)arg;
	server.gone++;
}

static int set_up(void **state)
{
	struct control_options options = { .path = path,
					   .mode = 0600,
					   .group = "",
					   .max_clients = CLIENTS_MAX,
					   .role_of = role_of,
					   .handle = handle,
					   .client_gone = on_client_gone,
					   .arg = &server };
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_LEVEL_ERROR);
	memset(&server, 0, sizeof(server));
	(void)snprintf(folder, sizeof(folder), "/tmp/control-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/s", folder);
	if (loop_new(&loop) < 0 || control_new(loop, &options, NULL, &control, &error) < 0)
		return -1;
	loop_timer_new(loop, on_deadline, NULL, &deadline);
	loop_timer_new(loop, on_tick, NULL, &tick);
	connect_client();
	return 0;
}

static int tear_down(void **state)
{
	char lock[64];

	(void)state;
	disconnect_client();
	control_free(&control);
	for (size_t i = 0; i < server.held; i++)
		call_ok_json(server.calls[i], json_null());
	loop_timer_free(&deadline);
	loop_timer_free(&tick);
	loop_free(&loop);
	(void)snprintf(lock, sizeof(lock), "%s.lock", path);
	(void)unlink(lock);
	return rmdir(folder);
}

/* ---- requests ---- */

static void test_a_request_is_answered_with_its_id(void **state)
{
	(void)state;
	send_text("{\"id\":1,\"cmd\":\"version\"}\n");
	expect_line("{\"id\":1,\"ok\":true,\"data\":[1, 2]}");
	send_text("{\"id\":\"two\",\"cmd\":\"run.list\",\"args\":{\"limit\":2}}\n");
	expect_line("{\"id\":\"two\",\"ok\":false,\"error\":{\"code\":\"CONFLICT\",\"message\":\"no way\"}}");
}

static void test_half_a_line_waits_for_the_other_half(void **state)
{
	(void)state;
	send_text("{\"id\":1,\"cmd\":\"version\"}\n{\"id\":2,\"cm");
	expect_line("{\"id\":1,\"ok\":true,\"data\":[1, 2]}");
	assert_int_equal(server.seen, 1);
	send_text("d\":\"version\"}\n");
	expect_line("{\"id\":2,\"ok\":true,\"data\":[1, 2]}");
}

static void test_nonsense_is_refused_and_the_connection_kept(void **state)
{
	static const struct {
		const char *line, *id, *code;
	} rows[] = {
		{ "garbage", "null", "BAD_REQUEST" },
		{ "", "null", "BAD_REQUEST" },
		{ "\xff\xfe", "null", "BAD_REQUEST" },
		{ "{\"id\":1,\"cmd\":\"version\xc3\"}", "null", "BAD_REQUEST" },
		{ "[]", "null", "BAD_REQUEST" },
		{ "{\"id\":1,\"id\":2,\"cmd\":\"version\"}", "null", "BAD_REQUEST" },
		{ "{\"cmd\":\"version\"}", "null", "BAD_REQUEST" },
		{ "{\"id\":{},\"cmd\":\"version\"}", "null", "BAD_REQUEST" },
		{ "{\"id\":1}", "1", "BAD_REQUEST" },
		{ "{\"id\":1,\"cmd\":2}", "1", "BAD_REQUEST" },
		{ "{\"id\":1,\"cmd\":\"version\",\"args\":[]}", "1", "BAD_REQUEST" },
		{ "{\"id\":1,\"cmd\":\"frobnicate\"}", "1", "UNKNOWN_COMMAND" },
		{ "{\"id\":1,\"cmd\":\"run.watch\",\"args\":{\"run\":\"r\"}}", "1", "UNKNOWN_COMMAND" },
		{ "{\"id\":1,\"cmd\":\"status\",\"args\":{\"x\":1}}", "1", "BAD_ARGUMENT" },
		{ "{\"id\":1,\"cmd\":\"run.show\"}", "1", "BAD_ARGUMENT" },
		{ "{\"id\":1,\"cmd\":\"run.show\",\"args\":{\"run\":7}}", "1", "BAD_ARGUMENT" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		send_text(rows[i].line);
		send_text("\n");
		expect_error(rows[i].id, rows[i].code, rows[i].line);
	}
	assert_int_equal(server.seen, 0);
	send_text("{\"id\":1,\"cmd\":\"version\"}\n");
	expect_line("{\"id\":1,\"ok\":true,\"data\":[1, 2]}");
}

static void test_a_line_over_the_cap_is_refused_and_the_client_closed(void **state)
{
	enum { CHUNK = 64 * 1024, LINE_CAP = 8 * 1024 * 1024 };
	char chunk[CHUNK];
	struct timeval patience = { .tv_usec = 1000 };

	(void)state;
	memset(chunk, 'x', sizeof(chunk));
	(void)setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	client.awaited = 1;
	/* The server only reads while the loop turns: each chunk that does not fit lets it turn. */
	for (size_t sent = 0; sent <= LINE_CAP && lines_held() == 0;) {
		ssize_t n = send(client.fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else if (errno != EAGAIN)
			break;
		turn();
	}
	expect_error("null", "TOO_LARGE", "a long line");
	expect_line("");
	assert_true(client.ended);
}

static void test_requests_wait_while_too_many_are_under_way(void **state)
{
	enum { CAP = 32 };

	(void)state;
	server.holding = true;
	server.awaited = CAP;
	for (int i = 0; i < CAP + 8; i++)
		send_text("{\"id\":1,\"cmd\":\"version\"}\n");
	run();
	/* Answer one: exactly one more gets in. */
	server.awaited = CAP + 1;
	call_ok_raw(server.calls[--server.held], "1", 1);
	run();
	expect_line("{\"id\":1,\"ok\":true,\"data\":1}");
	assert_int_equal(server.seen, CAP + 1);
}

static void test_a_client_that_sends_no_more_still_gets_its_answers(void **state)
{
	(void)state;
	server.holding = true;
	server.awaited = 1;
	send_text("{\"id\":1,\"cmd\":\"version\"}\n");
	assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
	run();
	call_ok_raw(server.calls[--server.held], "true", 4);
	expect_line("{\"id\":1,\"ok\":true,\"data\":true}");
	expect_line("");
	assert_true(client.ended);
}

/* ---- clients ---- */

static void test_a_call_outlives_its_client(void **state)
{
	(void)state;
	server.holding = true;
	server.awaited = 1;
	send_text("{\"id\":1,\"cmd\":\"version\"}\n");
	run();
	assert_int_equal(call_stream_begin(server.calls[0], on_call_gone, NULL), 0);
	assert_true(call_is_wanted(server.calls[0]));
	assert_int_equal(call_client_id(server.calls[0]), 1);
	disconnect_client();
	loop_timer_start(deadline, DEADLINE_MS);
	while (server.gone == 0)
		turn();
	loop_timer_stop(deadline);
	server.awaited_gone = 1;
	call_ok_raw(server.calls[--server.held], "1", 1);
	run();
	assert_int_equal(server.gone, 1);
	assert_int_equal(server.gone_id, 1);
	assert_int_equal(control_clients(control), 0);
}

static void test_a_call_outlives_the_server(void **state)
{
	(void)state;
	server.holding = true;
	server.awaited = 1;
	send_text("{\"id\":1,\"cmd\":\"version\"}\n");
	run();
	call_on_gone(server.calls[0], on_call_gone, NULL);
	control_free(&control);
	assert_int_equal(server.gone, 1);
	assert_false(call_is_wanted(server.calls[0]));
	assert_string_equal(call_command(server.calls[0])->name, "version");
	assert_int_equal(call_stream_raw(server.calls[0], "1", 1), -EPIPE);
	call_error(server.calls[--server.held], CALL_INTERNAL, "nobody hears this");
	expect_line("");
}

static void test_one_client_too_many_is_told_and_closed(void **state)
{
	int others[CLIENTS_MAX];

	(void)state;
	loop_fd_free(&client.watch);
	others[0] = fd_take(&client.fd);
	for (size_t i = 1; i < ARRAY_LEN(others); i++)
		others[i] = open_client();
	connect_client();
	expect_error("null", "UNAVAILABLE", "a client too many");
	expect_line("");
	disconnect_client();
	assert_int_equal(control_clients(control), CLIENTS_MAX);

	server.awaited_gone = 1;
	fd_close(&others[0]);
	run();
	connect_client();
	send_text("{\"id\":1,\"cmd\":\"version\"}\n");
	expect_line("{\"id\":1,\"ok\":true,\"data\":[1, 2]}");
	for (size_t i = 1; i < ARRAY_LEN(others); i++)
		fd_close(&others[i]);
}

static void test_a_stream_begun_after_its_client_ended_is_refused(void **state)
{
	(void)state;
	server.holding = true;
	server.awaited = 1;
	send_text("{\"id\":1,\"cmd\":\"events\"}\n");
	assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
	run();
	while (call_stream_begin(server.calls[0], on_call_gone, NULL) == 0)
		turn();
	assert_int_equal(server.gone, 1);
	call_ok_raw(server.calls[--server.held], "null", 4);
	expect_line("{\"id\":1,\"ok\":true,\"data\":null}");
	expect_line("");
}

static void test_who_sends_no_more_has_not_gone(void **state)
{
	(void)state;
	server.holding = true;
	server.awaited = 1;
	send_text("{\"id\":1,\"cmd\":\"health\"}\n");
	run();
	call_on_gone(server.calls[0], on_call_gone, NULL);
	assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
	for (int i = 0; i < 5; i++)
		turn();
	assert_int_equal(server.gone, 0);
	call_ok_raw(server.calls[--server.held], "2", 1);
	expect_line("{\"id\":1,\"ok\":true,\"data\":2}");
}

/* Its queue is full, so nothing is read from it: the write that fails is all that tells of its end. */
static void test_a_deaf_client_that_goes_is_forgotten(void **state)
{
	enum { ANSWER = 4 * 1024 * 1024 };
	AUTO(mem_free_str) char *answer = mem_alloc(ANSWER + 1);

	(void)state;
	server.holding = true;
	server.awaited = 1;
	send_text("{\"id\":1,\"cmd\":\"version\"}\n");
	run();
	memset(answer, '1', ANSWER);
	loop_fd_free(&client.watch);
	call_ok_raw(server.calls[--server.held], answer, ANSWER);
	turn();
	assert_int_equal(control_clients(control), 1);
	disconnect_client();
	server.awaited_gone = 1;
	run();
	assert_int_equal(control_clients(control), 0);
}

static void test_a_stream_that_nobody_reads_costs_the_connection(void **state)
{
	enum { PIECE = 64 * 1024, PIECES_MAX = 200 };
	AUTO(mem_free_str) char *piece = mem_alloc(PIECE + 1);
	int sent = 0;

	(void)state;
	server.holding = true;
	server.awaited = 1;
	send_text("{\"id\":1,\"cmd\":\"events\"}\n");
	run();
	assert_int_equal(call_stream_begin(server.calls[0], on_call_gone, NULL), 0);
	loop_fd_free(&client.watch);
	memset(piece, '1', PIECE);
	while (sent < PIECES_MAX && call_stream_raw(server.calls[0], piece, PIECE) == 0) {
		sent++;
		turn();
	}
	expect(sent > 1024 * 1024 / PIECE && sent < PIECES_MAX, "%d pieces were taken", sent);
	assert_int_equal(server.gone, 1);
	assert_false(call_is_wanted(server.calls[0]));
}

static void test_the_pieces_of_a_stream_carry_the_id_and_more(void **state)
{
	(void)state;
	server.holding = true;
	server.awaited = 1;
	send_text("{\"id\":5,\"cmd\":\"events\"}\n");
	run();
	assert_int_equal(call_stream_raw(server.calls[0], "[1]", 3), 0);
	expect_line("{\"id\":5,\"ok\":true,\"more\":true,\"data\":[1]}");
	call_ok_json(server.calls[--server.held], json_null());
	expect_line("{\"id\":5,\"ok\":true,\"data\":null}");
}

static void test_a_client_that_never_reads_is_not_read_from(void **state)
{
	AUTO(mem_free_str) char *answer = mem_alloc(64 * 1024 + 1);
	struct timeval patience = { .tv_usec = 1000 };
	size_t held = 0;

	(void)state;
	server.holding = true;
	memset(answer, '1', 64 * 1024);
	loop_fd_free(&client.watch);
	(void)setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	/* 64 KiB for each request: the socket's buffers and 1 MiB of queue hold a few dozen of them. */
	for (int i = 0; i < 300; i++) {
		(void)send(client.fd, "{\"id\":1,\"cmd\":\"version\"}\n", 25, MSG_NOSIGNAL | MSG_DONTWAIT);
		turn();
		while (server.held > 0)
			call_ok_raw(server.calls[--server.held], answer, 64 * 1024);
		turn();
		held = server.seen;
	}
	expect(held < 100, "%zu requests were served", held);
	expect(held > 16, "%zu requests were served", held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_request_is_answered_with_its_id, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_half_a_line_waits_for_the_other_half, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nonsense_is_refused_and_the_connection_kept, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_line_over_the_cap_is_refused_and_the_client_closed,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_requests_wait_while_too_many_are_under_way, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_client_that_sends_no_more_still_gets_its_answers,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_call_outlives_its_client, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_call_outlives_the_server, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_client_too_many_is_told_and_closed, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_stream_that_nobody_reads_costs_the_connection, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_the_pieces_of_a_stream_carry_the_id_and_more, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_client_that_never_reads_is_not_read_from, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_stream_begun_after_its_client_ended_is_refused, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_who_sends_no_more_has_not_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_deaf_client_that_goes_is_forgotten, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
