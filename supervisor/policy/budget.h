#ifndef POLICY_BUDGET_H
#define POLICY_BUDGET_H

/* The money of one run: what it may cost, what it has cost, and what calls under way may yet cost.
 * In 1e-10 USD ("e10"), and saturating: what is as large as INT64_MAX stays there.
 * Invariant: reserved >= 0, spent >= 0; a call let in by budget_look() never brings spent + reserved above
 * most. */

#include <stdint.h>

/* A value; all zero has no budget and has spent nothing. */
struct budget {
	int64_t most; /* 0 = none: everything may go, and is counted */
	int64_t spent, reserved;
};

enum budget_verdict {
	BUDGET_OPEN,
	BUDGET_WAITS, /* it would fit if the calls under way cost nothing: they decide */
	BUDGET_OVER,  /* it would pass the budget whatever becomes of them */
};

/* May a call go that costs this much? Less than 0 (not known) is taken for 0. */
enum budget_verdict budget_look(const struct budget *b, int64_t cost);

/* The call goes. */
void budget_reserve(struct budget *b, int64_t cost);

/* It is over: what was reserved for it comes back, and what it did cost counts; 0 when it had no answer. Less
 * than 0 (not known) is taken for 0, in both. */
void budget_settle(struct budget *b, int64_t reserved, int64_t real);

/* What the books say, which may be behind (own calls are not recorded yet) or ahead (others have spent): the
 * higher counts. */
void budget_hear(struct budget *b, int64_t spent);

#endif
