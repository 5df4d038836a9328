#ifndef CORE_GRANTS_PRIVATE_H
#define CORE_GRANTS_PRIVATE_H

/* Shared by grants.c (rounds, and what waits) and grants_due.c (when to ask for what). */

#include <stdbool.h>

#include "core/grants.h"

struct limit;
struct loop_timer;

enum {
	SLOTS = GATE_UNITS, /* beside the units of a gate: its concurrency */
	KINDS = GATE_UNITS + 1,

	LIFE_MIN_MS = 30, /* of a grant: of a limit a second, and of one a minute */
	LIFE_MAX_MS = 200,
	STRETCH_MAX = 8, /* so much longer where the database is far away */
	LATE_ROUNDS = 5,
	EARLY_ROUNDS = 200,
	DELAY_MIN_MS = 60, /* by which calls may be delayed unevenly */
	DELAY_MAX_MS = 450,

	AGAIN_MS = 20,	      /* between two asks for one thing, whatever happens */
	SLOTS_MS = 250,	      /* the same for slots of which some are there */
	SLOTS_LOOK_MS = 1000, /* who holds slots looks so often whether others lack some */
	DAY_KEEP_MS = 60000,  /* an unused portion of a day goes back after that */
	SILENT_MS = 500,      /* until the next ask after one that failed */
	TOGETHER_MS = 5,      /* what is due so soon goes in the same round */
};

/* One limit of one scope. */
struct item {
	int64_t needs, wants; /* of what waits now */
	int64_t has; /* of SLOTS: may be used; of a day: used and granted, as gate_set_day_cap() counts */
	int64_t until_ms; /* end of the last grant */
	int64_t asked_ms;
	int64_t again_ms; /* nothing is to be had before */
	int64_t spent;	  /* between the last two asks */
	int64_t had;	  /* after the last answer; of SLOTS: as the database knows it */
	int others;	  /* nodes that want some too */
	bool asking;
};

struct shared_lane {
	const struct lane *lane; /* NULL before grants_configure() */
	unsigned era;		 /* counts grants_configure() */
	size_t scope_count;
	char **globs;
	struct item *items; /* KINDS for each scope */
};

struct place {
	size_t lane, scope;
	unsigned kind, era;
};

struct grants {
	struct loop *loop;
	struct store *store;
	void (*on_granted)(void *arg);
	void *arg;
	struct loop_timer *timer;
	struct shared_lane *lanes;
	size_t lane_count;
	int64_t stretch; /* of the lives of grants: 1..STRETCH_MAX */

	struct place *places; /* of the round under way, as asked */
	size_t place_count;   /* 0 = none is */
	int64_t sent_ms;
	int64_t life_ms; /* the shortest of its grants */
	int late, early; /* rounds in a row that took long, and hardly any time */
	bool silent;	 /* the last round failed */
};

/* What is known of one limit. */
struct known {
	int64_t rate; /* 0 = no limit */
	int64_t span_ms;
	int64_t rest; /* had and not spent */
	int64_t keep; /* of SLOTS: under way */
	struct limit *limit;
};

static inline int64_t grants_between(int64_t low, int64_t value, int64_t high)
{
	return value < low ? low : value > high ? high : value;
}

/* Of two times, 0 being never. */
static inline int64_t grants_earliest(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

struct known grants_know(const struct shared_lane *sl, size_t scope, unsigned kind, int64_t now_ms);
/* Of a paced limit: how long a grant is good for; and of any what struct store_ask has for its window. */
int64_t grants_life_ms(const struct grants *g, const struct known *known);
int64_t grants_window_ms(const struct grants *g, unsigned kind, const struct known *known);
/* Something waits for it, or there may be something to give back. Most limits of most lanes are not live,
 * most of the time. */
bool grants_is_live(const struct item *item, int64_t now_ms);
/* When to ask next, monotonic; 0 = there is no need. */
int64_t grants_due(const struct grants *g, const struct item *item, unsigned kind, const struct known *known);

#endif
