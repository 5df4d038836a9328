#include "row.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "policy/jitter.h"
#include "policy/recycle.h"

static const struct recycle_limits limits = { .max_jobs = 100,
					      .max_age_ms = 60000,
					      .max_rss_bytes = 1000000 };

static const struct {
	const char *what;
	struct recycle_limits limits;
	int64_t jobs, age_ms, rss_bytes;
	enum recycle_why want;
} rows[] = {
	{ "nothing is reached", { 100, 60000, 1000000 }, 99, 59999, 999999, RECYCLE_NO },
	{ "jobs", { 100, 60000, 1000000 }, 100, 0, 0, RECYCLE_JOBS },
	{ "age", { 100, 60000, 1000000 }, 0, 60000, 0, RECYCLE_AGE },
	{ "memory", { 100, 60000, 1000000 }, 0, 0, 1000000, RECYCLE_RSS },
	{ "jobs before age", { 100, 60000, 1000000 }, 100, 60000, 1000000, RECYCLE_JOBS },
	{ "age before memory", { 100, 60000, 1000000 }, 99, 60000, 1000000, RECYCLE_AGE },
	{ "no limit of jobs", { 0, 60000, 1000000 }, INT64_MAX, 0, 0, RECYCLE_NO },
	{ "no limit of age", { 100, 0, 1000000 }, 0, INT64_MAX, 0, RECYCLE_NO },
	{ "no limit of memory", { 100, 60000, 0 }, 0, 0, INT64_MAX, RECYCLE_NO },
	{ "no limit at all", { 0, 0, 0 }, INT64_MAX, INT64_MAX, INT64_MAX, RECYCLE_NO },
	{ "one job a life", { 1, 0, 0 }, 1, 0, 0, RECYCLE_JOBS },
	{ "far beyond", { 1, 1, 1 }, 0, 0, INT64_MAX, RECYCLE_RSS },
};

static void test_a_worker_is_recycled_at_its_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct recycle r;
		enum recycle_why got;

		recycle_init(&r, &rows[i].limits, 0);
		got = recycle_check(&r, rows[i].jobs, rows[i].age_ms, rows[i].rss_bytes);
		expect(got == rows[i].want, "%s: %s", rows[i].what, recycle_why_name(got));
	}
}

static void test_lives_differ_by_up_to_a_tenth(void **state)
{
	uint64_t seed = 77;
	int64_t least = INT64_MAX, most = 0;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct recycle r;

		recycle_init(&r, &limits, row_random(&seed));
		expect(r.limits.max_jobs >= 90 && r.limits.max_jobs <= 100, "jobs %d", r.limits.max_jobs);
		expect(r.limits.max_age_ms >= 54000 && r.limits.max_age_ms <= 60000, "age %" PRId64,
		       r.limits.max_age_ms);
		expect(r.limits.max_rss_bytes >= 900000 && r.limits.max_rss_bytes <= 1000000, "rss %" PRId64,
		       r.limits.max_rss_bytes);
		least = r.limits.max_age_ms < least ? r.limits.max_age_ms : least;
		most = r.limits.max_age_ms > most ? r.limits.max_age_ms : most;
	}
	expect(least < 54100 && most > 59900, "from %" PRId64 " to %" PRId64, least, most);
}

static void test_jitter_makes_no_limit_of_none_and_none_of_a_small_one(void **state)
{
	const struct recycle_limits small = { .max_jobs = 1, .max_rss_bytes = 9 };
	struct recycle r;

	(void)state;
	recycle_init(&r, &small, UINT32_MAX);
	assert_int_equal(r.limits.max_jobs, 1);
	assert_int_equal(r.limits.max_age_ms, 0);
	assert_int_equal(r.limits.max_rss_bytes, 9);
}

static void test_a_share_stays_within_its_span(void **state)
{
	static const int64_t spans[] = {
		0, 1, 2, 999, INT64_C(1) << 32, INT64_C(123456789012345), INT64_MAX
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		int64_t half = jitter_share(spans[i], UINT32_C(1) << 31);

		expect(jitter_share(spans[i], 0) == 0, "span %" PRId64, spans[i]);
		expect(jitter_share(spans[i], UINT32_MAX) <= spans[i], "span %" PRId64, spans[i]);
		expect(jitter_share(spans[i], UINT32_MAX) >= spans[i] - spans[i] / UINT32_MAX - 1,
		       "span %" PRId64, spans[i]);
		expect(half >= spans[i] / 2 - 1 && half <= spans[i] / 2 + 1,
		       "span %" PRId64 ": half %" PRId64, spans[i], half);
	}
}

static void test_reasons_are_named_after_their_keys(void **state)
{
	static const char *const names[] = { "no", "max_jobs", "max_age", "max_rss", "?" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_string_equal(recycle_why_name((enum recycle_why)i), names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_worker_is_recycled_at_its_limits),
		cmocka_unit_test(test_lives_differ_by_up_to_a_tenth),
		cmocka_unit_test(test_jitter_makes_no_limit_of_none_and_none_of_a_small_one),
		cmocka_unit_test(test_a_share_stays_within_its_span),
		cmocka_unit_test(test_reasons_are_named_after_their_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
