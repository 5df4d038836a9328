#ifndef CORE_DISPATCH_PRIVATE_H
#define CORE_DISPATCH_PRIVATE_H

/* Shared by dispatch.c (what comes in, and operators' words), dispatch_call.c (who may call now),
 * dispatch_end.c (what becomes of an attempt) and dispatch_handover.c. */

#include "config/config.h"
#include "core/dispatch.h"
#include "io/loop.h"
#include "policy/gate.h"

struct claim;
struct costing;
struct grants;
struct loop_timer;
struct map;
struct msg;
struct probe;
struct purse;
struct run_watch;

enum { DISPATCH_RECHECK_MAX_MS = 24 * 3600000 }; /* between trial calls of a lane that is parked */

struct dispatch {
	struct loop *loop;
	const struct config *config;
	const struct models *models;
	struct store *store;
	struct claim *claim;
	struct costing *costing;
	struct purse *purse;   /* budgets of runs */
	struct grants *grants; /* NULL unless nodes share the limits */
	struct run_watch *watch;
	struct lane *lanes[CONFIG_PROVIDERS];
	struct loop_timer *day_timer;
	int64_t day;	    /* since 1970, UTC: which the gates count */
	struct map *probes; /* every probe held, by id */
	struct dispatch_stats stats;
	int runs[DISPATCH_RUN_ACTIVE]; /* as dispatch_count_runs() tells them */
	bool stopping;
	bool resting;
	bool pump_due;
};

static inline int64_t dispatch_now_ms(const struct dispatch *dispatch)
{
	return loop_now_ms(dispatch->loop);
}

/* dispatch.c: gates have changed otherwise than by calls. */
void dispatch_share_limits(struct dispatch *dispatch);

/* dispatch_call.c */

/* Looks at all lanes, once per turn of the loop, however many answers came in it. */
void dispatch_pump(struct dispatch *dispatch);
/* The probe's call is over: gives its ticket back. `real` only with GATE_ANSWERED. */
void dispatch_call_over(struct dispatch *dispatch, struct probe *probe, enum gate_end end,
			const struct gate_cost *real);
/* What a message tells of the provider's limits; how the call of a failed result ended. */
struct gate_told dispatch_told(const struct lane *lane, const struct msg *msg);
enum gate_end dispatch_end_of(const struct msg *msg);

/* dispatch_end.c. Each forgets the probe. */
void dispatch_drop(struct dispatch *dispatch, struct probe *probe);
void dispatch_end_cancelled(struct dispatch *dispatch, struct probe *probe);
/* Back to the queue with all that it has, blaming nobody. */
void dispatch_give_back(struct dispatch *dispatch, struct probe *probe);
void dispatch_refuse_broken(struct dispatch *dispatch, struct probe *probe);

/* An event of a lane, with its reason. */
void dispatch_record(struct dispatch *dispatch, const char *level, const char *kind, const struct lane *lane,
		     const char *reason);
/* The lane has opened again; logged and recorded. */
void dispatch_say_open(struct dispatch *dispatch, const struct lane *lane, const char *kind,
		       const char *reason);

#endif
