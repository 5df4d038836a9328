#ifndef POLICY_LIMIT_PRIVATE_H
#define POLICY_LIMIT_PRIVATE_H

/* What limit.c (pacing, windows, what is told) and limit_learn.c (refusals) share. */

#include "policy/bucket.h"
#include "policy/limit.h"
#include "policy/window.h"

struct limit {
	struct limit_params params;
	int64_t told, learned; /* units in span_ms; 0 = not known */
	struct bucket pace;
	struct window *spent; /* all that counts */
	struct window *idle;  /* the part of it that no call of ours got through with */
	int64_t latest_ms;    /* that it was told: its clock, which never steps back */
	int64_t born_ms;      /* for the ramp */
	int64_t begun_ms;     /* nothing is known of what was sent before */
	int64_t paced_ms;     /* what was taken until then did not come out of `pace` */

	/* Learning. */
	int64_t trying_since_ms; /* calls have gone as fast as they could since */
	int64_t tried;		 /* units that got through since then */
	int64_t last_take_ms;
	bool stopped;	    /* refused since the last one: a gap that follows is no idleness */
	int64_t changed_ms; /* when `learned` did */
	int row;	    /* refusals, each an event of its own, none later than ROW_MS behind the last */
	int64_t row_ms;	    /* when the last of them was */
	bool guessed;	    /* `learned` is no measurement of a whole span */
	int answers;	    /* since then */

	/* Grants. */
	bool granted;
	int64_t grant, grant_until_ms;
};

static inline int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* What its clock shows when the caller's shows now_ms, which may be ahead. */
static inline int64_t limit_clock(const struct limit *l, int64_t now_ms)
{
	return most(now_ms, l->latest_ms);
}

/* The same, and from now on it never shows less; what was earned until then is earned. So before anything is
 * changed. */
int64_t limit_tick(struct limit *l, int64_t now_ms);

/* What is configured or told; 0 = no limit. */
int64_t limit_base_rate(const struct limit *l);

/* In effect, the ramp left out; 0 = no limit. */
int64_t limit_rate(const struct limit *l);

/* After the rate has changed. Here and below now_ms is what limit_tick() or limit_clock() returned. */
void limit_set_pace(struct limit *l, int64_t now_ms);

/* What calls of ours got through with, in the last span. */
int64_t limit_got_through(const struct limit *l, int64_t now_ms);

#endif
