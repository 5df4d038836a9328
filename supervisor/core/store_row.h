#ifndef CORE_STORE_ROW_H
#define CORE_STORE_ROW_H

/* One turn, or one end of an attempt, on its way into the database: between store_rows.c, which keeps count
 * of them and of who needs them, and store_batch.c, which sends them.
 *
 * A turn waits a moment in the store's memory: mostly its attempt ends by then, and the end carries the turns
 * with it. Else it is sent by itself, to become a checkpoint. A turn that is not committed when its attempt
 * ends is carried by the end, whether it is under way or not: whichever comes first counts. */

#include "core/store_private.h"

struct db_params;

enum { STORE_BATCH_ROWS = 200 }; /* at the most, of one sort */

/* What the caller may say, and what only the store says. */
enum store_row_fate {
	ROW_COMPLETED = STORE_COMPLETED,
	ROW_FAILED = STORE_FAILED,
	ROW_CANCELLED = STORE_CANCELLED,
	ROW_LATER = STORE_LATER,
	ROW_RETURNED, /* given back unharmed */
	ROW_REFUSED,  /* the server does not take what is in it */
	ROW_TURN,     /* no end, but a turn */
};

struct store_row {
	struct list node;    /* in a queue of the store or in a batch; alone while neither */
	struct list in_talk; /* turns: in the turns of its job that are not committed; alone once carried */
	uint64_t seq;	     /* of its record in the spool; 0 = it has none */
	int64_t since_ms;    /* handed over */
	int64_t age_ms;	     /* of its record by then */
	int64_t job_id;
	int attempt;
	enum store_row_fate fate;
	int refs;     /* turns: held by a queue or batch, by the talk, by an end that carries it */
	bool sent;    /* turns: in a batch, or was */
	bool refused; /* turns: the database keeps another one in its place, or none */
	int number;   /* turns: from 1; ends: turns of the whole conversation */
	char *prev;   /* turns: digest of the turn before */
	char *digest; /* turns: its own; ends: of the last turn */
	char *body;   /* turns */
	size_t body_len;
	struct store_row **carried; /* ends: turns not committed when it came, in order */
	size_t carried_count;
	char *model_version;
	char *error; /* JSON; plain text for ROW_REFUSED */
	int64_t input_tokens, output_tokens, reasoning_tokens, duration_ms, cost_e10, delay_ms,
		limited_for_ms;
	int fails, deaths, solo_deaths;
	struct store_bill bill; /* turns */
	size_t bytes;		/* its own */
};

/* Bytes with what it carries. */
size_t store_row_weight(const struct store_row *row);

/* From the spool or straight from the caller; age_ms: of its record, 0 for a new one. */
void store_rows_take_turn(struct store *store, uint64_t seq, const struct store_turn *turn);
void store_rows_take_end(struct store *store, uint64_t seq, int64_t age_ms, const struct store_end *end);

/* The row, which no batch holds any more, is committed or superseded. store_rows_settled() follows once for
 * several. */
void store_row_done(struct store *store, struct store_row *row);
/* The database has another turn in the place of this one, or does not take it: it may still come with its
 * end. */
void store_row_refused(struct store *store, struct store_row *row);
void store_rows_settled(struct store *store);

/* store_params.c: no more than STORE_BATCH_ROWS of them, as finish_jobs() and keep_turns() take them. */
struct db_params *store_params_ends(int64_t node_id, const struct list *rows)
	__attribute__((warn_unused_result));
struct db_params *store_params_turns(int64_t node_id, const struct list *rows)
	__attribute__((warn_unused_result));

/* Forgets every row that has a record in the spool, without a word to it: they are about to come again from
 * there, in its order. Not while batches are under way. */
void store_rows_forget(struct store *store);
/* Moves the rows of all batches that wait to the end of the list. */
void store_batch_unpack(struct store *store, struct list *ret);

/* Frees rows that no batch holds any more, without a word to the spool. */
void store_rows_drop(struct store *store, struct list *rows);

#endif
