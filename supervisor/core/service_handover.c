/* A service that lives on while the daemon's program is replaced. */

#include <limits.h>

#include "base/mem.h"
#include "config/config.h"
#include "core/handover_parts.h"
#include "core/service_private.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/handover.h"
#include "io/lineconn.h"
#include "io/loop.h"

static void pass_standing(struct service *service, struct handover *h)
{
	handover_enum(h, "state", SERVICE_PARKED, &service->state);
	handover_slot(h, "slot", &service->slot);
	handover_time(h, "startedMs", &service->started_ms);
	handover_time(h, "upMs", &service->up_ms);
	handover_time(h, "nextStartMs", &service->next_start_ms);
	handover_int(h, "restarts", 0, INT_MAX, &service->restarts);
	handover_bool(h, "signalled", &service->signalled);
	handover_bool(h, "failed", &service->failed);
	handover_bool(h, "stopAsked", &service->stop_asked);
	handover_bool(h, "replace", &service->replace);
	handover_text(h, "fault", &service->fault);
	handover_text(h, "lastError", &service->last_error);
}

static void pass_stderr(struct service *service, struct handover *h)
{
	int fd = service->tail ? errtail_fd(service->tail) : -1;

	handover_fd(h, "stderr", &fd);
	if (handover_is_read(h) && fd >= 0)
		service_listen(service, fd);
	if (service->tail)
		errtail_pass(service->tail, h, "errors");
}

/* How it is to tell that it is ready. A command that tries it is run anew. */
static void pass_readiness(struct service *service, struct handover *h)
{
	int fd = -1, none;

	if (service->ready_conn)
		lineconn_fds(service->ready_conn, &fd, &none);
	handover_fd(h, "readyFd", &fd);
	if (handover_is_read(h) && fd >= 0)
		service_await_line(service, fd);
	if (service->ready_conn)
		lineconn_pass(service->ready_conn, h, "readyLine");
	if (handover_is_read(h) && service->state == SERVICE_STARTING &&
	    service->spec.ready_ms == CONFIG_READY_COMMAND)
		loop_timer_start(service->ready_timer, 0);
}

void service_pass(struct service *service, struct handover *h)
{
	bool alive;

	pass_standing(service, h);
	child_pass(h, "process", service->loop, service_on_child_exit, service, &service->child);
	pass_stderr(service, h);
	pass_readiness(service, h);
	handover_timer(h, "timer", service->timer);
	alive = service->state == SERVICE_STARTING || service->state == SERVICE_UP ||
		service->state == SERVICE_STOPPING;
	if (handover_is_read(h) && (alive != (service->child && service->tail)))
		handover_fault(h, "state %s does not go with its process",
			       service_state_name(service->state));
}
