#include "core/crash.h"

#include "base/mem.h"
#include "core/worker.h"
#include "io/jsontext.h"
#include "policy/restart.h"

char *crash_record(const struct worker *worker, const struct worker_death *death,
		   const struct restart_verdict *verdict)
{
	AUTO(mem_free_str) char *tail = jsontext_clean(mem_strdup(death->stderr_tail));
	AUTO(mem_free_str) char *reason = jsontext_clean(mem_strdup(death->fault));

	return jsontext_pack("{s:s, s:s, s:I, s:i, s:b, s:s, s:I, s:i, s:s}", "exit", death->text, "reason",
			     reason, "upMs", (long long)death->lived_ms, "held", death->held, "planned",
			     death->planned, "next", restart_action_name(verdict->action), "delayMs",
			     (long long)verdict->delay_ms, "failures", (int)worker->slot.failures, "stderr",
			     tail);
}
