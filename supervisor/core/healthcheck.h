#ifndef CORE_HEALTHCHECK_H
#define CORE_HEALTHCHECK_H

/* Health of the Python environment: runs workers/health_check.py at start, every health_interval, and when
 * asked, and keeps its last verdict. */

#include <stdbool.h>
#include <stdint.h>

struct handover;
struct healthcheck;
struct loop;

struct healthcheck_options {
	const char *const *argv; /* borrowed, as env; see healthcheck_set_program */
	const char *const *env;
	int64_t interval_ms; /* 0 = only when asked */
	/* After each run. */
	void (*checked)(void *arg, bool healthy);
	void *arg;
};

void healthcheck_new(struct loop *loop, const struct healthcheck_options *options, struct healthcheck **ret);
void healthcheck_free(struct healthcheck **check);

void healthcheck_set_program(struct healthcheck *check, const char *const *argv, const char *const *env,
			     int64_t interval_ms);

/* Runs it now, unless it runs already. `done` (may be NULL) is called once after this or that run. */
void healthcheck_run(struct healthcheck *check, void (*done)(void *arg), void *arg);

/* Forgets who waits. */
void healthcheck_forget(struct healthcheck *check, const void *arg);

struct healthcheck_verdict {
	bool known; /* it has run at least once */
	bool healthy;
	const char *reason; /* one line when unhealthy, else "" */
	const char *report; /* its JSON object as it gave it; NULL when it gave none */
	int64_t checked_ms; /* monotonic */
	int64_t took_ms;
};

/* Strings are valid until the next run's end. */
void healthcheck_verdict(const struct healthcheck *check, struct healthcheck_verdict *ret);

/* Its last verdict, either way, while the daemon's program is replaced. A run under way is begun anew. */
void healthcheck_pass(struct healthcheck *check, struct handover *h);

#endif
