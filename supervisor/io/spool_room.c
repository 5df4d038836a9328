/* Where the next record goes: the segment that is written to, the one made ready to follow it, and the limit
 * on all of them. */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/offload.h"
#include "io/spool_private.h"

struct spool_spare_job {
	struct spool *spool;
	int dir_fd;
	int64_t size;
	int fd;
	int error; /* -errno */
};

enum { SEGMENTS_OF_LIMIT = 8 };

/* ---- the next one ---- */

/* Small enough that the limit, and what is kept, are counted in more than one or two of them. */
static int64_t segment_bytes(const struct spool *spool)
{
	int64_t most = spool->options.max_bytes / SEGMENTS_OF_LIMIT;
	int64_t least = SPOOL_SEGMENT_HEADER + SPOOL_RECORD_MIN;
	int64_t bytes = spool->options.segment_bytes < most ? spool->options.segment_bytes : most;

	return bytes > least ? bytes : least;
}

static void leave_current(struct spool *spool)
{
	struct spool_segment *segment = spool->current;

	spool->current = NULL;
	if (!segment)
		return;
	/* The next sync closes it, even one that had nothing else to do there; after poison there is none. */
	segment->dirty = true;
	if (spool->poison)
		fd_close(&segment->fd);
	spool_sync_soon(spool);
	spool_keep_on_acked(spool, segment);
}

/* The only segment, all of it acknowledged: it is of a larger limit, or of a record as large as that. Once
 * synced it can go like any other. */
static bool is_in_the_way(const struct spool *spool)
{
	return spool->current && spool->segment_count == 1 && spool->current->unacked == 0 &&
	       spool->current->count > 0;
}

/* Whether there may be so many bytes more, once kept segments have made way. */
static bool is_within_limit(struct spool *spool, int64_t bytes)
{
	while (spool->bytes + bytes > spool->options.max_bytes)
		if (!spool_keep_free_oldest(spool)) {
			if (is_in_the_way(spool))
				leave_current(spool);
			return false;
		}
	return true;
}

static bool is_full(int error)
{
	return error == -ENOSPC || error == -EDQUOT;
}

static void take_spare(struct spool *spool, int fd, int64_t size, int error)
{
	spool->spare.error = error;
	spool->spare.fd = fd;
	spool->spare.size = size;
	if (error < 0) {
		spool->bytes -= size;
		loop_timer_start_by(spool->retry, SPOOL_RETRY_MS);
	}
}

static void spare_work(void *arg)
{
	struct spool_spare_job *job = arg;

	job->error = spool_file_make_spare(job->dir_fd, job->size, &job->fd);
}

static void on_spare(void *arg)
{
	struct spool_spare_job job = *(struct spool_spare_job *)arg;
	struct spool *spool = job.spool;

	mem_free(&spool->spare.job);
	if (is_full(job.error) && spool_keep_free_oldest(spool)) {
		spool->bytes -= job.size;
		spool_room_ahead(spool);
		return;
	}
	take_spare(spool, job.fd, job.size, job.error);
	spool_room_on_limit(spool);
	spool_flush(spool);
	if (job.error == 0)
		spool_room_ahead(spool);
	spool_judge(spool);
}

void spool_room_ahead(struct spool *spool)
{
	struct spool_spare_job *job;

	if (spool->spare.fd >= 0 || spool->spare.job)
		return;
	spool->spare.limited = !is_within_limit(spool, segment_bytes(spool));
	spool_judge(spool);
	if (spool->spare.limited) {
		loop_timer_start_by(spool->retry, SPOOL_RETRY_MS);
		return;
	}
	job = spool->spare.job = mem_alloc(sizeof(*job));
	*job = (struct spool_spare_job){
		.spool = spool, .dir_fd = spool->dir_fd, .size = segment_bytes(spool), .fd = -1
	};
	spool->bytes += job->size;
	offload_run(spool->offload, spare_work, on_spare, job);
}

int spool_room_first_spare(struct spool *spool)
{
	int64_t size = segment_bytes(spool);
	int fd = -1;
	int r;

	spool->spare.limited = !is_within_limit(spool, size);
	if (spool->spare.limited) {
		loop_timer_start(spool->retry, SPOOL_RETRY_MS);
		return 0;
	}
	r = spool_file_make_spare(spool->dir_fd, size, &fd);
	spool->bytes += size;
	take_spare(spool, fd, size, r);
	return is_full(r) ? 0 : r;
}

static void drop_spare(struct spool *spool)
{
	if (spool->spare.fd < 0)
		return;
	(void)unlinkat(spool->dir_fd, SPOOL_SPARE_NAME, 0);
	fd_close(&spool->spare.fd);
	spool->bytes -= spool->spare.size;
}

void spool_room_on_limit(struct spool *spool)
{
	if (spool->spare.size > segment_bytes(spool))
		drop_spare(spool);
}

/* ---- the present one ---- */

static void begin_segment(struct spool *spool, const struct spool_segment_header *header, int fd,
			  int64_t size)
{
	struct spool_segment *segment;

	leave_current(spool);
	segment = spool_segment_add(spool, header->first, header->created_ms, size);
	segment->fd = fd;
	segment->end = SPOOL_SEGMENT_HEADER;
	segment->dirty = true;
	spool->dir_dirty = true;
	spool->current = segment;
}

static int begin_with_spare(struct spool *spool, const struct spool_segment_header *header)
{
	int64_t size = spool->spare.size;
	int r = spool_file_name_spare(spool->dir_fd, spool->spare.fd, header);

	if (r < 0) {
		/* Another one may do better: somebody may have removed it. */
		drop_spare(spool);
		return r;
	}
	spool->bytes -= size;
	begin_segment(spool, header, fd_take(&spool->spare.fd), size);
	return 0;
}

/* Whether it would not fit beside the present segment and the spare, were there no other. */
static bool is_beyond_limit(const struct spool *spool, int64_t size)
{
	return size > spool->options.max_bytes - 2 * segment_bytes(spool);
}

static bool is_all_acked(const struct spool *spool)
{
	size_t kept = spool_segments_kept(spool);

	return kept == spool->segment_count ||
	       (spool->segments[kept] == spool->current && spool->current->unacked == 0);
}

/* The spare is too small, or not there yet. */
static int begin_at_once(struct spool *spool, const struct spool_segment_header *header, int64_t need)
{
	int64_t size = segment_bytes(spool) > need ? segment_bytes(spool) : need;
	int fd;
	int r;

	/* A record that is as large as the limit must not wait for ever. */
	if (!is_within_limit(spool, size) && !(is_beyond_limit(spool, size) && is_all_acked(spool)))
		return -ENOBUFS;
	r = spool_file_create(spool->dir_fd, header, &fd);
	if (r < 0)
		return r;
	begin_segment(spool, header, fd, size);
	return 0;
}

/* A segment with no record yet has the number that the next one would have: it grows instead. One that was
 * found at a start may be of any size. */
static void grow_empty(struct spool *spool, int64_t need)
{
	struct spool_segment *segment = spool->current;
	int64_t size = need > segment_bytes(spool) ? need : segment_bytes(spool);

	if (!segment || segment->count > 0 || segment->size >= need)
		return;
	spool->bytes += size - segment->size;
	segment->size = size;
}

int spool_room_for(struct spool *spool, size_t bytes)
{
	struct spool_segment_header header = { .id = spool->id, .first = spool->written + 1 };
	int64_t need = SPOOL_SEGMENT_HEADER + (int64_t)bytes;
	int r = -ENOENT;

	grow_empty(spool, need);
	if (spool->current && spool->current->end + (int64_t)bytes <= spool->current->size)
		return 0;
	header.created_ms = clock_wall_ms();
	if (spool->spare.fd >= 0 && need <= spool->spare.size)
		r = begin_with_spare(spool, &header);
	if (r < 0)
		r = begin_at_once(spool, &header, need);
	if (r == 0)
		spool_room_ahead(spool);
	return r;
}

void spool_room_close(struct spool *spool)
{
	if (spool->spare.job)
		spool->spare.fd = spool->spare.job->fd;
	mem_free(&spool->spare.job);
	drop_spare(spool);
}
