#ifndef POLICY_RECYCLE_H
#define POLICY_RECYCLE_H

/* When a worker that does well is replaced all the same: what leaks or grows must not do so for ever.
 * Each life draws its limits anew, up to a tenth below those given, so that workers that started together and
 * share the load do not go together. Plain value, made at the start of a life. */

#include <stdint.h>

/* 0 = never for this reason. */
struct recycle_limits {
	int max_jobs;
	int64_t max_age_ms;
	int64_t max_rss_bytes;
};

struct recycle {
	struct recycle_limits limits; /* of this life */
};

enum recycle_why {
	RECYCLE_NO,
	RECYCLE_JOBS,
	RECYCLE_AGE,
	RECYCLE_RSS,
};

/* `random` is 32 uniform bits. */
void recycle_init(struct recycle *r, const struct recycle_limits *limits, uint32_t random);

/* jobs: served in this life; age_ms: since its spawn; rss_bytes: 0 = not known. The first reason in the order
 * of the enum. */
enum recycle_why recycle_check(const struct recycle *r, int64_t jobs, int64_t age_ms, int64_t rss_bytes);

/* "no", "max_jobs", "max_age", "max_rss": the key that set the limit. */
const char *recycle_why_name(enum recycle_why why);

#endif
