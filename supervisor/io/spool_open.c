/* From a folder, as some earlier process left it, to a spool. Blocks: the loop does not run yet.
 *
 * What is found is kept wherever it can be read. The last segment is cut behind its last good record; damage
 * in the others is met by their readers. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/spool_folder.h"
#include "io/spool_private.h"
#include "io/spool_scan.h"

/* ---- the last segment ---- */

static void take_record(struct spool *spool, struct spool_segment *segment, const struct spool_record *record)
{
	uint32_t bytes = (uint32_t)spool_record_bytes(record);
	bool acked = record->seq <= spool->cursor.acked;

	/* Only numbers that are acknowledged can be missing before it. */
	while (segment->first + segment->count < record->seq)
		spool_entry_add(spool, segment, record->at_ms, bytes, true);
	spool_entry_add(spool, segment, record->at_ms, bytes, acked);
	if (acked)
		return;
	spool->depth++;
	spool->depth_bytes += bytes;
}

/* Damage among records that are acknowledged is no loss: what follows is as good as if nothing were amiss. */
static bool is_harmless(struct spool *spool, struct spool_scan *scan, struct spool_record *ret)
{
	return spool_scan_next(scan, ret) == SCAN_RECORD && ret->seq <= spool->cursor.acked + 1;
}

/* Records up to the first damage. 1 when there was some, and *ret_why says what. */
static int read_last(struct spool *spool, struct spool_scan *scan, struct spool_segment *segment,
		     const char **ret_why)
{
	struct spool_record record;

	for (;;) {
		switch (spool_scan_next(scan, &record)) {
		case SCAN_DAMAGE:
			*ret_why = scan->why;
			if (!is_harmless(spool, scan, &record))
				return scan->error ? scan->error : 1;
			break;
		case SCAN_RECORD:
			break;
		case SCAN_FAILED:
			return scan->error;
		case SCAN_END:
			return 0;
		}
		take_record(spool, segment, &record);
		segment->end = scan->offset;
	}
}

/* What is cut off must be gone for good before anything is written in its place: else a part of it could
 * be taken for a record, should the machine fail. */
static int cut_off(struct spool_folder *folder, struct spool_segment *segment, const char *name,
		   const char *why)
{
	log_warning("spool.cut", "file=%s/%s byte=%lld reason=\"%s\" next=\"what follows is cut off\"",
		    folder->spool->dir, name, (long long)segment->end, why);
	if (ftruncate(segment->fd, segment->end) < 0 || fsync(segment->fd) < 0)
		return spool_folder_fail(folder, name, -errno, "cannot be cut");
	/* For want of room it grows as it is written. */
	(void)!fallocate(segment->fd, 0, 0, segment->size);
	return 0;
}

/* Opens it for writing, and as `current` if it can be gone on with. */
static int open_last(struct spool_folder *folder, const struct spool_found_file *found,
		     struct spool_segment *segment)
{
	struct spool *spool = folder->spool;
	struct spool_scan scan = { 0 };
	const char *why = NULL;
	char name[SPOOL_NAME_MAX];
	int r;

	spool_file_name(found->first, name);
	segment->end = SPOOL_SEGMENT_HEADER;
	segment->fd = openat(spool->dir_fd, name, O_RDWR | O_CLOEXEC);
	if (segment->fd < 0)
		return spool_folder_fail(folder, name, -errno, "cannot be opened");
	r = spool_scan_start(&scan, segment->fd, spool->id, segment->end, segment->first, UINT64_MAX, -1);
	if (r == 0)
		r = read_last(spool, &scan, segment, &why);
	spool_scan_free(&scan);
	if (r < 0 && r != -EIO)
		return spool_folder_fail(folder, name, r, "cannot be read");
	if (r < 0 || found->state != SPOOL_GOOD) {
		/* What was read of it is good; nothing is added to it. */
		log_error("spool.damaged", "file=%s/%s byte=%lld reason=\"%s\"", spool->dir, name,
			  (long long)(r < 0 ? segment->end : 0), r < 0 ? "cannot be read" : "wrong header");
		return 0;
	}
	if (r == 1)
		r = cut_off(folder, segment, name, why);
	if (r == 0)
		spool->current = segment;
	return r;
}

/* ---- all of it ---- */

/* One that is not the last: what it holds is a guess until it is read, and never more than it can hold. */
static void add_earlier(struct spool *spool, const struct spool_found_file *found, uint64_t next_first)
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

/* Whether anything in it can be read: as the last one, only from its beginning on, as it is cut at the first
 * damage; in another one a reader finds what is behind damage. */
static int look_for_record(struct spool_folder *folder, const struct spool_found_file *found, bool is_last,
			   bool *ret)
{
	struct spool_scan scan = { 0 };
	enum spool_scanned scanned;
	struct spool_record record;
	AUTO(fd_close) int fd = -1;
	char name[SPOOL_NAME_MAX];
	int r;

	spool_file_name(found->first, name);
	fd = openat(folder->spool->dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return spool_folder_fail(folder, name, -errno, "cannot be opened");
	r = spool_scan_start(&scan, fd, folder->spool->id, SPOOL_SEGMENT_HEADER, found->first, UINT64_MAX,
			     -1);
	if (r < 0)
		return spool_folder_fail(folder, name, r, "cannot be read");
	do
		scanned = spool_scan_next(&scan, &record);
	while (scanned == SCAN_DAMAGE && !is_last);
	*ret = scanned == SCAN_RECORD;
	spool_scan_free(&scan);
	return 0;
}

static int drop_unreadable(struct spool_folder *folder, const struct spool_found_file *found)
{
	char name[SPOOL_NAME_MAX];

	spool_file_name(found->first, name);
	if (found->state == SPOOL_BAD)
		return spool_folder_put_aside(folder, found,
					      "its header is damaged, and nothing in it can be read");
	/* Named, and then the machine failed before anything of it was on the disk. */
	log_warning("spool.empty", "file=%s/%s next=\"it is removed\"", folder->spool->dir, name);
	return unlinkat(folder->spool->dir_fd, name, 0) < 0
		       ? spool_folder_fail(folder, name, -errno, "cannot be removed")
		       : 0;
}

/* A file with no readable header and no readable record is no segment. It must not stand in the way: of the
 * segment that comes in its place, or of the records of the one before it that have the numbers behind its
 * name. */
static int drop_all_unreadable(struct spool_folder *folder)
{
	for (size_t i = folder->count; i-- > 0;) {
		const struct spool_found_file *found = &folder->found[i];
		bool has_record = found->state == SPOOL_GOOD;
		int r = 0;

		if (!has_record)
			r = look_for_record(folder, found, i + 1 == folder->count, &has_record);
		if (r == 0 && !has_record)
			r = drop_unreadable(folder, found);
		if (r < 0)
			return r;
		if (has_record)
			continue;
		folder->count--;
		memmove(&folder->found[i], &folder->found[i + 1], (folder->count - i) * sizeof(*found));
	}
	return 0;
}

static int add_segments(struct spool_folder *folder)
{
	struct spool *spool = folder->spool;
	struct spool_segment *last;
	const struct spool_found_file *found;
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

static int open_folder(struct spool_folder *folder)
{
	struct spool *spool = folder->spool;
	int r = spool_folder_look(folder);

	if (r == 0)
		r = drop_all_unreadable(folder);
	if (r == 0)
		r = add_segments(folder);
	if (r < 0)
		return r;
	go_on(spool);
	sync_found(spool);
	r = spool_room_first_spare(spool);
	return r < 0 ? spool_folder_fail(folder, SPOOL_SPARE_NAME, r, "cannot be made") : 0;
}

int spool_open(struct loop *loop, const struct spool_options *options, struct spool **ret, char **ret_error)
{
	struct spool_folder folder = { .ret_error = ret_error };
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
