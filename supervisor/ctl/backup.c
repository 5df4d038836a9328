/* backup: pg_dump into a file, which gets its name when all of it is on the disk. */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"
#include "ctl/pgtools.h"
#include "ctl/text.h"

struct backup {
	struct ctl *ctl;
	struct pgtools tools;
	const char *path;
	char *part; /* its name until it is whole */
	int fd;
};

static int64_t size_of(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) == 0 ? stat.st_size : 0;
}

static void show_progress(void *arg)
{
	const struct backup *backup = arg;
	AUTO(mem_free_str) char *size = text_bytes(size_of(backup->fd));
	AUTO(mem_free_str) char *time = text_seconds(pgtools_elapsed_ms(&backup->tools));

	(void)fprintf(stderr, "\r\033[K%s written, %s", size, time);
}

static int fail(const struct backup *backup, const char *deed)
{
	ctl_complain("cannot %s %s: %s", deed, backup->path, strerror(errno));
	return CTL_FAILED;
}

static int refuse_existing(const struct backup *backup)
{
	ctl_complain("%s is there already; it is left as it is", backup->path);
	return CTL_FAILED;
}

/* Whoever reads it reads everything: it is for its owner only. */
static int open_part(struct backup *backup)
{
	if (faccessat(AT_FDCWD, backup->path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return refuse_existing(backup);
	backup->part = mem_printf("%s.XXXXXX", backup->path);
	backup->fd = mkostemp(backup->part, O_CLOEXEC);
	if (backup->fd < 0)
		mem_free(&backup->part);
	return backup->fd < 0 ? fail(backup, "write") : CTL_OK;
}

static int dump(struct backup *backup)
{
	static const char *const argv[] = { "pg_dump", "--format=custom", "--no-password", NULL };
	bool shown = isatty(STDERR_FILENO) == 1 && !backup->ctl->json;
	const struct pgtools_job job = {
		.argv = argv,
		.in_fd = -1,
		.out_fd = backup->fd,
		.tick = shown ? show_progress : NULL,
		.arg = backup,
	};
	bool done = pgtools_run(&backup->tools, &job);

	if (shown)
		(void)fputs("\r\033[K", stderr);
	return done ? CTL_OK : CTL_FAILED;
}

static int sync_folder(const char *path)
{
	AUTO(mem_free_str) char *copy = mem_strdup(path);
	AUTO(fd_close) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* By a link, which never takes the place of another file; by a renaming where there are none. */
static int give_name(struct backup *backup)
{
	if (fsync(backup->fd) < 0)
		return fail(backup, "write");
	if (link(backup->part, backup->path) == 0)
		(void)unlink(backup->part);
	else if (errno == EEXIST)
		return refuse_existing(backup);
	else if (rename(backup->part, backup->path) < 0)
		return fail(backup, "name");
	mem_free(&backup->part);
	return sync_folder(backup->path) < 0 ? fail(backup, "sync the folder of") : CTL_OK;
}

static void tell(const struct backup *backup)
{
	int64_t bytes = size_of(backup->fd), elapsed_ms = pgtools_elapsed_ms(&backup->tools);
	AUTO(mem_free_str) char *size = text_bytes(bytes);
	AUTO(mem_free_str) char *time = text_duration(elapsed_ms);
	json_t *json;

	if (!backup->ctl->json) {
		(void)printf("%s: %s in %s\n", backup->path, size, time);
		return;
	}
	json = json_pack("{s:s, s:I, s:I}", "file", backup->path, "bytes", (json_int_t)bytes, "elapsedMs",
			 (json_int_t)elapsed_ms);
	(void)json_dumpf(json, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(json);
}

int action_backup(struct ctl *ctl)
{
	struct backup backup = { .ctl = ctl,
				 .path = json_string_value(json_object_get(ctl->parsed->own, "file")),
				 .fd = -1 };
	int code = open_part(&backup);

	if (code == CTL_OK)
		code = pgtools_open(ctl, &backup.tools);
	if (code == CTL_OK)
		code = dump(&backup);
	if (code == CTL_OK)
		code = give_name(&backup);
	if (code == CTL_OK)
		tell(&backup);
	if (backup.part)
		(void)unlink(backup.part);
	mem_free(&backup.part);
	fd_close(&backup.fd);
	pgtools_close(&backup.tools);
	return code;
}
