/* The control socket: whatever a client writes, each answer is one line of JSON that says whether it is well,
 * and a call that gets to its handler is of a command that the daemon has. */

#include "fuzz.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/control_private.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"

enum { ANSWERS_MAX = 4 * 1024 * 1024 };

static struct loop *loop;
static struct control *control;
static struct loop_fd *watch;
static int peer_fd;
static char *answers;
static size_t answers_len;

/* One in three is refused with a word of the client's in it, the others are answered with what was asked. */
static void handle(void *arg, struct call *call, const json_t *args)
{
	const struct command *command = call_command(call);
	const char *name = json_string_value(
		json_object_iter_value(json_object_iter((json_t *)(uintptr_t)args)));

	(void)arg;
	claim(command->place == COMMAND_IN_DAEMON, "the command is the daemon's");
	if (name)
		call_error(call, CALL_NOT_FOUND, "there is no \"%s\"", name);
	else
		call_ok_json(call, json_deep_copy(args));
}

static enum command_role role_of(void *arg, const struct unixsock_peer *peer, int fd)
{
	(void)arg;
	(void)peer;
	(void)fd;
	return COMMAND_ADMIN;
}

static void read_answers(void *arg, unsigned events)
{
	ssize_t n = read(peer_fd, answers + answers_len, ANSWERS_MAX - answers_len);

	(void)arg;
	(void)events;
	if (n > 0)
		answers_len += (size_t)n;
	claim(answers_len < ANSWERS_MAX, "answers are not that long");
	if (n == 0)
		loop_stop(loop);
}

static void set_up(void)
{
	char dir[] = "/tmp/proctor-fuzz-XXXXXX", *error = NULL, *path;
	const struct control_options options = { .path = NULL, .mode = 0600, .group = "", .max_clients = 4 };
	struct control_options named = options;

	log_set_level(LOG_LEVEL_ERROR);
	json_object_seed(1);
	answers = mem_array(ANSWERS_MAX, 1);
	claim(mkdtemp(dir) && loop_new(&loop) == 0, "there is a folder and a loop");
	path = mem_printf("%s/s", dir);
	named.path = path;
	named.handle = handle;
	named.role_of = role_of;
	claim(control_new(loop, &named, NULL, &control, &error) == 0, "it listens");
	/* Clients come by socketpair(): nobody needs the file. */
	(void)unlink(path);
	mem_set_str(&path, mem_printf("%s/s.lock", dir));
	(void)unlink(path);
	(void)rmdir(dir);
	mem_free(&path);
}

static void connect_client(void)
{
	const struct unixsock_peer peer = { .pid = getpid(), .uid = geteuid() };
	struct client *client;
	int fds[2], copy;

	claim(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0,
	      "a pair of sockets");
	copy = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
	claim(copy >= 0 && client_new(control, fds[0], copy, &peer, &client) == 0, "a client");
	peer_fd = fds[1];
}

static void check_answers(void)
{
	char *line = answers, *end = answers + answers_len, *newline;

	for (; line < end; line = newline + 1) {
		json_t *json;

		newline = memchr(line, '\n', (size_t)(end - line));
		claim(newline, "an answer ends with its line");
		json = json_loadb(line, (size_t)(newline - line), 0, NULL);
		claim(json_is_object(json), "an answer is a JSON object");
		claim(json_is_boolean(json_object_get(json, "ok")), "an answer says whether it is well");
		claim(json_object_get(json, "id"), "an answer has the id of what it answers");
		json_decref(json);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!loop)
		set_up();
	answers_len = 0;
	connect_client();
	claim(send(peer_fd, data, size, MSG_NOSIGNAL) == (ssize_t)size, "it fits into the socket");
	(void)shutdown(peer_fd, SHUT_WR);
	loop_fd_new(loop, peer_fd, LOOP_READ, read_answers, NULL, &watch);
	loop_run(loop);
	loop_fd_free(&watch);
	(void)close(peer_fd);
	check_answers();
	claim(control_clients(control) == 0, "the client is gone");
	return 0;
}
