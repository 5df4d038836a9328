#include "core/lane.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"
#include "core/probe.h"
#include "io/loop.h"
#include "policy/charge.h"

/* ---- what is configured ---- */

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

static void set(struct gate_scope_params *scope, enum gate_unit unit, int64_t most, bool firm)
{
	scope->most[unit] = most;
	scope->firm[unit] = firm;
}

/* A limit that the file gives is the operator's word; a default gives way to what the provider tells. */
static struct gate_scope_params scope_of_provider(const struct config *config,
						  const struct config_provider *provider)
{
	AUTO(mem_free_str) char *section = mem_printf("provider:%s", provider->name);
	struct gate_scope_params scope = { .burst = provider->burst, .concurrency = provider->concurrency };

	set(&scope, GATE_REQUESTS, provider->requests_per_minute,
	    config_is_given(config, section, "requests_per_minute"));
	set(&scope, GATE_TOKENS, provider->tokens_per_minute,
	    config_is_given(config, section, "tokens_per_minute"));
	set(&scope, GATE_INPUT_TOKENS, provider->input_tokens_per_minute,
	    config_is_given(config, section, "input_tokens_per_minute"));
	set(&scope, GATE_OUTPUT_TOKENS, provider->output_tokens_per_minute,
	    config_is_given(config, section, "output_tokens_per_minute"));
	set(&scope, GATE_REQUESTS_DAY, provider->requests_per_day, true);
	set(&scope, GATE_MONEY_DAY, provider->budget_day_e10, true);
	return scope;
}

static struct gate_scope_params scope_of_limit(const struct config_limit *limit)
{
	struct gate_scope_params scope = {
		.glob = limit->glob,
		.burst = limit->burst == CONFIG_INHERIT ? 0 : limit->burst,
		.concurrency = limit->concurrency,
	};

	set(&scope, GATE_REQUESTS, limit->requests_per_minute, true);
	set(&scope, GATE_TOKENS, limit->tokens_per_minute, true);
	set(&scope, GATE_INPUT_TOKENS, limit->input_tokens_per_minute, true);
	set(&scope, GATE_OUTPUT_TOKENS, limit->output_tokens_per_minute, true);
	set(&scope, GATE_REQUESTS_DAY, limit->requests_per_day, true);
	set(&scope, GATE_MONEY_DAY, GATE_INHERIT, true);
	return scope;
}

/* The gate's scopes: the provider, then its [limit:] sections in file order. Fresh. */
static struct gate_scope_params *scopes_of(const struct config *config,
					   const struct config_provider *provider, size_t *ret_count)
{
	struct gate_scope_params *scopes = mem_array(1 + config->nlimits, sizeof(*scopes));
	size_t count = 0;

	scopes[count++] = scope_of_provider(config, provider);
	for (size_t i = 0; i < config->nlimits; i++)
		if (strcmp(config->limits[i].provider, provider->name) == 0)
			scopes[count++] = scope_of_limit(&config->limits[i]);
	*ret_count = count;
	return scopes;
}

static struct gate_params params_of(const struct config_provider *provider,
				    const struct gate_scope_params *scopes, size_t count)
{
	return (struct gate_params){
		.scopes = scopes,
		.scope_count = count,
		.requests_span_ms = provider->requests_span_ms,
		.ramp_ms = provider->ramp_ms,
		.learns_concurrency = charge_learns_concurrency(provider->name),
	};
}

static void describe(struct lane *lane, const struct config_provider *config)
{
	lane->simulated = strcmp(config->name, "simulated") == 0 || lane_url_is_simulator(config->base_url);
}

/* ---- families ---- */

/* Families are made as models are met. Lists cannot be moved in memory while they are linked, so that all of
 * them are there from the start. */
static void make_families(struct lane *lane)
{
	lane->families = mem_array(GATE_FAMILIES_MAX, sizeof(*lane->families));
	lane->family_count = GATE_FAMILIES_MAX;
	for (size_t i = 0; i < lane->family_count; i++) {
		list_init(&lane->families[i].queue);
		list_init(&lane->families[i].between);
		lane->families[i].typical.of[GATE_REQUESTS] = 1;
		lane->families[i].typical.of[GATE_REQUESTS_DAY] = 1;
	}
}

size_t lane_family_of(struct lane *lane, const char *model_id)
{
	size_t len = strlen(lane->name);

	if (strncmp(model_id, lane->name, len) == 0 && model_id[len] == ':' && model_id[len + 1])
		model_id += len + 1;
	return gate_family(lane->gate, model_id);
}

/* The probes of a list, in their order, each into the list of its family as it is now. */
static void refile(struct lane *lane, struct list *waiting, bool queued)
{
	struct list *node;

	while ((node = list_pop_front(waiting))) {
		struct probe *probe = list_entry(node, struct probe, link);
		struct lane_family *family;

		probe->family = lane_family_of(lane, probe->model_id);
		family = &lane->families[probe->family];
		list_push_back(queued ? &family->queue : &family->between, node);
		if (queued)
			family->queued++;
		else
			family->between_count++;
	}
}

/* Takes all nodes of `from`, behind those of `to`. */
static void append_all(struct list *to, struct list *from)
{
	struct list *node;

	while ((node = list_pop_front(from)))
		list_push_back(to, node);
}

static void refile_all(struct lane *lane)
{
	struct list queue = LIST_INIT(queue), between = LIST_INIT(between);

	for (size_t i = 0; i < lane->family_count; i++) {
		append_all(&queue, &lane->families[i].queue);
		append_all(&between, &lane->families[i].between);
		lane->families[i].queued = lane->families[i].between_count = 0;
	}
	refile(lane, &queue, true);
	refile(lane, &between, false);
}

/* ---- making and ending ---- */

int lane_new(struct loop *loop, const struct config *config, int index, int64_t now_ms,
	     void (*open)(void *arg), void *arg, struct lane **ret)
{
	const struct config_provider *provider = &config->providers[index];
	size_t count;
	struct gate_scope_params *scopes = scopes_of(config, provider, &count);
	struct gate_params params = params_of(provider, scopes, count);
	struct lane *lane = mem_alloc(sizeof(*lane));
	int r = gate_new(&params, now_ms, &lane->gate);

	free(scopes);
	if (r < 0) {
		mem_free(&lane);
		return r;
	}
	lane->name = mem_strdup(provider->name);
	lane->index = index;
	make_families(lane);
	loop_timer_new(loop, open, arg, &lane->timer);
	describe(lane, provider);
	*ret = lane;
	return 0;
}

void lane_free(struct lane **lane)
{
	if (!*lane)
		return;
	assert((*lane)->queued == 0 && (*lane)->between_count == 0);
	gate_free(&(*lane)->gate);
	loop_timer_free(&(*lane)->timer);
	free((*lane)->families);
	free((*lane)->last_error);
	tally_clear(&(*lane)->tally);
	free((*lane)->talk.model);
	free((*lane)->talk.failing);
	free((*lane)->name);
	mem_free(lane);
}

int lane_configure(struct lane *lane, const struct config *config, int64_t now_ms)
{
	const struct config_provider *provider = &config->providers[lane->index];
	size_t count;
	struct gate_scope_params *scopes = scopes_of(config, provider, &count);
	struct gate_params params = params_of(provider, scopes, count);
	int r = gate_configure(lane->gate, &params, now_ms);

	free(scopes);
	if (r < 0)
		return r;
	describe(lane, provider);
	refile_all(lane);
	return 0;
}

/* ---- whose failure it is ---- */

enum { RECENT_MS = 600000 }; /* an answer this old says nothing of the present any more */

void lane_note_answer(struct lane *lane, const char *model_id, int64_t now_ms)
{
	lane->has_worked = true;
	if (!lane->talk.model || strcmp(lane->talk.model, model_id) != 0) {
		lane->talk.others_ms = lane->talk.model_ms;
		mem_set_str(&lane->talk.model, mem_strdup(model_id));
	}
	lane->talk.model_ms = now_ms;
	mem_set_str(&lane->talk.failing, NULL);
	lane->talk.several_fail = false;
}

static bool others_answer(const struct lane *lane, const char *model_id, int64_t now_ms)
{
	bool own = lane->talk.model && strcmp(lane->talk.model, model_id) == 0;
	int64_t at_ms = own ? lane->talk.others_ms : lane->talk.model_ms;

	return at_ms > 0 && now_ms - at_ms < RECENT_MS;
}

bool lane_is_at_fault(struct lane *lane, const char *model_id, int64_t now_ms)
{
	if (!lane->talk.failing)
		lane->talk.failing = mem_strdup(model_id);
	else if (strcmp(lane->talk.failing, model_id) != 0)
		lane->talk.several_fail = true;
	return lane->has_worked && (lane->talk.several_fail || !others_answer(lane, model_id, now_ms));
}

/* ---- who waits ---- */

void lane_queue(struct lane *lane, struct probe *probe, bool front)
{
	struct lane_family *family = &lane->families[probe->family];

	assert(!probe->worker);
	probe->state = PROBE_QUEUED;
	if (front)
		list_push_front(&family->queue, &probe->link);
	else
		list_push_back(&family->queue, &probe->link);
	family->queued++;
	lane->queued++;
}

void lane_wait_between(struct lane *lane, struct probe *probe)
{
	struct lane_family *family = &lane->families[probe->family];

	assert(probe->worker);
	probe->state = PROBE_BETWEEN;
	list_push_back(&family->between, &probe->link);
	family->between_count++;
	lane->between_count++;
}

void lane_unlink(struct lane *lane, struct probe *probe)
{
	struct lane_family *family = &lane->families[probe->family];

	if (list_is_empty(&probe->link))
		return;
	if (probe->state == PROBE_QUEUED) {
		family->queued--;
		lane->queued--;
	} else if (probe->state == PROBE_BETWEEN) {
		family->between_count--;
		lane->between_count--;
	}
	list_remove(&probe->link);
}
