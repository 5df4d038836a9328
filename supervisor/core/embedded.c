#include "core/embedded.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/loop.h"

#define DEBIAN_DIR  "/usr/lib/postgresql"
#define SOCKET_PORT "5432"

enum {
	SURVIVOR_MS = 50, /* between looks whether the survivors are gone */
	SURVIVOR_LOOKS = 100,
	STOP_MS = 60000, /* a fast shutdown writes a checkpoint */
	RESTART_MS = 500,
	RESTART_MAX_MS = 15000,
	STABLE_MS = 30000,
};

struct embedded {
	struct loop *loop;
	struct service *service;
	char **env;
	char *bin_dir, *data_dir, *new_dir, *url;
	char **argv, **initdb_argv;
	struct child *initdb;
	struct errtail *initdb_tail;
	struct loop_timer *survivor_timer;
	int looks;
};

/* ---- finding the programs ---- */

static bool has_programs(const char *dir)
{
	AUTO(mem_free_str) char *postgres = mem_printf("%s/postgres", dir);
	AUTO(mem_free_str) char *initdb = mem_printf("%s/initdb", dir);

	return access(postgres, X_OK) == 0 && access(initdb, X_OK) == 0;
}

/* Where the programs of `dir` really are: only Debian's folders tell a version. Takes `dir`. */
static char *resolve(char *dir)
{
	AUTO(mem_free_str) char *postgres = mem_printf("%s/postgres", dir);
	char *real = realpath(postgres, NULL);

	if (real)
		*strrchr(real, '/') = '\0';
	if (!real || !has_programs(real)) {
		free(real);
		return dir;
	}
	free(dir);
	return real;
}

/* The folder that PATH leads to; NULL when there is none. */
static char *find_in_path(void)
{
	const char *path = getenv("PATH");

	while (path && *path) {
		size_t len = strcspn(path, ":");
		char *dir = mem_strndup(path, len);

		if (has_programs(dir))
			return resolve(dir);
		free(dir);
		path += len + (path[len] == ':');
	}
	return NULL;
}

/* Debian keeps one folder a major version, none of them in PATH. major 0 = the newest. */
static char *find_in_debian(int major)
{
	DIR *dir = opendir(DEBIAN_DIR);
	struct dirent *entry;
	char *best = NULL;
	int best_major = 0;

	while (dir && (entry = readdir(dir))) {
		char *full = mem_printf(DEBIAN_DIR "/%s/bin", entry->d_name);
		int found = atoi(entry->d_name);

		if (found > best_major && (major == 0 || found == major) && has_programs(full)) {
			mem_set_str(&best, full);
			best_major = found;
		} else {
			free(full);
		}
	}
	if (dir)
		(void)closedir(dir);
	return best;
}

/* Major version of an existing data folder; 0 when there is none. */
static int data_major(const char *data_dir)
{
	AUTO(mem_free_str) char *path = mem_printf("%s/PG_VERSION", data_dir);
	AUTO(mem_free_str) char *text = NULL;
	size_t len;

	return fd_read_file(path, 64, &text, &len) == 0 ? atoi(text) : 0;
}

/* Major version that the programs in `bin_dir` are of, by the folder that Debian gives it; 0 = not known. */
static int bin_major(const char *bin_dir)
{
	int major = 0;

	return sscanf(bin_dir, DEBIAN_DIR "/%d/bin", &major) == 1 ? major : 0;
}

/* A data folder is read by servers of its own major version only. */
static char *other_version(const struct embedded *embedded, int major)
{
	AUTO(mem_free_str)
	char *found = embedded->bin_dir ? mem_printf(", and %s is of version %d", embedded->bin_dir,
						     bin_major(embedded->bin_dir))
					: mem_strdup("");

	return mem_printf(
		"%s was made by PostgreSQL %d, which is not installed%s: install postgresql-%d. To go on "
		"with another version, start with %d once more, write the database to a file by "
		"`proctorctl backup`, stop, move the folder away, start anew, and put the file back by "
		"`proctorctl restore`",
		embedded->data_dir, major, found, major, major);
}

static int find_programs(struct embedded *embedded, char **ret_error)
{
	int major = data_major(embedded->data_dir), found;

	embedded->bin_dir = find_in_debian(major);
	if (!embedded->bin_dir)
		embedded->bin_dir = find_in_path();
	found = embedded->bin_dir ? bin_major(embedded->bin_dir) : -1;
	if (major && (found < 0 || (found > 0 && found != major))) {
		*ret_error = other_version(embedded, major);
		return -EINVAL;
	}
	if (found < 0) {
		*ret_error = mem_strdup("no PostgreSQL server found in PATH or " DEBIAN_DIR
					"; install the package postgresql, or set [database] url");
		return -ENOPKG;
	}
	return 0;
}

/* ---- before a start ---- */

/* Not a shell that somebody has open in the data folder. */
static bool is_postgres(const char *pid)
{
	AUTO(mem_free_str) char *path = mem_printf("/proc/%s/comm", pid);
	AUTO(mem_free_str) char *text = NULL;
	size_t len;

	return fd_read_file(path, 64, &text, &len) == 0 && strcmp(text, "postgres\n") == 0;
}

/* Servers whose working folder is the data folder: backends that outlived a killed postmaster. A new server
 * refuses to start beside them. */
static int kill_survivors(const struct embedded *embedded)
{
	char wanted[4096], found[4096];
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	if (!proc || !realpath(embedded->data_dir, wanted)) {
		if (proc)
			(void)closedir(proc);
		return 0;
	}
	while ((entry = readdir(proc))) {
		AUTO(mem_free_str) char *link = mem_printf("/proc/%s/cwd", entry->d_name);
		int pid = atoi(entry->d_name);
		ssize_t len;

		if (pid <= 1 || pid == getpid())
			continue;
		len = readlink(link, found, sizeof(found) - 1);
		if (len <= 0)
			continue;
		found[len] = '\0';
		if (strcmp(found, wanted) == 0 && is_postgres(entry->d_name) && kill(pid, SIGKILL) == 0)
			count++;
	}
	(void)closedir(proc);
	return count;
}

static void look_for_survivors(void *arg)
{
	struct embedded *embedded = arg;
	int count = kill_survivors(embedded);

	if (count == 0) {
		service_prepared(embedded->service, NULL, false);
		return;
	}
	if (embedded->looks == 0)
		log_warning("postgres.survivors", "processes=%d action=killed", count);
	if (++embedded->looks > SURVIVOR_LOOKS) {
		service_prepared(embedded->service, "processes of an earlier server do not go away", false);
		return;
	}
	loop_timer_start(embedded->survivor_timer, SURVIVOR_MS);
}

static void on_initdb_exit(void *arg, const struct child_exit *exit)
{
	struct embedded *embedded = arg;
	AUTO(mem_free_str) char *error = NULL;

	embedded->initdb = NULL;
	errtail_drain(embedded->initdb_tail, 65536);
	errtail_free(&embedded->initdb_tail);
	if (exit->code != 0) {
		error = mem_printf("initdb failed: %s; its words are in the log above",
				   child_exit_text(exit));
		service_prepared(embedded->service, error, false);
		return;
	}
	/* Half a folder never gets the name of a whole one. */
	if (rename(embedded->new_dir, embedded->data_dir) < 0) {
		error = mem_printf("%s cannot be renamed: %s", embedded->new_dir, strerror(errno));
		service_prepared(embedded->service, error, false);
		return;
	}
	log_info("postgres.initialised", "folder=%s", embedded->data_dir);
	look_for_survivors(embedded);
}

static void remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		AUTO(mem_free_str) char *full = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		full = mem_printf("%s/%s", path, entry->d_name);
		if (unlink(full) < 0)
			remove_tree(full);
	}
	if (dir)
		(void)closedir(dir);
	(void)rmdir(path);
}

static void start_initdb(struct embedded *embedded)
{
	const struct child_spec spec = {
		.argv = (const char *const *)embedded->initdb_argv,
		.env = (const char *const *)embedded->env,
		.death_signal = SIGKILL,
	};
	struct child_fds fds;
	int r;

	remove_tree(embedded->new_dir);
	log_info("postgres.initdb", "folder=%s", embedded->data_dir);
	r = child_spawn(embedded->loop, &spec, on_initdb_exit, embedded, &embedded->initdb, &fds);
	if (r < 0) {
		service_prepared(embedded->service, "initdb cannot be started", false);
		return;
	}
	if (errtail_new(embedded->loop, fds.from_stderr, "service=initdb", &embedded->initdb_tail) < 0)
		abort(); /* a descriptor that was just made cannot refuse O_NONBLOCK */
}

static void prepare(void *arg, struct service *service)
{
	struct embedded *embedded = arg;

	(void)service;
	embedded->looks = 0;
	if (data_major(embedded->data_dir) == 0)
		start_initdb(embedded);
	else
		look_for_survivors(embedded);
}

/* ---- making ---- */

static void make_commands(struct embedded *embedded, const struct embedded_options *options)
{
	AUTO(mem_free_str) char *postgres = mem_printf("%s/postgres", embedded->bin_dir);
	AUTO(mem_free_str) char *initdb = mem_printf("%s/initdb", embedded->bin_dir);
	AUTO(mem_free_str)
	char *mode = mem_printf("unix_socket_permissions=%04o", options->socket_mode | 0110);
	AUTO(mem_free_str) char *group = mem_printf("unix_socket_group=%s", options->socket_group);
	/* Who reaches the socket may use the database: the same people as the control socket's. */
	const char *const initdb_words[] = { initdb,
					     "-D",
					     embedded->new_dir,
					     "-U",
					     "proctor",
					     "--auth=trust",
					     "-E",
					     "UTF8",
					     "--locale=C.UTF-8",
					     "--no-instructions",
					     NULL };
	const char *const words[] = {
		postgres,
		"-D",
		embedded->data_dir,
		"-k",
		options->run_dir,
		"-p",
		SOCKET_PORT,
		"-c",
		"listen_addresses=",
		"-c",
		mode,
		"-c",
		group,
		"-c",
		"max_connections=40",
		"-c",
		"max_wal_size=2GB",
		"-c",
		"checkpoint_timeout=15min",
		"-c",
		"jit=off",
		"-c",
		"log_line_prefix=",
		"-c",
		"log_checkpoints=off",
		"-c",
		"logging_collector=off",
		NULL,
	};

	embedded->initdb_argv = mem_copy_words(initdb_words);
	embedded->argv = mem_copy_words(words);
}

static int check_socket_path(const struct embedded_options *options, char **ret_error)
{
	struct sockaddr_un address;
	size_t len = strlen(options->run_dir) + strlen("/.s.PGSQL." SOCKET_PORT);

	if (len < sizeof(address.sun_path))
		return 0;
	*ret_error = mem_printf(
		"[daemon] run_dir is too long: a socket path below it would have %zu bytes, the system "
		"allows %zu; choose a shorter folder",
		len, sizeof(address.sun_path) - 1);
	return -ENAMETOOLONG;
}

int embedded_new(struct loop *loop, const struct embedded_options *options, struct embedded **ret,
		 char **ret_error)
{
	struct embedded *embedded;
	struct service_spec spec;
	int r = check_socket_path(options, ret_error);

	if (r < 0)
		return r;
	embedded = mem_alloc(sizeof(*embedded));
	embedded->loop = loop;
	embedded->env = mem_copy_words(options->env);
	embedded->data_dir = mem_printf("%s/postgres", options->state_dir);
	embedded->new_dir = mem_printf("%s/postgres.new", options->state_dir);
	embedded->url = mem_printf("host=%s port=" SOCKET_PORT " user=proctor dbname=postgres",
				   options->run_dir);
	loop_timer_new(loop, look_for_survivors, embedded, &embedded->survivor_timer);
	r = find_programs(embedded, ret_error);
	if (r < 0) {
		embedded_free(&embedded);
		return r;
	}
	make_commands(embedded, options);
	spec = (struct service_spec){
		.name = "postgres",
		.argv = (const char *const *)embedded->argv,
		.env = options->env,
		.type = RESTART_PERMANENT,
		.shutdown_timeout_ms = STOP_MS,
		.stop_signal = SIGINT,	 /* fast shutdown */
		.death_signal = SIGQUIT, /* immediate shutdown: its backends go too */
		.restart_delay_ms = RESTART_MS,
		.restart_delay_max_ms = RESTART_MAX_MS,
		.stable_after_ms = STABLE_MS,
		.prepare = prepare,
		.prepare_arg = embedded,
	};
	service_new(loop, &spec, &options->events, &embedded->service);
	*ret = embedded;
	return 0;
}

void embedded_free(struct embedded **embedded)
{
	struct embedded *dead = *embedded;

	if (!dead)
		return;
	service_free(&dead->service);
	child_abandon(&dead->initdb);
	errtail_free(&dead->initdb_tail);
	loop_timer_free(&dead->survivor_timer);
	mem_free_words(&dead->env);
	mem_free_words(&dead->argv);
	mem_free_words(&dead->initdb_argv);
	free(dead->bin_dir);
	free(dead->data_dir);
	free(dead->new_dir);
	free(dead->url);
	mem_free(embedded);
}

struct service *embedded_service(const struct embedded *embedded)
{
	return embedded->service;
}

const char *embedded_url(const struct embedded *embedded)
{
	return embedded->url;
}

const char *embedded_bin_dir(const struct embedded *embedded)
{
	return embedded->bin_dir;
}
