/* What ails between the store and its database, in sentences for people. */

#include "core/store_private.h"

#include "base/mem.h"

enum { SILENT_MS = 5000 }; /* a batch that has no answer for so long is worth a word */

char *store_why_late(const struct store *store)
{
	int64_t silent_ms = store_batch_silent_ms(store);

	if (!store->ready && store->refusal)
		return mem_printf("the database is not ready: %s, which it refuses for now: %s", store->why,
				  store->refusal);
	if (!store->ready)
		return mem_printf("the database is not ready: %s", store->why);
	if (store->refusal)
		return mem_printf("the database refuses results for now, and gets them again: %s",
				  store->refusal);
	if (silent_ms >= SILENT_MS)
		return mem_printf("the database has not answered on results for %lld s",
				  (long long)(silent_ms / 1000));
	return NULL;
}

char *store_why_no_claims(const struct store *store)
{
	if (!store->ready || !store->claim_refusal)
		return NULL;
	return mem_printf("the database hands out no work: %s", store->claim_refusal);
}

char *store_why_no_beat(const struct store *store)
{
	if (!store->ready || !store->beat_why)
		return NULL;
	return mem_printf("the heartbeat has no connection: %s", store->beat_why);
}
