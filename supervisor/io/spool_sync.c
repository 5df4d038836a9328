/* What makes it last: fdatasync of what was written, grouped, one at a time, in the thread; and the cursor
 * file, which may be lost without harm, as it only spares a start from reading again what is acknowledged. */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/offload.h"
#include "io/spool_private.h"

struct spool_sync_job {
	struct spool *spool;
	int dir_fd;    /* -1: no name is new */
	int cursor_fd; /* -1: may wait */
	struct sync_file {
		int fd;
		bool owned; /* to be closed after */
		uint64_t first;
	} * files; /* the newest first */
	size_t count, room;
	uint64_t upto; /* what is written in them */
	int64_t took_ms;
	int error;		   /* -errno; 0 */
	char name[SPOOL_NAME_MAX]; /* of what could not be synced; "" = the folder */
};

enum {
	WORST_WINDOW_MS = 30000,
	SLOT_STRIDE = 4096, /* the two slots of the cursor: never in one page */
};

/* ---- sync ---- */

static int sync_files(struct spool_sync_job *job)
{
	for (size_t i = job->count; i-- > 0;)
		if (fdatasync(job->files[i].fd) < 0) {
			job->error = -errno;
			spool_file_name(job->files[i].first, job->name);
			return job->error;
		}
	if (job->dir_fd >= 0 && fsync(job->dir_fd) < 0)
		job->error = -errno;
	return job->error;
}

static void sync_work(void *arg)
{
	struct spool_sync_job *job = arg;
	int64_t begun_ms = clock_now_ms();

	if (sync_files(job) == 0)
		CRASH_POINT("spool.synced");
	if (job->cursor_fd >= 0)
		(void)fdatasync(job->cursor_fd);
	for (size_t i = 0; i < job->count; i++)
		if (job->files[i].owned)
			fd_close(&job->files[i].fd);
	job->took_ms = clock_now_ms() - begun_ms;
}

static void note_duration(struct spool *spool, int64_t took_ms)
{
	int64_t age_ms = loop_now_ms(spool->loop) - spool->worst_since_ms;

	if (age_ms > WORST_WINDOW_MS) {
		spool->worst_before_ms = age_ms > 2 * WORST_WINDOW_MS ? 0 : spool->worst_ms;
		spool->worst_ms = 0;
		spool->worst_since_ms = loop_now_ms(spool->loop);
	}
	if (took_ms > spool->worst_ms)
		spool->worst_ms = took_ms;
}

void spool_poison(struct spool *spool, const char *name, int error)
{
	if (spool->poison)
		return;
	spool->poison = mem_printf("%s%s%s could not be synced: %s; what the disk holds of the spool is "
				   "uncertain until proctord is started again",
				   spool->dir, name[0] ? "/" : "", name, strerror(-error));
	loop_timer_stop(spool->sync);
	/* No sync will come that would close them. */
	for (size_t i = 0; i < spool->segment_count; i++)
		if (spool->segments[i] != spool->current)
			fd_close(&spool->segments[i]->fd);
	spool_judge(spool);
}

static void job_free(struct spool_sync_job **job)
{
	mem_free(&(*job)->files);
	mem_free(job);
}

static void finish(struct spool *spool)
{
	struct spool_sync_job *job = spool->syncing;

	spool->syncing = NULL;
	note_duration(spool, job->took_ms);
	if (job->error < 0)
		spool_poison(spool, job->name, job->error);
	else
		spool->synced = job->upto;
	job_free(&job);
}

static void start(struct spool *spool);

static void on_synced(void *arg)
{
	struct spool_sync_job *job = arg;
	struct spool *spool = job->spool;

	finish(spool);
	/* A segment that only waited for this may go now. */
	if (spool_segments_kept(spool) > 0)
		loop_timer_start_by(spool->keep, 0);
	if (!spool->sync_again || spool->poison)
		return;
	spool->sync_again = false;
	start(spool);
}

static void add_file(struct spool_sync_job *job, struct spool_segment *segment, bool owned)
{
	if (job->count == job->room) {
		job->room = job->room ? job->room * 2 : 4;
		job->files = mem_resize(job->files, job->room, sizeof(*job->files));
	}
	job->files[job->count++] = (struct sync_file){ .fd = segment->fd,
						       .owned = owned,
						       .first = segment->first };
	segment->dirty = false;
	if (owned)
		segment->fd = -1;
}

/* Takes over the descriptors of segments that are not written to any more. */
static struct spool_sync_job *collect(struct spool *spool)
{
	struct spool_sync_job *job = mem_alloc(sizeof(*job));

	job->spool = spool;
	job->upto = spool->written;
	job->dir_fd = spool->dir_dirty ? spool->dir_fd : -1;
	job->cursor_fd = spool->cursor_unsynced ? spool->cursor_fd : -1;
	for (size_t i = spool->segment_count; i-- > 0 && spool->segments[i]->fd >= 0;)
		if (spool->segments[i]->dirty)
			add_file(job, spool->segments[i], spool->segments[i] != spool->current);
	spool->dir_dirty = spool->cursor_unsynced = false;
	return job;
}

static void start(struct spool *spool)
{
	struct spool_sync_job *job = collect(spool);

	spool->syncing = job;
	if (job->count > 0 || job->dir_fd >= 0 || job->cursor_fd >= 0) {
		offload_run(spool->offload, sync_work, on_synced, job);
		return;
	}
	spool->syncing = NULL;
	job_free(&job);
}

void spool_sync_on_timer(void *arg)
{
	struct spool *spool = arg;

	if (spool->syncing)
		spool->sync_again = true;
	else if (!spool->poison)
		start(spool);
}

void spool_sync_soon(struct spool *spool)
{
	if (!spool->poison && !loop_timer_armed(spool->sync))
		loop_timer_start(spool->sync, spool->options.sync_ms);
}

void spool_sync_close(struct spool *spool)
{
	if (spool->syncing)
		finish(spool);
	spool->cursor_dirty = true;
	spool_cursor_now(spool);
	if (spool->poison)
		return;
	spool->syncing = collect(spool);
	sync_work(spool->syncing);
	finish(spool);
}

/* ---- cursor ---- */

int spool_cursor_read(int fd, struct spool_cursor *ret, uint32_t *ret_version)
{
	bool found = false;

	for (int slot = 0; slot < 2; slot++) {
		unsigned char bytes[SPOOL_CURSOR_SLOT];
		struct spool_cursor cursor;
		ssize_t n = pread(fd, bytes, sizeof(bytes), slot * SLOT_STRIDE);

		if (n < 0)
			return -errno;
		switch (spool_decode_cursor(bytes, (size_t)n, &cursor, ret_version)) {
		case SPOOL_NEWER:
			return -EPROTONOSUPPORT;
		case SPOOL_GOOD:
			if (found && cursor.generation < ret->generation)
				break;
			*ret = cursor;
			found = true;
			break;
		default:
			break;
		}
	}
	return found ? 0 : -ENODATA;
}

/* The slots take turns, so that a write that is cut off leaves the other. */
static int write_slot(struct spool *spool)
{
	unsigned char bytes[SPOOL_CURSOR_SLOT];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	struct spool_cursor cursor = spool->cursor;

	cursor.generation++;
	cursor.acked = spool_acked(spool);
	spool_encode_cursor(&cursor, bytes);
	CRASH_POINT("spool.cursor");
	return spool_file_write(spool->cursor_fd, &iov, 1, (int64_t)(cursor.generation & 1) * SLOT_STRIDE);
}

void spool_cursor_now(struct spool *spool)
{
	uint64_t acked = spool_acked(spool);
	int r;

	if (!spool->cursor_dirty && acked == spool->acked_written)
		return;
	r = write_slot(spool);
	if (r < 0) {
		if (!spool->cursor_failed)
			log_warning("spool.cursor_failed", "file=%s/cursor reason=\"%s\" next=retry",
				    spool->dir, strerror(-r));
		spool->cursor_failed = true;
		loop_timer_start_by(spool->cursor_timer, SPOOL_RETRY_MS);
		return;
	}
	CRASH_POINT("spool.cursor_written");
	spool->cursor_failed = false;
	spool->cursor.generation++;
	spool->acked_written = acked;
	if (spool->cursor_dirty) {
		spool->cursor_dirty = false;
		spool->cursor_unsynced = true;
		spool_sync_soon(spool);
	}
}

void spool_cursor_on_timer(void *arg)
{
	spool_cursor_now(arg);
}

void spool_cursor_soon(struct spool *spool)
{
	if (!loop_timer_armed(spool->cursor_timer))
		loop_timer_start(spool->cursor_timer, SPOOL_CURSOR_MS);
}

/* What is given may be what is held. */
static void set_text(char *slot, size_t size, const char *text)
{
	size_t len = strlen(text);

	assert(len < size);
	memmove(slot, text, len);
	memset(slot + len, 0, size - len);
}

void spool_set_server(struct spool *spool, const char *database, const char *timeline)
{
	set_text(spool->cursor.database, sizeof(spool->cursor.database), database);
	set_text(spool->cursor.timeline, sizeof(spool->cursor.timeline), timeline);
	spool->cursor_dirty = true;
	spool_cursor_now(spool);
}
