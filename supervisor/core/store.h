#ifndef CORE_STORE_H
#define CORE_STORE_H

/* The store: the only part that knows where probes, turns and outcomes are kept.
 *
 * Two connections to Postgres: `queue` (claims, turns and completions, batched) and `control` (what commands
 * ask). A third beats the node's heart. Every turn and every end is written to the spool (io/spool.h) before
 * anything else, sent to Postgres, and acknowledged in the spool once that has committed it; the SQL makes
 * repeats harmless. So an outage of Postgres, of any length that the spool has room for, is only lag, and the
 * end of the daemon loses nothing that it was given. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct handover;
struct histogram;
struct loop;
struct spool_stat;
struct store;

/* What the dispatcher may choose between: one (run, model) with possible work. */
struct store_pair {
	const char *run_id, *model_id, *lane;
	int priority;
	bool paused;	 /* the run, or this model of it */
	bool cancelling; /* the run was told to cancel */
	const char *run_status;
	int64_t budget_e10; /* of the run, in 10^-10 USD; 0 = none */
	int64_t spent_e10;  /* by the run, on every node, as far as it is recorded and known */
};

/* One claimed job; pointers are valid during the callback. */
struct store_job {
	int64_t id;
	int attempt;
	const char *run_id, *model_id, *lane;
	const char *input; /* INPUT of the worker protocol, one line of JSON */
	size_t input_len;
	const char *turns; /* JSON array of bodies already paid for, "[]" mostly */
	size_t turns_len;
	int turn_count;	    /* in `turns` */
	const char *digest; /* of the last of them; "" when none */
	int64_t input_tokens, output_tokens, reasoning_tokens, duration_ms; /* sums over `turns` */
	int64_t cost_e10; /* of `turns`; 0 without any, -1 = not known of all of them */
	int fails;	  /* transient failures so far */
	int deaths, solo_deaths;
	int64_t limited_for_ms; /* since the first 429 of the present wait; 0 when none */
};

enum store_fate {
	STORE_COMPLETED, /* transcript + outcome */
	STORE_FAILED,	 /* outcome with error */
	STORE_CANCELLED, /* outcome with error code CANCELLED */
	STORE_LATER,	 /* back to the queue after delay_ms, with its turns as checkpoints */
};

/* How an attempt ended. Strings are copied by store_finish. */
struct store_end {
	int64_t job_id;
	int attempt;
	enum store_fate fate;
	int turn_count;		   /* of the whole conversation, earlier attempts' too */
	const char *digest;	   /* of its last turn; "" when there is none */
	const char *model_version; /* NULL when not told */
	int64_t input_tokens, output_tokens, reasoning_tokens,
		duration_ms;	 /* of all turns, earlier attempts' too */
	int64_t cost_e10;	 /* of all turns, 10^-10 USD; -1 = not known, as when there are none */
	const char *error;	 /* JSON object {"code","message",…}; NULL when COMPLETED */
	int64_t delay_ms;	 /* STORE_LATER */
	int fails;		 /* STORE_LATER: the count to keep */
	int deaths, solo_deaths; /* STORE_LATER: the counts to keep */
	int64_t limited_for_ms;	 /* STORE_LATER: 0 clears it */
};

/* What one answer has cost: priced once, when it came. */
struct store_bill {
	int64_t day; /* it came, UTC, counted from 1970-01-01; 0 = not known */
	int64_t input_tokens, output_tokens;
	int64_t cost_e10; /* -1 = not known: no price, or simulated */
};

/* One answer, as it came. Strings are copied by store_turn. */
struct store_turn {
	int64_t job_id;
	int attempt;
	int number;	    /* from 1 */
	const char *prev;   /* digest of the turn before; "" for the first */
	const char *digest; /* its own */
	const char *body;   /* one line of JSON */
	size_t body_len;
	struct store_bill bill;
};

/* What a lane has answered on a day, by all nodes. */
struct store_spent {
	const char *lane, *model_id;
	int64_t calls;	  /* answered; those that failed are not counted */
	int64_t cost_e10; /* as far as it is known */
};

struct store_want {
	const char *run_id, *model_id;
	int count;
};

struct store_options {
	const char *url;       /* libpq URL */
	const char *sql_dir;   /* folder of the numbered migrations */
	const char *node_name; /* shown to people */
	const char *state_id;  /* of state folder + machine: what an earlier boot of it held is taken back */
	const char *spool_dir;
	int64_t spool_max_bytes, spool_keep_ms; /* as in struct spool_options */
	bool rehearsal; /* only whether it could be opened is to be found out: the spool is another's */
	bool shared; /* other nodes work on this database, and take over what we hold when we fall silent */

	/* Ready for work (migrated, node registered, earlier leases taken back), or not and why (one line).
	 */
	void (*on_state)(void *arg, bool ready, const char *why);
	/* The active pairs have been read anew (after connect, store_reload_pairs, and every few seconds). */
	void (*on_pairs)(void *arg, const struct store_pair *pairs, size_t count);
	/* Once in the life of the store, before on_state says ready for the first time: what was answered on
	 * `day` (today, UTC, counted from 1970-01-01) before this boot. The spool has been sent by then, so
	 * that only calls are missing that had no answer. Not told to a store that goes on behind an upgrade.
	 * May be NULL. */
	void (*on_today)(void *arg, int64_t day, const struct store_spent *spent, size_t count);
	/* Delayed jobs of these pairs became ready, or other work may have: claim again. */
	void (*on_wake)(void *arg);
	/* A run got its last outcome (status COMPLETED, FAILED or CANCELLED). */
	void (*on_run_finished)(void *arg, const char *run_id, const char *status);
	/* A run has reached its budget, and is to be paused; more than once perhaps. May be NULL. */
	void (*on_over_budget)(void *arg, const char *run_id, const char *reason);
	/* store_trouble() or store_is_holding() says something else than before. */
	void (*on_trouble)(void *arg);
	/* We do not hold the lease of this job any more: another node has it. */
	void (*on_lost)(void *arg, int64_t job_id);
	void *arg;
};

/* Opens the spool too. -errno with *ret_error, one fresh line. */
int store_new(struct loop *loop, const struct store_options *options, struct store **ret, char **ret_error)
	__attribute__((warn_unused_result));
/* Not from one of its callbacks; calls none. What is not committed is in the spool, for the next boot. */
void store_free(struct store **store);

/* Starts connecting; retried for ever with back-off. */
void store_start(struct store *store);

bool store_is_ready(const struct store *store);
/* One line; "" when ready. Never holds a password. */
const char *store_why_not_ready(const struct store *store);

/* Reads the active pairs again soon (a command changed runs). Coalesced. */
void store_reload_pairs(struct store *store);

/* Closes all connections until store_start(), because another database takes the place of this one; `why` is
 * one line. Nothing of this node's may be under way. The spool decides whether it belongs to what comes then,
 * and this node registers there anew. */
void store_rest(struct store *store, const char *why);

/* The number of the newest migration that there is for the database; 0 before the first connect. */
int store_newest_schema(const struct store *store);

/* Claims up to the wanted numbers. `fn` is called once: with the jobs (perhaps none; `short_of[i]` tells that
 * want i gave fewer than asked), or jobs NULL when the claim failed or its fate is unknown. */
typedef void store_claim_fn(void *arg, const struct store_job *jobs, size_t count, const bool *short_of);
int store_claim(struct store *store, const struct store_want *wants, size_t count, store_claim_fn *fn,
		void *arg) __attribute__((warn_unused_result));

/* Takes over a turn; never fails. It becomes a checkpoint, unless the end of its attempt comes first. */
void store_turn(struct store *store, const struct store_turn *turn);

/* Takes over the end of an attempt, whose turns came before it; never fails. Batched: 50 to 200 rows, 4 MB or
 * 20 ms.
 */
void store_finish(struct store *store, const struct store_end *end);

/* One line of a round about a limit that all nodes share (shared = yes): what this node has of it, gives back
 * and wants. Amounts in whole units. */
struct store_ask {
	const char *lane, *scope, *unit;
	int64_t rate;	   /* the limit, as this node knows it */
	int64_t window_ms; /* the span, widened by all that delays a call; or STORE_A_DAY, STORE_AT_ONCE */
	int64_t life_ms;   /* what is granted is good for so long from the call on */
	int64_t rest;	   /* had and kept; negative = spent too much */
	int64_t gives;	   /* had and not kept: spent, unless this reaches the database; negative as above */
	int64_t needs;	   /* of the next call: less would be of no use */
	int64_t wants;	   /* to have in all; 0 = nothing waits */
};

enum { STORE_A_DAY = 0, STORE_AT_ONCE = -1 };

struct store_grant {
	int64_t granted; /* beside what is kept; negative = so much less may be kept */
	int64_t wait_ms; /* when to ask for the rest; 0 = there is none */
	int others;	 /* nodes that want some too */
};

/* `fn` is called once, with one grant for each ask; or with NULL when nothing is granted: refused, or its
 * fate is unknown. */
typedef void store_grants_fn(void *arg, const struct store_grant *grants, size_t count);
/* At most one ask for each limit. -ENOTCONN when the database is away, or others may take us for dead. */
int store_take_grants(struct store *store, const struct store_ask *asks, size_t count, store_grants_fn *fn,
		      void *arg) __attribute__((warn_unused_result));

/* When a run last got on. */
struct store_success {
	const char *run_id;
	int64_t ago_ms;	      /* since the last transcript, the start, or an operator's word */
	bool told;	      /* it was called stalled, and nothing else since */
	const char *retrying; /* the error that all its unfinished probes wait out; NULL when some do not */
};

/* `fn` is called once, with those of the runs that there are; or with NULL when they are not known. */
typedef void store_successes_fn(void *arg, const struct store_success *list, size_t count);
int store_ask_successes(struct store *store, const char *const *run_ids, size_t count, store_successes_fn *fn,
			void *arg) __attribute__((warn_unused_result));

/* Puts claimed jobs back at once, unharmed (shutdown, or an answer to a claim that nobody wants any more). */
void store_give_back(struct store *store, const int64_t *job_ids, const int *attempts, size_t count);

/* NULL, or one line: why no conversation should be begun, though the database may be there. */
const char *store_trouble(const struct store *store);

/* Fresh lines, or NULL: why results do not get to the database; and while it is ready, why no work comes from
 * it, and why nobody hears the node's heart. */
char *store_why_late(const struct store *store) __attribute__((warn_unused_result));
char *store_why_no_claims(const struct store *store) __attribute__((warn_unused_result));
char *store_why_no_beat(const struct store *store) __attribute__((warn_unused_result));

/* True when not even a conversation under way may make its next call: its answer could not be written, or is
 * another node's to get. */
bool store_is_holding(const struct store *store);

/* What is not in Postgres yet, and what the spool holds. */
void store_spool_stat(const struct store *store, struct spool_stat *ret);

/* How long ends of attempts took from store_finish() to their commit, since start; borrowed. */
const struct histogram *store_record_delay(const struct store *store);

/* The id of the database that the spool belongs to; NULL before the first connect. */
const char *store_database_id(const struct store *store);

/* A new limit and time to keep for the spool. */
void store_configure_spool(struct store *store, int64_t max_bytes, int64_t keep_ms);

/* Calls `fn` once everything handed over is committed, or after `timeout_ms` with flushed = false. */
void store_flush(struct store *store, int64_t timeout_ms, void (*fn)(void *arg, bool flushed), void *arg);

/* Leaves the flushes under way no more than `timeout_ms` from now. */
void store_hurry_flush(struct store *store, int64_t timeout_ms);

/* Records an event, later; dropped (and counted) when too many are held. `data` is a JSON object or NULL;
 * run_id, subject may be NULL; job_id 0 = none. */
void store_event(struct store *store, const char *level, const char *kind, const char *run_id, int64_t job_id,
		 const char *subject, const char *data);

/* Data of the newest event of that kind and subject that is above level info and still held here, as while
 * the database is away; NULL when there is none. Valid until the next turn of the loop. */
const char *store_held_event(const struct store *store, const char *kind, const char *subject);

/* How long events, the content of transcripts, and outcomes of deleted runs are kept; 0 = for ever. */
struct store_keeping {
	int64_t events_ms, content_ms, outcomes_ms;
};

/* What is older is removed: hourly, and when this changes. */
void store_keep(struct store *store, const struct store_keeping *keeping);

/* Starts (or goes on with) cancelling a run's queued jobs in chunks; on_wake/on_run_finished tell the rest.
 */
void store_cancel_run(struct store *store, const char *run_id);

/* Pauses a run whose next call would pass its budget, which is `budget_e10`; `reason` is one line for people.
 * Nothing happens when it has another budget by now. The pairs are read again afterwards; a run that they
 * still show active was not paused, and this may be called again. */
void store_pause_run(struct store *store, const char *run_id, int64_t budget_e10, const char *reason);

/* The control connection, for commands; valid as long as the store. */
struct db *store_control_db(struct store *store);

/* The node's id of this boot; 0 before the first connect. */
int64_t store_node_id(const struct store *store);

/* ---- while the daemon's program is replaced ---- */

/* Something is under way whose answer would be missed. Nothing is lost by it: a claim is taken back, an event
 * may be recorded twice. */
bool store_is_busy(const struct store *store);

/* Who we are to the database, and the events not recorded yet, either way. A store that goes on was not
 * started; store_know() tells it of each job that is held, with the attempt of its lease. */
void store_pass(struct store *store, struct handover *h);
void store_know(struct store *store, int64_t job_id, int attempt, const char *run_id, const char *model_id);

#endif
