#include "io/spool_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/spool_private.h"

int spool_folder_fail(struct spool_folder *folder, const char *name, int error, const char *what)
{
	mem_set_str(folder->ret_error, mem_printf("spool: %s%s%s: %s: %s", folder->spool->dir,
						  name[0] ? "/" : "", name, what, strerror(-error)));
	return error;
}

/* ---- the folder ---- */

static int open_dir(struct spool_folder *folder)
{
	struct spool *spool = folder->spool;
	int r = fd_make_dirs(spool->dir, 0700);

	if (r < 0)
		return spool_folder_fail(folder, "", r, "cannot be made");
	spool->dir_fd = open(spool->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return spool->dir_fd < 0 ? spool_folder_fail(folder, "", -errno, "cannot be opened") : 0;
}

static int lock(struct spool_folder *folder)
{
	struct spool *spool = folder->spool;

	spool->lock_fd = openat(spool->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (spool->lock_fd < 0)
		return spool_folder_fail(folder, "lock", -errno, "cannot be opened");
	if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return spool_folder_fail(folder, "lock", -errno, "cannot be locked");
	mem_set_str(folder->ret_error, mem_printf("spool: %s is in use by another process", spool->dir));
	return -EBUSY;
}

static int compare_found(const void *a, const void *b)
{
	uint64_t one = ((const struct spool_found_file *)a)->first,
		 other = ((const struct spool_found_file *)b)->first;

	return (one > other) - (one < other);
}

static int list_segments(struct spool_folder *folder)
{
	int fd = openat(folder->spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		int r = -errno;

		fd_close(&fd);
		return spool_folder_fail(folder, "", r, "cannot be read");
	}
	while ((errno = 0, entry = readdir(dir))) {
		uint64_t first;

		if (!spool_file_parse(entry->d_name, &first))
			continue;
		if (folder->count == folder->room) {
			folder->room = folder->room ? folder->room * 2 : 16;
			folder->found = mem_resize(folder->found, folder->room, sizeof(*folder->found));
		}
		folder->found[folder->count++] = (struct spool_found_file){ .first = first };
	}
	(void)closedir(dir);
	if (folder->count > 0)
		qsort(folder->found, folder->count, sizeof(*folder->found), compare_found);
	return 0;
}

static int refuse_version(struct spool_folder *folder, const char *name, uint32_t version)
{
	mem_set_str(folder->ret_error,
		    mem_printf("spool: %s/%s is of version %u of the format, and this proctord knows version "
			       "%d: start the newer proctord that wrote it",
			       folder->spool->dir, name, version, SPOOL_VERSION));
	return -EPROTONOSUPPORT;
}

static int read_header(struct spool_folder *folder, struct spool_found_file *found)
{
	unsigned char bytes[SPOOL_SEGMENT_HEADER];
	char name[SPOOL_NAME_MAX];
	AUTO(fd_close) int fd = -1;
	uint32_t version;
	struct stat st;
	ssize_t n;

	spool_file_name(found->first, name);
	fd = openat(folder->spool->dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return spool_folder_fail(folder, name, -errno, "cannot be opened");
	found->size = st.st_size;
	n = pread(fd, bytes, sizeof(bytes), 0);
	/* A block that cannot be read is damage like any other. */
	if (n < 0 && errno != EIO)
		return spool_folder_fail(folder, name, -errno, "cannot be read");
	found->state = n < 0 ? SPOOL_BAD : spool_decode_segment(bytes, (size_t)n, &found->header, &version);
	if (found->state == SPOOL_NEWER)
		return refuse_version(folder, name, version);
	return 0;
}

static int read_headers(struct spool_folder *folder)
{
	int r = list_segments(folder);

	for (size_t i = 0; r == 0 && i < folder->count; i++)
		r = read_header(folder, &folder->found[i]);
	return r;
}

/* ---- which spool it is ---- */

static int read_cursor(struct spool_folder *folder)
{
	struct spool *spool = folder->spool;
	uint32_t version = 0;
	int r;

	spool->cursor_fd = openat(spool->dir_fd, "cursor", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (spool->cursor_fd < 0)
		return spool_folder_fail(folder, "cursor", -errno, "cannot be opened");
	r = spool_cursor_read(spool->cursor_fd, &spool->cursor, &version);
	if (r == -EPROTONOSUPPORT)
		return refuse_version(folder, "cursor", version);
	if (r == -ENODATA && folder->count > 0)
		log_warning("spool.cursor_lost", "file=%s/cursor next=\"read all that is kept again\"",
			    spool->dir);
	return r == -ENODATA || r == -EIO ? 0
	       : r < 0			  ? spool_folder_fail(folder, "cursor", r, "cannot be read")
					  : 0;
}

/* The newest segment knows best: a cursor only spares work. */
static int choose_id(struct spool_folder *folder)
{
	struct spool *spool = folder->spool;
	uint64_t id = 0;

	for (size_t i = folder->count; i-- > 0 && id == 0;)
		if (folder->found[i].state == SPOOL_GOOD)
			id = folder->found[i].header.id;
	if (id == 0)
		id = spool->cursor.id;
	while (id == 0)
		if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
			return spool_folder_fail(folder, "", -errno, "no random number for a new spool");
	if (spool->cursor.id != 0 && spool->cursor.id != id)
		log_warning("spool.cursor_foreign", "file=%s/cursor next=\"read all that is kept again\"",
			    spool->dir);
	if (spool->cursor.id != id)
		spool->cursor = (struct spool_cursor){ .id = id };
	spool->id = id;
	return 0;
}

int spool_folder_put_aside(struct spool_folder *folder, const struct spool_found_file *found,
			   const char *reason)
{
	char name[SPOOL_NAME_MAX];
	int r = spool_file_put_aside(folder->spool->dir_fd, found->first);

	spool_file_name(found->first, name);
	if (r < 0)
		return spool_folder_fail(folder, name, r, "cannot be renamed");
	log_error("spool.put_aside", "file=%s/%s.aside reason=\"%s\"", folder->spool->dir, name, reason);
	return 0;
}

static int drop_foreign(struct spool_folder *folder)
{
	size_t kept = 0;

	for (size_t i = 0; i < folder->count; i++) {
		const struct spool_found_file *found = &folder->found[i];
		const char *reason = NULL;
		int r;

		if (found->state == SPOOL_GOOD && found->header.id != folder->spool->id)
			reason = "it is of another spool";
		else if (found->state == SPOOL_GOOD && found->header.first != found->first)
			reason = "it is not the segment that its name says";
		if (!reason) {
			folder->found[kept++] = *found;
			continue;
		}
		r = spool_folder_put_aside(folder, found, reason);
		if (r < 0)
			return r;
	}
	folder->count = kept;
	return 0;
}

static int check_cursor(struct spool_folder *folder)
{
	AUTO(fd_close) int fd = openat(folder->spool->dir_fd, "cursor", O_RDONLY | O_CLOEXEC);
	struct spool_cursor cursor;
	uint32_t version = 0;

	if (fd < 0 || spool_cursor_read(fd, &cursor, &version) != -EPROTONOSUPPORT)
		return 0; /* it only spares work */
	return refuse_version(folder, "cursor", version);
}

int spool_check(const char *dir, char **ret_error)
{
	AUTO(mem_free_str) char *name = mem_strdup(dir);
	struct spool spool = { .dir = name };
	struct spool_folder folder = { .spool = &spool, .ret_error = ret_error };
	int r;

	spool.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool.dir_fd < 0)
		return errno == ENOENT ? 0 : spool_folder_fail(&folder, "", -errno, "cannot be opened");
	r = read_headers(&folder);
	if (r == -ENOENT) {
		/* Its owner has removed one meanwhile. */
		mem_set_str(ret_error, NULL);
		r = 0;
	}
	if (r == 0)
		r = check_cursor(&folder);
	mem_free(&folder.found);
	fd_close(&spool.dir_fd);
	return r;
}

int spool_folder_look(struct spool_folder *folder)
{
	int r = open_dir(folder);

	if (r == 0)
		r = lock(folder);
	if (r == 0)
		r = read_headers(folder);
	if (r == 0)
		r = read_cursor(folder);
	if (r == 0)
		r = choose_id(folder);
	return r == 0 ? drop_foreign(folder) : r;
}
