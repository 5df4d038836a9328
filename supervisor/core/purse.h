#ifndef CORE_PURSE_H
#define CORE_PURSE_H

/* The budgets of the active runs, by run id (policy/budget.h). The dispatcher asks before each call of a run:
 *
 *	switch (purse_look(purse, probe->run_id, money))         money: what the call is expected to cost, e10
 *	case BUDGET_OPEN:   purse_reserve(), and keep `money` with the probe until the call is over
 *	case BUDGET_WAITS:  the probe waits: the end of a call of its run decides
 *	case BUDGET_OVER:   reason = purse_over(); if (reason) store_pause_run(store, run, budget_e10, reason)
 *
 * and says purse_settle() when the call is over: with its real cost on an answer, with 0 without one. The
 * books in the database are read every few seconds (purse_read()), with what other nodes have recorded; what
 * those have reserved is not seen. So each of several nodes may pass a budget by what the others spent or
 * began in the last few seconds. */

#include <stddef.h>
#include <stdint.h>

#include "policy/budget.h"

struct handover;
struct purse;
struct store_pair;

void purse_new(struct purse **ret);
void purse_free(struct purse **purse);

/* The active runs, as store_options.on_pairs tells them: budgets that were raised, what was spent. Runs that
 * are not among them are forgotten once no call of theirs is under way. */
void purse_read(struct purse *purse, const struct store_pair *pairs, size_t count);

/* A run that is not known has no budget. */
enum budget_verdict purse_look(const struct purse *purse, const char *run_id, int64_t cost_e10);
/* Also for calls that were under way before an upgrade: then without asking. */
void purse_reserve(struct purse *purse, const char *run_id, int64_t cost_e10);
void purse_settle(struct purse *purse, const char *run_id, int64_t reserved_e10, int64_t real_e10);

/* Budgets and what was spent, while the daemon's program is replaced; what is reserved is reserved anew, by
 * the calls that are under way. */
void purse_pass(struct purse *purse, struct handover *h);

/* The budget of the run is used up: why, one fresh line, and the budget that is meant, for store_pause_run().
 * NULL when that has been told since purse_read() last found the run active. */
char *purse_over(struct purse *purse, const char *run_id, int64_t *ret_budget_e10);

#endif
