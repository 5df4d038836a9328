#ifndef IO_SPOOL_H
#define IO_SPOOL_H

/* The spool: a local, append-only log of every turn and every end of an attempt, written before anything else
 * is done with it. What Postgres has committed is acknowledged; the rest is read again at the next start.
 *
 * A folder of segments, each named by its first sequence number, and a file `cursor`: up to where all is
 * acknowledged, and which database that was. supervisor/README.md draws the format. A record is written when
 * spool_append returns (it survives the end of the process), and is on the disk a moment later
 * (sync_ms; it survives the end of the machine). Nothing but the writes, which go to the page cache, and the
 * naming of a segment that a thread has made ready happens on the loop's thread.
 *
 * Trouble. No room (a full disk, a short write, the limit): what cannot be written is kept in memory, in
 * order, and written when there is room again; until then spool_trouble() says so, and nothing new should be
 * begun. The same is said as soon as the segment after the present one has no room, while what is under way
 * still has. A failed sync: the disk lies about what it holds, so the spool is poisoned until the next start;
 * records are still written, for what it is worth, and the trouble is told. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct loop;
struct spool;
struct spool_reader;

/* A reader may be given one that is none of these, written by a later version. */
enum spool_kind {
	SPOOL_TURN = 1, /* an answer that was paid for */
	SPOOL_END = 2,	/* how an attempt ended */
};

struct spool_record {
	uint64_t seq;  /* from 1, without a gap; given by spool_append */
	int64_t at_ms; /* wall clock, since 1970; given by spool_append */
	enum spool_kind kind;
	int64_t job_id;
	int attempt;
	const char *meta; /* one line of JSON, without its newline */
	size_t meta_len;
	const char *body; /* a turn's body, one line of JSON; empty for an end */
	size_t body_len;
};

struct spool_options {
	const char *dir;       /* made, mode 0700, when missing */
	int64_t max_bytes;     /* of all segments together, the kept ones too */
	int64_t segment_bytes; /* of one, allocated beforehand, at most max_bytes / 8; 0 = the default */
	int64_t keep_ms;       /* acknowledged segments are kept so long, unless room is needed */
	int64_t sync_ms;       /* longest time from write to fdatasync; 0 = the default */
	/* spool_trouble() says something else than before. Never from within a call; may be NULL. */
	void (*changed)(void *arg);
	void *arg;
};

enum {
	SPOOL_SEGMENT_BYTES = 64 * 1024 * 1024,
	SPOOL_SYNC_MS = 10,
	SPOOL_PAYLOAD_MAX = 72 * 1024 * 1024, /* of meta and body: more than the longest line of a worker */
	/* Of max_bytes, in records not acknowledged: from the one on it is trouble, until below the other. */
	SPOOL_HIGH_PERCENT = 80,
	SPOOL_LOW_PERCENT = 70,
};

/* Opens or makes it; reads the last segment to find the end of what is good (blocks: before the loop runs). A
 * last record that was cut off in its writing is cut off here too. -errno and a line in *ret_error: a folder
 * that cannot be used, a file of a newer format, a spool that another process has open. */
int spool_open(struct loop *loop, const struct spool_options *options, struct spool **ret, char **ret_error)
	__attribute__((warn_unused_result));
/* Whether this program could open it, while another one has it open: touches nothing. A folder that is not
 * there yet is fine. As spool_open otherwise. */
int spool_check(const char *dir, char **ret_error) __attribute__((warn_unused_result));
/* Syncs what is written (blocks: after the loop has ended, or for a moment), and closes. NULL is fine. */
void spool_close(struct spool **spool);

/* A new limit and time to keep. */
void spool_configure(struct spool *spool, int64_t max_bytes, int64_t keep_ms);

/* Takes over a record (copies what it must); `seq` and `at_ms` are set in it. Never fails: see Trouble. Meta
 * has no newline; meta and body are less than SPOOL_PAYLOAD_MAX together. */
void spool_append(struct spool *spool, struct spool_record *record);

/* The record needs never be read again. Any order. */
void spool_ack(struct spool *spool, uint64_t seq);

/* NULL, or one line: why nothing new should be begun. */
const char *spool_trouble(const struct spool *spool);

/* Records wait in memory for want of room on the disk: what comes in could be lost. */
bool spool_is_holding(const struct spool *spool);

struct spool_stat {
	uint64_t written;     /* seq of the newest record in a file */
	uint64_t synced;      /* … on the disk */
	uint64_t acked;	      /* all up to it are acknowledged */
	uint64_t depth;	      /* records not acknowledged */
	int64_t depth_bytes;  /* … their bytes */
	uint64_t unwritten;   /* of these, in memory only, for want of room */
	int64_t oldest_at_ms; /* wall clock, of the oldest one not acknowledged; 0 when none */
	int64_t bytes;	      /* of all files */
	int64_t max_bytes;
	int64_t kept_bytes; /* of segments kept though acknowledged */
	int segments;
	int64_t sync_ms_worst; /* slowest fdatasync of the last minute */
	bool poisoned;
};
void spool_stat(const struct spool *spool, struct spool_stat *ret);

/* Which database the acknowledged records are in: its own id and its timeline ("" at first). A change is
 * written to the cursor file at once. */
const char *spool_database(const struct spool *spool);
const char *spool_timeline(const struct spool *spool);
void spool_set_server(struct spool *spool, const char *database, const char *timeline);

/* Takes every acknowledgement back that still has its record in a kept segment, so that all can be read
 * again. Returns the seq of the oldest. */
uint64_t spool_rewind(struct spool *spool);

/* Forgets every acknowledged record and removes their segments: they belong to another database. */
void spool_forget_kept(struct spool *spool);

/* Reads records again, in order, from `from` (or the oldest there is after it) to the newest written at the
 * time of each call. */
void spool_reader_new(struct spool *spool, uint64_t from, struct spool_reader **ret);
void spool_reader_free(struct spool_reader **reader); /* NULL is fine; a read under way is forgotten */

/* Reads up to about `bytes` of records (at least one record if there is any) off the loop, then calls `fn`
 * once, on the loop, never from within this call. `next` is the seq after the last of them; no records = the
 * end is reached as of now. Acknowledged ones are left out, but count for `next`. A damaged part is passed
 * over and told in the log with the number of records that are missing. One read at a time. Records are valid
 * during the call. */
typedef void spool_read_fn(void *arg, const struct spool_record *records, size_t count, uint64_t next);
void spool_read(struct spool_reader *reader, size_t bytes, spool_read_fn *fn, void *arg);

/* Prints one segment offline, one JSON object a line: seq, at, kind, job, attempt, meta, and the body as it
 * is; a line at which byte it is damaged and why, wherever it is; and a last line on how it ends, at which
 * byte, after how many records and damages. 0, or -errno with *ret_error. */
int spool_dump(const char *path, FILE *out, char **ret_error) __attribute__((warn_unused_result));

#endif
