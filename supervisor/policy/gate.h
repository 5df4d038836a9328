#ifndef POLICY_GATE_H
#define POLICY_GATE_H

/* Admission to one lane, which is one provider.
 *
 * A gate has scopes: the provider itself, and one for each [limit:PROVIDER/GLOB]. A scope has limits by unit,
 * a concurrency, a pause and learns by itself. For each unit a model is held by the limit of the first scope
 * whose glob matches it and that sets this unit, else by the provider's. Models that are held by the same
 * limits and scopes make up a family: what waits, waits by family.
 *
 * A call takes from all its limits, and a slot of its concurrency, or from none. It gets a ticket, to be
 * handed back with what became of it. A limit that is set to 0 holds nothing up, until the provider tells one
 * or its refusals teach one.
 *
 * Pure: time, randomness and the calendar come in as arguments. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gate_unit {
	GATE_REQUESTS,	    /* a minute */
	GATE_TOKENS,	    /* a minute, input and output */
	GATE_INPUT_TOKENS,  /* a minute */
	GATE_OUTPUT_TOKENS, /* a minute */
	GATE_REQUESTS_DAY,  /* a calendar day */
	GATE_MONEY_DAY,	    /* 1e-10 USD a calendar day */
	GATE_UNITS,
	GATE_PACED = GATE_REQUESTS_DAY, /* those before are limits of policy/limit.h; the others counters */
};

#define GATE_INHERIT (-1)

struct gate;
struct gate_scope;

struct gate_scope_params {
	const char *glob;	  /* of model ids; NULL = the provider itself, which comes first and has no
				     GATE_INHERIT */
	int64_t most[GATE_UNITS]; /* 0 = no limit, GATE_INHERIT = the provider's */
	bool firm[GATE_UNITS];	  /* as in struct limit_params */
	int64_t burst;		  /* of requests; 0 = what the pacing needs */
	int concurrency;	  /* calls under way at once; 0 = no limit, GATE_INHERIT = the provider's */
};

struct gate_params {
	const struct gate_scope_params *scopes;
	size_t scope_count;	  /* at least 1 */
	int64_t requests_span_ms; /* over which the provider counts requests */
	int64_t ramp_ms;
	bool learns_concurrency; /* its refusals without a word mean too many at once */
};

/* -ERANGE for params out of range. */
int gate_new(const struct gate_params *params, int64_t now_ms, struct gate **ret)
	__attribute__((warn_unused_result));
void gate_free(struct gate **g);

/* Reload. A scope that stays (by its glob) keeps what it has come to; tickets stay good, also of scopes that
 * are gone. Families are numbered anew: gate_family() is to be asked again. -ERANGE changes nothing. */
int gate_configure(struct gate *g, const struct gate_params *params, int64_t now_ms)
	__attribute__((warn_unused_result));

/* The family of a model: 0..gate_families() - 1, stable until gate_configure(). At most GATE_FAMILIES_MAX;
 * beyond it, models of other combinations share the last. */
#define GATE_FAMILIES_MAX 64
size_t gate_family(struct gate *g, const char *model);
size_t gate_families(const struct gate *g);
/* The glob of the scope that tells it from others, "" for the provider's own. */
const char *gate_family_name(const struct gate *g, size_t family);

/* ---- a call ---- */

struct gate_cost {
	int64_t of[GATE_UNITS]; /* >= 0 */
};

/* A value, owned by the caller for as long as the call is under way. */
struct gate_ticket {
	struct gate_scope *held_by[GATE_UNITS]; /* whose limit it comes under */
	struct gate_scope *slot;		/* whose concurrency; NULL = the call is over */
	struct gate_scope *scope;		/* whose pause it is */
	struct gate_cost reserved;		/* taken; 0 = nothing of this unit */
	int64_t taken_ms;
	bool trial; /* of the breaker, or of a lane that is parked */
	struct {
		int64_t taken[GATE_PACED];    /* in all from that limit, by then */
		int64_t taken_ms[GATE_PACED]; /* by its clock */
		uint32_t era, day;
		bool tries_breaker, tries_parked;
	} own; /* the gate's */
};

/* Takes all or nothing. A cost of 0 neither takes nor waits. */
bool gate_enter(struct gate *g, size_t family, int64_t now_ms, const struct gate_cost *cost,
		struct gate_ticket *ret) __attribute__((warn_unused_result));

enum gate_end {
	GATE_ANSWERED, /* with its real cost */
	GATE_REFUSED,  /* by a limit: its tokens come back, the request counts */
	GATE_BROKEN,   /* the server failed, or gave no answer in time: what was reserved counts */
	GATE_FAILED,   /* any other failure: as GATE_BROKEN, but it says nothing of the provider's health */
	GATE_UNSENT,   /* it never left: all comes back, and a trial is as if it had not been */
};

/* The call is over, and its ticket empty. `real` is read for GATE_ANSWERED only, and only of the units that
 * were taken. `random`: 32 uniform bits. True when this opened the breaker. */
bool gate_leave(struct gate *g, struct gate_ticket *ticket, int64_t now_ms, enum gate_end end,
		const struct gate_cost *real, uint32_t random);

/* A call that was under way before a restart of the program: as gate_enter(), but it takes only the slot,
 * whatever is full, and is no trial. */
void gate_readmit(struct gate *g, size_t family, int64_t now_ms, struct gate_ticket *ret);

/* ---- what the provider says ---- */

struct gate_told {
	int64_t limit[GATE_PACED];     /* a minute; -1 or 0 = not told */
	int64_t remaining[GATE_PACED]; /* -1 = not told */
};

/* With the end of the ticket's call, before gate_leave(); of a refusal gate_refuse() hears it. What concerns
 * a unit goes to the limit that the call comes under. */
void gate_hear(struct gate *g, const struct gate_ticket *ticket, int64_t now_ms,
	       const struct gate_told *told);

/* A refusal: the limits it tells are heard as by gate_hear(); what was broken is learned from, unless the
 * call is from before the provider told of a lower limit; and the ticket's scope pauses for pause_ms. Broken
 * is the unit of which `told` shows less left than the call needs; else requests; but the concurrency when
 * the lane learns that and the provider said neither. word_ms is how long it asked to wait, -1 when it said
 * nothing. Before gate_leave(). */
void gate_refuse(struct gate *g, const struct gate_ticket *ticket, int64_t now_ms,
		 const struct gate_told *told, int64_t word_ms, int64_t pause_ms);

/* ---- pause, park, breaker, day ---- */

enum gate_park { GATE_PARK_OPERATOR, GATE_PARK_QUOTA, GATE_PARK_AUTH };

/* Shuts the lane until gate_resume(); `reason` is copied, the first one stays. With recheck_ms > 0 one call
 * may try by then: if it is answered, or refused by a limit, the lane is open again (gate_leave() does that),
 * else the next may after twice the time, up to recheck_max_ms. GATE_PARK_OPERATOR ends such trials, also in
 * a lane that is parked already. */
void gate_park(struct gate *g, enum gate_park kind, const char *reason, int64_t now_ms, int64_t recheck_ms,
	       int64_t recheck_max_ms);
/* NULL unless parked. Valid until the next change of the gate. */
const char *gate_parked_reason(const struct gate *g);
enum gate_park gate_parked_kind(const struct gate *g);
/* When the next trial may go, perhaps past; of one under way, when it could have; 0 = none is planned. */
int64_t gate_recheck_at(const struct gate *g);
/* A trial may go at once, unless one is under way or the operator parked. */
void gate_recheck_now(struct gate *g, int64_t now_ms);
/* Ends parking, pauses and an open breaker, and forgets what refusals have taught. */
void gate_resume(struct gate *g);

/* A check from outside (breaker_check()). True when it opened the breaker. */
bool gate_check(struct gate *g, int64_t now_ms, bool good, uint32_t random);

/* A calendar day has begun that ends at end_ms (monotonic): its counters begin at 0. A call that was let in
 * the day before stays counted there. */
void gate_new_day(struct gate *g, int64_t end_ms);
/* Counted before (by another life of the daemon): added to the day's counter of scope `index`. */
void gate_add_used(struct gate *g, size_t index, enum gate_unit unit, int64_t used);

/* ---- why ---- */

enum gate_why {
	GATE_OPEN,
	GATE_NEVER, /* the call is larger than a limit */
	GATE_PARKED,
	GATE_BREAKER,	  /* the provider fails */
	GATE_PAUSED,	  /* it asked to wait */
	GATE_CONCURRENCY, /* all slots are taken */
	GATE_UNIT,	  /* of `unit` nothing is left */
	GATE_NO_GRANT,	  /* of `unit` nothing is granted: other nodes have it, or the database is away */
};

struct gate_verdict {
	enum gate_why why;
	enum gate_unit unit; /* of GATE_UNIT, GATE_NEVER and GATE_NO_GRANT */
	int64_t wait_ms;     /* until it may change by itself; 0 when open; -1 = not known */
	const char *scope;   /* glob of the scope that holds it up; "" = the provider's */
};

/* Why a call could not enter now: the first of enum gate_why that holds, and of the units the one with the
 * longest wait. */
struct gate_verdict gate_look(const struct gate *g, size_t family, int64_t now_ms,
			      const struct gate_cost *cost);

/* "requests/min", "tokens/min", "input tokens/min", "output tokens/min", "requests/day", "money/day" */
const char *gate_unit_name(enum gate_unit unit);

/* How many calls of this cost could enter between now and now + horizon_ms if none left; INT_MAX when nothing
 * limits them, 1 when the breaker or a parked lane awaits a trial. */
int gate_room(const struct gate *g, size_t family, int64_t now_ms, int64_t horizon_ms,
	      const struct gate_cost *cost);

/* ---- what is known ---- */

int gate_in_flight(const struct gate *g); /* of the whole lane */

struct gate_scope_view {
	const char *glob; /* "" = the provider's */
	struct {
		int64_t configured, told, learned, rate, used, left; /* as in struct limit_view; of a day:
									configured, rate, used, left */
		bool set;					     /* this scope has a limit of the unit */
	} unit[GATE_UNITS];
	int concurrency,
		learned_concurrency; /* 0 = none; not known. While granted, the former is the slots */
	int configured_concurrency;  /* whether granted or not; 0 = none of its own */
	int in_flight;		     /* holding its slots */
	int64_t paused_until_ms;     /* 0 = never paused */
};

size_t gate_scopes(const struct gate *g); /* in the order of the params */
void gate_view(const struct gate *g, size_t index, int64_t now_ms, struct gate_scope_view *ret);
/* The concurrency in effect, over all nodes that share it: the lower of what is configured and learned; 0 =
 * none. */
int gate_view_concurrency(const struct gate_scope_view *view);
/* Index of the scope whose limit of `unit` holds a family; of GATE_UNITS, the one whose concurrency does. */
size_t gate_holder(const struct gate *g, size_t family, enum gate_unit unit);
enum gate_breaker_view { GATE_BREAKER_CLOSED, GATE_BREAKER_OPEN, GATE_BREAKER_HALF_OPEN };
enum gate_breaker_view gate_breaker(const struct gate *g);

/* What a scope of a new gate goes on from: told, learned, used of the day's units, learned_concurrency and
 * pause. */
void gate_go_on(struct gate *g, size_t index, const struct gate_scope_view *from);

/* ---- grants, when nodes share limits (policy/limit.h) ---- */

/* From now on the scope's paced limits live from grants alone; or, ending that, slots and caps are as
 * configured again. A limit without a rate stays open; it closes, to wait for a grant, in the moment that the
 * provider tells one or a refusal teaches one. So: ask for all that limit_is_granted() says. */
void gate_set_granted(struct gate *g, size_t index, bool granted);
/* In place of the configured concurrency; 0 = no call may go, -1 = as configured. */
void gate_set_slots(struct gate *g, size_t index, int slots);
/* Of a day's unit no more than `most` may be used here, counted from the day's begin; -1 = as configured. */
void gate_set_day_cap(struct gate *g, size_t index, enum gate_unit unit, int64_t most);
/* The scope's own limit of a paced unit, set to 0 or not; NULL when it inherits the provider's. Valid until
 * the next gate_configure(). */
struct limit *gate_limit(struct gate *g, size_t index, enum gate_unit unit);

#endif
