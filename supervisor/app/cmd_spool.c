/* spool: what the local log of answers holds. */

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/clock.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/store.h"
#include "io/spool.h"

static json_t *age_json(int64_t at_ms)
{
	int64_t age_ms = clock_wall_ms() - at_ms;

	return at_ms == 0 ? json_null() : json_integer(age_ms > 0 ? age_ms : 0);
}

void cmd_spool(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	AUTO(mem_free_str) char *folder = mem_printf("%s/spool", daemon->config->daemon.state_dir);
	const char *trouble = store_trouble(daemon->store);
	AUTO(mem_free_str) char *late = store_why_late(daemon->store);
	struct spool_stat spool;

	(void)args;
	store_spool_stat(daemon->store, &spool);
	call_ok_json(call,
		     json_pack("{s:s, s:s?, s:s?, s:s, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:i, "
			       "s:I, s:I, s:I, s:b, s:s*}",
			       "state",
			       spool.poisoned ? "poisoned"
			       : trouble      ? "full"
					      : "well",
			       "trouble", trouble, "waitsFor", late, "folder", folder, "depth",
			       (json_int_t)spool.depth, "depthBytes", (json_int_t)spool.depth_bytes,
			       "depthPercent", (json_int_t)(spool.depth_bytes * 100 / spool.max_bytes),
			       "oldestAgeMs", age_json(spool.oldest_at_ms), "unsynced",
			       (json_int_t)(spool.written - spool.synced), "unwritten",
			       (json_int_t)spool.unwritten, "syncWorstMs", (json_int_t)spool.sync_ms_worst,
			       "written", (json_int_t)spool.written, "acked", (json_int_t)spool.acked,
			       "segments", spool.segments, "bytes", (json_int_t)spool.bytes, "keptBytes",
			       (json_int_t)spool.kept_bytes, "maxBytes", (json_int_t)spool.max_bytes,
			       "poisoned", spool.poisoned, "database", store_database_id(daemon->store)));
}
