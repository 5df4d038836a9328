#include "ctl/pager.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

enum { WORDS_MAX = 32, COPY_BYTES = 64 * 1024 };

static const char *wanted(void)
{
	const char *pager = getenv("PAGER");

	return pager ? pager : "less -R";
}

/* Splits at spaces; the words point into `text`. */
static int split(char *text, char **words)
{
	int count = 0;
	char *place = NULL;

	for (char *word = strtok_r(text, " \t", &place); word && count < WORDS_MAX;
	     word = strtok_r(NULL, " \t", &place))
		words[count++] = word;
	words[count] = NULL;
	return count;
}

/* A pager that is not installed must not cost the answer: this child passes it on instead. */
static void copy_on(void)
{
	char bytes[COPY_BYTES];

	for (;;) {
		ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

		if (n <= 0 && !(n < 0 && errno == EINTR))
			_exit(0);
		for (ssize_t done = 0; done < n;) {
			ssize_t put = write(STDOUT_FILENO, bytes + done, (size_t)(n - done));

			if (put < 0)
				_exit(1);
			done += put;
		}
	}
}

static void run_child(const int *pipe_fds, char **words)
{
	(void)dup2(pipe_fds[0], STDIN_FILENO);
	/* While it is open here, the end would never be seen. */
	(void)close(pipe_fds[1]);
	/* Short answers are printed as without a pager; colours stay. */
	(void)setenv("LESS", "FRX", 0);
	(void)execvp(words[0], words);
	copy_on();
}

void pager_start(struct pager *pager)
{
	AUTO(mem_free_str) char *text = mem_strdup(wanted());
	char *words[WORDS_MAX + 1];
	int pipe_fds[2];

	*pager = (struct pager){ .pid = 0, .old_stdout = -1 };
	if (split(text, words) == 0 || strcmp(words[0], "cat") == 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
		return;
	(void)fflush(stdout);
	pager->old_stdout = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	pager->pid = pager->old_stdout < 0 ? -1 : fork();
	if (pager->pid == 0)
		run_child(pipe_fds, words);
	if (pager->pid > 0) {
		(void)dup2(pipe_fds[1], STDOUT_FILENO);
		/* Who leaves the pager early wants no more; Ctrl-C there is the pager's. */
		(void)signal(SIGPIPE, SIG_IGN);
		(void)signal(SIGINT, SIG_IGN);
	} else {
		fd_close(&pager->old_stdout);
		pager->pid = 0;
	}
	fd_close(&pipe_fds[0]);
	fd_close(&pipe_fds[1]);
}

void pager_finish(struct pager *pager)
{
	if (pager->pid == 0)
		return;
	(void)fflush(stdout);
	clearerr(stdout);
	(void)dup2(pager->old_stdout, STDOUT_FILENO);
	fd_close(&pager->old_stdout);
	while (waitpid(pager->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	pager->pid = 0;
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGINT, SIG_DFL);
}
