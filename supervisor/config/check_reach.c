/* Whether a crash loop could ever use up the intensity of its group. One that could not would go on for ever
 * unseen: the child comes back again and again, and nobody is told.
 *
 * What counts is the least time that a loop takes: lives of no length, and of each delay the half that is
 * certain (policy/backoff.h). Children of a group fail in three ways.
 *
 * - A service fails after each life, and waits restart_delay and more. A temporary one never fails.
 * - A pool does so in all its slots side by side. It gives itself up (core/pool.h), by the limits of its
 * group, which it never fails with; so it is held against that group, and against none above.
 * - A group fails when a child of it exceeds its intensity, at once when one does not come up as it starts.
 * It waits a delay of its own, and the back-off of all below it begins anew (core/suptree.c).
 *
 * Each service and pool must be able to exceed the limits of its group, for it has a key to mend it with. The
 * delay of a group has none, so that a group is refused for those within it only where nothing but groups is
 * in it, and not even the fastest of them can exceed it. */

#include <string.h>

#include "base/mem.h"
#include "config/check_private.h"
#include "config/sections.h"
#include "policy/backoff.h"
#include "policy/intensity.h"
#include "policy/restart.h"
#include "policy/strategy.h"

/* More than any period: where sums end, so that they cannot overflow. */
#define AGES_MS INT64_C(400000000000)

enum { MOST_REMEDIES = 3 };

struct loop_of_crashes {
	enum key_section kind;
	const char *name;
	int slots;	  /* that fail side by side */
	int64_t round_ms; /* from a start to the failure, at the least: 0 but for a group */
	int64_t delay_ms, max_ms;
};

static struct loop_of_crashes loop_of_pool(const struct config_pool *pool)
{
	return (struct loop_of_crashes){
		.kind = KEY_POOL,
		.name = pool->name,
		.slots = pool->size,
		.delay_ms = pool->restart_delay_ms,
		.max_ms = pool->restart_delay_max_ms,
	};
}

static bool fails(const struct config_service *service)
{
	return service->type != RESTART_TEMPORARY;
}

static struct loop_of_crashes loop_of_service(const struct config_service *service)
{
	return (struct loop_of_crashes){
		.kind = KEY_SERVICE,
		.name = service->name,
		.slots = 1,
		.delay_ms = service->restart_delay_ms,
		.max_ms = service->restart_delay_max_ms,
	};
}

static struct loop_of_crashes loop_of_group(const struct config_group *group, int64_t round_ms)
{
	return (struct loop_of_crashes){
		.kind = KEY_GROUP,
		.name = group->name,
		.slots = 1,
		.round_ms = round_ms,
		.delay_ms = STRATEGY_GROUP_DELAY_MS,
		.max_ms = STRATEGY_GROUP_DELAY_MAX_MS,
	};
}

/* From the first failure to the one that exceeds the limit, at the least. */
static int64_t least_ms(const struct loop_of_crashes *loop, int intensity)
{
	int failures = intensity_of_pool(intensity, loop->slots) + 1;
	int of_each = (failures + loop->slots - 1) / loop->slots;
	int64_t sum_ms = 0;

	for (int n = 1; n < of_each && sum_ms < AGES_MS; n++)
		sum_ms += backoff_delay_ms(loop->delay_ms, loop->max_ms, (unsigned)n, 0) + loop->round_ms;
	return sum_ms < AGES_MS ? sum_ms : AGES_MS;
}

/* ---- how fast a group can fail ---- */

/* From its start to its failure at the least; 0 when that can be at once; -1 when nothing in it makes it
 * fail. */
static int64_t round_of_group(const struct config *c, const struct config_group *group, bool *ret_at_boot);

/* The same, of a group by this child of it alone. */
static int64_t round_by_child(const struct config *c, const struct config_group *group,
			      const struct config_child *child, bool *ret_at_boot)
{
	const struct config_service *service;
	struct loop_of_crashes loop;
	int64_t first_ms, spread_ms;

	*ret_at_boot = false;
	switch (child->kind) {
	case CHILD_SERVICE:
		service = &c->services[child->index];
		first_ms = fails(service) ? 0 : -1;
		/* One that is ready at once has come up, however soon it fails. */
		*ret_at_boot = fails(service) && service->ready_ms != CONFIG_READY_NONE;
		loop = loop_of_service(service);
		break;
	case CHILD_GROUP:
		first_ms = round_of_group(c, &c->groups[child->index], ret_at_boot);
		loop = loop_of_group(&c->groups[child->index], first_ms);
		break;
	case CHILD_POOL:
	default:
		return -1;
	}
	if (first_ms < 0 || *ret_at_boot)
		return first_ms;
	spread_ms = least_ms(&loop, group->intensity);
	return spread_ms <= group->period_ms ? first_ms + spread_ms : -1;
}

static int64_t round_of_group(const struct config *c, const struct config_group *group, bool *ret_at_boot)
{
	int64_t least = -1;

	*ret_at_boot = false;
	for (size_t i = 0; i < c->nchildren && !*ret_at_boot; i++) {
		const struct config_child *child = &c->children[i];
		int64_t round_ms;

		if (strcmp(config_child_group(c, child), group->name) != 0)
			continue;
		round_ms = round_by_child(c, group, child, ret_at_boot);
		if (round_ms >= 0 && (least < 0 || round_ms < least))
			least = round_ms;
	}
	return least < AGES_MS ? least : AGES_MS;
}

/* ---- the refusal ---- */

/* "a", "a, or b", "a, b, or c"; frees the parts. */
static char *join(char *parts[], int len)
{
	char *text = mem_strdup("");

	for (int i = 0; i < len; i++) {
		const char *glue = i == 0 ? "" : i < len - 1 ? ", " : ", or ";

		mem_set_str(&text, mem_printf("%s%s%s", text, glue, parts[i]));
		mem_free(&parts[i]);
	}
	return text;
}

/* The keys that would mend it, each alone. */
static char *remedy(const struct config_group *group, const struct loop_of_crashes *loop)
{
	int64_t need_ms = least_ms(loop, group->intensity);
	AUTO(mem_free_str) char *enough = key_duration_text((need_ms + 999) / 1000 * 1000);
	char *parts[MOST_REMEDIES];
	const char *set = "set ";
	int reachable = 0, len = 0;

	while (reachable + 1 < group->intensity && least_ms(loop, reachable + 1) <= group->period_ms)
		reachable++;
	if (need_ms <= key_find(KEY_GROUP, "period")->max) {
		parts[len++] = mem_printf("set period to %s or more", enough);
		set = "";
	}
	if (reachable > 0)
		parts[len++] = mem_printf("%sintensity to %d or less", set, reachable);
	if (loop->kind != KEY_GROUP)
		parts[len++] = mem_strdup("a shorter restart_delay");
	else if (loop->round_ms > 0)
		parts[len++] = mem_printf("a lower intensity in [group:%s]", loop->name);
	if (!len)
		parts[len++] = mem_strdup("set a lower intensity and a longer period");
	return join(parts, len);
}

static int refuse_unreachable(const struct checker *ch, const struct config_group *group,
			      const struct loop_of_crashes *loop)
{
	AUTO(mem_free_str) char *title = sections_title(loop->kind, loop->name);
	AUTO(mem_free_str) char *period = key_duration_text(group->period_ms);
	AUTO(mem_free_str) char *need = key_duration_text(least_ms(loop, group->intensity));
	AUTO(mem_free_str) char *mend = remedy(group, loop);
	char *what = mem_printf("can never be exceeded by [%s]: its %s %d failures over %s at least, and "
				"period is %s; %s",
				title, loop->kind == KEY_GROUP ? "restarts spread" : "restart_delay spreads",
				intensity_of_pool(group->intensity, loop->slots) + 1, need, period, mend);

	if (check_is_given(ch, KEY_GROUP, group->name, "intensity") ||
	    check_is_given(ch, KEY_GROUP, group->name, "period"))
		return check_refuse(ch, KEY_GROUP, group->name, "intensity", what);
	/* Of two sections the one that strays from the defaults. */
	mem_set_str(&what, mem_printf("the intensity of [group:%s] %s", group->name, what));
	return check_refuse(ch, loop->kind, loop->name,
			    loop->kind == KEY_GROUP ? "intensity" : "restart_delay", what);
}

static int check_loop(const struct checker *ch, const char *group_name, const struct loop_of_crashes *loop)
{
	const struct config_group *group = config_find_group(ch->config, group_name);

	return least_ms(loop, group->intensity) <= group->period_ms ? 0 : refuse_unreachable(ch, group, loop);
}

/* The one of the groups within it that could exceed its limits first. */
static int check_group(const struct checker *ch, const struct config_group *group)
{
	const struct config *c = ch->config;
	struct loop_of_crashes fastest = { 0 };

	for (size_t i = 0; i < c->nchildren; i++) {
		const struct config_child *child = &c->children[i];
		struct loop_of_crashes loop;
		int64_t round_ms;
		bool at_boot;

		if (strcmp(config_child_group(c, child), group->name) != 0)
			continue;
		if (child->kind == CHILD_POOL ||
		    (child->kind == CHILD_SERVICE && fails(&c->services[child->index])))
			return 0;
		if (child->kind != CHILD_GROUP)
			continue;
		round_ms = round_of_group(c, &c->groups[child->index], &at_boot);
		loop = loop_of_group(&c->groups[child->index], round_ms);
		if (round_ms >= 0 && (!fastest.name || round_ms < fastest.round_ms))
			fastest = loop;
	}
	return fastest.name ? check_loop(ch, group->name, &fastest) : 0;
}

int check_reach(const struct checker *ch)
{
	const struct config *c = ch->config;
	int r = 0;

	for (size_t i = 0; i < c->npools && r == 0; i++) {
		const struct loop_of_crashes loop = loop_of_pool(&c->pools[i]);

		r = check_loop(ch, c->pools[i].group, &loop);
	}
	for (size_t i = 0; i < c->nservices && r == 0; i++) {
		const struct loop_of_crashes loop = loop_of_service(&c->services[i]);

		if (fails(&c->services[i]))
			r = check_loop(ch, c->services[i].group, &loop);
	}
	for (size_t i = 0; i < c->ngroups && r == 0; i++)
		r = check_group(ch, &c->groups[i]);
	return r;
}
