#include "app/manager.h"

#include <string.h>

#include "app/daemon.h"
#include "app/tree.h"
#include "base/buf.h"
#include "base/mem.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/store.h"
#include "io/loop.h"
#include "io/sdnotify.h"
#include "policy/gate.h"

enum {
	LOOK_MS = 2000,	     /* at what there is to say */
	STOP_MORE_MS = 30000 /* asked for at each look while stopping: far beyond one */
};

struct manager {
	struct daemon *daemon;
	struct loop_timer *timer;
	int64_t look_ms;
	char *told; /* the last status */
};

/* "; parked: openai, xai" */
static void add_parked(struct buf *text, const struct dispatch *dispatch)
{
	size_t count, parked = 0;
	struct lane *const *lanes = dispatch_lanes(dispatch, &count);

	for (size_t i = 0; i < count; i++)
		if (gate_parked_reason(lanes[i]->gate))
			buf_putf(text, "%s%s", parked++ > 0 ? ", " : "; parked: ", lanes[i]->name);
}

static char *describe(const struct daemon *daemon)
{
	static const char *const doing[] = { "Starting", "Running", "Stopping" };
	AUTO(buf_free) struct buf text = BUF_INIT(0);

	buf_putf(&text, "%s", doing[daemon->phase]);
	/* What is freed on the way down is no longer asked. */
	if (!daemon->dispatch || !daemon->store)
		return mem_strdup(buf_bytes(&text));
	buf_putf(&text, ": %d conversations, %d of %d workers ready", dispatch_held(daemon->dispatch),
		 tree_serving(daemon->tree), tree_workers(daemon->tree));
	add_parked(&text, daemon->dispatch);
	if (!store_is_ready(daemon->store))
		buf_putf(&text, "; database: %s", store_why_not_ready(daemon->store));
	return mem_strdup(buf_bytes(&text));
}

static void tell_status(struct manager *manager)
{
	char *status = describe(manager->daemon);

	if (!manager->told || strcmp(manager->told, status) != 0) {
		AUTO(mem_free_str) char *line = mem_printf("STATUS=%s", status);

		/* Another line would be another assignment. */
		for (char *at = strchr(line, '\n'); at; at = strchr(at, '\n'))
			*at = ' ';
		sdnotify_send(line);
	}
	mem_set_str(&manager->told, status);
}

void manager_tell(struct manager *manager)
{
	if (!sdnotify_path())
		return;
	if (sdnotify_watchdog_ms() > 0)
		sdnotify_send("WATCHDOG=1");
	if (manager->daemon->phase == DAEMON_STOPPING) {
		AUTO(mem_free_str) char *more = mem_printf("EXTEND_TIMEOUT_USEC=%d", STOP_MORE_MS * 1000);

		sdnotify_send(more);
	}
	tell_status(manager);
	loop_timer_start(manager->timer, manager->look_ms);
}

static void look(void *arg)
{
	manager_tell(arg);
}

void manager_new(struct daemon *daemon, struct manager **ret)
{
	struct manager *manager = mem_alloc(sizeof(*manager));
	int64_t watchdog_ms = sdnotify_watchdog_ms();

	manager->daemon = daemon;
	/* sd_watchdog_enabled(3): twice as often as is asked for. */
	manager->look_ms = watchdog_ms > 0 && watchdog_ms / 2 < LOOK_MS ? watchdog_ms / 2 : LOOK_MS;
	loop_timer_new(daemon->loop, look, manager, &manager->timer);
	if (sdnotify_path())
		loop_timer_start(manager->timer, 0);
	*ret = manager;
}

void manager_free(struct manager **manager)
{
	struct manager *dead = *manager;

	if (!dead)
		return;
	loop_timer_free(&dead->timer);
	mem_free(&dead->told);
	mem_free(manager);
}
