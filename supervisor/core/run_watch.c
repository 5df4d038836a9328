#include "core/run_watch.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/dispatch.h"
#include "core/store.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "policy/stall.h"

enum {
	LOOK_MIN_MS = 250,
	LOOK_MAX_MS = 15000,
	LOOKS = 4, /* in the time after which a run is stalled */
};

struct run_watch {
	struct loop *loop;
	struct store *store;
	const struct dispatch *dispatch;
	struct stall *stall;
	struct loop_timer *timer;
	int64_t after_ms; /* 0 = never */
	bool asked;
};

static void record(struct run_watch *watch, const char *level, const char *kind, const char *run_id,
		   const char *reason)
{
	AUTO(mem_free_str) char *data = jsontext_pack("{s:s}", "reason", reason);

	store_event(watch->store, level, kind, run_id, 0, NULL, data);
}

static void say_moving(struct run_watch *watch, const char *run_id)
{
	log_info("run.moving", "run=%s", run_id);
	record(watch, "info", "run.moving", run_id, "a success came");
}

static void say_stalled(struct run_watch *watch, const struct store_success *success)
{
	struct dispatch_wait wait = dispatch_why_run(watch->dispatch, success->run_id, success->retrying);

	log_warning("run.stalled", "run=%s since_ms=%lld reason=\"%s\"", success->run_id,
		    (long long)success->ago_ms, wait.why);
	record(watch, "warning", "run.stalled", success->run_id, wait.why);
}

static void look_again(struct run_watch *watch)
{
	int64_t wait_ms = watch->after_ms / LOOKS;

	if (watch->after_ms > 0)
		loop_timer_start(watch->timer, wait_ms < LOOK_MIN_MS   ? LOOK_MIN_MS
					       : wait_ms > LOOK_MAX_MS ? LOOK_MAX_MS
								       : wait_ms);
}

static void on_successes(void *arg, const struct store_success *list, size_t count)
{
	struct run_watch *watch = arg;
	int64_t now_ms = loop_now_ms(watch->loop);

	watch->asked = false;
	for (size_t i = 0; watch->after_ms > 0 && i < count; i++) {
		switch (stall_learn(watch->stall, list[i].run_id, now_ms - list[i].ago_ms, list[i].told,
				    now_ms, watch->after_ms)) {
		case STALL_NONE:
			break;
		case STALL_BEGINS:
			say_stalled(watch, &list[i]);
			break;
		case STALL_ENDS:
			say_moving(watch, list[i].run_id);
			break;
		}
	}
}

static void on_timer(void *arg)
{
	struct run_watch *watch = arg;
	const char **ids;
	size_t count = stall_ask(watch->stall, loop_now_ms(watch->loop), watch->after_ms, &ids);

	if (count > 0 && !watch->asked)
		watch->asked = store_ask_successes(watch->store, ids, count, on_successes, watch) == 0;
	mem_free(&ids);
	look_again(watch);
}

void run_watch_new(struct loop *loop, struct store *store, const struct dispatch *dispatch, int64_t after_ms,
		   struct run_watch **ret)
{
	struct run_watch *watch = mem_alloc(sizeof(*watch));

	watch->loop = loop;
	watch->store = store;
	watch->dispatch = dispatch;
	watch->after_ms = after_ms;
	stall_new(&watch->stall);
	loop_timer_new(loop, on_timer, watch, &watch->timer);
	look_again(watch);
	*ret = watch;
}

void run_watch_free(struct run_watch **watch)
{
	if (!*watch)
		return;
	loop_timer_free(&(*watch)->timer);
	stall_free(&(*watch)->stall);
	mem_free(watch);
}

void run_watch_configure(struct run_watch *watch, int64_t after_ms)
{
	watch->after_ms = after_ms;
	loop_timer_stop(watch->timer);
	look_again(watch);
}

void run_watch_on_pairs(struct run_watch *watch, const struct store_pair *pairs, size_t count)
{
	stall_begin_round(watch->stall);
	for (size_t i = 0; i < count; i++)
		if (!pairs[i].paused && !pairs[i].cancelling)
			stall_see(watch->stall, pairs[i].run_id, loop_now_ms(watch->loop));
	stall_end_round(watch->stall);
}

void run_watch_on_turn(struct run_watch *watch, const char *run_id)
{
	if (stall_succeeded(watch->stall, run_id, loop_now_ms(watch->loop)))
		say_moving(watch, run_id);
}

int run_watch_stalled(const struct run_watch *watch)
{
	return watch->after_ms > 0 ? stall_count(watch->stall) : 0;
}

bool run_watch_is_stalled(const struct run_watch *watch, const char *run_id, int64_t *ret_since_ms)
{
	return watch->after_ms > 0 && stall_is(watch->stall, run_id, ret_since_ms);
}
