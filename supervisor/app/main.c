/* proctord: command line, signals, and the order in which the process comes up. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/daemon_private.h"
#include "app/program.h"
#include "app/state.h"
#include "app/takeover.h"
#include "app/upgrade.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/models.h"
#include "io/cgroup.h"
#include "io/child.h"
#include "io/guard.h"
#include "io/handover.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "io/sdnotify.h"
#include "io/spool.h"
#include "policy/metric.h"

static const char help[] =
	"Usage: proctord [OPTION]...\n"
	"Runs LLM probes: keeps the worker pool, the limits and the queue, and records every transcript.\n"
	"\n"
	"  -c, --config FILE     read FILE (default " CONFIG_DEFAULT_PATH
	", or all defaults if there is none)\n"
	"      --check-config    read the configuration, say what is wrong with it, and exit\n"
	"      --print-config    print the configuration in effect (secrets redacted), and exit\n"
	"      --sample-config   print a sample file with every key, and exit\n"
	"      --config-reference  print the reference of all keys as Markdown, and exit\n"
	"      --metrics-reference  print the reference of all metrics as Markdown, and exit\n"
	"      --spool-dump FILE  print the records of a segment of the spool as JSON lines, and exit\n"
	"      --home DIR        folder of workers/, sql/ and conf/ (default: found beside the program)\n"
	"  -h, --help            this text\n"
	"  -V, --version         the version\n"
	"\n"
	"Signals: TERM and INT drain and stop (a second one at once), HUP reads the configuration again.\n"
	"Exit status: 0 stopped as told, 1 failed, 2 bad usage, 78 bad configuration.\n"
	"Talk to a running daemon with proctorctl.\n";

enum {
	OPT_CHECK = 256,
	OPT_PRINT,
	OPT_SAMPLE,
	OPT_REFERENCE,
	OPT_METRICS,
	OPT_HOME,
	OPT_SPOOL_DUMP,
	OPT_UPGRADE
};

/* MODE_REHEARSE: run by a daemon that asks whether we would take its place. */
enum mode { MODE_RUN, MODE_CHECK, MODE_PRINT, MODE_REHEARSE };

struct options {
	const char *config, *home;
	enum mode mode;
	int state_fd; /* of the daemon whose place we take; -1 = none */
};

static int dump_spool(const char *path)
{
	AUTO(mem_free_str) char *error = NULL;

	if (spool_dump(path, stdout, &error) == 0)
		return 0;
	(void)fprintf(stderr, "proctord: %s\n", error);
	return DAEMON_EXIT_FAILED;
}

/* -1 = go on; else the exit status. */
static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, OPT_CHECK },
		{ "print-config", no_argument, NULL, OPT_PRINT },
		{ "sample-config", no_argument, NULL, OPT_SAMPLE },
		{ "config-reference", no_argument, NULL, OPT_REFERENCE },
		{ "spool-dump", required_argument, NULL, OPT_SPOOL_DUMP },
		{ "metrics-reference", no_argument, NULL, OPT_METRICS },
		{ "home", required_argument, NULL, OPT_HOME },
		{ "check-upgrade", no_argument, NULL, OPT_UPGRADE }, /* the daemon's own: not in the help */
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			ret->config = optarg;
			break;
		case OPT_HOME:
			ret->home = optarg;
			break;
		case OPT_CHECK:
			ret->mode = MODE_CHECK;
			break;
		case OPT_PRINT:
			ret->mode = MODE_PRINT;
			break;
		case OPT_UPGRADE:
			ret->mode = MODE_REHEARSE;
			ret->state_fd = UPGRADE_CHECK_FD;
			break;
		case OPT_SAMPLE:
			config_write_sample(stdout);
			return 0;
		case OPT_REFERENCE:
			config_write_reference(stdout);
			return 0;
		case OPT_METRICS:
			metric_write_reference(stdout);
			return 0;
		case OPT_SPOOL_DUMP:
			return dump_spool(optarg);
		case 'h':
			(void)fputs(help, stdout);
			return 0;
		case 'V':
			(void)puts("proctord " PROCTOR_VERSION);
			return 0;
		default:
			(void)fputs("Try 'proctord --help'.\n", stderr);
			return 2;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "proctord: unexpected argument \"%s\"\nTry 'proctord --help'.\n",
			      argv[optind]);
		return 2;
	}
	return -1;
}

/* ---- where things are ---- */

static bool is_home(const char *dir)
{
	AUTO(mem_free_str) char *sql = mem_printf("%s/sql", dir);

	return access(sql, R_OK | X_OK) == 0;
}

/* Beside build/ in a checkout, PREFIX/lib/proctor once installed. NULL when neither is there. */
static char *find_home(const char *told)
{
	static const char *const places[] = { "..", "../lib/proctor" };
	char exe[PATH_MAX];
	ssize_t len;

	if (told)
		return is_home(told) ? realpath(told, NULL) : NULL;
	len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (len <= 0)
		return NULL;
	exe[len] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		AUTO(mem_free_str) char *copy = mem_strdup(exe);
		AUTO(mem_free_str) char *dir = mem_printf("%s/%s", dirname(copy), places[i]);

		if (is_home(dir))
			return realpath(dir, NULL);
	}
	return NULL;
}

static int find_paths(const struct options *options, const struct config *config, struct paths *ret,
		      char **ret_error)
{
	ret->home = find_home(options->home);
	if (!ret->home) {
		*ret_error = mem_printf("no folder with workers/, sql/ and conf/ %s%s; give it with --home",
					options->home ? "at " : "beside the program",
					options->home ? options->home : "");
		return -ENOENT;
	}
	ret->config = mem_strdup(options->config);
	ret->models = config->daemon.models[0] ? mem_strdup(config->daemon.models)
					       : mem_printf("%s/conf/models.ini", ret->home);
	ret->socket = config->control.socket[0] ? mem_strdup(config->control.socket)
						: mem_printf("%s/proctor.sock", config->daemon.run_dir);
	return 0;
}

/* ---- signals ---- */

static void on_stop_signal(void *arg, int signo)
{
	log_info("daemon.signal", "signal=%s", sigabbrev_np(signo));
	daemon_shutdown(arg);
}

static void on_reload_signal(void *arg, int signo)
{
	AUTO(mem_free_str) char *text = NULL;

	(void)signo;
	/* A refusal is logged there; a signal has nobody to answer. */
	(void)!daemon_reload(arg, &text);
}

struct signals {
	struct loop_signal *term, *interrupt, *hup;
};

/* A program that takes another's place finds all held back, until it can heed them. */
static void heed_signals(void)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void watch_signals(struct loop *loop, struct daemon *daemon, struct signals *ret)
{
	(void)signal(SIGPIPE, SIG_IGN);
	loop_signal_new(loop, SIGTERM, on_stop_signal, daemon, &ret->term);
	loop_signal_new(loop, SIGINT, on_stop_signal, daemon, &ret->interrupt);
	loop_signal_new(loop, SIGHUP, on_reload_signal, daemon, &ret->hup);
}

static void unwatch_signals(struct signals *signals)
{
	loop_signal_free(&signals->term);
	loop_signal_free(&signals->interrupt);
	loop_signal_free(&signals->hup);
}

/* ---- running ---- */

static int complain(const char *error)
{
	log_error("daemon.failed", "reason=\"%s\"", error);
	return DAEMON_EXIT_FAILED;
}

/* What the configuration asks for cannot be had, and the next start would find it so. */
static int complain_of(int r, const char *error)
{
	int status = complain(error);

	return r == -EINVAL || r == -ENAMETOOLONG || r == -ENOPKG ? DAEMON_EXIT_CONFIG : status;
}

/* Makes the daemon, and gives it what its predecessor has left. */
static int make_daemon(struct loop *loop, const struct daemon_start *start, struct daemon **ret,
		       char **ret_error)
{
	int r = daemon_new(loop, start, ret, ret_error);

	if (r < 0 || !start->handover)
		return r;
	takeover_pass(*ret, start->handover);
	if (!handover_error(start->handover))
		return 0;
	*ret_error = mem_strdup(handover_error(start->handover));
	return -EPROTO;
}

static int run_loop(struct daemon_start *start)
{
	AUTO(mem_free_str) char *error = NULL;
	struct signals signals = { 0 };
	struct daemon *daemon;
	struct loop *loop;
	int status, r;

	if (loop_new(&loop) < 0 || child_init(loop) < 0)
		return complain("the event loop cannot be made");
	r = make_daemon(loop, start, &daemon, &error);
	if (r < 0) {
		child_fini();
		loop_free(&loop);
		return complain_of(r, error);
	}
	watch_signals(loop, daemon, &signals);
	guard_watch(loop);
	cgroup_watch(loop);
	if (start->handover) {
		handover_free(&start->handover);
		heed_signals();
		takeover_resume(daemon);
	} else {
		log_info("daemon.start", "version=%s pid=%d socket=%s", PROCTOR_VERSION, (int)getpid(),
			 daemon->paths.socket);
		daemon_start(daemon);
	}
	loop_run(loop);
	status = daemon->exit_code;
	guard_unwatch();
	unwatch_signals(&signals);
	daemon_free(&daemon);
	child_fini();
	cgroup_stop();
	loop_free(&loop);
	guard_end();
	return status;
}

/* What run_loop() was not given. */
static int leave(struct daemon_start *start, int status)
{
	handover_free(&start->handover);
	program_free(&start->program);
	models_free(&start->models);
	config_free(&start->config);
	paths_free(&start->paths);
	free(start->state_id);
	return status;
}

/* Makes the process what a daemon needs. */
static int prepare(struct daemon_start *start, char **ret_error)
{
	/* The key file was read as root, if we are: the daemon's user need not be able to. */
	if (state_prepare(start->config, ret_error) < 0 ||
	    state_lock(start->config, &start->state_id, ret_error) < 0)
		return -EINVAL;
	/* Before there is a process that would have to be moved. That there is nothing to divide is no
	 * failure. */
	(void)!cgroup_start();
	if (guard_start() == 0)
		return 0;
	*ret_error = mem_strdup("the guard of its children cannot be started");
	return -EAGAIN;
}

/* The same of a process that is what a daemon needs, but not yet ours. */
static int take_over(struct daemon_start *start, int state_fd, bool rehearsal, char **ret_error)
{
	int r = handover_open(state_fd, rehearsal, &start->handover, ret_error);

	if (r < 0)
		return r;
	takeover_pass_process(start->handover, &start->state_id);
	*ret_error = takeover_check_config(start->handover, start->config, start->program);
	return *ret_error ? -EINVAL : 0;
}

static int run(struct daemon_start *start, int state_fd)
{
	AUTO(mem_free_str) char *error = NULL;
	int r = state_fd >= 0 ? take_over(start, state_fd, false, &error) : prepare(start, &error);
	int status;

	if (r < 0)
		return leave(start, complain(error));
	if (log_start() < 0)
		return leave(start, complain("the log cannot be started"));
	status = run_loop(start);
	log_stop();
	return status;
}

/* ---- on trial ---- */

/* The verdict, one line for the daemon that asks. The process ends as it is: what stands for the daemon's
 * parts in it must not be freed, for that would end some of them. */
static _Noreturn void tell_verdict(const char *reason)
{
	AUTO(mem_free_str) char *clean = reason ? jsontext_clean(mem_strdup(reason)) : NULL;
	AUTO(mem_free_str)
	char *verdict = clean ? jsontext_pack("{s:b, s:s}", "takesOver", 0, "reason", clean)
			      : jsontext_pack("{s:b, s:s}", "takesOver", 1, "version", PROCTOR_VERSION);

	(void)puts(verdict);
	(void)fflush(stdout);
	_exit(reason ? 1 : 0);
}

static _Noreturn void rehearse(struct daemon_start *start)
{
	struct daemon *daemon;
	struct loop *loop;
	char *error = NULL;

	if (take_over(start, UPGRADE_CHECK_FD, true, &error) < 0)
		tell_verdict(error);
	if (loop_new(&loop) < 0)
		tell_verdict("the event loop cannot be made");
	tell_verdict(make_daemon(loop, start, &daemon, &error) < 0 ? error : NULL);
}

/* ---- the command line's end ---- */

static int config_error(const struct options *options, struct daemon_start *start, const char *error)
{
	if (options->mode == MODE_REHEARSE)
		tell_verdict(error);
	(void)fprintf(stderr, "proctord: %s\n", error);
	return leave(start, DAEMON_EXIT_CONFIG);
}

/* The descriptor that the program has left whose place we take; -1 when there was none. */
static int inherited_state(void)
{
	const char *told = getenv(UPGRADE_VARIABLE);
	int fd = told ? atoi(told) : -1;

	(void)unsetenv(UPGRADE_VARIABLE);
	return fd > STDERR_FILENO && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

/* No core of ours or of any child: keys are in it. One byte, because a core that is piped to a program
 * ignores a limit of 0, and the kernel takes 1 for "none" (core(5), umh_pipe_setup() in the kernel). */
static void forbid_cores(void)
{
	const struct rlimit one = { 1, 1 }, none = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &one) < 0)
		(void)setrlimit(RLIMIT_CORE, &none);
}

int main(int argc, char **argv)
{
	struct options options = { .state_fd = inherited_state() };
	struct daemon_start start = { .argv = argv };
	AUTO(mem_free_str) char *error = NULL;
	int status = parse_options(argc, argv, &options);

	if (status >= 0)
		return status;
	mem_return_early();
	forbid_cores();
	sdnotify_init();
	if (options.mode == MODE_REHEARSE)
		guard_unmark();
	if (config_load(options.config, &start.config, &error) < 0)
		return config_error(&options, &start, error);
	if (options.mode == MODE_PRINT) {
		config_write(start.config, stdout);
		return leave(&start, 0);
	}
	if (options.mode == MODE_REHEARSE)
		log_set_level(LOG_LEVEL_ERROR);
	else
		daemon_configure_log(start.config);
	if (find_paths(&options, start.config, &start.paths, &error) < 0 ||
	    models_load(start.paths.models, &start.models, &error) < 0 ||
	    program_new(start.config, &start.paths, &start.program, &error) < 0)
		return config_error(&options, &start, error);
	if (options.mode == MODE_CHECK) {
		(void)printf("%s: good\n", start.config->path[0] ? start.config->path : "all defaults");
		return leave(&start, 0);
	}
	if (options.mode == MODE_REHEARSE)
		rehearse(&start);
	return run(&start, options.state_fd);
}
