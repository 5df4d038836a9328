/* From a folder, as some earlier process left it, to a spool. Blocks: the loop does not run yet.
 *
 * What is found is kept wherever it can be read. A segment that cannot belong to this spool is put aside
 * under another name; the last one is cut behind its last good record; damage in the others is met by their
 * readers. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/spool_private.h"
#include "io/spool_scan.h"

/* A file with the name of a segment. */
struct found {
	uint64_t first; /* as it is called */
	int64_t size;
	enum spool_found state; /* of its header */
	struct spool_segment_header header;
};

struct folder {
	struct spool *spool;
	char **ret_error;
	struct found *found; /* by their numbers */
	size_t count, room;
};

static int fail(struct folder *folder, const char *name, int error, const char *what)
{
	mem_set_str(folder->ret_error, mem_printf("spool: %s%s%s: %s: %s", folder->spool->dir,
						  name[0] ? "/" : "", name, what, strerror(-error)));
	return error;
}

/* ---- the folder ---- */

static int open_dir(struct folder *folder)
{
	struct spool *spool = folder->spool;
	int r = fd_make_dirs(spool->dir, 0700);

	if (r < 0)
		return fail(folder, "", r, "cannot be made");
	spool->dir_fd = open(spool->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return spool->dir_fd < 0 ? fail(folder, "", -errno, "cannot be opened") : 0;
}

static int lock(struct folder *folder)
{
	struct spool *spool = folder->spool;

	spool->lock_fd = openat(spool->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (spool->lock_fd < 0)
		return fail(folder, "lock", -errno, "cannot be opened");
	if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return fail(folder, "lock", -errno, "cannot be locked");
	mem_set_str(folder->ret_error, mem_printf("spool: %s is in use by another process", spool->dir));
	return -EBUSY;
}

static int compare_found(const void *a, const void *b)
{
	uint64_t one = ((const struct found *)a)->first, other = ((const struct found *)b)->first;

	return (one > other) - (one < other);
}

static int list_segments(struct folder *folder)
{
	int fd = dup(folder->spool->dir_fd);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		int r = -errno;

		fd_close(&fd);
		return fail(folder, "", r, "cannot be read");
	}
	while ((errno = 0, entry = readdir(dir))) {
		uint64_t first;

		if (!spool_file_parse(entry->d_name, &first))
			continue;
		if (folder->count == folder->room) {
			folder->room = folder->room ? folder->room * 2 : 16;
			folder->found = mem_resize(folder->found, folder->room, sizeof(*folder->found));
		}
		folder->found[folder->count++] = (struct found){ .first = first };
	}
	(void)closedir(dir);
	if (folder->count > 0)
		qsort(folder->found, folder->count, sizeof(*folder->found), compare_found);
	return 0;
}

static int refuse_version(struct folder *folder, const char *name, uint32_t version)
{
	mem_set_str(folder->ret_error,
		    mem_printf("spool: %s/%s is of version %u of the format, and this proctord knows version "
			       "%d: start the newer proctord that wrote it",
			       folder->spool->dir, name, version, SPOOL_VERSION));
	return -EPROTONOSUPPORT;
}

static int read_header(struct folder *folder, struct found *found)
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
		return fail(folder, name, -errno, "cannot be opened");
	found->size = st.st_size;
	n = pread(fd, bytes, sizeof(bytes), 0);
	/* A block that cannot be read is damage like any other. */
	if (n < 0 && errno != EIO)
		return fail(folder, name, -errno, "cannot be read");
	found->state = n < 0 ? SPOOL_BAD : spool_decode_segment(bytes, (size_t)n, &found->header, &version);
	if (found->state == SPOOL_NEWER)
		return refuse_version(folder, name, version);
	return 0;
}

static int read_headers(struct folder *folder)
{
	int r = list_segments(folder);

	for (size_t i = 0; r == 0 && i < folder->count; i++)
		r = read_header(folder, &folder->found[i]);
	return r;
}

/* ---- which spool it is ---- */

static int read_cursor(struct folder *folder)
{
	struct spool *spool = folder->spool;
	uint32_t version = 0;
	int r;

	spool->cursor_fd = openat(spool->dir_fd, "cursor", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (spool->cursor_fd < 0)
		return fail(folder, "cursor", -errno, "cannot be opened");
	r = spool_cursor_read(spool->cursor_fd, &spool->cursor, &version);
	if (r == -EPROTONOSUPPORT)
		return refuse_version(folder, "cursor", version);
	if (r == -ENODATA && folder->count > 0)
		log_warning("spool.cursor_lost", "file=%s/cursor next=\"read all that is kept again\"",
			    spool->dir);
	return r == -ENODATA || r == -EIO ? 0 : r < 0 ? fail(folder, "cursor", r, "cannot be read") : 0;
}

/* The newest segment knows best: a cursor only spares work. */
static int choose_id(struct folder *folder)
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
			return fail(folder, "", -errno, "no random number for a new spool");
	if (spool->cursor.id != 0 && spool->cursor.id != id)
		log_warning("spool.cursor_foreign", "file=%s/cursor next=\"read all that is kept again\"",
			    spool->dir);
	if (spool->cursor.id != id)
		spool->cursor = (struct spool_cursor){ .id = id };
	spool->id = id;
	return 0;
}

static int put_aside(struct folder *folder, const struct found *found, const char *reason)
{
	char name[SPOOL_NAME_MAX];
	int r = spool_file_put_aside(folder->spool->dir_fd, found->first);

	spool_file_name(found->first, name);
	if (r < 0)
		return fail(folder, name, r, "cannot be renamed");
	log_error("spool.put_aside", "file=%s/%s.aside reason=\"%s\"", folder->spool->dir, name, reason);
	return 0;
}

static int drop_foreign(struct folder *folder)
{
	size_t kept = 0;

	for (size_t i = 0; i < folder->count; i++) {
		const struct found *found = &folder->found[i];
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
		r = put_aside(folder, found, reason);
		if (r < 0)
			return r;
	}
	folder->count = kept;
	return 0;
}

/* ---- the last segment ---- */

/* Records up to the first damage. 1 when there was some, with its place and why in *scan. */
static int read_last(struct folder *folder, struct spool_scan *scan, struct spool_segment *segment)
{
	struct spool *spool = folder->spool;
	struct spool_record record;

	for (;;) {
		switch (spool_scan_next(scan, &record)) {
		case SCAN_RECORD:
			spool_entry_add(spool, segment, record.at_ms, (uint32_t)spool_record_bytes(&record),
					record.seq <= spool->cursor.acked);
			segment->end = scan->offset;
			if (record.seq > spool->cursor.acked) {
				spool->depth++;
				spool->depth_bytes += (int64_t)spool_record_bytes(&record);
			}
			continue;
		case SCAN_DAMAGE:
			return 1;
		case SCAN_FAILED:
			return scan->error;
		case SCAN_END:
			return 0;
		}
	}
}

/* What is cut off must be gone for good before anything is written in its place: else a part of it could
 * be taken for a record, should the machine fail. */
static int cut_off(struct folder *folder, struct spool_segment *segment, const char *name,
		   const struct spool_scan *scan)
{
	log_warning("spool.cut", "file=%s/%s byte=%lld reason=\"%s\" next=\"what follows is cut off\"",
		    folder->spool->dir, name, (long long)segment->end, scan->why);
	if (ftruncate(segment->fd, segment->end) < 0 || fsync(segment->fd) < 0)
		return fail(folder, name, -errno, "cannot be cut");
	/* For want of room it grows as it is written. */
	(void)!fallocate(segment->fd, 0, 0, segment->size);
	return 0;
}

/* Opens it for writing, and as `current` if it can be gone on with. */
static int open_last(struct folder *folder, const struct found *found, struct spool_segment *segment)
{
	struct spool *spool = folder->spool;
	struct spool_scan scan = { 0 };
	char name[SPOOL_NAME_MAX];
	int r;

	spool_file_name(found->first, name);
	segment->end = SPOOL_SEGMENT_HEADER;
	segment->fd = openat(spool->dir_fd, name, O_RDWR | O_CLOEXEC);
	if (segment->fd < 0)
		return fail(folder, name, -errno, "cannot be opened");
	r = spool_scan_start(&scan, segment->fd, spool->id, segment->end, segment->first, UINT64_MAX, -1);
	if (r == 0)
		r = read_last(folder, &scan, segment);
	if (r < 0 && r != -EIO)
		r = fail(folder, name, r, "cannot be read");
	else if (r == -EIO || found->state != SPOOL_GOOD)
		log_error("spool.damaged", "file=%s/%s byte=%lld reason=\"%s\"", spool->dir, name,
			  (long long)(r == -EIO ? segment->end : 0),
			  r == -EIO ? "cannot be read" : "wrong header");
	else if (r == 1)
		r = cut_off(folder, segment, name, &scan);
	if (r == 0 && found->state == SPOOL_GOOD)
		spool->current = segment;
	spool_scan_free(&scan);
	return r == -EIO || r == 1 ? 0 : r;
}

/* ---- all of it ---- */

/* One that is not the last: what it holds is a guess until it is read, and never more than it can hold. */
static void add_earlier(struct spool *spool, const struct found *found, uint64_t next_first)
{
	struct spool_segment *segment = spool_segment_add(spool, found->first, found->header.created_ms,
							  found->size);
	uint64_t most = found->size > SPOOL_SEGMENT_HEADER
				? (uint64_t)(found->size - SPOOL_SEGMENT_HEADER) / SPOOL_RECORD_MIN
				: 0;

	segment->count = next_first - found->first;
	if (segment->count > most)
		segment->count = most;
	spool_entries_estimate(spool, segment, spool->cursor.acked);
}

static int look_for_record(struct folder *folder, const struct found *found, bool *ret)
{
	struct spool_scan scan = { 0 };
	struct spool_record record;
	AUTO(fd_close) int fd = -1;
	char name[SPOOL_NAME_MAX];
	int r;

	spool_file_name(found->first, name);
	fd = openat(folder->spool->dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(folder, name, -errno, "cannot be opened");
	r = spool_scan_start(&scan, fd, folder->spool->id, SPOOL_SEGMENT_HEADER, found->first, UINT64_MAX,
			     -1);
	if (r < 0)
		return fail(folder, name, r, "cannot be read");
	*ret = spool_scan_next(&scan, &record) == SCAN_RECORD;
	spool_scan_free(&scan);
	return 0;
}

/* Nothing in it can be read: it must not stand in the way of the segment that comes in its place. */
static int drop_empty(struct folder *folder, const struct found *found)
{
	char name[SPOOL_NAME_MAX];

	spool_file_name(found->first, name);
	if (found->state == SPOOL_BAD)
		return put_aside(folder, found, "its header is damaged, and nothing in it can be read");
	/* Named, and then the machine failed before anything of it was on the disk. */
	log_warning("spool.empty", "file=%s/%s next=\"it is removed\"", folder->spool->dir, name);
	return unlinkat(folder->spool->dir_fd, name, 0) < 0 ? fail(folder, name, -errno, "cannot be removed")
							    : 0;
}

/* A last file with no readable header and no readable record is no segment. */
static int drop_empty_tail(struct folder *folder)
{
	while (folder->count > 0) {
		const struct found *last = &folder->found[folder->count - 1];
		bool has_records = false;
		int r = 0;

		if (last->state == SPOOL_GOOD)
			return 0;
		r = look_for_record(folder, last, &has_records);
		if (r < 0 || has_records)
			return r;
		r = drop_empty(folder, last);
		if (r < 0)
			return r;
		folder->count--;
	}
	return 0;
}

static int add_segments(struct folder *folder)
{
	struct spool *spool = folder->spool;
	struct spool_segment *last;
	const struct found *found;
	int r;

	if (folder->count == 0)
		return 0;
	for (size_t i = 0; i + 1 < folder->count; i++)
		add_earlier(spool, &folder->found[i], folder->found[i + 1].first);
	found = &folder->found[folder->count - 1];
	last = spool_segment_add(spool, found->first, found->header.created_ms, found->size);
	r = open_last(folder, found, last);
	spool->written = last->first + last->count - 1;
	return r;
}

/* What an earlier process wrote may not have been synced by it. */
static void sync_found(struct spool *spool)
{
	for (size_t i = spool->segment_count; i-- > 0 && i + 2 >= spool->segment_count;) {
		struct spool_segment *segment = spool->segments[i];
		AUTO(fd_close) int fd = -1;
		char name[SPOOL_NAME_MAX];

		spool_file_name(segment->first, name);
		if (segment->fd < 0)
			fd = openat(spool->dir_fd, name, O_RDWR | O_CLOEXEC);
		if (fdatasync(segment->fd < 0 ? fd : segment->fd) < 0)
			spool_poison(spool, name, -errno);
		if (segment != spool->current)
			fd_close(&segment->fd);
	}
	if (fsync(spool->dir_fd) < 0)
		spool_poison(spool, "", -errno);
	spool->synced = spool->poison ? 0 : spool->written;
}

/* The numbers go on behind whatever was ever given out. */
static void go_on(struct spool *spool)
{
	if (spool->cursor.acked > spool->written) {
		spool->written = spool->cursor.acked;
		spool->current = NULL;
	}
	spool->next_seq = spool->written + 1;
}

static int open_folder(struct folder *folder)
{
	struct spool *spool = folder->spool;
	int r = open_dir(folder);

	if (r == 0)
		r = lock(folder);
	if (r == 0)
		r = read_headers(folder);
	if (r == 0)
		r = read_cursor(folder);
	if (r == 0)
		r = choose_id(folder);
	if (r == 0)
		r = drop_foreign(folder);
	if (r == 0)
		r = drop_empty_tail(folder);
	if (r == 0)
		r = add_segments(folder);
	if (r < 0)
		return r;
	go_on(spool);
	sync_found(spool);
	r = spool_room_first_spare(spool);
	return r < 0 ? fail(folder, SPOOL_SPARE_NAME, r, "cannot be made") : 0;
}

int spool_open(struct loop *loop, const struct spool_options *options, struct spool **ret, char **ret_error)
{
	struct folder folder = { .ret_error = ret_error };
	struct spool *spool;
	int r = spool_new(loop, options, &spool);

	if (r < 0) {
		*ret_error = mem_printf("spool: no thread for it: %s", strerror(-r));
		return r;
	}
	folder.spool = spool;
	r = open_folder(&folder);
	mem_free(&folder.found);
	if (r < 0) {
		spool_free(&spool);
		return r;
	}
	spool->cursor_dirty = true;
	spool_cursor_now(spool);
	loop_timer_start(spool->keep, 0);
	spool_judge(spool);
	*ret = spool;
	return 0;
}
