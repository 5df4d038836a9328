#ifndef CORE_LANE_H
#define CORE_LANE_H

/* One lane: a provider's gate and the probes that wait at it on this node, by family: models that are held by
 * the same limits (policy/gate.h). The dispatcher pumps it: within a family conversations under way go before
 * new ones, so that what was begun gets done; between families it goes round, so that a model that must wait
 * is in nobody's way. */

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/tally.h"
#include "policy/gate.h"

struct config;
struct config_provider;
struct loop;
struct loop_timer;
struct pool;
struct probe;

struct lane_family {
	struct list queue;   /* probes without a worker, in the order they will be sent */
	struct list between; /* probes whose worker waits for `go` */
	int queued;	     /* length of `queue` */
	int between_count;
	struct gate_cost typical; /* of the last call that was looked at */
};

struct lane {
	char *name;
	int index; /* in the dispatcher's array */
	struct gate *gate;
	struct lane_family *families; /* by gate_family() */
	size_t family_count;
	size_t turn; /* the family that is served first next time */
	int queued;  /* in all families */
	int between_count;
	struct pool *pool;	  /* whose workers serve it */
	struct loop_timer *timer; /* next time the gate may open by itself */
	bool simulated; /* its answers are not a provider's: base_url names the simulator, or FAIL_MODEL_ID */
	int refused_keys; /* AUTH_ERRORs since the last answer */
	bool has_worked;  /* it has answered today, or since start: when it fails, that may pass */
	struct {
		char *model;	   /* that answered last; NULL = none yet */
		int64_t others_ms; /* when another one did; 0 = never */
		int64_t model_ms;  /* when it did */
		char *failing;	   /* of the first failure since then; NULL = none */
		bool several_fail; /* and another one failed too */
	} talk;
	/* Since start, for people. */
	int64_t calls, turns, completed, failed, retried, limited;
	int64_t last_success_ms; /* monotonic; 0 = none yet */
	char *last_error;	 /* one line of the newest failure; NULL = none */
	struct tally tally;	 /* the rest of it, for metrics */
};

/* The provider at `index` of the configuration. `open` is called when the lane's timer fires. -ERANGE for
 * limits out of range. */
int lane_new(struct loop *loop, const struct config *config, int index, int64_t now_ms,
	     void (*open)(void *arg), void *arg, struct lane **ret) __attribute__((warn_unused_result));
void lane_free(struct lane **lane);

/* Reload: the new limits take effect at once, calls under way stay. What waits is filed anew, since families
 * may be others now. */
int lane_configure(struct lane *lane, const struct config *config, int64_t now_ms)
	__attribute__((warn_unused_result));

/* The family of a model id, as runs name it: with or without "provider:". */
size_t lane_family_of(struct lane *lane, const char *model_id);

/* Puts a probe into the queue of its family (front: it has waited before) or takes it out of whichever list
 * it is in, if it is in one. */
void lane_queue(struct lane *lane, struct probe *probe, bool front);
void lane_wait_between(struct lane *lane, struct probe *probe);
void lane_unlink(struct lane *lane, struct probe *probe);

/* A model has answered. */
void lane_note_answer(struct lane *lane, const char *model_id, int64_t now_ms);
/* The provider failed a call of a model. Whether that is the provider's failure, and not the model's alone:
 * of a provider that has worked, and of which no other model answers. */
bool lane_is_at_fault(struct lane *lane, const char *model_id, int64_t now_ms);

/* Parts of the base_url that name a simulator: such a lane's answers are simulated. */
bool lane_url_is_simulator(const char *base_url);

#endif
