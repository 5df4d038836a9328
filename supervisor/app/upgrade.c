#include "app/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/command.h"
#include "app/control.h"
#include "app/daemon_private.h"
#include "app/takeover.h"
#include "app/tree.h"
#include "app/upgrade_private.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/dispatch.h"
#include "core/embedded.h"
#include "core/pool.h"
#include "core/service.h"
#include "core/store.h"
#include "core/suptree.h"
#include "io/handover.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "io/sdnotify.h"
#include "io/spool.h"

enum {
	SETTLE_MS = 3000, /* for what is under way to come to an end */
	TICK_MS = 3,
	TICKS_MIN = 3, /* so that the loop has heard of every signal that came before they were held back */
};

/* ---- giving up ---- */

static void free_upgrade(struct upgrade *upgrade)
{
	upgrade_end_check(upgrade);
	loop_timer_free(&upgrade->timer);
	free(upgrade->path);
	free(upgrade);
}

static void hold_back(struct daemon *daemon, bool hold)
{
	struct pool *pool;

	dispatch_hold_claims(daemon->dispatch, hold);
	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++)
		pool_hold_back(pool, hold);
	commands_hold_back(daemon->commands, hold);
}

/* Nothing has changed, and nothing will. `why` is one line. */
void upgrade_refuse(struct upgrade *upgrade, const char *why)
{
	struct daemon *daemon = upgrade->daemon;
	AUTO(mem_free_str) char *clean = jsontext_clean(mem_strdup(why));
	AUTO(mem_free_str) char *path = jsontext_clean(mem_strdup(upgrade->path));
	AUTO(mem_free_str) char *data = jsontext_pack("{s:s, s:s}", "reason", clean, "program", path);

	log_warning("daemon.upgrade_refused", "program=%s reason=\"%s\" effect=\"nothing has changed\"",
		    upgrade->path, clean);
	daemon->upgrade = NULL;
	if (upgrade->settling) {
		(void)sigprocmask(SIG_SETMASK, &upgrade->signals, NULL);
		hold_back(daemon, false);
	}
	daemon_event(daemon, "warning", "daemon.upgrade_refused", "daemon", data);
	sdnotify_send("READY=1");
	call_error(upgrade->call, CALL_CONFLICT, "not upgraded, the daemon goes on as it was: %s", clean);
	free_upgrade(upgrade);
}

void upgrade_cancel(struct daemon *daemon, const char *why)
{
	if (daemon->upgrade)
		upgrade_refuse(daemon->upgrade, why);
}

/* ---- execve ---- */

int upgrade_seal_state(struct daemon *daemon, struct handover **ret, int *ret_fd)
{
	AUTO(handover_free) struct handover *h = NULL;
	int r;

	handover_new(&h);
	takeover_pass(daemon, h);
	r = handover_seal(h, ret_fd);
	if (r < 0)
		return r;
	*ret = h;
	h = NULL;
	return 0;
}

/* Our environment and two more (the last may be NULL). Entries are borrowed. */
static char **environment(char *state, char *notify)
{
	size_t count = 0;
	char **env;

	while (environ[count])
		count++;
	env = mem_array(count + 3, sizeof(*env));
	for (size_t i = 0; i < count; i++)
		env[i] = environ[i];
	env[count] = state;
	env[count + 1] = notify;
	return env;
}

/* Comes back with -errno when the system refuses. */
static int replace_program(const struct upgrade *upgrade, const struct handover *h, int fd)
{
	/* What was taken out of it at the start. */
	AUTO(mem_free_str)
	char *notify = sdnotify_path() ? mem_printf("NOTIFY_SOCKET=%s", sdnotify_path()) : NULL;
	AUTO(mem_free_str) char *state = mem_printf(UPGRADE_VARIABLE "=%d", fd);
	char **env = environment(state, notify);
	int r = handover_keep_open(h, true);

	if (r == 0 && fcntl(fd, F_SETFD, 0) < 0)
		r = -errno;
	if (r == 0) {
		log_flush();
		(void)execve(upgrade->path, upgrade->daemon->argv, env);
		r = -errno;
	}
	(void)!handover_keep_open(h, false);
	free(env);
	return r;
}

static bool is_same_file(const struct upgrade *upgrade)
{
	struct stat now;

	return stat(upgrade->path, &now) == 0 && now.st_dev == upgrade->seen.st_dev &&
	       now.st_ino == upgrade->seen.st_ino && now.st_size == upgrade->seen.st_size &&
	       now.st_mtim.tv_sec == upgrade->seen.st_mtim.tv_sec &&
	       now.st_mtim.tv_nsec == upgrade->seen.st_mtim.tv_nsec;
}

static void go(struct upgrade *upgrade)
{
	AUTO(handover_free) struct handover *h = NULL;
	AUTO(mem_free_str) char *why = NULL;
	AUTO(fd_close) int fd = -1;
	int r;

	if (!is_same_file(upgrade)) {
		upgrade_refuse(upgrade, "the file was replaced while it was being checked; try again");
		return;
	}
	r = upgrade_seal_state(upgrade->daemon, &h, &fd);
	if (r == 0)
		r = replace_program(upgrade, h, fd);
	why = mem_printf("%s cannot be run: %s", upgrade->path, strerror(-r));
	upgrade_refuse(upgrade, why);
}

/* ---- settling ---- */

/* What cannot be handed over yet; NULL = nothing. */
static char *hindrance(const struct daemon *daemon)
{
	struct spool_stat spool;

	store_spool_stat(daemon->store, &spool);
	if (spool.unwritten > 0)
		return mem_printf("%llu answers are in memory only: %s", (unsigned long long)spool.unwritten,
				  store_trouble(daemon->store));
	if (daemon->embedded && service_state(embedded_service(daemon->embedded)) == SERVICE_PREPARING)
		return mem_strdup("the embedded Postgres is being prepared for its start");
	return NULL;
}

/* What is better waited for, but not for long. */
static bool is_unsettled(const struct daemon *daemon)
{
	struct pool *pool;

	for (size_t i = 0; (pool = tree_pool_at(daemon->tree, i)); i++)
		if (pool_is_forking(pool))
			return true;
	return store_is_busy(daemon->store) || commands_are_busy(daemon->commands);
}

static void on_tick(void *arg)
{
	struct upgrade *upgrade = arg;
	struct daemon *daemon = upgrade->daemon;
	bool late = loop_now_ms(daemon->loop) - upgrade->settle_ms >= SETTLE_MS;
	AUTO(mem_free_str) char *why = hindrance(daemon);

	upgrade->ticks++;
	if (why && late)
		upgrade_refuse(upgrade, why);
	else if (why || upgrade->ticks < TICKS_MIN || (is_unsettled(daemon) && !late))
		loop_timer_start(upgrade->timer, TICK_MS);
	else
		go(upgrade);
}

/* Signals wait as well: those that come now are the new program's. */
void upgrade_settle(struct upgrade *upgrade)
{
	struct daemon *daemon = upgrade->daemon;
	sigset_t all;

	upgrade->settling = true;
	upgrade->settle_ms = loop_now_ms(daemon->loop);
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &upgrade->signals);
	hold_back(daemon, true);
	loop_timer_new(daemon->loop, on_tick, upgrade, &upgrade->timer);
	loop_timer_start(upgrade->timer, TICK_MS);
}

/* ---- beginning ---- */

/* The file that we were started from, or what a package put in its place; fresh, NULL when it cannot be told.
 */
static char *own_program(void)
{
	static const char gone[] = " (deleted)";
	char path[PATH_MAX + sizeof(gone)];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	size_t tail = sizeof(gone) - 1;

	if (len <= 0)
		return NULL;
	path[len] = '\0';
	if ((size_t)len > tail && strcmp(path + len - tail, gone) == 0 && access(path, F_OK) < 0)
		path[(size_t)len - tail] = '\0';
	return mem_strdup(path);
}

static bool is_any_removed(const struct suptree_node *node)
{
	const struct suptree_node *child;

	if (suptree_is_removed(node))
		return true;
	for (size_t i = 0; (child = suptree_child(node, i)); i++)
		if (is_any_removed(child))
			return true;
	return false;
}

/* Why there is nothing that could be handed over now; NULL = there is. */
static const char *not_now(const struct daemon *daemon)
{
	struct suptree_node *root = suptree_root(tree_nodes(daemon->tree));

	if (daemon->phase == DAEMON_STOPPING)
		return "the daemon is stopping";
	if (suptree_state(root) == SUPTREE_DOWN)
		return "the daemon is starting: its health check is not done";
	if (daemon->hold)
		return "a backup is being put in place of the database";
	if (is_any_removed(root))
		return "what the last reload has removed is still stopping";
	return NULL;
}

static char *look_at_file(struct upgrade *upgrade)
{
	if (upgrade->path[0] != '/')
		return mem_printf("%s: give the whole path, from / on", upgrade->path);
	if (stat(upgrade->path, &upgrade->seen) < 0)
		return mem_printf("%s: %s", upgrade->path, strerror(errno));
	if (!S_ISREG(upgrade->seen.st_mode))
		return mem_printf("%s is no file that could be run", upgrade->path);
	if (access(upgrade->path, X_OK) < 0)
		return mem_printf("%s may not be run by uid %u: %s", upgrade->path, (unsigned)geteuid(),
				  strerror(errno));
	return NULL;
}

void upgrade_begin(struct daemon *daemon, const char *path, struct call *call)
{
	struct upgrade *upgrade;
	const char *hindered = not_now(daemon);
	AUTO(mem_free_str) char *why = NULL;

	if (daemon->upgrade) {
		call_error(call, CALL_CONFLICT, "an upgrade is under way already");
		return;
	}
	upgrade = mem_alloc(sizeof(*upgrade));
	upgrade->daemon = daemon;
	upgrade->call = call;
	upgrade->path = path ? mem_strdup(path) : own_program();
	if (!upgrade->path)
		upgrade->path = mem_strdup("");
	daemon->upgrade = upgrade;
	log_info("daemon.upgrading", "from=%s program=%s", PROCTOR_VERSION, upgrade->path);
	sdnotify_reloading();
	why = hindered ? mem_strdup(hindered) : look_at_file(upgrade);
	if (why)
		upgrade_refuse(upgrade, why);
	else
		upgrade_check(upgrade);
}

/* ---- in the new program ---- */

/* What the daemon went through by now, and what this time is to be told of. */
void upgrade_pass(struct daemon *daemon, struct handover *h)
{
	struct upgraded *upgraded = &daemon->upgraded;
	int64_t settle_ms = daemon->upgrade ? daemon->upgrade->settle_ms : 0;
	char *from = mem_strdup(PROCTOR_VERSION);
	int count = upgraded->count + 1;

	handover_text(h, "version", &from);
	handover_int(h, "count", 1, INT_MAX, &count);
	handover_time(h, "settleMs", &settle_ms);
	if (handover_is_read(h)) {
		mem_set_str(&upgraded->from, mem_strdup(from));
		upgraded->count = count;
		upgraded->settle_ms = settle_ms;
		upgraded->wall_ms = clock_wall_ms();
	}
	mem_free(&from);
}

void upgrade_await(struct daemon *daemon, struct call *call)
{
	daemon->upgraded.call = call;
}

void upgrade_finish(struct daemon *daemon)
{
	struct upgraded *upgraded = &daemon->upgraded;
	int64_t pause_ms = clock_now_ms() - upgraded->settle_ms;
	int workers = tree_serving(daemon->tree), held = dispatch_held(daemon->dispatch);
	AUTO(mem_free_str)
	char *data = jsontext_pack("{s:s, s:s, s:I, s:i, s:i}", "from", upgraded->from, "to", PROCTOR_VERSION,
				   "pauseMs", (long long)pause_ms, "workers", workers, "probes", held);

	log_info("daemon.upgraded", "from=%s to=%s pid=%d pause_ms=%lld workers=%d held=%d", upgraded->from,
		 PROCTOR_VERSION, (int)getpid(), (long long)pause_ms, workers, held);
	daemon_event(daemon, "info", "daemon.upgraded", "daemon", data);
	sdnotify_send("READY=1");
	if (upgraded->call)
		call_ok_raw(upgraded->call, data, strlen(data));
	upgraded->call = NULL;
}
