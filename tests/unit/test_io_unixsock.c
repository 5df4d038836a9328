#include "row.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "io/unixsock.h"

static char folder[] = "/tmp/unixsock-XXXXXX";
static char path[64], lock[72];

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/unixsock-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/s", folder);
	(void)snprintf(lock, sizeof(lock), "%s.lock", path);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)unlink(lock);
	return rmdir(folder);
}

static int listen_here(struct unixsock **ret, char **ret_error)
{
	const struct unixsock_options options = { .path = path, .mode = 0660, .group = "" };

	return unixsock_listen(&options, ret, ret_error);
}

static struct sockaddr_un address(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	memcpy(addr.sun_path, path, strlen(path) + 1);
	return addr;
}

static int connect_here(void)
{
	struct sockaddr_un addr = address();
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	(void)close(fd);
	return -errno;
}

/* A socket file whose owner is gone, as a killed daemon leaves it. */
static void leave_dead_socket(void)
{
	struct sockaddr_un addr = address();
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	(void)close(fd);
}

static void test_a_client_is_accepted_with_its_credentials(void **state)
{
	AUTO(unixsock_free) struct unixsock *sock = NULL;
	AUTO(mem_free_str) char *error = NULL;
	AUTO(fd_close) int client = -1;
	AUTO(fd_close) int server = -1;
	struct unixsock_peer peer = { .pid = 0 };

	(void)state;
	assert_int_equal(listen_here(&sock, &error), 0);
	assert_int_equal(unixsock_accept(sock, &server, &peer), -EAGAIN);
	client = connect_here();
	assert_true(client >= 0);
	assert_int_equal(unixsock_accept(sock, &server, &peer), 0);
	assert_int_equal(peer.uid, geteuid());
	assert_int_equal(peer.gid, getegid());
	assert_int_equal(peer.pid, getpid());
	assert_true(fcntl(server, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(server, F_GETFD) & FD_CLOEXEC);
}

static void test_the_file_has_the_mode_asked_for_whatever_the_umask(void **state)
{
	AUTO(unixsock_free) struct unixsock *sock = NULL;
	AUTO(mem_free_str) char *error = NULL;
	mode_t before = umask(0077);
	struct stat st;

	(void)state;
	assert_int_equal(listen_here(&sock, &error), 0);
	(void)umask(before);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
}

static void test_the_socket_of_a_dead_daemon_is_taken_over(void **state)
{
	AUTO(unixsock_free) struct unixsock *sock = NULL;
	AUTO(mem_free_str) char *error = NULL;
	AUTO(fd_close) int client = -1;

	(void)state;
	leave_dead_socket();
	assert_int_equal(connect_here(), -ECONNREFUSED);
	assert_int_equal(listen_here(&sock, &error), 0);
	client = connect_here();
	assert_true(client >= 0);
}

static void test_the_socket_of_a_live_daemon_is_refused_and_left_alone(void **state)
{
	AUTO(unixsock_free) struct unixsock *first = NULL;
	AUTO(mem_free_str) char *error = NULL;
	AUTO(fd_close) int client = -1;
	struct unixsock *second = NULL;

	(void)state;
	assert_int_equal(listen_here(&first, &error), 0);
	assert_int_equal(listen_here(&second, &error), -EADDRINUSE);
	assert_non_null(strstr(error, "another daemon already serves"));
	assert_null(second);
	client = connect_here();
	assert_true(client >= 0);
}

/* Somebody cleaned up the run folder: the lock file is gone, the daemon is not. */
static void test_a_live_socket_is_refused_even_without_its_lock(void **state)
{
	AUTO(unixsock_free) struct unixsock *first = NULL;
	AUTO(mem_free_str) char *error = NULL;
	struct unixsock *second = NULL;

	(void)state;
	assert_int_equal(listen_here(&first, &error), 0);
	assert_int_equal(unlink(lock), 0);
	assert_int_equal(listen_here(&second, &error), -EADDRINUSE);
}

static void test_what_is_no_socket_is_not_removed(void **state)
{
	AUTO(mem_free_str) char *error = NULL;
	struct unixsock *sock = NULL;

	(void)state;
	assert_int_equal(fd_write_file(path, "precious", 8, 0600), 0);
	assert_int_equal(listen_here(&sock, &error), -ENOTSOCK);
	assert_non_null(strstr(error, "is no socket"));
	assert_int_equal(access(path, F_OK), 0);
}

static void test_a_path_that_does_not_fit_is_refused_by_name(void **state)
{
	char longest[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
	const struct unixsock_options options = { .path = longest, .mode = 0600 };
	AUTO(mem_free_str) char *error = NULL;
	struct unixsock *sock = NULL;

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(unixsock_listen(&options, &sock, &error), -ENAMETOOLONG);
	assert_non_null(strstr(error, longest));
	assert_non_null(strstr(error, "1 to 107"));
}

static void test_an_unknown_group_is_refused_by_name_and_leaves_nothing(void **state)
{
	const struct unixsock_options options = { .path = path, .mode = 0660, .group = "no-such-group" };
	AUTO(mem_free_str) char *error = NULL;
	struct unixsock *sock = NULL;

	(void)state;
	assert_int_equal(unixsock_listen(&options, &sock, &error), -ENOENT);
	assert_non_null(strstr(error, "no group \"no-such-group\""));
	assert_int_equal(access(path, F_OK), -1);
}

static void test_free_removes_only_its_own_file(void **state)
{
	struct unixsock *sock = NULL;
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	assert_int_equal(listen_here(&sock, &error), 0);
	unixsock_free(&sock);
	assert_null(sock);
	assert_int_equal(access(path, F_OK), -1);

	assert_int_equal(listen_here(&sock, &error), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(fd_write_file(path, "another's", 9, 0600), 0);
	unixsock_free(&sock);
	assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_client_is_accepted_with_its_credentials, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_the_file_has_the_mode_asked_for_whatever_the_umask,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_socket_of_a_dead_daemon_is_taken_over, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_the_socket_of_a_live_daemon_is_refused_and_left_alone,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_live_socket_is_refused_even_without_its_lock, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_no_socket_is_not_removed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_path_that_does_not_fit_is_refused_by_name, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_an_unknown_group_is_refused_by_name_and_leaves_nothing,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_free_removes_only_its_own_file, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
