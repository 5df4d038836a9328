#include "core/crash.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/worker.h"
#include "io/jsontext.h"
#include "policy/restart.h"

char *crash_record(const struct worker *worker, const struct worker_death *death,
		   const struct restart_verdict *verdict)
{
	AUTO(mem_free_str) char *tail = jsontext_clean(mem_strdup(death->stderr_tail));
	AUTO(mem_free_str) char *stack = jsontext_clean(mem_strdup(death->stack));
	AUTO(mem_free_str) char *reason = jsontext_clean(mem_strdup(death->fault));
	AUTO(mem_free_str)
	char *record = jsontext_pack("{s:s, s:s, s:s, s:I, s:i, s:b, s:s, s:I, s:i, s:s, s:s}", "exit",
				     death->text, "reason", reason, "blame", blame_whom_name(death->whom),
				     "upMs", (long long)death->lived_ms, "held", death->held, "planned",
				     death->blame.planned, "next", restart_action_name(verdict->action),
				     "delayMs", (long long)verdict->delay_ms, "failures",
				     (int)worker->slot.failures, "stack", stack, "stderr", tail);
	struct buf whole = BUF_INIT(0);
	size_t len;

	buf_put(&whole, record, strlen(record) - 1); /* without its closing brace */
	buf_puts(&whole, ",\"jobs\":[");
	for (size_t i = 0; i < death->job_count; i++)
		buf_putf(&whole, "%s%" PRId64, i > 0 ? "," : "", death->jobs[i]);
	buf_puts(&whole, "]}");
	return buf_take(&whole, &len);
}
