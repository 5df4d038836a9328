#ifndef POLICY_GATE_PRIVATE_H
#define POLICY_GATE_PRIVATE_H

/* What the files of the gate share: gate.c lets calls in and out, gate_scopes.c knows whose limit holds which
 * model, gate_learn.c hears what the provider says, gate_look.c answers questions. */

#include "policy/breaker.h"
#include "policy/gate.h"
#include "policy/limit.h"

struct map;

#define GATE_DAYS ((size_t)GATE_UNITS - (size_t)GATE_PACED)

struct gate_day {
	int64_t most; /* 0 = no limit */
	int64_t used; /* also without a limit: a reload may set one in the middle of the day */
	int64_t cap;  /* of what this node may use; -1 = no other than `most` */
};

/* Never freed before the gate, because tickets point at them: one that a reload removed is kept aside, and
 * comes back when a reload names its glob again. */
struct gate_scope {
	char *glob; /* NULL = the provider's own */
	bool sets[GATE_UNITS];
	struct limit *limits[GATE_PACED]; /* of all units that were ever set; NULL = never */
	int64_t taken[GATE_PACED];	  /* in all, settled: what gate_hear() reckons with */
	int64_t lowered_ms[GATE_PACED];	  /* when what the provider told lowered the rate; 0 = never */
	struct gate_day days[GATE_DAYS];
	bool granted;
	int64_t configured_ms; /* when it was last */

	bool sets_concurrency;
	int concurrency;  /* configured; 0 = no limit */
	int slots;	  /* granted in its place; -1 = not granted */
	int learned;	  /* 0 = not known */
	int full_answers; /* since `learned` was changed, while all slots were taken */
	int64_t learned_ms;
	int in_flight; /* holding its slots */

	int64_t paused_until_ms; /* 0 = never */
};

/* All pointers, so that two are the same when their bytes are. */
struct gate_family {
	struct gate_scope *holds[GATE_UNITS];
	struct gate_scope *slot;
	struct gate_scope *scope;
	struct gate_scope *last; /* of those above, in the order of the params */
};

struct gate_parking {
	char *reason; /* NULL = not parked */
	enum gate_park kind;
	int64_t recheck_at_ms; /* 0 = none is planned */
	int64_t recheck_ms, recheck_max_ms;
	bool trying;
};

struct gate {
	struct gate_scope **scopes; /* the provider's first */
	size_t scope_count;
	struct gate_scope **removed;
	size_t removed_count;

	struct gate_family families[GATE_FAMILIES_MAX];
	size_t family_count;
	struct map *models; /* id -> its family */

	bool learns_concurrency;
	struct breaker breaker;
	struct gate_parking parking;
	int in_flight;
	uint32_t era;	     /* counts gate_resume(): a trial from before it is none any more */
	uint32_t day;	     /* counts gate_new_day() */
	int64_t day_ends_ms; /* 0 = not told yet */
};

static inline bool gate_is_paced(enum gate_unit unit)
{
	return unit < GATE_PACED;
}

static inline struct gate_day *gate_day_of(struct gate_scope *s, enum gate_unit unit)
{
	return &s->days[(size_t)unit - GATE_PACED];
}

/* Calls at once, of what is configured or granted and what is learned; -1 = no limit. */
static inline int gate_slots(const struct gate_scope *s)
{
	int most = s->slots >= 0 ? s->slots : s->concurrency ? s->concurrency : -1;

	return s->learned && (most < 0 || s->learned < most) ? s->learned : most;
}

static inline bool gate_is_full(const struct gate_scope *s)
{
	int most = gate_slots(s);

	return most >= 0 && s->in_flight >= most;
}

/* Parked, and no trial may go now. */
static inline bool gate_is_shut(const struct gate *g, int64_t now_ms)
{
	const struct gate_parking *p = &g->parking;

	return p->reason && (p->trying || !p->recheck_at_ms || now_ms < p->recheck_at_ms);
}

/* Why the day's unit does not let `cost` in; GATE_OPEN when it does. */
enum gate_why gate_day_why(const struct gate_day *d, int64_t cost);

/* Whether the limits of a scope live from grants follows from whether they have a rate: to be called when
 * that may have changed. */
void gate_update_granted(struct gate_scope *s);

/* A call held by `s` was refused because too many were under way. */
void gate_learn_concurrency(struct gate_scope *s, int64_t now_ms);
/* A call held by `s` was answered; before its slot is freed. */
void gate_recover_concurrency(struct gate_scope *s, int64_t now_ms);

#endif
