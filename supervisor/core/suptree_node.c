/* Nodes of the supervision tree: made, changed, removed, held by an operator, and looked at. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/suptree_private.h"
#include "io/loop.h"
#include "policy/intensity.h"

static const struct suptree_pace usual_pace = {
	.trial_ms = 5 * 60 * 1000,
	.delay_ms = STRATEGY_GROUP_DELAY_MS,
	.delay_max_ms = STRATEGY_GROUP_DELAY_MAX_MS,
};

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

static void free_node(struct suptree_node *node)
{
	for (size_t i = 0; i < node->count; i++)
		free_node(node->children[i]);
	free(node->children);
	intensity_free(&node->window);
	loop_timer_free(&node->timer);
	free(node->why);
	free(node->name);
	free(node);
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
	loop_timer_new(tree->loop, suptree_on_group_timer, node, &node->timer);
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
	tree->pace = usual_pace;
	r = make_group(tree, NULL, root, &tree->root);
	if (r < 0) {
		mem_free(&tree);
		return r;
	}
	loop_timer_new(loop, suptree_on_trial_timer, tree, &tree->trial_timer);
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

void suptree_set_pace(struct suptree *tree, const struct suptree_pace *pace)
{
	tree->pace = *pace;
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

/* ---- changing ---- */

int suptree_configure(struct suptree_node *node, const struct suptree_group *group)
{
	return set_limits(node, group);
}

static void free_deferred(void *arg)
{
	free_node(arg);
}

void suptree_detach(struct suptree_node *node)
{
	struct suptree_node *group = node->parent;
	size_t at = 0;

	while (group->children[at] != node)
		at++;
	for (size_t i = at + 1; i < group->count; i++)
		group->children[i - 1] = group->children[i];
	group->count--;
	if (group->first > at)
		group->first--;
	if (group->end > at)
		group->end--;
	if (!group->parent)
		suptree_check_trials(group->tree);
	if (node->gone)
		node->gone(node->gone_arg);
	loop_defer(group->tree->loop, free_deferred, node);
}

void suptree_remove(struct suptree_node *node, void (*gone)(void *arg), void *arg)
{
	node->removed = true;
	node->gone = gone;
	node->gone_arg = arg;
	if (!suptree_is_alive(node))
		suptree_settle(node, SUPTREE_DOWN);
	else if (node->state != SUPTREE_STOPPING)
		suptree_stop_node(node);
}

void suptree_hold(struct suptree_node *node)
{
	node->held = true;
	node->on_trial = false;
	if (!suptree_is_alive(node))
		suptree_settle(node, SUPTREE_DOWN);
	else if (node->state != SUPTREE_STOPPING)
		suptree_stop_node(node);
	suptree_check_trials(node->tree);
}

int suptree_release(struct suptree_node *node)
{
	const struct suptree_node *group = node->parent;

	if (suptree_is_alive(node))
		return -EBUSY;
	node->held = node->on_trial = false;
	if (!suptree_is_alive(group) || group->state == SUPTREE_STOPPING)
		return -EAGAIN;
	suptree_forget_failures(node);
	suptree_start_node(node);
	suptree_check_trials(node->tree);
	return 0;
}

void suptree_start(struct suptree *tree)
{
	suptree_start_node(tree->root);
}

static void start_added(struct suptree_node *group)
{
	if (!suptree_is_alive(group) || group->state == SUPTREE_STOPPING)
		return;
	for (size_t i = 0; i < group->count; i++)
		if (group->children[i]->is_group)
			start_added(group->children[i]);
	if (group->job == JOB_NONE && !group->next_start_ms)
		suptree_begin(group, JOB_START, 0, group->count);
	else
		group->end = group->count; /* what is down is started with what is under way */
	suptree_advance(group);
}

void suptree_start_added(struct suptree *tree)
{
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
		tree->hurried = true;
		hurry(tree->root);
		return;
	}
	tree->stopping = true;
	loop_timer_stop(tree->trial_timer);
	suptree_stop_node(tree->root);
}

/* ---- for people ---- */

struct suptree_node *suptree_root(struct suptree *tree)
{
	return tree->root;
}

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

	return (unsigned)state < ARRAY_LEN(names) ? names[state] : "?";
}

bool suptree_has_stumbled(const struct suptree_node *node)
{
	return node->stumbled;
}

bool suptree_is_removed(const struct suptree_node *node)
{
	return node->removed;
}

bool suptree_is_group(const struct suptree_node *node)
{
	return node->is_group;
}

struct suptree_node *suptree_parent(const struct suptree_node *node)
{
	return node->parent;
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

int suptree_restarts(const struct suptree_node *node)
{
	return node->restarts;
}

int suptree_restarts_in_window(struct suptree_node *node)
{
	return node->window ? intensity_count(node->window, loop_now_ms(node->tree->loop)) : 0;
}

int64_t suptree_up_since_ms(const struct suptree_node *node)
{
	return node->state == SUPTREE_UP ? node->since_ms : 0;
}

int64_t suptree_next_start_ms(const struct suptree_node *node)
{
	if (node->on_trial && node->state == SUPTREE_PARKED)
		return node->tree->next_trial_ms;
	return node->next_start_ms;
}

const char *suptree_why(const struct suptree_node *node)
{
	if (node->held)
		return "stopped by an operator";
	return node->state == SUPTREE_UP ? NULL : node->why;
}

bool suptree_is_held(const struct suptree_node *node)
{
	return node->held;
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
