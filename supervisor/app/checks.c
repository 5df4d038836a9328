#include "app/checks.h"

#include <string.h>

#include "app/daemon_private.h"
#include "app/program.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/provider_check.h"
#include "policy/gate.h"

static const char *key_of(void *arg, const char *variable)
{
	const struct daemon *daemon = arg;

	return program_variable(daemon->program, variable);
}

static bool is_paused(void *arg, const char *provider)
{
	const struct daemon *daemon = arg;
	const struct lane *lane = dispatch_lane(daemon->dispatch, provider);

	return daemon->phase == DAEMON_STOPPING ||
	       (gate_parked_reason(lane->gate) && gate_parked_kind(lane->gate) == GATE_PARK_OPERATOR);
}

/* Whether the look tells that what the lane is parked for has been mended. A key that was good all along says
 * nothing of calls that are refused, and each trial costs a probe; a balance speaks for itself. */
static bool is_mended(const struct lane *lane, enum check_verdict verdict, bool changed)
{
	if (verdict != CHECK_OK || !gate_parked_reason(lane->gate))
		return false;
	if (gate_parked_kind(lane->gate) == GATE_PARK_AUTH)
		return changed;
	return gate_parked_kind(lane->gate) == GATE_PARK_QUOTA && strcmp(lane->name, "deepseek") == 0;
}

static void on_checked(void *arg, const char *provider, enum check_verdict verdict, bool changed)
{
	struct daemon *daemon = arg;
	struct lane *lane = dispatch_lane(daemon->dispatch, provider);

	if (verdict != CHECK_UNCLEAR)
		dispatch_check(daemon->dispatch, lane, verdict != CHECK_FAILING);
	if (is_mended(lane, verdict, changed))
		dispatch_recheck_lane(daemon->dispatch, lane);
}

int checks_make(struct daemon *daemon)
{
	const struct provider_checks_options options = {
		.config = daemon->config,
		.key = key_of,
		.is_paused = is_paused,
		.checked = on_checked,
		.event = daemon_event,
		.arg = daemon,
	};

	return provider_checks_new(daemon->loop, &options, &daemon->checks);
}
