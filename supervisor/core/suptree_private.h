#ifndef CORE_SUPTREE_PRIVATE_H
#define CORE_SUPTREE_PRIVATE_H

/* What suptree.c (starting, stopping, failing) and suptree_node.c (making, changing, asking) share. */

#include "core/suptree.h"

struct intensity;
struct loop_timer;

/* What a group is busy with, for its children first..end-1. */
enum suptree_job {
	JOB_NONE,
	JOB_START, /* in order */
	JOB_STOP,  /* in reverse; then `after` */
};

enum suptree_after {
	AFTER_DOWN,    /* the group was told to stop */
	AFTER_RESTART, /* start the same span again, after delay_ms */
	AFTER_FAIL,    /* too many restarts, or a child that failed at boot */
	AFTER_PARK,    /* a child is broken that its brothers depend on */
};

struct suptree_node {
	struct suptree *tree;
	struct suptree_node *parent; /* NULL for the root */
	char *name;
	enum suptree_state state;
	int64_t since_ms; /* it is in this state */
	char *why;	  /* it failed last, one line; NULL = it did not, or the leaf knows */
	bool retrying;	  /* its start has failed, and it tries again by itself */
	bool stumbled;	  /* its start has failed, and nobody above waits for it */
	bool held;	  /* an operator stopped it, and only an operator starts it */
	bool on_trial;	  /* parked by the root for its failures; started now and then */
	bool removed;	  /* goes as soon as it is down */
	void (*gone)(void *arg);
	void *gone_arg;
	int restarts; /* lives after the first */
	bool lived;

	bool is_group;
	struct suptree_leaf leaf;

	/* Of a group. */
	struct suptree_node **children;
	size_t count;
	enum strategy strategy;
	int intensity;
	int64_t period_ms;
	struct intensity *window;
	enum suptree_job job;
	size_t first, end; /* of the job, or of the restart that is waited for */
	enum suptree_after after;
	bool was_up; /* since its last start */
	int64_t up_since_ms;
	unsigned failures; /* of the whole group, in a row */
	int64_t delay_ms;
	int64_t next_start_ms;	  /* 0 unless a start is waited for */
	struct loop_timer *timer; /* of next_start_ms */
};

struct suptree {
	struct loop *loop;
	struct suptree_events events;
	struct suptree_pace pace;
	struct suptree_node *root;
	struct loop_timer *trial_timer;
	int64_t next_trial_ms; /* 0 while nothing is on trial */
	char *degraded;
	bool stopping, hurried, told_up, told_down;
};

/* ---- suptree.c ---- */

bool suptree_is_alive(const struct suptree_node *node);

/* Of a node that is down, in a group that lives. */
void suptree_start_node(struct suptree_node *node);
void suptree_stop_node(struct suptree_node *node);

/* The node has no life any more, for whatever reason. */
void suptree_settle(struct suptree_node *node, enum suptree_state state);

/* Does what can be done of the group's job now. */
void suptree_advance(struct suptree_node *group);

/* Before a start that is not of their own making. */
void suptree_forget_failures(struct suptree_node *node);

/* For its children first..end-1, in place of what it was busy with. */
void suptree_begin(struct suptree_node *group, enum suptree_job job, size_t first, size_t end);

/* From the timers of the groups, and of the tree. */
void suptree_on_group_timer(void *group);
void suptree_on_trial_timer(void *tree);

/* Says that the tree has recovered, when nothing is on trial any more. */
void suptree_check_trials(struct suptree *tree);

/* ---- suptree_node.c ---- */

/* Takes a node that is down out of its group, tells, and frees it later. */
void suptree_detach(struct suptree_node *node);

#endif
