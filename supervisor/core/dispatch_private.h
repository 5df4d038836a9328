#ifndef CORE_DISPATCH_PRIVATE_H
#define CORE_DISPATCH_PRIVATE_H

/* Shared by dispatch.c (what is claimed, who may call now) and dispatch_end.c (what becomes of an attempt).
 */

#include "config/config.h"
#include "core/dispatch.h"
#include "io/loop.h"

struct claim;
struct map;
struct probe;

struct dispatch {
	struct loop *loop;
	const struct config *config;
	const struct models *models;
	struct store *store;
	struct claim *claim;
	struct lane *lanes[CONFIG_PROVIDERS];
	struct map *probes; /* every probe held, by id */
	struct dispatch_stats stats;
	bool stopping;
	bool pump_due;
};

static inline int64_t dispatch_now_ms(const struct dispatch *dispatch)
{
	return loop_now_ms(dispatch->loop);
}

/* dispatch.c: looks at all lanes, once per turn of the loop, however many answers came in it. */
void dispatch_pump(struct dispatch *dispatch);

/* dispatch_end.c. Each forgets the probe. */
void dispatch_drop(struct dispatch *dispatch, struct probe *probe);
void dispatch_end_cancelled(struct dispatch *dispatch, struct probe *probe);
/* Back to the queue with all that it has, blaming nobody. */
void dispatch_give_back(struct dispatch *dispatch, struct probe *probe);
void dispatch_refuse_broken(struct dispatch *dispatch, struct probe *probe);

/* An event of a lane, with its reason. */
void dispatch_record(struct dispatch *dispatch, const char *level, const char *kind, const struct lane *lane,
		     const char *reason);

#endif
