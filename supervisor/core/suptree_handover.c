/* A supervision tree that lives on while the daemon's program is replaced: where each node stands. */

#include <limits.h>

#include "base/mem.h"
#include "core/handover_parts.h"
#include "core/suptree_private.h"
#include "io/handover.h"

static void pass_group(struct suptree_node *group, struct handover *h)
{
	handover_intensity(h, "window", group->window);
	handover_enum(h, "job", JOB_STOP, &group->job);
	handover_size(h, "first", &group->first);
	handover_size(h, "end", &group->end);
	handover_enum(h, "after", AFTER_PARK, &group->after);
	handover_bool(h, "wasUp", &group->was_up);
	handover_time(h, "upSinceMs", &group->up_since_ms);
	handover_unsigned(h, "failures", &group->failures);
	handover_time(h, "delayMs", &group->delay_ms);
	handover_time(h, "nextStartMs", &group->next_start_ms);
	handover_timer(h, "timer", group->timer);
}

static void pass_standing(struct suptree_node *node, struct handover *h)
{
	bool is_group = node->is_group;

	handover_bool(h, "isGroup", &is_group);
	if (is_group != node->is_group) {
		handover_fault(h, "%s is no %s", node->name, is_group ? "group" : "leaf");
		return;
	}
	handover_enum(h, "state", SUPTREE_PARKED, &node->state);
	handover_time(h, "sinceMs", &node->since_ms);
	handover_text(h, "why", &node->why);
	handover_bool(h, "retrying", &node->retrying);
	handover_bool(h, "stumbled", &node->stumbled);
	handover_bool(h, "held", &node->held);
	handover_bool(h, "onTrial", &node->on_trial);
	handover_int(h, "restarts", 0, INT_MAX, &node->restarts);
	handover_bool(h, "lived", &node->lived);
	if (is_group)
		pass_group(node, h);
}

/* The one to be written, or the one whose name is read. */
static void pass_node(struct suptree *tree, struct handover *h, struct suptree_node *node)
{
	AUTO(mem_free_str) char *name = node ? mem_strdup(node->name) : NULL;

	handover_begin(h, NULL);
	handover_text(h, "name", &name);
	if (!node && name)
		node = suptree_find(tree, name);
	if (node)
		pass_standing(node, h);
	else
		handover_fault(h, "this program supervises nothing that is called \"%s\"", name ? name : "");
	handover_end(h);
}

static size_t count_nodes(const struct suptree_node *node)
{
	size_t count = 1;

	for (size_t i = 0; i < node->count; i++)
		count += count_nodes(node->children[i]);
	return count;
}

static void write_nodes(struct suptree *tree, struct handover *h, struct suptree_node *node)
{
	pass_node(tree, h, node);
	for (size_t i = 0; i < node->count; i++)
		write_nodes(tree, h, node->children[i]);
}

void suptree_pass(struct suptree *tree, struct handover *h)
{
	size_t count;

	handover_text(h, "degraded", &tree->degraded);
	handover_bool(h, "toldUp", &tree->told_up);
	handover_time(h, "nextTrialMs", &tree->next_trial_ms);
	handover_timer(h, "trialTimer", tree->trial_timer);
	count = handover_begin_list(h, "nodes", count_nodes(tree->root));
	if (!handover_is_read(h))
		write_nodes(tree, h, tree->root);
	for (size_t i = 0; handover_is_read(h) && i < count; i++)
		pass_node(tree, h, NULL);
	handover_end(h);
}
