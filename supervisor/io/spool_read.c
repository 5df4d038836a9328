/* Readers. The thread walks one segment a time and copies out what is asked for; here it is filtered, as by
 * then more may be acknowledged, and damage is told and acknowledged, as nobody will ever see what was there.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/offload.h"
#include "io/spool_private.h"
#include "io/spool_scan.h"

/* A part of the file without a record, and the numbers that are missing because of it. */
struct gap {
	int64_t byte;
	const char *why;
	uint64_t from, to; /* to is not included */
};

/* What the thread is given, and what it gives back. */
struct job {
	struct spool_reader *reader; /* not the thread's to look at */
	int dir_fd;
	uint64_t id, first;
	uint64_t seq, seq_end;
	int64_t offset, end; /* end -1 = of the file */
	uint64_t want;	     /* nothing before it */
	size_t bytes;

	struct spool_record *records; /* until the end of the task, meta is NULL: see `bodies` */
	size_t count, room;
	struct buf bodies; /* meta and body of each record, one behind the other */
	struct gap *gaps;
	size_t gap_count, gap_room;
	int error; /* -errno; what was read before is good */
};

struct spool_reader {
	struct list node; /* in the spool's readers */
	struct spool *spool;
	uint64_t next;
	/* Where record `hint_seq` is, in the segment `hint_first`; 0 = not known. */
	uint64_t hint_first, hint_seq;
	int64_t hint_offset;
	bool forgotten; /* freed by its user, not by us yet: a task is under way */
	bool busy;	/* a task is under way */
	bool warned;	/* that a file cannot be opened; tried again */
	size_t bytes;
	spool_read_fn *fn; /* NULL when no read is asked for */
	void *arg;
	struct job job;
	struct loop_timer *retry;
};

enum { BYTES_MIN = 4096, REPEAT_MS = 1000 };

/* ---- in the thread ---- */

static void job_clear(struct job *job)
{
	mem_free(&job->records);
	mem_free(&job->gaps);
	buf_free(&job->bodies);
}

static void take(struct job *job, const struct spool_record *record)
{
	if (job->count == job->room) {
		job->room = job->room ? job->room * 2 : 64;
		job->records = mem_resize(job->records, job->room, sizeof(*job->records));
	}
	job->records[job->count] = *record;
	job->records[job->count++].meta = NULL;
	buf_put(&job->bodies, record->meta, record->meta_len);
	buf_put(&job->bodies, record->body, record->body_len);
}

static void note_gap(struct job *job, int64_t byte, const char *why, uint64_t from)
{
	if (job->gap_count == job->gap_room) {
		job->gap_room = job->gap_room ? job->gap_room * 2 : 4;
		job->gaps = mem_resize(job->gaps, job->gap_room, sizeof(*job->gaps));
	}
	job->gaps[job->gap_count++] = (struct gap){
		.byte = byte, .why = why, .from = from, .to = job->seq_end
	};
}

/* Which numbers are missing is known when the next good record is met. */
static void close_gap(struct job *job, uint64_t seq)
{
	struct gap *last = job->gap_count > 0 ? &job->gaps[job->gap_count - 1] : NULL;

	if (last && last->to == job->seq_end && last->from < seq)
		last->to = seq;
}

/* What is appended later begins behind it, wherever the walk got lost. */
static void finish_segment(const struct job *job, struct spool_scan *scan)
{
	scan->seq = job->seq_end;
	if (job->end >= 0)
		scan->offset = job->end;
}

static void walk(struct job *job, struct spool_scan *scan)
{
	struct spool_record record;

	while (buf_len(&job->bodies) < job->bytes) {
		uint64_t expected = scan->seq;

		switch (spool_scan_next(scan, &record)) {
		case SCAN_RECORD:
			close_gap(job, record.seq);
			if (record.seq >= job->want)
				take(job, &record);
			continue;
		case SCAN_DAMAGE:
			note_gap(job, scan->damaged_at, scan->why, expected);
			continue;
		case SCAN_END:
			if (scan->seq < job->seq_end && !scan->lost)
				note_gap(job, scan->offset, "records are missing at its end", scan->seq);
			finish_segment(job, scan);
			return;
		case SCAN_FAILED:
			/* A bad block is damage; anything else may pass. */
			job->error = scan->error == -EIO ? 0 : scan->error;
			if (scan->error == -EIO) {
				note_gap(job, scan->offset, "cannot be read", scan->seq);
				finish_segment(job, scan);
			}
			return;
		}
	}
}

/* The buffer does not move any more. */
static void point(struct job *job)
{
	const char *at = buf_bytes(&job->bodies);

	for (size_t i = 0; i < job->count; i++) {
		job->records[i].meta = at;
		at += job->records[i].meta_len;
		job->records[i].body = at;
		at += job->records[i].body_len;
	}
}

static void read_work(void *arg)
{
	struct job *job = arg;
	struct spool_scan scan = { 0 };
	char name[SPOOL_NAME_MAX];
	AUTO(fd_close) int fd = -1;

	spool_file_name(job->first, name);
	fd = openat(job->dir_fd, name, O_RDONLY | O_CLOEXEC);
	job->error = fd < 0 ? -errno : 0;
	if (job->error == 0)
		job->error = spool_scan_start(&scan, fd, job->id, job->offset, job->seq, job->seq_end,
					      job->end);
	if (job->error == 0) {
		walk(job, &scan);
		job->seq = scan.seq;
		job->offset = scan.offset;
	}
	point(job);
	spool_scan_free(&scan);
}

/* ---- on the loop ---- */

static void start(struct spool_reader *reader);

static void reader_free(struct spool_reader **reader)
{
	job_clear(&(*reader)->job);
	loop_timer_free(&(*reader)->retry);
	loop_undefer((*reader)->spool->loop, *reader);
	list_remove(&(*reader)->node);
	mem_free(reader);
}

/* Whatever `fn` does, freeing the reader or reading on included, its records stay until it returns. */
static void deliver(struct spool_reader *reader, size_t count)
{
	struct job job = reader->job;
	spool_read_fn *fn = reader->fn;

	reader->job = (struct job){ 0 };
	reader->fn = NULL;
	fn(reader->arg, job.records, count, reader->next);
	job_clear(&job);
}

static void tell_end(void *arg)
{
	deliver(arg, 0);
}

/* Leaves out what is acknowledged. */
static size_t filter(struct spool *spool, struct job *job)
{
	size_t kept = 0;

	for (size_t i = 0; i < job->count; i++) {
		const struct spool_record *record = &job->records[i];

		if (record->kind == (enum spool_kind)SPOOL_NOTHING)
			spool_ack(spool, record->seq);
		if (!spool_is_acked(spool, record->seq))
			job->records[kept++] = *record;
	}
	return kept;
}

static void tell_gaps(struct spool *spool, const struct job *job)
{
	char name[SPOOL_NAME_MAX];

	spool_file_name(job->first, name);
	for (size_t i = 0; i < job->gap_count; i++) {
		const struct gap *gap = &job->gaps[i];
		uint64_t missing = spool_ack_missing(spool, gap->from, gap->to);

		if (missing > 0)
			log_error("spool.damaged",
				  "file=%s/%s byte=%lld reason=\"%s\" missing=%llu next=skip", spool->dir,
				  name, (long long)gap->byte, gap->why, (unsigned long long)missing);
	}
}

/* A segment whose file is gone: its time was over, or somebody took it away. */
static void pass_over(struct spool *spool, const struct job *job)
{
	uint64_t missing = spool_ack_missing(spool, job->first, job->seq_end);
	char name[SPOOL_NAME_MAX];

	spool_file_name(job->first, name);
	if (missing > 0)
		log_error("spool.damaged", "file=%s/%s reason=\"the file is gone\" missing=%llu next=skip",
			  spool->dir, name, (unsigned long long)missing);
}

static void on_read(void *arg)
{
	struct job *job = arg;
	struct spool_reader *reader = job->reader;
	struct spool *spool = reader->spool;
	size_t count;

	reader->busy = false;
	if (reader->forgotten) {
		reader_free(&reader);
		return;
	}
	if (job->error == -ENOENT) {
		pass_over(spool, job);
		job->seq = job->seq_end;
	} else if (job->error < 0 && job->count == 0) {
		if (!reader->warned)
			log_warning("spool.unreadable", "dir=%s reason=\"%s\" next=retry", spool->dir,
				    strerror(-job->error));
		reader->warned = true;
		loop_timer_start(reader->retry, REPEAT_MS);
		return;
	}
	reader->warned = false;
	tell_gaps(spool, job);
	if (reader->next < job->seq)
		reader->next = job->seq;
	reader->hint_first = job->first;
	reader->hint_seq = job->seq;
	reader->hint_offset = job->offset;
	count = filter(spool, job);
	if (count > 0)
		deliver(reader, count);
	else
		start(reader);
}

static void start(struct spool_reader *reader)
{
	struct spool *spool = reader->spool;
	struct spool_segment *segment;
	uint64_t acked = spool_acked(spool);
	ssize_t found;
	size_t index;

	if (reader->next <= acked)
		reader->next = acked + 1;
	job_clear(&reader->job);
	if (reader->next > spool->written || spool->segment_count == 0) {
		loop_defer(spool->loop, tell_end, reader);
		return;
	}
	found = spool_segment_find(spool, reader->next);
	index = found < 0 ? 0 : (size_t)found;
	segment = spool->segments[index];
	reader->job = (struct job){
		.reader = reader,
		.dir_fd = spool->dir_fd,
		.id = spool->id,
		.first = segment->first,
		.seq = segment->first,
		.seq_end = spool_segment_seq_end(spool, index),
		.offset = SPOOL_SEGMENT_HEADER,
		.end = segment->end > 0 ? segment->end : -1,
		.want = reader->next,
		.bytes = reader->bytes > BYTES_MIN ? reader->bytes : BYTES_MIN,
	};
	if (reader->hint_first == segment->first && reader->hint_seq <= reader->next) {
		reader->job.seq = reader->hint_seq;
		reader->job.offset = reader->hint_offset;
	}
	reader->busy = true;
	offload_run(spool->offload, read_work, on_read, &reader->job);
}

static void on_repeat(void *arg)
{
	start(arg);
}

void spool_reader_new(struct spool *spool, uint64_t from, struct spool_reader **ret)
{
	struct spool_reader *reader = mem_alloc(sizeof(*reader));

	reader->spool = spool;
	reader->next = from;
	list_push_back(&spool->readers, &reader->node);
	loop_timer_new(spool->loop, on_repeat, reader, &reader->retry);
	*ret = reader;
}

void spool_reader_free(struct spool_reader **reader)
{
	struct spool_reader *r = *reader;

	*reader = NULL;
	if (!r)
		return;
	r->forgotten = true;
	if (!r->busy)
		reader_free(&r);
}

void spool_read(struct spool_reader *reader, size_t bytes, spool_read_fn *fn, void *arg)
{
	assert(!reader->fn && fn);
	reader->bytes = bytes;
	reader->fn = fn;
	reader->arg = arg;
	start(reader);
}

void spool_read_close(struct spool *spool)
{
	list_foreach_safe (node, &spool->readers) {
		struct spool_reader *reader = list_entry(node, struct spool_reader, node);

		reader_free(&reader);
	}
}
