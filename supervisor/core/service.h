#ifndef CORE_SERVICE_H
#define CORE_SERVICE_H

/* One supervised program that is no worker: the embedded Postgres, the simulator, anything long-running.
 * Started, watched until ready, restarted by policy/restart.h, stopped by signal and then by KILL. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "io/child.h"
#include "policy/restart.h"

struct handover;
struct loop;
struct service;

/* All of it is copied. */
struct service_spec {
	const char *name;
	const char *const *argv, *const *env;
	const char *const *ready_argv; /* of CONFIG_READY_COMMAND */
	enum restart_type type;
	/* CONFIG_READY_FD: a line on fd 3; CONFIG_READY_COMMAND: ready_argv exits with 0; 0: at once; else
	 * after so long. */
	int64_t ready_ms;
	int64_t ready_interval_ms; /* between runs of ready_argv */
	int64_t ready_timeout_ms;  /* for a line or a command */
	int64_t shutdown_timeout_ms;
	int stop_signal;
	int death_signal;
	struct child_limits limits;
	int64_t restart_delay_ms, restart_delay_max_ms, stable_after_ms;
	/* Before each start; NULL = nothing. Calls service_prepared() now or later. */
	void (*prepare)(void *arg, struct service *service);
	void *prepare_arg;
};

struct service_events {
	/* Ready: as its spec says. */
	void (*up)(void *arg, struct service *service);
	/* No process any more, as service_stop() asked. */
	void (*down)(void *arg, struct service *service);
	/* It ended and is not to live again by its own policy: done, or (`parked`) broken until somebody
	 * mends it. */
	void (*ended)(void *arg, struct service *service, bool parked);
	/* A life or a start failed, and the policy wants another after delay_ms; `counts` in the window of
	 * its group. True: it restarts by itself. False: it stays down until service_start(). */
	bool (*failed)(void *arg, struct service *service, bool counts, int64_t delay_ms);
	void (*event)(void *arg, const char *level, const char *kind, const char *subject, const char *data);
	void *arg;
};

enum service_state {
	SERVICE_DOWN, /* no process; a restart timer may be armed */
	SERVICE_PREPARING,
	SERVICE_STARTING, /* not ready yet */
	SERVICE_UP,
	SERVICE_STOPPING,
	SERVICE_PARKED, /* ended for good */
};

void service_new(struct loop *loop, const struct service_spec *spec, const struct service_events *events,
		 struct service **ret);
void service_free(struct service **service);

void service_start(struct service *service);

/* Its back-off begins anew. */
void service_forget_failures(struct service *service);

/* A new spec: one that runs is stopped and started again with it, as planned. */
void service_reconfigure(struct service *service, const struct service_spec *spec);

/* error NULL: go on and spawn; else this start failed, for this reason (one line). `broken`: it would fail
 * again until somebody mends it. */
void service_prepared(struct service *service, const char *error, bool broken);

/* stop_signal, KILL after shutdown_timeout; a second call kills at once. */
void service_stop(struct service *service);

const char *service_name(const struct service *service);
enum service_state service_state(const struct service *service);
const char *service_state_name(enum service_state state);
pid_t service_pid(const struct service *service); /* 0 while there is none */
int service_restarts(const struct service *service);
const char *service_last_error(const struct service *service); /* one line; "" when none */
int64_t service_up_since_ms(const struct service *service);    /* monotonic; 0 while not up */
int64_t service_next_start_ms(const struct service *service);  /* monotonic; 0 = no restart is waited for */
bool service_is_stopping(const struct service *service);

/* All of it, either way, while the daemon's program is replaced. One that goes on was not started. One that
 * is being prepared cannot be handed over. */
void service_pass(struct service *service, struct handover *h);

#endif
