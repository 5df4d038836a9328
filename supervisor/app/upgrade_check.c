/* The new program on trial: a child that reads configuration and a copy of our state, and gives its verdict.
 */

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/daemon.h"
#include "app/upgrade_private.h"
#include "base/fd.h"
#include "base/mem.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/handover.h"
#include "io/jsontext.h"
#include "io/lineconn.h"
#include "io/loop.h"

enum {
	CHECK_MS = 10000, /* for the verdict */
	VERDICT_BYTES = 64 * 1024,
	WORDS_BYTES = 2000, /* of a program that gives no verdict */
};

/* The last line of what a program said that gave no verdict; fresh. */
static char *last_words(const struct upgrade *upgrade)
{
	AUTO(mem_free_str) char *text = errtail_text(upgrade->tail, WORDS_BYTES);
	size_t len = strlen(text);
	char *line;

	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	line = strrchr(text, '\n');
	return mem_strdup(line ? line + 1 : text);
}

/* Why not; NULL when it would take over. Fresh. */
static char *judge(const struct upgrade *upgrade, const struct child_exit *exit)
{
	AUTO(jsontext_free) struct jsontext *verdict = NULL;
	AUTO(mem_free_str) char *words = NULL;
	const char *reason;

	if (exit->exec_error)
		return mem_printf("%s cannot be run: %s", upgrade->path, strerror(exit->exec_error));
	if (upgrade->late)
		return mem_printf("%s gave no verdict within %d s", upgrade->path, CHECK_MS / 1000);
	if (upgrade->verdict)
		(void)!jsontext_parse(upgrade->verdict, strlen(upgrade->verdict), &verdict);
	if (verdict && exit->code == 0 && jsontext_is_true(verdict, "takesOver"))
		return NULL;
	reason = verdict ? jsontext_text(verdict, "reason") : NULL;
	if (reason)
		return mem_strdup(reason);
	words = last_words(upgrade);
	return mem_printf("%s does not say that it takes over (%s)%s%s", upgrade->path, child_exit_text(exit),
			  *words ? ": " : "", words);
}

void upgrade_end_check(struct upgrade *upgrade)
{
	child_abandon(&upgrade->check);
	lineconn_free(&upgrade->conn);
	errtail_free(&upgrade->tail);
	loop_timer_free(&upgrade->limit);
	mem_free(&upgrade->verdict);
}

static void on_check_exit(void *arg, const struct child_exit *exit)
{
	struct upgrade *upgrade = arg;
	AUTO(mem_free_str) char *why = NULL;

	upgrade->check = NULL;
	lineconn_drain(upgrade->conn, VERDICT_BYTES);
	errtail_drain(upgrade->tail, VERDICT_BYTES);
	why = judge(upgrade, exit);
	upgrade_end_check(upgrade);
	if (why)
		upgrade_refuse(upgrade, why);
	else
		upgrade_settle(upgrade);
}

static void on_verdict(void *arg, char *line, size_t len)
{
	struct upgrade *upgrade = arg;

	mem_set_str(&upgrade->verdict, mem_strndup(line, len));
}

static void on_verdict_end(void *arg, enum lineconn_end end, int error)
{
	(void)arg;
	(void)end;
	(void)error; /* its exit follows, or the time limit */
}

static void on_late(void *arg)
{
	struct upgrade *upgrade = arg;

	upgrade->late = true;
	child_signal_group(upgrade->check, SIGKILL);
}

/* Our own command line, and that it is a check. Entries are borrowed. */
static const char **check_words(const struct upgrade *upgrade)
{
	char *const *argv = upgrade->daemon->argv;
	const char **words;
	size_t count = 0;

	while (argv[count])
		count++;
	words = mem_array(count + 2, sizeof(*words));
	words[0] = upgrade->path;
	for (size_t i = 1; i < count; i++)
		words[i] = argv[i];
	words[count] = "--check-upgrade";
	return words;
}

static int spawn_check(struct upgrade *upgrade, int state_fd)
{
	struct daemon *daemon = upgrade->daemon;
	const char **words = check_words(upgrade);
	const struct child_spec spec = {
		.argv = words,
		.env = (const char *const *)environ,
		.death_signal = SIGKILL,
		.want_stdout = true,
		.fd3 = CHILD_FD3_GIVEN,
		.given_fd = state_fd,
	};
	struct lineconn_options options = {
		.write_fd = -1,
		.max_line = VERDICT_BYTES,
		.on_line = on_verdict,
		.on_end = on_verdict_end,
		.arg = upgrade,
	};
	struct child_fds fds;
	int r = child_spawn(daemon->loop, &spec, on_check_exit, upgrade, &upgrade->check, &fds);

	free((void *)(uintptr_t)words);
	if (r < 0)
		return r;
	options.read_fd = fds.from_stdout;
	if (lineconn_new(daemon->loop, &options, &upgrade->conn) < 0 ||
	    errtail_new(daemon->loop, fds.from_stderr, "check=upgrade", &upgrade->tail) < 0)
		abort(); /* descriptors that were just made cannot refuse O_NONBLOCK */
	loop_timer_new(daemon->loop, on_late, upgrade, &upgrade->limit);
	loop_timer_start(upgrade->limit, CHECK_MS);
	return 0;
}

void upgrade_check(struct upgrade *upgrade)
{
	AUTO(handover_free) struct handover *h = NULL;
	AUTO(mem_free_str) char *why = NULL;
	AUTO(fd_close) int fd = -1;
	int r = upgrade_seal_state(upgrade->daemon, &h, &fd);

	if (r < 0) {
		why = mem_printf("the state cannot be written down: %s", strerror(-r));
		upgrade_refuse(upgrade, why);
		return;
	}
	r = spawn_check(upgrade, fd);
	if (r < 0) {
		why = mem_printf("%s cannot be run: %s", upgrade->path, strerror(-r));
		upgrade_refuse(upgrade, why);
	}
}
