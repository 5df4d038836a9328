#include "core/suptree.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "policy/backoff.h"
#include "policy/intensity.h"

enum {
	TRIAL_MS = 5 * 60 * 1000, /* between trials of what the root has parked */
	GROUP_DELAY_MS = 500,	  /* before a failed group is started again, growing */
	GROUP_DELAY_MAX_MS = 60000,
};

/* What a group is busy with. */
enum job {
	JOB_NONE,
	JOB_START, /* children first..last, in order */
	JOB_STOP,  /* the same, in reverse; then `after` */
};

enum after {
	AFTER_DOWN,    /* the group was told to stop */
	AFTER_RESTART, /* start the same span again, after delay_ms */
	AFTER_FAIL,    /* too many restarts, or a child that failed at boot */
};

struct suptree_node {
	struct suptree *tree;
	struct suptree_node *parent; /* NULL for the root */
	char *name;
	enum suptree_state state;
	bool removed; /* goes as soon as it is down */
	void (*gone)(void *arg);
	void *gone_arg;
	bool on_trial; /* parked by the root for its failures; started now and then */

	bool is_group;
	struct suptree_leaf leaf;

	/* Of a group. */
	struct suptree_node **children;
	size_t count;
	enum strategy strategy;
	int intensity;
	int64_t period_ms;
	struct intensity *window;
	enum job job;
	size_t first, last;
	enum after after;
	bool was_up; /* since its last start */
	int64_t up_since_ms;
	unsigned failures; /* of the whole group, in a row */
	int64_t delay_ms;
	int64_t next_start_ms;
	struct loop_timer *timer; /* the delay before a start */
};

struct suptree {
	struct loop *loop;
	struct suptree_events events;
	struct suptree_node *root;
	struct loop_timer *trial_timer;
	char *degraded;
	bool stopping, told_up, told_down;
};

static void advance(struct suptree_node *group);
static enum suptree_answer child_failed(struct suptree_node *node, bool counts, int64_t delay_ms);

/* ---- small questions ---- */

static bool is_alive(const struct suptree_node *node)
{
	return node->state == SUPTREE_STARTING || node->state == SUPTREE_UP ||
	       node->state == SUPTREE_STOPPING;
}

static size_t index_of(const struct suptree_node *node)
{
	size_t i = 0;

	while (node->parent->children[i] != node)
		i++;
	return i;
}

static void set_state(struct suptree_node *node, enum suptree_state state)
{
	if (node->state == state)
		return;
	log_debug("tree.state", "node=%s state=%s was=%s", node->name, suptree_state_name(state),
		  suptree_state_name(node->state));
	node->state = state;
}

static void tell(struct suptree *tree, const char *level, const char *kind, const char *subject)
{
	tree->events.event(tree->events.arg, level, kind, subject, NULL);
}

/* ---- starting and stopping ---- */

static void begin(struct suptree_node *group, enum job job, size_t first, size_t last)
{
	loop_timer_stop(group->timer);
	group->next_start_ms = 0;
	group->job = job;
	group->first = first;
	group->last = last;
}

static void start_node(struct suptree_node *node)
{
	set_state(node, SUPTREE_STARTING);
	if (!node->is_group) {
		node->leaf.start(node->leaf.leaf);
		return;
	}
	node->was_up = false;
	if (node->count == 0) {
		set_state(node, SUPTREE_UP);
		return;
	}
	begin(node, JOB_START, 0, node->count - 1);
	advance(node);
}

static void stop_group(struct suptree_node *group, enum after after)
{
	set_state(group, SUPTREE_STOPPING);
	group->after = after;
	begin(group, JOB_STOP, 0, group->count ? group->count - 1 : 0);
	advance(group);
}

static void stop_node(struct suptree_node *node)
{
	if (node->is_group) {
		stop_group(node, AFTER_DOWN);
		return;
	}
	set_state(node, SUPTREE_STOPPING);
	node->leaf.stop(node->leaf.leaf, false);
}

static void free_node(struct suptree_node *node)
{
	for (size_t i = 0; i < node->count; i++)
		free_node(node->children[i]);
	free(node->children);
	intensity_free(&node->window);
	loop_timer_free(&node->timer);
	free(node->name);
	free(node);
}

static void free_deferred(void *arg)
{
	free_node(arg);
}

/* A removed node that is down leaves its group. */
static void detach(struct suptree_node *node)
{
	struct suptree_node *group = node->parent;
	size_t at = index_of(node);

	for (size_t i = at + 1; i < group->count; i++)
		group->children[i - 1] = group->children[i];
	group->count--;
	if (group->job != JOB_NONE) {
		if (group->first > at)
			group->first--;
		if (group->last >= at && group->last > 0)
			group->last--;
	}
	if (node->gone)
		node->gone(node->gone_arg);
	loop_defer(group->tree->loop, free_deferred, node);
}

/* The node has no life any more, for whatever reason. */
static void settle_down(struct suptree_node *node, enum suptree_state state)
{
	struct suptree_node *group = node->parent;

	set_state(node, state);
	if (node->removed)
		detach(node);
	if (group)
		advance(group);
}

/* ---- a group's work ---- */

static void group_is_up(struct suptree_node *group)
{
	struct suptree *tree = group->tree;

	if (!group->was_up)
		group->up_since_ms = loop_now_ms(tree->loop);
	group->was_up = true;
	set_state(group, SUPTREE_UP);
	if (group->parent) {
		advance(group->parent);
	} else if (!tree->told_up) {
		tree->told_up = true;
		tree->events.up(tree->events.arg);
	}
}

static void group_is_down(struct suptree_node *group)
{
	struct suptree *tree = group->tree;

	if (group->parent) {
		settle_down(group, SUPTREE_DOWN);
		return;
	}
	set_state(group, SUPTREE_DOWN);
	if (tree->stopping && !tree->told_down) {
		tree->told_down = true;
		tree->events.down(tree->events.arg);
	}
}

static void on_group_timer(void *arg)
{
	struct suptree_node *group = arg;

	group->next_start_ms = 0;
	if (group->state == SUPTREE_STARTING && group->job == JOB_NONE && !group->was_up) {
		start_node(group);
		return;
	}
	begin(group, JOB_START, group->first, group->last);
	advance(group);
}

static void start_later(struct suptree_node *group, int64_t delay_ms)
{
	group->next_start_ms = loop_now_ms(group->tree->loop) + delay_ms;
	loop_timer_start(group->timer, delay_ms);
}

/* All children are down after too many restarts, or after one that failed at boot. */
static void group_has_failed(struct suptree_node *group)
{
	int64_t now_ms = loop_now_ms(group->tree->loop);
	int64_t delay_ms;

	if (group->was_up && now_ms - group->up_since_ms > GROUP_DELAY_MAX_MS)
		group->failures = 0;
	delay_ms = backoff_delay_ms(GROUP_DELAY_MS, GROUP_DELAY_MAX_MS, ++group->failures, clock_random());
	intensity_reset(group->window);
	set_state(group, group->was_up ? SUPTREE_DOWN : SUPTREE_STARTING);
	group->was_up = false;
	if (child_failed(group, true, delay_ms) == SUPTREE_YOURSELF)
		start_later(group, delay_ms);
}

static void after_stop(struct suptree_node *group)
{
	group->job = JOB_NONE;
	switch (group->after) {
	case AFTER_DOWN:
		group_is_down(group);
		break;
	case AFTER_RESTART:
		set_state(group, SUPTREE_STARTING);
		start_later(group, group->delay_ms);
		break;
	case AFTER_FAIL:
		group_has_failed(group);
		break;
	}
}

/* True when there is nothing to wait for. */
static bool start_span(struct suptree_node *group)
{
	for (size_t i = group->first; i <= group->last && i < group->count; i++) {
		struct suptree_node *child = group->children[i];

		if (child->state == SUPTREE_DOWN && !child->removed)
			start_node(child);
		if (group->job != JOB_START)
			return false; /* the start failed at once, and changed the group's mind */
		if (child->state == SUPTREE_STARTING || child->state == SUPTREE_STOPPING)
			return false;
	}
	return true;
}

static bool stop_span(struct suptree_node *group)
{
	for (size_t i = group->last + 1; i > group->first; i--) {
		struct suptree_node *child;

		if (i > group->count)
			continue;
		child = group->children[i - 1];
		if (!is_alive(child))
			continue;
		if (child->state != SUPTREE_STOPPING)
			stop_node(child);
		if (i <= group->count && group->children[i - 1] == child && is_alive(child))
			return false;
	}
	return true;
}

/* Does what can be done of the group's job now. Called whenever a child's state has changed. */
static void advance(struct suptree_node *group)
{
	if (group->job == JOB_START && start_span(group)) {
		group->job = JOB_NONE;
		group_is_up(group);
	} else if (group->job == JOB_STOP && stop_span(group) && group->job == JOB_STOP) {
		after_stop(group);
	}
}

/* ---- failures ---- */

static void on_trial_timer(void *arg)
{
	struct suptree *tree = arg;
	bool all_up = true;

	for (size_t i = 0; i < tree->root->count; i++) {
		struct suptree_node *child = tree->root->children[i];

		if (!child->on_trial)
			continue;
		if (child->state == SUPTREE_UP) {
			child->on_trial = false;
			continue;
		}
		all_up = false;
		if (child->state == SUPTREE_PARKED) {
			log_info("tree.trial", "node=%s", child->name);
			start_node(child);
		}
	}
	if (all_up) {
		log_info("tree.recovered", "reason=\"what was on trial stayed up\"");
		mem_free(&tree->degraded);
		tell(tree, "info", "tree.recovered", NULL);
		return;
	}
	loop_timer_start(tree->trial_timer, TRIAL_MS);
}

/* At the root there is nobody to escalate to: the child is given up on, the rest lives on. */
static enum suptree_answer park_child(struct suptree_node *node)
{
	struct suptree *tree = node->tree;

	node->on_trial = true;
	if (!tree->degraded) {
		tree->degraded = mem_printf("%s: more than %d restarts in %lld s", node->name,
					    tree->root->intensity, (long long)(tree->root->period_ms / 1000));
		tell(tree, "error", "tree.degraded", node->name);
	}
	log_error("tree.degraded",
		  "node=%s reason=\"more than %d restarts in %lld s\" next=\"a trial every %d s\"",
		  node->name, tree->root->intensity, (long long)(tree->root->period_ms / 1000),
		  TRIAL_MS / 1000);
	loop_timer_start_by(tree->trial_timer, TRIAL_MS);
	settle_down(node, SUPTREE_PARKED);
	return SUPTREE_WAIT;
}

static void fail_group(struct suptree_node *group, const struct suptree_node *child, const char *why)
{
	log_error("group.failed", "group=%s child=%s reason=\"%s\"", group->name, child->name, why);
	tell(group->tree, "error", "group.failed", group->name);
	stop_group(group, AFTER_FAIL);
}

/* Children first..last go down in reverse order and come up again, as one restart. */
static void restart_span(struct suptree_node *group, size_t first, size_t last, int64_t delay_ms)
{
	/* A restart that is under way already grows to hold both spans. */
	if ((group->job != JOB_NONE || group->next_start_ms) && group->after == AFTER_RESTART) {
		first = first < group->first ? first : group->first;
		last = last > group->last ? last : group->last;
	}
	group->after = AFTER_RESTART;
	group->delay_ms = delay_ms;
	begin(group, JOB_STOP, first, last);
	advance(group);
}

static enum suptree_answer child_failed(struct suptree_node *node, bool counts, int64_t delay_ms)
{
	struct suptree_node *group = node->parent;
	bool exceeded, at_boot;
	size_t first, last;

	if (node->tree->stopping || node->removed || group->state == SUPTREE_STOPPING) {
		settle_down(node, SUPTREE_DOWN);
		return SUPTREE_WAIT;
	}
	exceeded = counts && intensity_add(group->window, loop_now_ms(node->tree->loop));
	at_boot = group->parent && !group->was_up && node->state == SUPTREE_STARTING;
	if (!group->parent && (exceeded || node->on_trial))
		return park_child(node);
	if (exceeded || at_boot) {
		set_state(node, SUPTREE_DOWN);
		fail_group(group, node,
			   exceeded ? "too many restarts within the period" : "it did not come up");
		return SUPTREE_WAIT;
	}
	strategy_span(group->strategy, group->count, index_of(node), &first, &last);
	if (first == last) {
		set_state(node, SUPTREE_STARTING);
		return SUPTREE_YOURSELF;
	}
	set_state(node, SUPTREE_DOWN);
	restart_span(group, first, last, delay_ms);
	return SUPTREE_WAIT;
}

enum suptree_answer suptree_failed(struct suptree_node *node, bool counts, int64_t delay_ms)
{
	assert(!node->is_group);
	return child_failed(node, counts, delay_ms);
}

void suptree_up(struct suptree_node *node)
{
	if (node->state != SUPTREE_STARTING)
		return;
	set_state(node, SUPTREE_UP);
	if (node->parent)
		advance(node->parent);
}

void suptree_down(struct suptree_node *node)
{
	settle_down(node, SUPTREE_DOWN);
}

void suptree_ended(struct suptree_node *node, bool parked)
{
	settle_down(node, parked ? SUPTREE_PARKED : SUPTREE_ENDED);
}

/* ---- making ---- */

static int set_limits(struct suptree_node *node, const struct suptree_group *group)
{
	struct intensity *window;
	int r;

	if (node->window && node->intensity == group->intensity && node->period_ms == group->period_ms) {
		node->strategy = group->strategy;
		return 0;
	}
	r = intensity_new(group->intensity, group->period_ms, &window);
	if (r < 0)
		return r;
	intensity_free(&node->window);
	node->window = window;
	node->strategy = group->strategy;
	node->intensity = group->intensity;
	node->period_ms = group->period_ms;
	return 0;
}

static struct suptree_node *make_node(struct suptree *tree, struct suptree_node *parent, const char *name)
{
	struct suptree_node *node = mem_alloc(sizeof(*node));

	node->tree = tree;
	node->parent = parent;
	node->name = mem_strdup(name);
	return node;
}

static void append(struct suptree_node *parent, struct suptree_node *node)
{
	parent->children = mem_resize(parent->children, parent->count + 1, sizeof(struct suptree_node *));
	parent->children[parent->count++] = node;
}

static int make_group(struct suptree *tree, struct suptree_node *parent, const struct suptree_group *group,
		      struct suptree_node **ret)
{
	struct suptree_node *node = make_node(tree, parent, group->name);
	int r;

	node->is_group = true;
	loop_timer_new(tree->loop, on_group_timer, node, &node->timer);
	r = set_limits(node, group);
	if (r < 0) {
		free_node(node);
		return r;
	}
	*ret = node;
	return 0;
}

int suptree_new(struct loop *loop, const struct suptree_group *root, const struct suptree_events *events,
		struct suptree **ret)
{
	struct suptree *tree = mem_alloc(sizeof(*tree));
	int r;

	tree->loop = loop;
	tree->events = *events;
	r = make_group(tree, NULL, root, &tree->root);
	if (r < 0) {
		mem_free(&tree);
		return r;
	}
	loop_timer_new(loop, on_trial_timer, tree, &tree->trial_timer);
	*ret = tree;
	return 0;
}

void suptree_free(struct suptree **tree)
{
	if (!*tree)
		return;
	loop_timer_free(&(*tree)->trial_timer);
	free_node((*tree)->root);
	free((*tree)->degraded);
	mem_free(tree);
}

struct suptree_node *suptree_root(struct suptree *tree)
{
	return tree->root;
}

int suptree_add_group(struct suptree_node *parent, const struct suptree_group *group,
		      struct suptree_node **ret)
{
	struct suptree_node *node;
	int r = make_group(parent->tree, parent, group, &node);

	if (r < 0)
		return r;
	append(parent, node);
	*ret = node;
	return 0;
}

void suptree_add_leaf(struct suptree_node *parent, const char *name, const struct suptree_leaf *leaf,
		      struct suptree_node **ret)
{
	struct suptree_node *node = make_node(parent->tree, parent, name);

	node->leaf = *leaf;
	append(parent, node);
	*ret = node;
}

int suptree_configure(struct suptree_node *node, const struct suptree_group *group)
{
	return set_limits(node, group);
}

void suptree_remove(struct suptree_node *node, void (*gone)(void *arg), void *arg)
{
	node->removed = true;
	node->gone = gone;
	node->gone_arg = arg;
	if (!is_alive(node))
		settle_down(node, SUPTREE_DOWN);
	else if (node->state != SUPTREE_STOPPING)
		stop_node(node);
}

void suptree_start(struct suptree *tree)
{
	start_node(tree->root);
	if (tree->root->count == 0)
		group_is_up(tree->root);
}

static void start_added(struct suptree_node *group)
{
	for (size_t i = 0; i < group->count; i++)
		if (group->children[i]->is_group && is_alive(group->children[i]))
			start_added(group->children[i]);
	if (group->state != SUPTREE_UP || group->job != JOB_NONE || group->count == 0)
		return;
	begin(group, JOB_START, 0, group->count - 1);
	advance(group);
}

void suptree_start_added(struct suptree *tree)
{
	if (!tree->stopping)
		start_added(tree->root);
}

static void hurry(struct suptree_node *node)
{
	for (size_t i = 0; i < node->count; i++)
		hurry(node->children[i]);
	if (!node->is_group && node->state == SUPTREE_STOPPING)
		node->leaf.stop(node->leaf.leaf, true);
}

void suptree_stop(struct suptree *tree)
{
	if (tree->stopping) {
		hurry(tree->root);
		return;
	}
	tree->stopping = true;
	loop_timer_stop(tree->trial_timer);
	stop_group(tree->root, AFTER_DOWN);
}

/* ---- for people ---- */

const char *suptree_name(const struct suptree_node *node)
{
	return node->name;
}

enum suptree_state suptree_state(const struct suptree_node *node)
{
	return node->state;
}

const char *suptree_state_name(enum suptree_state state)
{
	static const char *const names[] = {
		[SUPTREE_DOWN] = "down",	 [SUPTREE_STARTING] = "starting", [SUPTREE_UP] = "up",
		[SUPTREE_STOPPING] = "stopping", [SUPTREE_ENDED] = "ended",	  [SUPTREE_PARKED] = "parked",
	};

	return (size_t)state < ARRAY_LEN(names) ? names[state] : "?";
}

bool suptree_is_group(const struct suptree_node *node)
{
	return node->is_group;
}

void *suptree_leaf_of(const struct suptree_node *node)
{
	return node->is_group ? NULL : node->leaf.leaf;
}

enum strategy suptree_strategy(const struct suptree_node *node)
{
	return node->strategy;
}

int suptree_intensity(const struct suptree_node *node)
{
	return node->intensity;
}

int64_t suptree_period_ms(const struct suptree_node *node)
{
	return node->period_ms;
}

int suptree_restarts_in_window(struct suptree_node *node)
{
	return node->window ? intensity_count(node->window, loop_now_ms(node->tree->loop)) : 0;
}

int64_t suptree_next_start_ms(const struct suptree_node *node)
{
	return node->next_start_ms;
}

struct suptree_node *suptree_child(const struct suptree_node *node, size_t index)
{
	return index < node->count ? node->children[index] : NULL;
}

static struct suptree_node *find(struct suptree_node *node, const char *name)
{
	if (strcmp(node->name, name) == 0)
		return node;
	for (size_t i = 0; i < node->count; i++) {
		struct suptree_node *found = find(node->children[i], name);

		if (found)
			return found;
	}
	return NULL;
}

struct suptree_node *suptree_find(struct suptree *tree, const char *name)
{
	return find(tree->root, name);
}

const char *suptree_degraded(const struct suptree *tree)
{
	return tree->degraded;
}
