/* The store, while the daemon's program is replaced: the connections are closed and made anew, the node that
 * we are to the database stays, with its leases. What is not committed comes back from the spool. */

#include "core/store_private.h"
#include "io/handover.h"

bool store_is_busy(const struct store *store)
{
	return store->claims > 0 || store->events_sending;
}

void store_pass(struct store *store, struct handover *h)
{
	handover_time(h, "node", &store->node_id);
	handover_bool(h, "freshNode", &store->fresh_node);
	if (handover_has(h, "todayTold"))
		handover_bool(h, "todayTold", &store->today_told);
	store_events_pass(store, h);
}

void store_know(struct store *store, int64_t job_id, int attempt, const char *run_id, const char *model_id)
{
	store_claim_remember(store, job_id, attempt, run_id, model_id);
}
