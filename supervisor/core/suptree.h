#ifndef CORE_SUPTREE_H
#define CORE_SUPTREE_H

/* The supervision tree: groups with a strategy and a restart intensity, leaves that run something.
 *
 * Children start in order, each when the one before is up, and stop in reverse, each when the one after is
 * down. A leaf decides by its own policy whether and when it wants to live again; its group decides who goes
 * along, and when there have been too many restarts.
 *
 * A group that exceeds its intensity stops all its children and has failed itself: its parent applies its own
 * strategy to it. The root has no parent: there the failing child is parked, the tree is degraded, and the
 * child is tried again every few minutes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/strategy.h"

struct handover;
struct loop;
struct suptree;
struct suptree_node;

enum suptree_state {
	SUPTREE_DOWN, /* not running; to be started in its turn, or later */
	SUPTREE_STARTING,
	SUPTREE_UP,
	SUPTREE_STOPPING,
	SUPTREE_ENDED,	/* a leaf that has done its work and stays down */
	SUPTREE_PARKED, /* given up on, until an operator or the next trial */
};

/* What a leaf does when the tree says so. Each is answered by suptree_up / suptree_down, now or later. */
struct suptree_leaf {
	void (*start)(void *leaf);
	void (*stop)(void *leaf, bool at_once); /* a second call with at_once: no more patience */
	/* The tree has taken over: its own delay comes before the next start, or an operator wants that at
	 * once, so the leaf's back-off begins anew. NULL = it has none. */
	void (*forget)(void *leaf);
	void *leaf;
};

struct suptree_events {
	/* Every child that can be up is up: once, after suptree_start. */
	void (*up)(void *arg);
	/* All is down: after suptree_stop. */
	void (*down)(void *arg);
	/* "group.failed", "tree.degraded", "tree.recovered": for the log and the events table. */
	void (*event)(void *arg, const char *level, const char *kind, const char *subject, const char *data);
	void *arg;
};

/* Limits of a group; intensity 1..10000 restarts within period_ms. */
struct suptree_group {
	const char *name; /* copied */
	enum strategy strategy;
	int intensity;
	int64_t period_ms;
};

/* How fast the tree tries again what has failed, all > 0. */
struct suptree_pace {
	int64_t trial_ms;     /* between trials of what the root has parked: 5 min */
	int64_t delay_ms;     /* before a failed group is started again: 500 ms, growing to … */
	int64_t delay_max_ms; /* … 60 s; a group that was up for longer begins anew */
};

/* A tree with its root group. -EINVAL for limits out of range. */
int suptree_new(struct loop *loop, const struct suptree_group *root, const struct suptree_events *events,
		struct suptree **ret) __attribute__((warn_unused_result));
void suptree_free(struct suptree **tree);

/* In place of the usual pace; before suptree_start(). */
void suptree_set_pace(struct suptree *tree, const struct suptree_pace *pace);

struct suptree_node *suptree_root(struct suptree *tree);

/* Adds a child behind the last one of `parent`. In a running group it is started by suptree_start_added(). */
int suptree_add_group(struct suptree_node *parent, const struct suptree_group *group,
		      struct suptree_node **ret) __attribute__((warn_unused_result));
void suptree_add_leaf(struct suptree_node *parent, const char *name, const struct suptree_leaf *leaf,
		      struct suptree_node **ret);

/* Live change of a group's limits and strategy. */
int suptree_configure(struct suptree_node *node, const struct suptree_group *group)
	__attribute__((warn_unused_result));

/* Stops a child for good and takes it out of the tree; `gone` is called when it is down, then the node is
 * freed. */
void suptree_remove(struct suptree_node *node, void (*gone)(void *arg), void *arg);

/* An operator's stop: the node goes down and stays so, whatever its brothers do. Again: nothing. */
void suptree_hold(struct suptree_node *node);

/* An operator's start of what is held, parked or ended. -EBUSY: it runs (or is still stopping). -EAGAIN: its
 * group does not run; it starts with it. */
int suptree_release(struct suptree_node *node) __attribute__((warn_unused_result));

/* Starts the root's children, in order. At a one_for_one root those behind do not wait for a child that has
 * failed and tries again. */
void suptree_start(struct suptree *tree);

/* Starts what was added since. */
void suptree_start_added(struct suptree *tree);

/* Stops all in reverse order. Again: at once. */
void suptree_stop(struct suptree *tree);

/* ---- from leaves ---- */

void suptree_up(struct suptree_node *node);

/* Its start has failed, and it tries on by itself: it is up when it says so. Those behind it in a one_for_one
 * group wait no longer. In any other group they depend on it, and wait; but what stands behind that group
 * does not. `why` is one line, copied. */
void suptree_stumbled(struct suptree_node *node, const char *why);

/* Down as told by stop(). */
void suptree_down(struct suptree_node *node);

/* Ended by itself and to stay down: done (`parked` false), or broken until somebody mends it. A broken child
 * of a group (but the root) whose brothers depend on it, by its strategy, takes the group down with it:
 * parked. */
void suptree_ended(struct suptree_node *node, bool parked);

enum suptree_answer {
	SUPTREE_YOURSELF, /* the leaf restarts by itself, after the delay that its policy wants */
	SUPTREE_WAIT,	  /* the leaf stays down: the tree starts it again, or parks it */
};

/* A life ended that was not asked to. delay_ms is what the leaf's policy wants before the next; `counts`: it
 * goes into the group's window. */
enum suptree_answer suptree_failed(struct suptree_node *node, bool counts, int64_t delay_ms);

/* ---- for people ---- */

const char *suptree_name(const struct suptree_node *node);
enum suptree_state suptree_state(const struct suptree_node *node);
const char *suptree_state_name(enum suptree_state state);
/* suptree_remove() was called; it goes when it is down. */
bool suptree_has_stumbled(const struct suptree_node *node); /* suptree_stumbled(), and not up since */
bool suptree_is_removed(const struct suptree_node *node);
bool suptree_is_group(const struct suptree_node *node);
struct suptree_node *suptree_parent(const struct suptree_node *node); /* NULL for the root */
void *suptree_leaf_of(const struct suptree_node *node);		      /* NULL for a group */
enum strategy suptree_strategy(const struct suptree_node *node);
int suptree_intensity(const struct suptree_node *node);
int64_t suptree_period_ms(const struct suptree_node *node);
int suptree_restarts(const struct suptree_node *node); /* lives after the first */
int suptree_restarts_in_window(struct suptree_node *node);
int64_t suptree_up_since_ms(const struct suptree_node *node);	/* monotonic; 0 = it is not up */
int64_t suptree_next_start_ms(const struct suptree_node *node); /* monotonic; 0 = none planned by the tree */
const char *suptree_why(const struct suptree_node *node); /* it is not up, one line; NULL = not known here */
bool suptree_is_held(const struct suptree_node *node);
/* Children in start order; NULL behind the last. */
struct suptree_node *suptree_child(const struct suptree_node *node, size_t index);
struct suptree_node *suptree_find(struct suptree *tree, const char *name);

/* Why the tree is degraded, one line; NULL when it is not. */
const char *suptree_degraded(const struct suptree *tree);

/* All of it, either way, while the daemon's program is replaced. A tree that goes on has its nodes, and was
 * not started; its leaves go on by themselves. What it has and the former one had not is down. */
void suptree_pass(struct suptree *tree, struct handover *h);

#endif
