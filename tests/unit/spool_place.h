#ifndef SPOOL_PLACE_H
#define SPOOL_PLACE_H

/* A spool in a folder of its own, for tests of io/spool.h. Every record is told by its job's number what it
 * must hold, and every one that is read is held against that. */

#include "row.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/spool.h"

enum { PLACE_DEADLINE_MS = 20000, PLACE_HEADER = 64, PLACE_SMALL = 4096 };

struct place {
	char dir[64];
	struct loop *loop;
	struct loop_timer *poll;
	struct spool *spool; /* NULL while closed */
	struct spool_options options;
	int changes; /* calls of `changed` */
	bool inside; /* within a call of ours: `changed` must not come */
	bool (*until)(struct place *place);
	int64_t deadline_ms;
	int64_t tag;	/* the job's number of the newest record */
	int64_t *tags;	/* by seq: which job's record it is; 0 = never appended */
	size_t *bodies; /* by seq: the length of its body */
	size_t tag_room;
	/* of the last read */
	uint64_t *seqs;
	size_t count, room;
	uint64_t next;
	bool read_done;
};

/* ---- folder ---- */

static inline void place_changed(void *arg)
{
	struct place *place = arg;

	assert_false(place->inside);
	place->changes++;
}

static inline void place_poll(void *arg)
{
	struct place *place = arg;

	if (place->until(place))
		loop_stop(place->loop);
	else if (clock_now_ms() > place->deadline_ms)
		fail_msg("waited in vain");
	else
		loop_timer_start(place->poll, 1);
}

/* Runs the loop until the claim holds. */
static inline void place_wait(struct place *place, bool (*until)(struct place *place))
{
	place->until = until;
	place->deadline_ms = clock_now_ms() + PLACE_DEADLINE_MS;
	loop_timer_start(place->poll, 0);
	loop_run(place->loop);
}

/* Of a small limit and small segments, kept for ever. */
static inline struct place *place_new(void)
{
	struct place *place = mem_alloc(sizeof(*place));

	log_set_level(LOG_LEVEL_ERROR);
	/* In memory where there is such a place: tests open and sync by the thousand. */
	(void)snprintf(place->dir, sizeof(place->dir), "%s/spool-XXXXXX",
		       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(place->dir));
	assert_int_equal(loop_new(&place->loop), 0);
	loop_timer_new(place->loop, place_poll, place, &place->poll);
	place->options = (struct spool_options){
		.dir = place->dir,
		.max_bytes = INT64_C(1) << 30,
		.segment_bytes = PLACE_SMALL,
		.keep_ms = 3600 * 1000,
		.changed = place_changed,
		.arg = place,
	};
	return place;
}

static inline int place_try_open(struct place *place, char **ret_error)
{
	return spool_open(place->loop, &place->options, &place->spool, ret_error);
}

static inline void place_open(struct place *place)
{
	AUTO(mem_free_str) char *error = NULL;

	if (place_try_open(place, &error) < 0)
		fail_msg("%s", error);
}

static inline void place_close(struct place *place)
{
	spool_close(&place->spool);
}

/* Names of all files but the lock, the cursor and the spare, in order. */
static inline int place_list(const struct place *place, char names[][64], int most)
{
	struct dirent **entries;
	int total = scandir(place->dir, &entries, NULL, alphasort);
	int count = 0;

	for (int i = 0; i < total; i++) {
		const char *name = entries[i]->d_name;

		if (name[0] == '0' && count < most)
			(void)snprintf(names[count++], 64, "%.63s", name);
		free(entries[i]);
	}
	free(entries);
	return count;
}

static inline void place_path(const struct place *place, const char *name, char ret[128])
{
	(void)snprintf(ret, 128, "%s/%.60s", place->dir, name);
}

static inline void place_empty(const struct place *place)
{
	DIR *dir = opendir(place->dir);
	const struct dirent *entry;

	while ((entry = readdir(dir)))
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	(void)closedir(dir);
}

static inline void place_free(struct place **slot)
{
	struct place *place = *slot;

	place_close(place);
	place_empty(place);
	assert_int_equal(rmdir(place->dir), 0);
	loop_timer_free(&place->poll);
	loop_free(&place->loop);
	free(place->tags);
	free(place->bodies);
	free(place->seqs);
	mem_free(slot);
}

/* ---- files, to be harmed ---- */

static inline char *place_load(const struct place *place, const char *name, size_t *ret_len)
{
	char path[128];
	char *bytes;

	place_path(place, name, path);
	assert_int_equal(fd_read_file(path, 1 << 30, &bytes, ret_len), 0);
	return bytes;
}

static inline void place_store(const struct place *place, const char *name, const char *bytes, size_t len)
{
	char path[128];
	int fd;

	place_path(place, name, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	(void)close(fd);
}

/* ---- records ---- */

static inline void place_fill(char *body, size_t len, int64_t tag)
{
	for (size_t i = 0; i < len; i++)
		body[i] = (char)('a' + ((size_t)tag * 7 + i * i) % 26);
}

static inline void place_remember(struct place *place, uint64_t seq, size_t body_len)
{
	if (seq >= place->tag_room) {
		size_t room = (size_t)seq * 2 + 64;

		place->tags = mem_resize(place->tags, room, sizeof(*place->tags));
		place->bodies = mem_resize(place->bodies, room, sizeof(*place->bodies));
		memset(place->tags + place->tag_room, 0, (room - place->tag_room) * sizeof(*place->tags));
		place->tag_room = room;
	}
	place->tags[seq] = place->tag;
	place->bodies[seq] = body_len;
}

static inline size_t place_meta(char meta[32], int64_t tag)
{
	return (size_t)snprintf(meta, 32, "{\"tag\":%" PRId64 "}", tag);
}

/* Returns its seq. */
static inline uint64_t place_append(struct place *place, size_t body_len)
{
	struct spool_record record = { .kind = body_len ? SPOOL_TURN : SPOOL_END };
	char *body = mem_array(body_len, 1);
	char meta[32];

	record.job_id = ++place->tag;
	record.attempt = (int)(place->tag % 5) + 1;
	record.meta = meta;
	record.meta_len = place_meta(meta, place->tag);
	place_fill(body, body_len, place->tag);
	record.body = body;
	record.body_len = body_len;
	place->inside = true;
	spool_append(place->spool, &record);
	place->inside = false;
	place_remember(place, record.seq, body_len);
	/* What it keeps it has copied. */
	memset(body, '!', body_len);
	memset(meta, '!', sizeof(meta));
	mem_free(&body);
	return record.seq;
}

/* `count` records whose bodies differ in length; every seventh is an end, without a body. */
static inline void place_append_many(struct place *place, int count)
{
	for (int i = 0; i < count; i++)
		(void)place_append(place,
				   (size_t)((place->tag + 1) * 37 % 7 == 0 ? 0 : place->tag * 37 % 211));
}

static inline void place_ack(struct place *place, uint64_t seq)
{
	place->inside = true;
	spool_ack(place->spool, seq);
	place->inside = false;
}

static inline struct spool_stat place_stat(const struct place *place)
{
	struct spool_stat stat;

	spool_stat(place->spool, &stat);
	return stat;
}

static inline void place_check(const struct place *place, const struct spool_record *record)
{
	int64_t tag = record->job_id;
	char meta[32];
	size_t meta_len = place_meta(meta, tag);
	char *body = mem_array(record->body_len, 1);

	expect(record->seq < place->tag_room && place->tags[record->seq] == tag,
	       "seq %" PRIu64 " is of job %" PRId64, record->seq, tag);
	expect(record->attempt == (int)(tag % 5) + 1 && record->body_len == place->bodies[record->seq] &&
		       record->kind == (record->body_len ? SPOOL_TURN : SPOOL_END) &&
		       llabs(clock_wall_ms() - record->at_ms) < 600 * 1000,
	       "seq %" PRIu64 ": attempt %d, kind %d, body of %zu", record->seq, record->attempt,
	       (int)record->kind, record->body_len);
	place_fill(body, record->body_len, tag);
	expect(record->meta_len == meta_len && memcmp(record->meta, meta, meta_len) == 0,
	       "seq %" PRIu64 ": meta", record->seq);
	expect(memcmp(record->body, body, record->body_len) == 0, "seq %" PRIu64 ": body", record->seq);
	mem_free(&body);
}

static inline void place_got(void *arg, const struct spool_record *records, size_t count, uint64_t next)
{
	struct place *place = arg;

	assert_false(place->inside);
	for (size_t i = 0; i < count; i++) {
		place_check(place, &records[i]);
		expect(place->count == 0 || place->seqs[place->count - 1] < records[i].seq, "out of order");
		if (place->count == place->room) {
			place->room = place->room ? place->room * 2 : 64;
			place->seqs = mem_resize(place->seqs, place->room, sizeof(*place->seqs));
		}
		place->seqs[place->count++] = records[i].seq;
	}
	expect(count == 0 || next > records[count - 1].seq, "next is %" PRIu64, next);
	place->next = next;
	place->read_done = true;
}

static inline bool place_is_read(struct place *place)
{
	return place->read_done;
}

/* One read; what it gave is added to `seqs`. Returns how many that were. */
static inline size_t place_read_once(struct place *place, struct spool_reader *reader, size_t bytes)
{
	size_t before = place->count;

	place->read_done = false;
	place->inside = true;
	spool_read(reader, bytes, place_got, place);
	place->inside = false;
	place_wait(place, place_is_read);
	return place->count - before;
}

/* Reads to the end; `seqs` holds what came. */
static inline void place_read_all(struct place *place, uint64_t from, size_t bytes)
{
	struct spool_reader *reader;

	place->count = 0;
	spool_reader_new(place->spool, from, &reader);
	while (place_read_once(place, reader, bytes) > 0)
		continue;
	spool_reader_free(&reader);
}

/* Whether `seqs` are from … to, without a gap. */
static inline void place_expect(const struct place *place, uint64_t from, uint64_t to)
{
	expect(place->count == to + 1 - from, "%zu records, not %" PRIu64 "…%" PRIu64, place->count, from,
	       to);
	for (size_t i = 0; i < place->count; i++)
		expect(place->seqs[i] == from + i, "%" PRIu64 " at %zu", place->seqs[i], i);
}

#endif
