#include "io/spool.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/offload.h"
#include "io/spool_private.h"

enum { HEAD_SLACK = 64, MIB = 1024 * 1024, PARTS = 4 /* header, meta, newline, body */ };

/* ---- trouble ---- */

static void tell(void *arg)
{
	struct spool *spool = arg;

	spool->telling = false;
	if (spool->options.changed)
		spool->options.changed(spool->options.arg);
}

/* Until it has fallen below the lower mark, what was too deep stays so. */
static bool is_too_deep(const struct spool *spool)
{
	int percent = spool->too_deep ? SPOOL_LOW_PERCENT : SPOOL_HIGH_PERCENT;

	return (double)spool->depth_bytes >= (double)spool->options.max_bytes * percent / 100;
}

static enum spool_trouble_kind look_for_trouble(const struct spool *spool, int *ret_error)
{
	if (spool->poison)
		return SPOOL_POISONED;
	if (spool->write_error == -ENOBUFS)
		return SPOOL_LIMIT_REACHED;
	*ret_error = spool->write_error;
	if (spool->write_error < 0)
		return SPOOL_WRITE_FAILED;
	if (spool->too_deep)
		return SPOOL_TOO_DEEP;
	if (spool->spare.limited)
		return SPOOL_LIMIT_REACHED;
	*ret_error = spool->spare.error;
	return spool->spare.error < 0 ? SPOOL_NO_ROOM_AHEAD : SPOOL_WELL;
}

/* One text for one trouble: it holds no number that moves. */
static char *describe(const struct spool *spool)
{
	long long limit = spool->options.max_bytes / MIB;
	const char *reason = strerror(-spool->trouble_error);

	switch (spool->trouble) {
	case SPOOL_POISONED:
		return mem_strdup(spool->poison);
	case SPOOL_WRITE_FAILED:
		return mem_printf("the spool in %s cannot be written: %s", spool->dir, reason);
	case SPOOL_NO_ROOM_AHEAD:
		return mem_printf("the spool in %s has no room for another segment: %s", spool->dir, reason);
	case SPOOL_LIMIT_REACHED:
		return mem_printf("the spool in %s has reached its limit of %lld MiB", spool->dir, limit);
	case SPOOL_TOO_DEEP:
		return mem_printf("over %d %% of the spool in %s (%lld MiB) wait for the database",
				  SPOOL_HIGH_PERCENT, spool->dir, limit);
	case SPOOL_WELL:
		break;
	}
	return NULL;
}

void spool_judge(struct spool *spool)
{
	enum spool_trouble_kind kind;
	int error = 0;

	spool->too_deep = is_too_deep(spool);
	kind = look_for_trouble(spool, &error);
	if (kind == spool->trouble && error == spool->trouble_error)
		return;
	spool->trouble = kind;
	spool->trouble_error = error;
	mem_set_str(&spool->trouble_text, describe(spool));
	if (!spool->telling)
		loop_defer(spool->loop, tell, spool);
	spool->telling = true;
}

const char *spool_trouble(const struct spool *spool)
{
	return spool->trouble_text;
}

bool spool_is_holding(const struct spool *spool)
{
	return spool->waiting_len > 0;
}

/* ---- writing ---- */

/* The first `bytes` of what `iov` holds. */
static void cut(struct iovec *iov, int count, size_t bytes)
{
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > bytes)
			iov[i].iov_len = bytes;
		bytes -= iov[i].iov_len;
	}
}

/* A build with crash points writes a record in two steps, to be able to end between them. */
static int write_bytes(const struct spool_segment *segment, struct iovec iov[PARTS], size_t bytes)
{
	if (CRASH_POINTS) {
		struct iovec half[PARTS];
		int r;

		memcpy(half, iov, sizeof(half));
		cut(half, PARTS, bytes / 2);
		r = spool_file_write(segment->fd, half, PARTS, segment->end);
		if (r < 0)
			return r;
		CRASH_POINT("spool.half");
	}
	return spool_file_write(segment->fd, iov, PARTS, segment->end);
}

/* *ret_attempted: a part of it may be in the file now. */
static int write_record(struct spool *spool, const struct spool_record *record, bool acked,
			bool *ret_attempted)
{
	size_t bytes = spool_record_bytes(record);
	unsigned char header[SPOOL_RECORD_HEADER];
	char newline = '\n';
	struct iovec iov[PARTS] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = (char *)(uintptr_t)record->meta, .iov_len = record->meta_len },
		{ .iov_base = &newline, .iov_len = 1 },
		{ .iov_base = (char *)(uintptr_t)record->body, .iov_len = record->body_len },
	};
	struct spool_segment *segment;
	int r;

	CRASH_POINT("spool.append");
	r = spool_room_for(spool, bytes);
	if (r < 0)
		return r;
	segment = spool->current;
	spool_encode_record(record, spool->id, header);
	*ret_attempted = true;
	r = write_bytes(segment, iov, bytes);
	if (r < 0)
		return r;
	CRASH_POINT("spool.written");
	segment->end += (int64_t)bytes;
	segment->dirty = true;
	spool->written = record->seq;
	spool_entry_add(spool, segment, record->at_ms, (uint32_t)bytes, acked);
	spool_sync_soon(spool);
	return 0;
}

static void note_write(struct spool *spool, int error)
{
	spool->write_error = error;
	if (error == 0)
		return;
	if (error == -ENOSPC || error == -EDQUOT)
		(void)spool_keep_free_oldest(spool);
	loop_timer_start_by(spool->retry, SPOOL_RETRY_MS);
}

/* Meta and body are copied behind it. */
static struct spool_waiting *copy_record(const struct spool_record *record)
{
	struct spool_waiting *copy = mem_alloc(sizeof(*copy) + record->meta_len + record->body_len);
	char *meta = (char *)(copy + 1);
	char *body = meta + record->meta_len;

	copy->record = *record;
	if (record->meta_len > 0)
		memcpy(meta, record->meta, record->meta_len);
	if (record->body_len > 0)
		memcpy(body, record->body, record->body_len);
	copy->record.meta = meta;
	copy->record.body = body;
	return copy;
}

static void let_wait(struct spool *spool, const struct spool_record *record, bool attempted)
{
	struct spool_waiting *copy = copy_record(record);
	size_t end = spool->waiting_head + spool->waiting_len;

	copy->attempted = attempted;
	if (end == spool->waiting_room) {
		spool->waiting_room = end ? end * 2 : 64;
		spool->waiting = mem_resize(spool->waiting, spool->waiting_room,
					    sizeof(struct spool_waiting *));
	}
	spool->waiting[end] = copy;
	spool->waiting_len++;
}

static void drop_first_waiting(struct spool *spool)
{
	mem_free(&spool->waiting[spool->waiting_head]);
	spool->waiting_head++;
	spool->waiting_len--;
	if (spool->waiting_low > 0)
		spool->waiting_low--;
	if (spool->waiting_head < HEAD_SLACK && spool->waiting_len > 0)
		return;
	memmove(spool->waiting, spool->waiting + spool->waiting_head,
		spool->waiting_len * sizeof(*spool->waiting));
	spool->waiting_head = 0;
}

void spool_flush(struct spool *spool)
{
	int r = 0;

	while (spool->waiting_len > 0) {
		struct spool_waiting *first = spool->waiting[spool->waiting_head];

		r = write_record(spool, &first->record, first->acked, &first->attempted);
		if (r < 0)
			break;
		drop_first_waiting(spool);
	}
	note_write(spool, r);
	spool_judge(spool);
}

void spool_append(struct spool *spool, struct spool_record *record)
{
	bool attempted = false;
	int r;

	assert(record->meta_len + record->body_len < SPOOL_PAYLOAD_MAX);
	assert(record->meta_len == 0 || !memchr(record->meta, '\n', record->meta_len));
	record->seq = spool->next_seq++;
	record->at_ms = clock_wall_ms();
	spool->depth++;
	spool->depth_bytes += (int64_t)spool_record_bytes(record);
	if (spool->waiting_len == 0) {
		r = write_record(spool, record, false, &attempted);
		if (r == 0) {
			spool_judge(spool);
			return;
		}
		note_write(spool, r);
	}
	let_wait(spool, record, attempted);
	spool_judge(spool);
}

static void on_retry(void *arg)
{
	struct spool *spool = arg;

	spool_flush(spool);
	spool_room_ahead(spool);
}

/* ---- settings and figures ---- */

void spool_configure(struct spool *spool, int64_t max_bytes, int64_t keep_ms)
{
	spool->options.max_bytes = max_bytes;
	spool->options.keep_ms = keep_ms;
	spool_room_on_limit(spool);
	loop_timer_start(spool->keep, 0);
	loop_timer_start(spool->retry, 0);
	spool_judge(spool);
}

static int64_t oldest_at_ms(const struct spool *spool)
{
	for (size_t i = spool->low; i < spool->segment_count; i++) {
		const struct spool_segment *segment = spool->segments[i];

		if (segment->unacked > 0)
			return segment->entries[segment->oldest].at_ms;
	}
	if (spool->waiting_low < spool->waiting_len)
		return spool->waiting[spool->waiting_head + spool->waiting_low]->record.at_ms;
	return 0;
}

static int64_t kept_bytes(const struct spool *spool)
{
	int64_t bytes = 0;

	for (size_t i = spool_segments_kept(spool); i-- > 0;)
		bytes += spool->segments[i]->size;
	return bytes;
}

static uint64_t unwritten(const struct spool *spool)
{
	uint64_t count = 0;

	for (size_t i = 0; i < spool->waiting_len; i++)
		count += !spool->waiting[spool->waiting_head + i]->acked;
	return count;
}

void spool_stat(const struct spool *spool, struct spool_stat *ret)
{
	*ret = (struct spool_stat){
		.written = spool->written,
		.synced = spool->synced,
		.acked = spool_acked(spool),
		.depth = spool->depth,
		.depth_bytes = spool->depth_bytes,
		.unwritten = unwritten(spool),
		.oldest_at_ms = oldest_at_ms(spool),
		.bytes = spool->bytes,
		.max_bytes = spool->options.max_bytes,
		.kept_bytes = kept_bytes(spool),
		.segments = (int)spool->segment_count,
		.sync_ms_worst = spool->worst_ms > spool->worst_before_ms ? spool->worst_ms
									  : spool->worst_before_ms,
		.poisoned = spool->poison != NULL,
	};
}

const char *spool_database(const struct spool *spool)
{
	return spool->cursor.database;
}

const char *spool_timeline(const struct spool *spool)
{
	return spool->cursor.timeline;
}

/* ---- life ---- */

int spool_new(struct loop *loop, const struct spool_options *options, struct spool **ret)
{
	struct spool *spool = mem_alloc(sizeof(*spool));
	int r;

	r = offload_new(loop, &spool->offload);
	if (r < 0) {
		mem_free(&spool);
		return r;
	}
	spool->loop = loop;
	spool->options = *options;
	spool->dir = mem_strdup(options->dir);
	spool->options.dir = spool->dir;
	if (options->segment_bytes == 0)
		spool->options.segment_bytes = SPOOL_SEGMENT_BYTES;
	if (options->sync_ms == 0)
		spool->options.sync_ms = SPOOL_SYNC_MS;
	spool->dir_fd = spool->lock_fd = spool->cursor_fd = spool->spare.fd = -1;
	list_init(&spool->readers);
	loop_timer_new(loop, on_retry, spool, &spool->retry);
	loop_timer_new(loop, spool_keep_on_timer, spool, &spool->keep);
	loop_timer_new(loop, spool_sync_on_timer, spool, &spool->sync);
	loop_timer_new(loop, spool_cursor_on_timer, spool, &spool->cursor_timer);
	*ret = spool;
	return 0;
}

void spool_free(struct spool **spool_slot)
{
	struct spool *spool = *spool_slot;

	offload_free(&spool->offload);
	spool_room_close(spool);
	spool_keep_close(spool);
	loop_undefer(spool->loop, spool);
	loop_timer_free(&spool->retry);
	loop_timer_free(&spool->keep);
	loop_timer_free(&spool->sync);
	loop_timer_free(&spool->cursor_timer);
	while (spool->waiting_len > 0)
		drop_first_waiting(spool);
	mem_free(&spool->waiting);
	fd_close(&spool->cursor_fd);
	fd_close(&spool->lock_fd);
	fd_close(&spool->dir_fd);
	mem_free(&spool->trouble_text);
	mem_free(&spool->poison);
	mem_free(&spool->dir);
	mem_free(spool_slot);
}

void spool_close(struct spool **spool)
{
	struct spool *s = *spool;

	if (!s)
		return;
	if (s->waiting_len > 0)
		spool_flush(s);
	if (s->waiting_len > 0)
		log_error("spool.unwritten", "records=%zu reason=\"%s\"", s->waiting_len,
			  s->trouble_text ? s->trouble_text : "");
	offload_free(&s->offload);
	spool_read_close(s);
	spool_sync_close(s);
	spool_free(spool);
}
