#include "core/handover_parts.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/handover.h"
#include "io/loop.h"
#include "policy/hang.h"
#include "policy/health.h"
#include "policy/intensity.h"
#include "policy/recycle.h"
#include "policy/restart.h"

void handover_timer(struct handover *h, const char *name, struct loop_timer *timer)
{
	int64_t due_ms = loop_timer_due_ms(timer);

	handover_time(h, name, &due_ms);
	if (handover_is_read(h) && due_ms > 0)
		loop_timer_start(timer, due_ms - clock_now_ms());
}

void handover_counts(struct handover *h, const char *name, int64_t *counts, size_t count)
{
	size_t len = handover_is_read(h) ? 0 : count;
	int64_t *copy = mem_array(count, sizeof(*copy));

	memcpy(copy, counts, count * sizeof(*copy));
	if (handover_has(h, name))
		handover_numbers(h, name, &copy, &len);
	if (handover_is_read(h) && len == count)
		memcpy(counts, copy, count * sizeof(*copy));
	mem_free(&copy);
}

void handover_intensity(struct handover *h, const char *name, struct intensity *window)
{
	int64_t *stamps = NULL;
	size_t count = 0;

	if (!handover_is_read(h)) {
		while (intensity_stamp(window, (int)count))
			count++;
		stamps = mem_array(count, sizeof(*stamps));
		for (size_t i = 0; i < count; i++)
			stamps[i] = intensity_stamp(window, (int)i);
	}
	handover_numbers(h, name, &stamps, &count);
	for (size_t i = 0; handover_is_read(h) && i < count; i++)
		(void)intensity_add(window, stamps[i]);
	mem_free(&stamps);
}

void handover_slot(struct handover *h, const char *name, struct restart_slot *slot)
{
	handover_begin(h, name);
	handover_unsigned(h, "failures", &slot->failures);
	handover_unsigned(h, "kills", &slot->kills);
	handover_time(h, "lastDelayMs", &slot->last_delay_ms);
	handover_bool(h, "parked", &slot->parked);
	handover_end(h);
}

void handover_health(struct handover *h, const char *name, struct health *health)
{
	int64_t seq = (int64_t)health->seq, answered = (int64_t)health->answered;

	handover_begin(h, name);
	handover_time(h, "seq", &seq);
	handover_time(h, "answered", &answered);
	handover_time(h, "pongMs", &health->pong_ms);
	handover_time(h, "nextMs", &health->next_ms);
	handover_time(h, "deadlineMs", &health->deadline_ms);
	handover_int(h, "misses", 0, INT_MAX, &health->misses);
	handover_bool(h, "extended", &health->extended);
	handover_bool(h, "suspect", &health->suspect);
	handover_end(h);
	health->seq = (uint64_t)seq;
	health->answered = (uint64_t)answered;
}

void handover_hang(struct handover *h, const char *name, struct hang *hang)
{
	handover_begin(h, name);
	handover_bool(h, "continued", &hang->continued);
	handover_int(h, "diskRows", 0, INT_MAX, &hang->disk_rows);
	handover_time(h, "heldSinceMs", &hang->held_since_ms);
	handover_end(h);
}

void handover_recycle(struct handover *h, const char *name, struct recycle *recycle)
{
	handover_begin(h, name);
	handover_int(h, "maxJobs", 0, INT_MAX, &recycle->limits.max_jobs);
	handover_time(h, "maxAgeMs", &recycle->limits.max_age_ms);
	handover_time(h, "maxRssBytes", &recycle->limits.max_rss_bytes);
	handover_end(h);
}
