#include "core/suptree.h"

#include <assert.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/suptree_private.h"
#include "io/loop.h"
#include "policy/backoff.h"
#include "policy/intensity.h"

static enum suptree_answer child_failed(struct suptree_node *node, bool counts, int64_t delay_ms);

/* ---- small questions ---- */

bool suptree_is_alive(const struct suptree_node *node)
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
	if (state == SUPTREE_UP && node->stumbled)
		mem_free(&node->why);
	if (state != SUPTREE_STARTING)
		node->retrying = node->stumbled = false;
	if (node->state == state)
		return;
	log_debug("tree.state", "node=%s state=%s was=%s", node->name, suptree_state_name(state),
		  suptree_state_name(node->state));
	node->state = state;
	node->since_ms = loop_now_ms(node->tree->loop);
}

static void tell(struct suptree *tree, const char *level, const char *kind, const char *subject)
{
	tree->events.event(tree->events.arg, level, kind, subject, NULL);
}

/* ---- starting and stopping ---- */

void suptree_begin(struct suptree_node *group, enum suptree_job job, size_t first, size_t end)
{
	loop_timer_stop(group->timer);
	group->next_start_ms = 0;
	group->job = job;
	group->first = first;
	group->end = end;
}

/* A whole group starts: what had ended in its former life lives again. */
static void start_group(struct suptree_node *group)
{
	for (size_t i = 0; i < group->count; i++)
		if (!suptree_is_alive(group->children[i]))
			set_state(group->children[i], SUPTREE_DOWN);
	group->was_up = false;
	suptree_begin(group, JOB_START, 0, group->count);
	suptree_advance(group);
}

void suptree_start_node(struct suptree_node *node)
{
	if (node->lived)
		node->restarts++;
	node->lived = true;
	set_state(node, SUPTREE_STARTING);
	if (node->is_group)
		start_group(node);
	else
		node->leaf.start(node->leaf.leaf);
}

static void stop_group(struct suptree_node *group, enum suptree_after after)
{
	set_state(group, SUPTREE_STOPPING);
	group->after = after;
	suptree_begin(group, JOB_STOP, 0, group->count);
	suptree_advance(group);
}

void suptree_stop_node(struct suptree_node *node)
{
	if (node->is_group) {
		stop_group(node, AFTER_DOWN);
		return;
	}
	set_state(node, SUPTREE_STOPPING);
	node->leaf.stop(node->leaf.leaf, false);
	if (node->tree->hurried && node->state == SUPTREE_STOPPING)
		node->leaf.stop(node->leaf.leaf, true);
}

void suptree_settle(struct suptree_node *node, enum suptree_state state)
{
	struct suptree_node *group = node->parent;

	set_state(node, state);
	if (node->removed)
		suptree_detach(node);
	if (group)
		suptree_advance(group);
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
		suptree_advance(group->parent);
	} else if (!tree->told_up) {
		tree->told_up = true;
		tree->events.up(tree->events.arg);
	}
}

static void group_is_down(struct suptree_node *group)
{
	struct suptree *tree = group->tree;

	if (group->parent) {
		suptree_settle(group, SUPTREE_DOWN);
		return;
	}
	set_state(group, SUPTREE_DOWN);
	if (tree->stopping && !tree->told_down) {
		tree->told_down = true;
		tree->events.down(tree->events.arg);
	}
}

void suptree_on_group_timer(void *arg)
{
	struct suptree_node *group = arg;

	if (!group->was_up) {
		start_group(group);
		return;
	}
	suptree_begin(group, JOB_START, group->first, group->end);
	suptree_advance(group);
}

static void start_later(struct suptree_node *group, int64_t delay_ms)
{
	group->next_start_ms = loop_now_ms(group->tree->loop) + delay_ms;
	loop_timer_start(group->timer, delay_ms);
}

/* What the node, and all below it, did before is answered for by whoever starts it next. */
void suptree_forget_failures(struct suptree_node *node)
{
	node->failures = 0;
	if (node->window)
		intensity_reset(node->window);
	if (!node->is_group && node->leaf.forget)
		node->leaf.forget(node->leaf.leaf);
	for (size_t i = 0; i < node->count; i++)
		suptree_forget_failures(node->children[i]);
}

/* All children are down after too many restarts, or after one that failed at boot. */
static void group_has_failed(struct suptree_node *group)
{
	const struct suptree_pace *pace = &group->tree->pace;
	int64_t now_ms = loop_now_ms(group->tree->loop);
	int64_t delay_ms;

	if (group->was_up && now_ms - group->up_since_ms > pace->delay_max_ms)
		group->failures = 0;
	delay_ms = backoff_delay_ms(pace->delay_ms, pace->delay_max_ms, ++group->failures, clock_random());
	intensity_reset(group->window);
	for (size_t i = 0; i < group->count; i++)
		suptree_forget_failures(group->children[i]);
	set_state(group, group->was_up ? SUPTREE_DOWN : SUPTREE_STARTING);
	group->was_up = false;
	if (child_failed(group, true, delay_ms) == SUPTREE_YOURSELF) {
		group->restarts++;
		start_later(group, delay_ms);
	}
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
	case AFTER_PARK:
		suptree_ended(group, true);
		break;
	}
}

/* Whether those behind this child wait for it. At the root they do not wait for one that has failed and tries
 * again by itself, as there is nobody above who would end the waiting; nor anywhere for one that has failed
 * without its group's knowing what to do about it. */
static bool holds_up(const struct suptree_node *child)
{
	const struct suptree_node *group = child->parent;

	if (group->strategy == STRATEGY_ONE_FOR_ONE &&
	    (child->stumbled || (child->retrying && !group->parent)))
		return false;
	return child->state == SUPTREE_STARTING || child->state == SUPTREE_STOPPING;
}

/* True when there is nothing to wait for. */
static bool start_span(struct suptree_node *group)
{
	for (size_t i = group->first; i < group->end && i < group->count; i++) {
		struct suptree_node *child = group->children[i];

		if (child->state == SUPTREE_DOWN && !child->removed && !child->held)
			suptree_start_node(child);
		if (group->job != JOB_START)
			return false; /* the start failed at once, and changed the group's mind */
		if (holds_up(child))
			return false;
	}
	return true;
}

static bool stop_span(struct suptree_node *group)
{
	for (size_t i = group->end; i > group->first; i--) {
		struct suptree_node *child;

		if (i > group->count)
			continue;
		child = group->children[i - 1];
		if (!suptree_is_alive(child))
			continue;
		if (child->state != SUPTREE_STOPPING)
			suptree_stop_node(child);
		if (i <= group->count && group->children[i - 1] == child && suptree_is_alive(child))
			return false;
	}
	return true;
}

/* Called whenever a child's state has changed. */
void suptree_advance(struct suptree_node *group)
{
	if (group->job == JOB_START && start_span(group) && group->job == JOB_START) {
		group->job = JOB_NONE;
		group_is_up(group);
	} else if (group->job == JOB_STOP && stop_span(group) && group->job == JOB_STOP) {
		after_stop(group);
	}
}

/* ---- failures ---- */

static void arm_trial(struct suptree *tree)
{
	tree->next_trial_ms = loop_now_ms(tree->loop) + tree->pace.trial_ms;
	loop_timer_start(tree->trial_timer, tree->pace.trial_ms);
}

void suptree_check_trials(struct suptree *tree)
{
	if (!tree->degraded)
		return;
	for (size_t i = 0; i < tree->root->count; i++)
		if (tree->root->children[i]->on_trial)
			return;
	log_info("tree.recovered", "reason=\"nothing is on trial any more\"");
	mem_free(&tree->degraded);
	loop_timer_stop(tree->trial_timer);
	tree->next_trial_ms = 0;
	tell(tree, "info", "tree.recovered", NULL);
}

void suptree_on_trial_timer(void *arg)
{
	struct suptree *tree = arg;

	arm_trial(tree);
	for (size_t i = 0; i < tree->root->count; i++) {
		struct suptree_node *child = tree->root->children[i];

		if (!child->on_trial)
			continue;
		if (child->state == SUPTREE_PARKED) {
			log_info("tree.trial", "node=%s", child->name);
			suptree_start_node(child);
		} else if (child->state != SUPTREE_STARTING) {
			child->on_trial = false;
		}
	}
	suptree_check_trials(tree);
}

/* At the root there is nobody to escalate to: the child is given up on, the rest lives on, with a window that
 * owes nothing to it. */
static enum suptree_answer park_child(struct suptree_node *node)
{
	struct suptree *tree = node->tree;
	const struct suptree_node *root = tree->root;

	node->on_trial = true;
	suptree_forget_failures(node);
	intensity_reset(root->window);
	log_error("tree.degraded",
		  "node=%s reason=\"more than %d restarts in %lld s\" next=\"a trial every %lld s\"",
		  node->name, root->intensity, (long long)(root->period_ms / 1000),
		  (long long)(tree->pace.trial_ms / 1000));
	if (!node->is_group)
		mem_set_str(&node->why, mem_printf("more than %d restarts in %lld s", root->intensity,
						   (long long)(root->period_ms / 1000)));
	if (!tree->degraded) {
		tree->degraded = mem_printf("%s: %s", node->name, node->why);
		tell(tree, "error", "tree.degraded", node->name);
	}
	if (!tree->next_trial_ms)
		arm_trial(tree);
	suptree_settle(node, SUPTREE_PARKED);
	return SUPTREE_WAIT;
}

static void fail_group(struct suptree_node *group, const struct suptree_node *child, const char *why,
		       enum suptree_after after)
{
	mem_set_str(&group->why, mem_printf("%s: %s", child->name, why));
	log_error("group.failed", "group=%s child=%s reason=\"%s\"", group->name, child->name, why);
	tell(group->tree, "error", "group.failed", group->name);
	stop_group(group, after);
}

/* Children first..end-1 go down in reverse order and come up again, as one restart. */
static void restart_span(struct suptree_node *group, size_t first, size_t end, int64_t delay_ms)
{
	bool waiting = group->job == JOB_NONE && group->next_start_ms;

	/* One that still stops its span, or waits, grows to hold both; one that starts has those before the
	 * failed child up already, and they stay. */
	if ((group->job == JOB_STOP && group->after == AFTER_RESTART) || waiting) {
		first = first < group->first ? first : group->first;
		end = end > group->end ? end : group->end;
	}
	group->after = AFTER_RESTART;
	group->delay_ms = delay_ms;
	suptree_begin(group, JOB_STOP, first, end);
	suptree_advance(group);
}

static enum suptree_answer child_failed(struct suptree_node *node, bool counts, int64_t delay_ms)
{
	struct suptree_node *group = node->parent;
	bool exceeded, at_boot;
	size_t first, last;

	if (node->tree->stopping || node->removed || node->held || group->state == SUPTREE_STOPPING) {
		suptree_settle(node, SUPTREE_DOWN);
		return SUPTREE_WAIT;
	}
	exceeded = counts && intensity_add(group->window, loop_now_ms(node->tree->loop));
	at_boot = group->parent && !group->was_up && node->state == SUPTREE_STARTING;
	if (!group->parent && (exceeded || node->on_trial))
		return park_child(node);
	if (exceeded || at_boot) {
		set_state(node, SUPTREE_DOWN);
		fail_group(group, node,
			   exceeded ? "too many restarts within the period" : "it did not come up",
			   AFTER_FAIL);
		return SUPTREE_WAIT;
	}
	strategy_span(group->strategy, group->count, index_of(node), &first, &last);
	if (first == last) {
		set_state(node, SUPTREE_STARTING);
		node->retrying = true;
		suptree_advance(group); /* the root's other children wait no longer */
		return SUPTREE_YOURSELF;
	}
	set_state(node, SUPTREE_DOWN);
	restart_span(group, first, last + 1, delay_ms);
	return SUPTREE_WAIT;
}

enum suptree_answer suptree_failed(struct suptree_node *node, bool counts, int64_t delay_ms)
{
	enum suptree_answer answer;

	assert(!node->is_group);
	answer = child_failed(node, counts, delay_ms);
	if (answer == SUPTREE_YOURSELF)
		node->restarts++;
	return answer;
}

void suptree_up(struct suptree_node *node)
{
	if (node->state != SUPTREE_STARTING)
		return;
	set_state(node, SUPTREE_UP);
	if (node->parent)
		suptree_advance(node->parent);
}

void suptree_stumbled(struct suptree_node *node, const char *why)
{
	struct suptree_node *group = node->parent;
	AUTO(mem_free_str) char *whose = NULL;

	if (node->state != SUPTREE_STARTING || !group)
		return;
	node->stumbled = true;
	mem_set_str(&node->why, mem_strdup(why));
	if (group->strategy == STRATEGY_ONE_FOR_ONE) {
		suptree_advance(group);
		return;
	}
	whose = mem_printf("%s: %s", node->name, why);
	suptree_stumbled(group, whose);
}

void suptree_down(struct suptree_node *node)
{
	suptree_settle(node, SUPTREE_DOWN);
}

void suptree_ended(struct suptree_node *node, bool parked)
{
	struct suptree_node *group = node->parent;
	bool needed = parked && group->parent && group->strategy != STRATEGY_ONE_FOR_ONE;

	if (!needed || node->removed || node->held || group->state == SUPTREE_STOPPING) {
		suptree_settle(node, parked ? SUPTREE_PARKED : SUPTREE_ENDED);
		return;
	}
	set_state(node, SUPTREE_PARKED);
	fail_group(group, node, "it is broken, and its brothers depend on it", AFTER_PARK);
}
