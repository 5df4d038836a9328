#ifndef POLICY_ALERT_H
#define POLICY_ALERT_H

/* What people are to be told of, and who has been told.
 *
 * A condition is known by its kind and subject: however often it is seen, it is told once, and its end once,
 * to those who were told of it. What is told stays owed until its target has it; a target that fails is tried
 * again with back-off, oldest message first. Notices have no end.
 * Pure: monotonic `now_ms` decides, `wall_ms` (since 1970) is only kept for people. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum alert_kind {
	ALERT_POOL_DEGRADED,
	ALERT_PROVIDER_PARKED,
	ALERT_RUN_FINISHED,
	ALERT_RUN_STALLED,
	ALERT_RUN_OVER_BUDGET,
	ALERT_SPOOL_HIGH,
	ALERT_DATABASE_AWAY,
	ALERT_KIND_COUNT
};

struct alert_kind_spec {
	const char *severity; /* "info", "warning", "error" */
	int64_t raise_ms;     /* seen for so long before it is told */
	int64_t clear_ms;     /* unseen for so long before it has ended */
	bool is_notice;
	bool is_known_at_once; /* a new life need not wait for it to be seen again */
	bool needs_database;   /* without it nobody knows whether it still holds */
};

/* By enum alert_kind; the names end with NULL. */
extern const char *const alert_kind_names[ALERT_KIND_COUNT + 1];
extern const struct alert_kind_spec alert_kinds[ALERT_KIND_COUNT];

enum {
	ALERT_TARGETS_MAX = 16,
	ALERT_HELD_MAX = 500, /* conditions and notices; beyond it the oldest notice goes, else the new one */
	ALERT_RESTORED_MS = 30000, /* what an earlier life told of has so long to be seen again */
	ALERT_RETRY_MS = 1000,
	ALERT_RETRY_MAX_MS = 600000,
};

struct alert {
	int64_t id; /* never used twice, also by later lives */
	enum alert_kind kind;
	const char *subject, *text;
	int64_t since_wall_ms;
	int64_t ended_wall_ms;	 /* 0 = it holds; of a notice: when it came */
	unsigned told, told_end; /* a bit for each target */
};

struct alert_target {
	const char *name;
	unsigned kinds; /* a bit for each that it wants */
	int64_t min_interval_ms;
};

enum alert_message { ALERT_NOTHING, ALERT_RAISED, ALERT_RESOLVED, ALERT_NOTICE };

struct alert_book;

void alert_book_new(struct alert_book **ret);
void alert_book_free(struct alert_book **book);

/* At most ALERT_TARGETS_MAX; copied. Those of the same name go on, but for a delivery under way, which is
 * forgotten. A new one is told of what holds. */
void alert_set_targets(struct alert_book *book, const struct alert_target *targets, size_t count);

/* What an earlier life knew; bits are those of the targets now. */
void alert_restore(struct alert_book *book, const struct alert *alert, int64_t now_ms);

/* A condition holds now: its first text stays. */
void alert_see(struct alert_book *book, enum alert_kind kind, const char *subject, const char *text,
	       int64_t now_ms, int64_t wall_ms);

/* The same for one that is known already; another is not begun. */
void alert_see_again(struct alert_book *book, enum alert_kind kind, const char *subject, int64_t now_ms);

/* Ends what has not been seen for long enough, of kinds that can be judged. Whether anything is to be kept
 * anew. */
bool alert_settle(struct alert_book *book, bool has_database, int64_t now_ms, int64_t wall_ms);

void alert_notice(struct alert_book *book, enum alert_kind kind, const char *subject, const char *text,
		  int64_t wall_ms);

/* What the target is to be told now; ALERT_NOTHING while a delivery to it is under way, after a failure, and
 * within its interval. Else the delivery counts as under way; *ret is valid until the next change. */
enum alert_message alert_next(struct alert_book *book, size_t target, int64_t now_ms, struct alert *ret);

/* How it went: `error` is NULL when the target has it. `random` is 32 uniform bits. */
void alert_delivered(struct alert_book *book, size_t target, const char *error, int64_t now_ms,
		     uint32_t random);

/* Whether a condition that has been told of, or would be, holds. */
bool alert_is_open(const struct alert_book *book, enum alert_kind kind, const char *subject);

/* The one at `index` of those that hold or are still owed to somebody, oldest first; false behind the last.
 */
bool alert_at(const struct alert_book *book, size_t index, struct alert *ret);

struct alert_target_view {
	const char *name;
	int owed; /* messages */
	bool sending;
	unsigned failures;	/* in a row */
	const char *last_error; /* NULL = none since the last success */
	int64_t next_ms;	/* monotonic, of the next try; 0 = at once */
	int64_t sent;		/* since start */
};
void alert_target_look(const struct alert_book *book, size_t target, struct alert_target_view *ret);
size_t alert_target_count(const struct alert_book *book);

#endif
