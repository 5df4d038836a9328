#include "core/lane.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"
#include "core/probe.h"
#include "io/loop.h"

static struct gate_params params_of(const struct config_provider *config)
{
	return (struct gate_params){
		.requests_per_min = config->requests_per_minute,
		.burst = config->burst,
		.concurrency = config->concurrency,
	};
}

/* A loopback address that is not the user's own model server cannot be told from one that is by its address,
 * so the path decides: the simulator's ends in the provider's name. */
bool lane_url_is_simulator(const char *base_url)
{
	static const char *const hosts[] = { "http://127.0.0.1:", "http://localhost:", "http://[::1]:" };
	const char *slash;

	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		if (strncmp(base_url, hosts[i], strlen(hosts[i])) != 0)
			continue;
		slash = strchr(base_url + strlen(hosts[i]), '/');
		for (size_t k = 0; slash && config_provider_names[k]; k++)
			if (strcmp(slash + 1, config_provider_names[k]) == 0)
				return true;
	}
	return false;
}

static void describe(struct lane *lane, const struct config_provider *config)
{
	lane->simulated = strcmp(config->name, "simulated") == 0 || lane_url_is_simulator(config->base_url);
}

int lane_new(struct loop *loop, const struct config_provider *config, int index, int64_t now_ms,
	     void (*open)(void *arg), void *arg, struct lane **ret)
{
	struct gate_params params = params_of(config);
	struct lane *lane = mem_alloc(sizeof(*lane));
	int r = gate_new(&params, now_ms, &lane->gate);

	if (r < 0) {
		mem_free(&lane);
		return r;
	}
	lane->name = mem_strdup(config->name);
	lane->index = index;
	list_init(&lane->queue);
	list_init(&lane->between);
	loop_timer_new(loop, open, arg, &lane->timer);
	describe(lane, config);
	*ret = lane;
	return 0;
}

void lane_free(struct lane **lane)
{
	if (!*lane)
		return;
	assert(list_is_empty(&(*lane)->queue) && list_is_empty(&(*lane)->between));
	gate_free(&(*lane)->gate);
	loop_timer_free(&(*lane)->timer);
	free((*lane)->last_error);
	free((*lane)->name);
	mem_free(lane);
}

int lane_configure(struct lane *lane, const struct config_provider *config, int64_t now_ms)
{
	struct gate_params params = params_of(config);
	int r = gate_configure(lane->gate, &params, now_ms);

	if (r == 0)
		describe(lane, config);
	return r;
}

void lane_queue(struct lane *lane, struct probe *probe, bool front)
{
	assert(!probe->worker);
	probe->state = PROBE_QUEUED;
	if (front)
		list_push_front(&lane->queue, &probe->link);
	else
		list_push_back(&lane->queue, &probe->link);
	lane->queued++;
}

void lane_wait_between(struct lane *lane, struct probe *probe)
{
	assert(probe->worker);
	probe->state = PROBE_BETWEEN;
	list_push_back(&lane->between, &probe->link);
	lane->between_count++;
}

void lane_unlink(struct lane *lane, struct probe *probe)
{
	if (probe->state == PROBE_QUEUED)
		lane->queued--;
	else if (probe->state == PROBE_BETWEEN)
		lane->between_count--;
	list_remove(&probe->link);
}
