#include "io/cgroup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/handover.h"
#include "io/loop.h"

#define MOUNT "/sys/fs/cgroup"
#define LEAF  "daemon"

enum {
	FILE_MAX = 64 * 1024,
	NAMES_MAX = 100, /* groups of one name at a time */
	SWEEP_MS = 50,	 /* between tries to remove what was not empty yet; each doubles it */
	SWEEP_MAX_MS = 60000,
};

struct cgroup {
	struct list link; /* in `dead`, else on its own */
	char *path;
};

static char *ours; /* NULL while nothing is ours to divide */
static struct list dead = LIST_INIT(dead);
static struct loop_timer *sweep_timer;
static int64_t sweep_ms;

/* ---- the kernel's files ---- */

static int put(const char *folder, const char *name, const char *value, int flags)
{
	AUTO(mem_free_str) char *path = mem_printf("%s/%s", folder, name);
	AUTO(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | flags, 0644);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return -errno;
	return 0;
}

/* One that a new group has by itself, but in a tree of plain files. */
static int set(const char *folder, const char *name, const char *value)
{
	return put(folder, name, value, O_CREAT | O_TRUNC);
}

static int move_to(const char *folder, pid_t pid)
{
	AUTO(mem_free_str) char *text = mem_printf("%d\n", (int)pid);

	return set(folder, "cgroup.procs", text);
}

static char *get(const char *folder, const char *name)
{
	AUTO(mem_free_str) char *path = mem_printf("%s/%s", folder, name);
	char *text = NULL;
	size_t len;

	return fd_read_file(path, FILE_MAX, &text, &len) < 0 ? NULL : text;
}

static bool has_word(const char *words, const char *wanted)
{
	size_t len = strlen(wanted);

	for (;;) {
		words += strspn(words, " \n");
		if (!*words)
			return false;
		if (strncmp(words, wanted, len) == 0 && strchr(" \n", words[len]))
			return true;
		words += strcspn(words, " \n");
	}
}

/* ---- our own group ---- */

/* Fresh; NULL when we are in no group of version 2. */
static char *find_ours(void)
{
	const char *told = getenv("PROCTOR_CGROUP_ROOT");
	AUTO(mem_free_str) char *groups = NULL;
	const char *line;
	size_t len;

	if (told && *told)
		return mem_strdup(told);
	if (fd_read_file("/proc/self/cgroup", FILE_MAX, &groups, &len) < 0)
		return NULL;
	for (line = groups; strncmp(line, "0::", 3) != 0; line += len + 1) {
		len = strcspn(line, "\n");
		if (!line[len])
			return NULL;
	}
	return mem_printf(MOUNT "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
}

/* Whoever shares the group would lose what it has in it, and would keep us from dividing it. */
static bool is_shared(const char *folder)
{
	AUTO(mem_free_str) char *pids = get(folder, "cgroup.procs");

	for (const char *at = pids; at && *at; at += strspn(at, "\n")) {
		char *end;
		long pid = strtol(at, &end, 10);

		if (end == at || pid != getpid())
			return true;
		at = end;
	}
	return false;
}

static int check(const char *folder)
{
	AUTO(mem_free_str) char *controllers = get(folder, "cgroup.controllers");
	AUTO(mem_free_str) char *subtree = mem_printf("%s/cgroup.subtree_control", folder);

	if (!controllers)
		return -ENOENT;
	if (!has_word(controllers, "memory"))
		return -ENOTSUP;
	if (access(subtree, W_OK) < 0 || access(folder, W_OK) < 0)
		return -errno;
	return is_shared(folder) ? -EBUSY : 0;
}

static int divide(const char *folder)
{
	AUTO(mem_free_str) char *leaf = mem_printf("%s/" LEAF, folder);
	int r;

	if (mkdir(leaf, 0755) < 0 && errno != EEXIST)
		return -errno;
	r = move_to(leaf, getpid());
	if (r < 0) {
		(void)rmdir(leaf);
		return r;
	}
	r = put(folder, "cgroup.subtree_control", "+memory", 0);
	if (r < 0) {
		(void)move_to(folder, getpid());
		(void)rmdir(leaf);
	}
	return r;
}

/* ---- what has ended ---- */

static bool is_removed(const char *path)
{
	return rmdir(path) == 0 || errno == ENOENT;
}

static void forget(struct cgroup *group)
{
	list_remove(&group->link);
	free(group->path);
	free(group);
}

static void sweep(void *arg)
{
	(void)arg;
	list_foreach_safe (at, &dead) {
		struct cgroup *group = list_entry(at, struct cgroup, link);

		if (is_removed(group->path))
			forget(group);
	}
	if (list_is_empty(&dead))
		return;
	sweep_ms = sweep_ms * 2 < SWEEP_MAX_MS ? sweep_ms * 2 : SWEEP_MAX_MS;
	loop_timer_start(sweep_timer, sweep_ms);
}

int cgroup_start(void)
{
	AUTO(mem_free_str) char *folder = find_ours();
	int r = folder ? check(folder) : -ENOENT;

	if (r == 0)
		r = divide(folder);
	if (r < 0) {
		log_info("cgroup.none", "folder=%s why=\"%s\" effect=\"memory_limit is kept by rlimit\"",
			 folder ? folder : "none", strerror(-r));
		return r;
	}
	ours = folder;
	folder = NULL;
	log_info("cgroup.ours", "folder=%s effect=\"memory_limit is kept by control groups\"", ours);
	return 0;
}

void cgroup_watch(struct loop *loop)
{
	loop_timer_new(loop, sweep, NULL, &sweep_timer);
}

void cgroup_stop(void)
{
	list_foreach_safe (at, &dead) {
		struct cgroup *group = list_entry(at, struct cgroup, link);

		(void)is_removed(group->path);
		forget(group);
	}
	loop_timer_free(&sweep_timer);
	mem_free(&ours);
}

/* ---- one life ---- */

/* A folder that an earlier daemon left is as good as a new one, but may hold somebody still. */
static int make_folder(const char *name, char **ret)
{
	AUTO(mem_free_str) char *clean = mem_strdup(name);

	for (char *c = clean; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
			*c = '-';
	for (int number = 1; number <= NAMES_MAX; number++) {
		AUTO(mem_free_str)
		char *path = number == 1 ? mem_printf("%s/%s", ours, clean)
					 : mem_printf("%s/%s.%d", ours, clean, number);

		if (mkdir(path, 0755) < 0 &&
		    (errno != EEXIST || !is_removed(path) || mkdir(path, 0755) < 0)) {
			if (errno == EBUSY || errno == ENOTEMPTY || errno == EEXIST)
				continue;
			return -errno;
		}
		*ret = path;
		path = NULL;
		return 0;
	}
	return -EEXIST;
}

/* The process comes last: what it takes before is counted elsewhere, what it takes after is bounded. */
static int fill(const char *path, pid_t pid, int64_t memory_bytes)
{
	AUTO(mem_free_str) char *bytes = mem_printf("%" PRId64 "\n", memory_bytes);
	int r = set(path, "memory.max", bytes);

	if (r == 0)
		r = set(path, "memory.oom.group", "1\n");
	/* Else the limit would only push it out to disk. There is no such file where there is no swap. */
	if (r == 0)
		(void)put(path, "memory.swap.max", "0\n", 0);
	return r < 0 ? r : move_to(path, pid);
}

/* Takes `path`. */
static struct cgroup *make(char *path)
{
	struct cgroup *group = mem_alloc(sizeof(*group));

	list_init(&group->link);
	group->path = path;
	return group;
}

int cgroup_new(const char *name, pid_t pid, int64_t memory_bytes, struct cgroup **ret)
{
	AUTO(mem_free_str) char *path = NULL;
	int r;

	if (!ours)
		return -ENOTSUP;
	r = make_folder(name, &path);
	if (r < 0)
		return r;
	r = fill(path, pid, memory_bytes);
	if (r < 0) {
		(void)rmdir(path);
		return r;
	}
	*ret = make(path);
	path = NULL;
	return 0;
}

bool cgroup_had_oom(const struct cgroup *group)
{
	AUTO(mem_free_str) char *events = get(group->path, "memory.events");
	const char *line = events ? strstr(events, "oom_kill ") : NULL;

	return line && strtoll(line + strlen("oom_kill "), NULL, 10) > 0;
}

void cgroup_free(struct cgroup **group)
{
	struct cgroup *gone = *group;

	if (!gone)
		return;
	*group = NULL;
	/* Also what has left the process group. Kernels before 5.14 have no such file. */
	(void)put(gone->path, "cgroup.kill", "1\n", 0);
	if (is_removed(gone->path) || !sweep_timer) {
		forget(gone);
		return;
	}
	list_push_back(&dead, &gone->link);
	sweep_ms = SWEEP_MS;
	loop_timer_start_by(sweep_timer, sweep_ms);
}

void cgroup_pass_ours(struct handover *h, const char *name)
{
	handover_text(h, name, &ours);
}

void cgroup_pass(struct handover *h, const char *name, struct cgroup **group)
{
	char *path = handover_is_read(h) || !*group ? NULL : (*group)->path;

	handover_text(h, name, &path);
	if (handover_is_read(h))
		*group = path ? make(path) : NULL;
}
