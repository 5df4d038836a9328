/* The list of segments, and its end: all of a segment's records are acknowledged, it is kept a while, then
 * removed.
 *
 * The oldest goes first, always. A segment is removed by the thread, but out of the books at once: what is
 * asked of the thread after it finds its room. */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/offload.h"
#include "io/spool_private.h"

struct spool_remove_job {
	struct spool *spool;
	int dir_fd;
	uint64_t *firsts;
	size_t count, room;
	uint64_t failed; /* the first number of the last that could not be removed */
	int error;	 /* … and why: -errno */
};

/* ---- the list ---- */

struct spool_segment *spool_segment_add(struct spool *spool, uint64_t first, int64_t created_ms, int64_t size)
{
	struct spool_segment *segment = mem_alloc(sizeof(*segment));

	segment->first = first;
	segment->created_ms = created_ms;
	segment->size = size;
	segment->fd = -1;
	segment->acked_ms = loop_now_ms(spool->loop);
	spool->bytes += size;
	if (spool->segment_count == spool->segment_room) {
		spool->segment_room = spool->segment_room ? spool->segment_room * 2 : 16;
		spool->segments = mem_resize(spool->segments, spool->segment_room,
					     sizeof(struct spool_segment *));
	}
	spool->segments[spool->segment_count++] = segment;
	return segment;
}

static void segment_free(struct spool_segment **segment)
{
	fd_close(&(*segment)->fd);
	mem_free(&(*segment)->entries);
	mem_free(segment);
}

size_t spool_segments_kept(const struct spool *spool)
{
	size_t count = 0;

	while (count < spool->segment_count && spool->segments[count]->unacked == 0 &&
	       spool->segments[count] != spool->current)
		count++;
	return count;
}

ssize_t spool_segment_find(const struct spool *spool, uint64_t seq)
{
	size_t from = 0, to = spool->segment_count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (spool->segments[middle]->first <= seq)
			from = middle + 1;
		else
			to = middle;
	}
	return (ssize_t)from - 1;
}

uint64_t spool_segment_seq_end(const struct spool *spool, size_t index)
{
	return index + 1 < spool->segment_count ? spool->segments[index + 1]->first : spool->written + 1;
}

/* ---- removing ---- */

static void remove_work(void *arg)
{
	struct spool_remove_job *job = arg;

	for (size_t i = 0; i < job->count; i++) {
		char name[SPOOL_NAME_MAX];

		CRASH_POINT("spool.remove");
		spool_file_name(job->firsts[i], name);
		if (unlinkat(job->dir_fd, name, 0) < 0 && errno != ENOENT) {
			job->error = -errno;
			job->failed = job->firsts[i];
		}
	}
}

static void job_free(struct spool_remove_job **job)
{
	if (*job)
		mem_free(&(*job)->firsts);
	mem_free(job);
}

static void start_removing(struct spool *spool);

static void on_removed(void *arg)
{
	struct spool_remove_job *job = arg;
	struct spool *spool = job->spool;
	char name[SPOOL_NAME_MAX];

	spool_file_name(job->failed, name);
	if (job->error < 0)
		log_warning("spool.not_removed", "file=%s/%s reason=\"%s\"", spool->dir, name,
			    strerror(-job->error));
	job_free(&spool->removing);
	start_removing(spool);
	spool_flush(spool);
	spool_room_ahead(spool);
}

static void start_removing(struct spool *spool)
{
	if (spool->removing || !spool->to_remove)
		return;
	spool->removing = spool->to_remove;
	spool->to_remove = NULL;
	offload_run(spool->offload, remove_work, on_removed, spool->removing);
}

static void remove_oldest(struct spool *spool)
{
	struct spool_segment *segment = spool->segments[0];
	struct spool_remove_job *job = spool->to_remove;

	assert(segment != spool->current && segment->unacked == 0 && segment->fd < 0);
	if (!job) {
		job = spool->to_remove = mem_alloc(sizeof(*job));
		job->spool = spool;
		job->dir_fd = spool->dir_fd;
	}
	if (job->count == job->room) {
		job->room = job->room ? job->room * 2 : 8;
		job->firsts = mem_resize(job->firsts, job->room, sizeof(*job->firsts));
	}
	job->firsts[job->count++] = segment->first;
	spool->bytes -= segment->size;
	spool->segment_count--;
	memmove(spool->segments, spool->segments + 1, spool->segment_count * sizeof(*spool->segments));
	if (spool->low > 0)
		spool->low--;
	segment_free(&segment);
	start_removing(spool);
}

/* A segment that is not synced yet stays: its number would be missing on a disk that has the next one. */
static bool can_remove_oldest(const struct spool *spool)
{
	return spool_segments_kept(spool) > 0 && spool->segments[0]->fd < 0;
}

bool spool_keep_free_oldest(struct spool *spool)
{
	if (!can_remove_oldest(spool))
		return false;
	log_info("spool.freed", "first=%llu reason=\"room is needed\"",
		 (unsigned long long)spool->segments[0]->first);
	remove_oldest(spool);
	return true;
}

void spool_keep_on_timer(void *arg)
{
	struct spool *spool = arg;
	int64_t now_ms = loop_now_ms(spool->loop);

	while (can_remove_oldest(spool)) {
		int64_t left_ms = spool->segments[0]->acked_ms + spool->options.keep_ms - now_ms;

		if (left_ms > 0) {
			loop_timer_start(spool->keep, left_ms);
			return;
		}
		remove_oldest(spool);
	}
}

void spool_keep_on_acked(struct spool *spool, struct spool_segment *segment)
{
	if (segment == spool->current || segment->unacked > 0)
		return;
	mem_free(&segment->entries);
	segment->entry_room = 0;
	loop_timer_start_by(spool->keep, spool->options.keep_ms);
	if (spool->waiting_len > 0 || spool->spare.fd < 0)
		loop_timer_start(spool->retry, 0);
}

void spool_forget_kept(struct spool *spool)
{
	spool->cursor.floor = spool_acked(spool);
	spool->cursor_dirty = true;
	spool_cursor_now(spool);
	while (can_remove_oldest(spool))
		remove_oldest(spool);
	spool_judge(spool);
}

void spool_keep_close(struct spool *spool)
{
	if (spool->to_remove)
		remove_work(spool->to_remove);
	job_free(&spool->to_remove);
	job_free(&spool->removing);
	for (size_t i = 0; i < spool->segment_count; i++)
		segment_free(&spool->segments[i]);
	mem_free(&spool->segments);
}
