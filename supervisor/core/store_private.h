#ifndef CORE_STORE_PRIVATE_H
#define CORE_STORE_PRIVATE_H

/* Shared by the store*.c files only. Each section of the struct is owned by the file named above it. */

#include "base/list.h"
#include "core/store.h"
#include "policy/histogram.h"

struct batch;
struct db;
struct db_reply;
struct loop_timer;
struct map;
struct spool;
struct spool_reader;

enum store_boot {
	BOOT_DOWN,	/* no connection */
	BOOT_WORKING,	/* asking for versions, migrating, registering; or waiting to try that again */
	BOOT_REPLAYING, /* registered: what the spool still has goes first */
	BOOT_DONE,
};

struct store {
	/* store.c */
	struct loop *loop;
	struct store_options options; /* strings are ours */
	struct db *queue, *control, *beat;
	struct db *grants; /* NULL unless shared: a round must not wait for a batch, nor a beat for it */
	bool ready, closing;
	bool was_ready; /* since the last store.down in the log */
	char *why;	/* why not ready; "" when ready */
	char *beat_why; /* why the heartbeat has no connection; NULL while it has one */

	/* store_boot.c */
	enum store_boot boot;
	struct loop_timer *boot_timer; /* the wait before another try */
	struct store_migration *migrations;
	size_t migration_count, migration;
	int64_t node_id; /* 0 before the first registration */
	bool today_told; /* on_today was called, or needs not be */
	bool fresh_node; /* registered, but what earlier boots held and spent is not known yet */

	/* store_claim.c */
	struct map *known;   /* job id → struct known: handed out, end not committed yet */
	struct map *marks;   /* run and model → struct mark: how far claims got */
	size_t claims;	     /* under way */
	char *claim_refusal; /* of the last claim; NULL when the database took it */

	/* store_journal.c */
	struct spool *spool;
	struct spool_reader
		*reader; /* rows come from the spool, not straight from the caller; NULL = straight */
	bool reading;	 /* a read is under way */
	bool replaying;	 /* what the reader gives is older than this connection: work waits for it */
	uint64_t newest; /* seq of the last record handed to the spool */
	struct loop_timer *journal_timer;
	char *timeline; /* of the server, to be told to the spool once it has all; NULL = nothing to tell */

	/* store_rows.c */
	struct list turns, ends; /* not in a batch yet, oldest first */
	size_t turn_count, turn_bytes, end_count, end_bytes;
	size_t held_count, held_bytes; /* all rows, in batches too */
	struct map *talks;	       /* job id → its turns that are not committed */
	struct list flushes;

	/* store_batch.c */
	struct list waiting; /* batches to send (again), before any row above */
	struct list sent;    /* batches in the pipeline */
	size_t sent_count;
	struct loop_timer *batch_timer;
	int64_t hold_until_ms; /* the server refused for a passing reason: nothing is sent before */
	unsigned refusals;     /* of that sort in a row */
	char *refusal;	       /* the last of them; NULL since a batch was taken */
	struct histogram record_delay;

	/* store_upkeep.c */
	struct loop_timer *pairs_timer, *promote_timer, *prune_timer;
	bool pairs_asked, pairs_again, promoting, pruning;
	size_t active_pairs;
	struct list cancels;
	struct store_keeping keeping;
	int64_t prune_due_ms;
	struct store_pruned {
		int64_t events, contents, outcomes;
	} pruned; /* in the row of statements under way */

	/* store_beat.c */
	struct loop_timer *beat_timer, *silence_timer, *fence_timer;
	bool beating;
	unsigned good_beats;  /* in a row, while ready */
	int64_t beat_sent_ms; /* the last one */
	bool fenced;	      /* silent for so long that others may take what we hold */

	/* store_events.c */
	struct list events;
	size_t event_count, event_bytes, events_dropped; /* held, but for those under way */
	struct loop_timer *events_timer;
	bool events_sending;
};

/* store.c: what the others report. `why` is one line. */
void store_set_ready(struct store *store, bool booted);
void store_set_why(struct store *store, const char *why);
bool store_is_booted(const struct store *store);
/* Of a question that recurs and concerns no job: a refusal is said, and it is asked again in its time. */
bool store_answered(const struct store *store, const struct db_reply *reply, const char *what);
/* There may be work to claim. */
void store_wake(const struct store *store);
/* Rows may be sent. */
bool store_is_joined(const struct store *store);

/* store_boot.c: from a fresh connection to BOOT_DONE. */
void store_boot_new(struct store *store);
void store_boot_free(struct store *store);
void store_boot_begin(struct store *store);
void store_boot_lost(struct store *store);
/* The node's row is gone: registers a new one. */
void store_boot_register(struct store *store);
/* All that was to be replayed is committed. */
void store_boot_replayed(struct store *store);

/* store_claim.c */
void store_claim_remember(struct store *store, int64_t job_id, int attempt, const char *run_id,
			  const char *model_id);
/* "run=… model=…" for a log line; both unknown of a job that an earlier life claimed. Valid until it is
 * forgotten. */
const char *store_claim_whose(const struct store *store, int64_t job_id);
void store_claim_new(struct store *store);
void store_claim_free(struct store *store);
/* The end of this attempt is committed: the job is not ours any more. */
void store_claim_forget(struct store *store, int64_t job_id, int attempt);
/* Handed out, and its end is not committed yet. */
bool store_claim_knows(const struct store *store, int64_t job_id);
/* Asks which of the jobs that we know are ours no more; each is told by on_lost. 0, or as db_query. */
int store_claim_ask_held(struct store *store, struct db *db,
			 void (*done)(void *arg, const struct db_reply *reply))
	__attribute__((warn_unused_result));
/* The answer to that, inside `done`. */
void store_claim_tell_lost(struct store *store, const struct db_reply *reply);
/* Gives back what a lost answer left leased to us. 0, -EAGAIN while claims are under way, or as db_query. */
int store_claim_reconcile(struct store *store, void (*done)(void *arg, const struct db_reply *reply))
	__attribute__((warn_unused_result));
/* Queues begin anew: so do the marks. */
void store_claim_new_database(struct store *store);
/* Drops marks of pairs that are gone. */
void store_claim_trim(struct store *store, size_t active_pairs);

/* store_journal.c */
int store_journal_open(struct store *store, char **ret_error) __attribute__((warn_unused_result));
void store_journal_free(struct store *store);
/* Reads on, if there is something to read and room for it. */
void store_journal_more(struct store *store);
/* Before anything is replayed: is the spool of this database, and of this course of its history? Else -EBUSY
 * with why (fresh). */
int store_journal_meet(struct store *store, const char *database, const char *timeline, char **ret_why)
	__attribute__((warn_unused_result));

/* store_rows.c; store_row.h has the rest. */
void store_rows_new(struct store *store);
void store_rows_free(struct store *store);

/* store_batch.c */
void store_batch_new(struct store *store);
void store_batch_free(struct store *store);
/* Sends what may be sent; `all` = also a batch that is not due yet. */
void store_batch_send(struct store *store, bool all);
/* Rows are on their way, or wait for it. */
bool store_batch_is_busy(const struct store *store);
/* How long the oldest batch under way has had no answer; 0 when none is under way. */
int64_t store_batch_silent_ms(const struct store *store);

/* store_upkeep.c */
void store_upkeep_new(struct store *store);
void store_upkeep_free(struct store *store);
void store_upkeep_begin(struct store *store);
void store_upkeep_stop(struct store *store);
/* A job was put off for so long. */
void store_upkeep_delayed(struct store *store, int64_t delay_ms);

/* store_beat.c: beats while its connection is up. */
void store_beat_new(struct store *store);
void store_beat_free(struct store *store);
void store_beat_soon(struct store *store);
/* This boot is registered. */
void store_beat_joined(struct store *store);

/* store_events.c */
void store_events_new(struct store *store);
void store_events_free(struct store *store);
void store_events_send(struct store *store);
void store_events_pass(struct store *store, struct handover *h);

#endif
