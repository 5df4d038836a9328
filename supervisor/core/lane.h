#ifndef CORE_LANE_H
#define CORE_LANE_H

/* One lane: a provider's gate and the probes that wait at it on this node.
 * The dispatcher pumps it: conversations under way go before new ones, so that what was begun gets done. */

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "policy/gate.h"

struct config_provider;
struct loop;
struct loop_timer;
struct pool;
struct probe;

struct lane {
	char *name;
	int index; /* in the dispatcher's array, and as policy/sched.h counts lanes */
	struct gate *gate;
	struct list queue;   /* probes without a worker, in the order they will be sent */
	struct list between; /* probes whose worker waits for `go` */
	int queued;	     /* length of `queue` */
	int between_count;
	struct pool *pool;	  /* whose workers serve it */
	struct loop_timer *timer; /* next time the gate may open by itself */
	bool simulated; /* its answers are not a provider's: base_url names the simulator, or FAIL_MODEL_ID */
	/* Since start, for people. */
	int64_t calls, turns, completed, failed, retried, limited;
	int64_t last_success_ms; /* monotonic; 0 = none yet */
	char *last_error;	 /* one line of the newest failure; NULL = none */
};

/* `open` is called when the lane's timer fires. -ERANGE for limits out of range. */
int lane_new(struct loop *loop, const struct config_provider *config, int index, int64_t now_ms,
	     void (*open)(void *arg), void *arg, struct lane **ret) __attribute__((warn_unused_result));
void lane_free(struct lane **lane);

/* Reload: the new limits take effect at once, calls under way stay. */
int lane_configure(struct lane *lane, const struct config_provider *config, int64_t now_ms)
	__attribute__((warn_unused_result));

/* Puts a probe into `queue` (front: it has waited before) or takes it out of whichever list it is in. */
void lane_queue(struct lane *lane, struct probe *probe, bool front);
void lane_wait_between(struct lane *lane, struct probe *probe);
void lane_unlink(struct lane *lane, struct probe *probe);

/* Parts of the base_url that name a simulator: such a lane's answers are simulated. */
bool lane_url_is_simulator(const char *base_url);

#endif
