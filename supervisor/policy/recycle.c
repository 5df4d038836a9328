#include "policy/recycle.h"

#include "base/mem.h"
#include "policy/jitter.h"

static int64_t with_jitter(int64_t limit, uint32_t random)
{
	return limit - jitter_share(limit / 10, random);
}

void recycle_init(struct recycle *r, const struct recycle_limits *limits, uint32_t random)
{
	*r = (struct recycle){ .limits = {
				       .max_jobs = (int)with_jitter(limits->max_jobs, random),
				       .max_age_ms = with_jitter(limits->max_age_ms, random),
				       .max_rss_bytes = with_jitter(limits->max_rss_bytes, random),
			       } };
}

static bool reached(int64_t limit, int64_t value)
{
	return limit && value >= limit;
}

enum recycle_why recycle_check(const struct recycle *r, int64_t jobs, int64_t age_ms, int64_t rss_bytes)
{
	if (reached(r->limits.max_jobs, jobs))
		return RECYCLE_JOBS;
	if (reached(r->limits.max_age_ms, age_ms))
		return RECYCLE_AGE;
	return reached(r->limits.max_rss_bytes, rss_bytes) ? RECYCLE_RSS : RECYCLE_NO;
}

const char *recycle_why_name(enum recycle_why why)
{
	static const char *const names[] = {
		[RECYCLE_NO] = "no",
		[RECYCLE_JOBS] = "max_jobs",
		[RECYCLE_AGE] = "max_age",
		[RECYCLE_RSS] = "max_rss",
	};

	return (unsigned)why < ARRAY_LEN(names) ? names[why] : "?";
}
