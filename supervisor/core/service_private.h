#ifndef CORE_SERVICE_PRIVATE_H
#define CORE_SERVICE_PRIVATE_H

/* Shared by service.c (what a service goes through) and service_handover.c. */

#include "core/service.h"

struct errtail;
struct lineconn;
struct loop_timer;

struct service {
	struct loop *loop;
	struct service_spec spec;
	struct service_events events;
	char *name;
	char **argv, **env, **ready_argv; /* what `spec` points at */
	enum service_state state;
	struct restart_slot slot;
	struct child *child;
	struct errtail *tail;
	struct lineconn *ready_conn;
	struct child *ready_child; /* a run of ready_argv */
	struct errtail *ready_tail;
	struct loop_timer *ready_timer; /* the next run of it */
	struct loop_timer *timer;	/* of the state: readiness, KILL, or the restart */
	int64_t started_ms, up_ms;
	int64_t next_start_ms; /* while a restart timer is armed; else 0 */
	int restarts;
	bool signalled, failed, stop_asked;
	bool replace; /* this life is ended for a new spec */
	char *fault;  /* why we ended this life; NULL = we did not */
	char *last_error;
};

/* service.c. Each takes `fd`: where the line comes that says it is ready, and its stderr. */
void service_await_line(struct service *service, int fd);
void service_listen(struct service *service, int fd);
void service_on_child_exit(void *service, const struct child_exit *exit);

#endif
