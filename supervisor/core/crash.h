#ifndef CORE_CRASH_H
#define CORE_CRASH_H

/* The record of a worker's death, as the events table keeps it. */

struct restart_verdict;
struct worker;
struct worker_death;

/* Fresh JSON object: {"exit", "reason", "blame", "upMs", "held", "planned", "next", "delayMs", "failures",
 * "stack", "stderr", "jobs": [id, …]}. */
char *crash_record(const struct worker *worker, const struct worker_death *death,
		   const struct restart_verdict *verdict) __attribute__((warn_unused_result));

#endif
