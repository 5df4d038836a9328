#include "policy/restart.h"

#include "base/mem.h"
#include "policy/backoff.h"

/* Planned recycling of a life shorter than this is a failure after all: something makes it need recycling. */
#define PLANNED_LIFE_MIN_MS 30000

/* EX_NOPERM and EX_CONFIG of sysexits.h, and what launchers return when they cannot run the program. */
bool restart_is_broken_install(int exit_code)
{
	return exit_code == 77 || exit_code == 78 || exit_code == 125;
}

/* A child that should stay has failed also when it leaves with 0 unasked. A signal from outside says nothing
 * about the life that it ended, however short. */
static bool is_failure(const struct restart_exit *exit)
{
	if (exit->failed)
		return true;
	if (exit->planned)
		return exit->lived_ms < PLANNED_LIFE_MIN_MS;
	return !exit->killed_from_outside;
}

static bool wants_restart(const struct restart_params *params, const struct restart_exit *exit)
{
	if (exit->stopped || params->type == RESTART_TEMPORARY)
		return false;
	if (params->type == RESTART_TRANSIENT && !exit->planned)
		return exit->failed || exit->exit_code != 0;
	return true;
}

static bool was_stable(const struct restart_params *params, const struct restart_slot *slot,
		       const struct restart_exit *exit)
{
	return exit->proven && exit->lived_ms >= params->stable_after_ms &&
	       exit->lived_ms / 2 >= slot->last_delay_ms;
}

static bool is_killed_at_once(const struct restart_params *params, const struct restart_exit *exit)
{
	return !exit->planned && !is_failure(exit) && !exit->proven && exit->lived_ms < params->base_delay_ms;
}

/* The place in the back-off of the delay before the next life; 0 = none. */
static unsigned failures_waited_for(const struct restart_slot *slot, const struct restart_exit *exit)
{
	if (is_failure(exit))
		return slot->failures || !exit->proven ? slot->failures + 1 : 0;
	if (exit->planned)
		return 0;
	return slot->failures > slot->kills ? slot->failures : slot->kills;
}

struct restart_verdict restart_decide(const struct restart_params *params, struct restart_slot *slot,
				      const struct restart_exit *exit, uint32_t random)
{
	struct restart_verdict verdict = { .action = RESTART_NEVER };
	bool failure = is_failure(exit);

	if (was_stable(params, slot, exit))
		slot->failures = 0;
	if (!wants_restart(params, exit))
		return verdict;
	if (restart_is_broken_install(exit->exit_code)) {
		slot->parked = true;
		verdict.action = RESTART_PARK;
		return verdict;
	}
	if (!is_killed_at_once(params, exit))
		slot->kills = 0;
	else if (slot->kills < RESTART_KILLS_WAITED_FOR)
		slot->kills++;
	verdict.delay_ms = backoff_delay_ms(params->base_delay_ms, params->max_delay_ms,
					    failures_waited_for(slot, exit), random);
	if (failure)
		slot->failures++;
	verdict.counts = failure && !exit->proven && !exit->killed_from_outside;
	verdict.action = RESTART_NOW;
	if (verdict.delay_ms > 0)
		verdict.action = RESTART_AFTER;
	slot->last_delay_ms = verdict.delay_ms;
	return verdict;
}

void restart_unpark(struct restart_slot *slot)
{
	*slot = (struct restart_slot){ 0 };
}

const char *restart_type_name(enum restart_type type)
{
	static const char *const names[] = {
		[RESTART_PERMANENT] = "permanent",
		[RESTART_TRANSIENT] = "transient",
		[RESTART_TEMPORARY] = "temporary",
	};

	return (unsigned)type < ARRAY_LEN(names) ? names[type] : "?";
}

const char *restart_action_name(enum restart_action action)
{
	static const char *const names[] = {
		[RESTART_NOW] = "now",
		[RESTART_AFTER] = "after",
		[RESTART_PARK] = "park",
		[RESTART_NEVER] = "never",
	};

	return (unsigned)action < ARRAY_LEN(names) ? names[action] : "?";
}
