#include "policy/health.h"

void health_init(struct health *h, const struct health_params *params, int64_t now_ms)
{
	*h = (struct health){ .next_ms = now_ms + params->interval_ms };
}

void health_forgive(struct health *h, const struct health_params *params, int64_t now_ms)
{
	h->deadline_ms = 0;
	h->misses = 0;
	h->suspect = false;
	h->next_ms = now_ms + params->interval_ms;
}

/* The awaited pong did not come in time. */
static enum health_do miss(struct health *h, const struct health_params *params)
{
	h->deadline_ms = 0;
	h->misses++;
	if (h->misses < params->misses || h->suspect)
		return HEALTH_NOTHING;
	h->suspect = true;
	return HEALTH_SUSPECT;
}

static enum health_do ping(struct health *h, const struct health_params *params, int64_t now_ms)
{
	h->seq++;
	h->deadline_ms = now_ms + params->timeout_ms;
	h->next_ms = now_ms + params->interval_ms;
	h->extended = false;
	return HEALTH_PING;
}

enum health_do health_tick(struct health *h, const struct health_params *params, int64_t now_ms,
			   int64_t late_ms, int64_t *ret_next_ms)
{
	enum health_do act = HEALTH_NOTHING;

	if (health_is_overdue(h, now_ms)) {
		if (late_ms > 0 && !h->extended) {
			h->extended = true;
			h->deadline_ms = now_ms + late_ms;
		} else {
			act = miss(h, params);
		}
	}
	if (act == HEALTH_NOTHING && !h->deadline_ms && now_ms >= h->next_ms)
		act = ping(h, params, now_ms);
	*ret_next_ms = h->deadline_ms ? h->deadline_ms : h->next_ms;
	return act;
}

bool health_pong(struct health *h, uint64_t seq, int64_t now_ms)
{
	if (seq <= h->answered || seq > h->seq)
		return false;
	h->answered = seq;
	h->pong_ms = now_ms;
	h->misses = 0;
	h->suspect = false;
	if (seq == h->seq)
		h->deadline_ms = 0;
	return true;
}

bool health_is_overdue(const struct health *h, int64_t now_ms)
{
	return h->deadline_ms && now_ms >= h->deadline_ms;
}

uint64_t health_seq(const struct health *h)
{
	return h->seq;
}

bool health_hold_kills(int suspects, int pool_size)
{
	return pool_size >= 2 && suspects > pool_size / 2;
}
