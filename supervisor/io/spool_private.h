#ifndef IO_SPOOL_PRIVATE_H
#define IO_SPOOL_PRIVATE_H

/* What the files io/spool*.c share. All of it belongs to the loop's thread; a task of the offload thread has
 * what it needs copied into a struct of its own.
 *
 * spool.c       append, what waits for room, trouble, figures, close
 * spool_open.c  a folder, as an earlier process left it, to a spool; with spool_folder.c
 * spool_room.c  where the next record goes, and the limit
 * spool_keep.c  the list of segments; keeping and removing them
 * spool_ack.c   which records are acknowledged
 * spool_sync.c  fdatasync, and the cursor file
 * spool_read.c  readers */

#include <sys/types.h>

#include "base/list.h"
#include "io/spool.h"
#include "io/spool_file.h"
#include "io/spool_format.h"

struct offload;
struct loop_timer;

/* Of one record that may not be acknowledged yet. */
struct spool_entry {
	int64_t at_ms;
	uint32_t bytes; /* header included; a share of the segment's when the record was not read */
	bool acked;
};

/* One file. Its records have the numbers first … first + count - 1; where the file was not read yet, count is
 * the most that it can hold. */
struct spool_segment {
	uint64_t first, count;
	int64_t created_ms;	     /* wall clock */
	int64_t size;		     /* as allocated; what it counts for the limit */
	int64_t end;		     /* behind the last record; 0 = not known, the file was not read */
	int fd;			     /* -1 once it is synced, unless it is the current one */
	bool dirty;		     /* written since the last sync began */
	struct spool_entry *entries; /* `count` of them; NULL: all are acknowledged */
	size_t entry_room;
	uint64_t unacked; /* of `entries` */
	uint64_t oldest;  /* index of the first of them that is not acknowledged; count when none */
	int64_t acked_ms; /* monotonic, of the last acknowledgement; at first, of the opening */
};

/* A record that could not be written yet. */
struct spool_waiting {
	struct spool_record record; /* meta and body point behind it */
	bool acked;
	bool attempted; /* a part of it may be in the file */
};

enum spool_trouble_kind {
	SPOOL_WELL,
	SPOOL_POISONED,
	SPOOL_WRITE_FAILED,
	SPOOL_NO_ROOM_AHEAD, /* for the segment after the present one */
	SPOOL_LIMIT_REACHED, /* … because of max_bytes */
	SPOOL_TOO_DEEP,
};

struct spool {
	struct loop *loop;
	struct offload *offload;
	struct spool_options options; /* the defaults filled in */
	char *dir;
	int dir_fd, lock_fd, cursor_fd;
	uint64_t id;

	struct spool_segment **segments; /* in the order of their numbers */
	size_t segment_count, segment_room;
	struct spool_segment *current; /* the last of them; NULL when none can be written to */
	size_t low;		       /* no segment before this one has a record not acknowledged */
	int64_t bytes;		       /* of all segments, and of the spare */
	uint64_t next_seq, written, synced;
	uint64_t depth; /* records not acknowledged, the waiting ones too */
	int64_t depth_bytes;

	/* Records that wait for room, the oldest at `waiting_head`. */
	struct spool_waiting **waiting;
	size_t waiting_head, waiting_len, waiting_room; /* len counts those from head on */
	size_t waiting_low;				/* of these, how many in front are acknowledged */
	int write_error;				/* -errno of the last try; 0 */
	struct loop_timer *retry;

	struct {
		int fd; /* -1 when there is none */
		int64_t size;
		int error;		     /* -errno of the last try to make one; 0 */
		bool limited;		     /* max_bytes does not allow for one */
		struct spool_spare_job *job; /* while it is being made */
	} spare;

	struct spool_remove_job *removing;  /* in the thread */
	struct spool_remove_job *to_remove; /* not yet */
	struct loop_timer *keep;

	struct spool_sync_job *syncing; /* in the thread */
	bool sync_again;		/* the time has come for the next one */
	bool dir_dirty;			/* a name is new since the last sync began */
	struct loop_timer *sync;
	int64_t worst_ms, worst_before_ms, worst_since_ms; /* this half minute's and the one's before */

	struct spool_cursor cursor; /* as it is to be written; `acked` is brought up to date then */
	uint64_t acked_written;	    /* what the file says */
	bool cursor_dirty;	    /* something else than `acked` has changed */
	bool cursor_unsynced;	    /* … and is not on the disk yet */
	bool cursor_failed;	    /* told already */
	struct loop_timer *cursor_timer;

	struct list readers; /* of struct spool_reader, the forgotten ones too */

	bool too_deep;
	enum spool_trouble_kind trouble;
	int trouble_error;
	char *trouble_text; /* NULL when well */
	char *poison;	    /* what failed; NULL unless poisoned */
	bool telling;	    /* `changed` will be called at the end of this turn */
};

enum { SPOOL_RETRY_MS = 200, SPOOL_CURSOR_MS = 100 };

/* ---- spool.c ---- */

/* Of no folder yet, its thread running. */
int spool_new(struct loop *loop, const struct spool_options *options, struct spool **ret)
	__attribute__((warn_unused_result));
/* Safe on what is half opened; syncs nothing. */
void spool_free(struct spool **spool);

/* Writes what waits, as far as it goes. */
void spool_flush(struct spool *spool);
/* Compares what troubles it with what was told; to be called after every change of that. */
void spool_judge(struct spool *spool);

/* ---- spool_keep.c ---- */

/* Behind all others; nothing is known of it but this. `size` counts for the limit from now on. */
struct spool_segment *spool_segment_add(struct spool *spool, uint64_t first, int64_t created_ms,
					int64_t size);
/* How many there are in front of the first that has a record not acknowledged, or that is the current one. */
size_t spool_segments_kept(const struct spool *spool);
/* Index of the last whose first number is at most `seq`; -1 when all begin later. */
ssize_t spool_segment_find(const struct spool *spool, uint64_t seq);
/* Behind the last number that the segment may have. */
uint64_t spool_segment_seq_end(const struct spool *spool, size_t index);

/* Removes the oldest kept segment before its time; false when there is none. Only ever the oldest of all, so
 * that a number that no segment holds is one that was lost, or was acknowledged. */
bool spool_keep_free_oldest(struct spool *spool);
/* After a record of it was acknowledged, or it stopped to be the current one. */
void spool_keep_on_acked(struct spool *spool, struct spool_segment *segment);
void spool_keep_on_timer(void *arg);
/* Once the thread has ended. */
void spool_keep_close(struct spool *spool);

/* ---- spool_room.c ---- */

/* Makes `current` a segment with room for a record. 0, or -errno; -ENOBUFS is the limit of ours. */
int spool_room_for(struct spool *spool, size_t bytes) __attribute__((warn_unused_result));
/* Has the next segment made ready, if there is none. */
void spool_room_ahead(struct spool *spool);
/* Makes it now, blocking. That the disk is full is no failure, but trouble. */
int spool_room_first_spare(struct spool *spool) __attribute__((warn_unused_result));
/* After a change of max_bytes. */
void spool_room_on_limit(struct spool *spool);
/* Once the thread has ended. */
void spool_room_close(struct spool *spool);

/* ---- spool_ack.c ---- */

void spool_entry_add(struct spool *spool, struct spool_segment *segment, int64_t at_ms, uint32_t bytes,
		     bool acked);
/* Gives a segment whose file is not read entries of equal shares; acknowledged up to `acked`. */
void spool_entries_estimate(struct spool *spool, struct spool_segment *segment, uint64_t acked);
bool spool_is_acked(const struct spool *spool, uint64_t seq);
/* Which are acknowledged without a gap. */
uint64_t spool_acked(const struct spool *spool);
/* Acknowledges from … to - 1, of one segment: they are missing from it. Returns how many were not yet. */
uint64_t spool_ack_missing(struct spool *spool, uint64_t from, uint64_t to);

/* ---- spool_sync.c ---- */

void spool_sync_soon(struct spool *spool);
void spool_sync_on_timer(void *arg);
void spool_poison(struct spool *spool, const char *name, int error);
/* Once the thread has ended: what is not synced yet. */
void spool_sync_close(struct spool *spool);

int spool_cursor_read(int fd, struct spool_cursor *ret, uint32_t *ret_version)
	__attribute__((warn_unused_result));
void spool_cursor_soon(struct spool *spool);
void spool_cursor_now(struct spool *spool);
void spool_cursor_on_timer(void *arg);

/* ---- spool_read.c ---- */

/* Once the thread has ended: frees what was forgotten. */
void spool_read_close(struct spool *spool);

#endif
