#include "policy/gate.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>

#include "base/mem.h"
#include "policy/bucket.h"

struct gate {
	struct bucket *requests;
	int concurrency; /* 0 = no limit */
	int in_flight;
	int64_t paused_until_ms; /* 0 = never paused */
	char *parked;		 /* reason; NULL = not parked */
};

int gate_new(const struct gate_params *params, int64_t now_ms, struct gate **ret)
{
	struct bucket *requests;
	struct gate *g;
	int r;

	if (params->concurrency < 0)
		return -ERANGE;
	r = bucket_new(params->requests_per_min, params->burst, now_ms, &requests);
	if (r < 0)
		return r;
	g = mem_alloc(sizeof(*g));
	g->requests = requests;
	g->concurrency = params->concurrency;
	*ret = g;
	return 0;
}

void gate_free(struct gate **g)
{
	if (!*g)
		return;
	bucket_free(&(*g)->requests);
	mem_free(&(*g)->parked);
	mem_free(g);
}

int gate_configure(struct gate *g, const struct gate_params *params, int64_t now_ms)
{
	int r;

	if (params->concurrency < 0)
		return -ERANGE;
	r = bucket_set_rate(g->requests, params->requests_per_min, params->burst, now_ms);
	if (r < 0)
		return r;
	g->concurrency = params->concurrency;
	return 0;
}

void gate_go_on(struct gate *g, const struct gate_standing *standing, int64_t now_ms)
{
	g->in_flight = standing->in_flight;
	g->paused_until_ms = standing->paused_until_ms;
	bucket_set_level(g->requests, now_ms, standing->level);
}

static bool is_full(const struct gate *g)
{
	return g->concurrency && g->in_flight >= g->concurrency;
}

bool gate_enter(struct gate *g, int64_t now_ms)
{
	if (g->parked || now_ms < g->paused_until_ms || is_full(g))
		return false;
	if (!bucket_take(g->requests, now_ms, 1))
		return false;
	g->in_flight++;
	return true;
}

void gate_leave(struct gate *g)
{
	assert(g->in_flight > 0);
	g->in_flight--;
}

void gate_pause_until(struct gate *g, int64_t until_ms)
{
	if (until_ms > g->paused_until_ms)
		g->paused_until_ms = until_ms;
}

int64_t gate_paused_until(const struct gate *g)
{
	return g->paused_until_ms;
}

void gate_park(struct gate *g, const char *reason)
{
	if (!g->parked)
		g->parked = mem_strdup(reason);
}

const char *gate_parked_reason(const struct gate *g)
{
	return g->parked;
}

void gate_resume(struct gate *g)
{
	mem_free(&g->parked);
	g->paused_until_ms = 0;
}

enum gate_why gate_why(const struct gate *g, int64_t now_ms, int64_t *ret_wait_ms)
{
	enum gate_why why = GATE_OPEN;
	int64_t wait = bucket_wait_ms(g->requests, now_ms, 1);

	if (g->parked) {
		why = GATE_PARKED;
		wait = -1;
	} else if (now_ms < g->paused_until_ms) {
		why = GATE_PAUSED;
		wait = g->paused_until_ms - now_ms;
	} else if (is_full(g)) {
		why = GATE_CONCURRENCY;
		wait = -1;
	} else if (wait > 0) {
		why = GATE_RATE;
	}
	if (ret_wait_ms)
		*ret_wait_ms = wait;
	return why;
}

const char *gate_why_name(enum gate_why why)
{
	static const char *const names[] = {
		[GATE_OPEN] = "open",	  [GATE_RATE] = "rate",	    [GATE_CONCURRENCY] = "concurrency",
		[GATE_PAUSED] = "paused", [GATE_PARKED] = "parked",
	};

	return (unsigned)why < ARRAY_LEN(names) ? names[why] : "?";
}

int gate_in_flight(const struct gate *g)
{
	return g->in_flight;
}

int gate_room(const struct gate *g, int64_t now_ms, int64_t horizon_ms)
{
	int64_t start = now_ms, room;

	if (g->parked || is_full(g))
		return 0;
	if (g->paused_until_ms > now_ms) {
		if (g->paused_until_ms - now_ms >= horizon_ms)
			return 0;
		start = g->paused_until_ms;
		horizon_ms -= start - now_ms;
	}
	room = bucket_room(g->requests, start, horizon_ms);
	if (g->concurrency && room > g->concurrency - g->in_flight)
		room = g->concurrency - g->in_flight;
	return room > INT_MAX ? INT_MAX : (int)room;
}

int64_t gate_level(const struct gate *g, int64_t now_ms)
{
	return bucket_level(g->requests, now_ms);
}
