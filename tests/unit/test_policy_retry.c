#include "row.h"

#include <inttypes.h>

#include "base/mem.h"
#include "policy/retry.h"

static const struct retry_params params = {
	.max_tries = 4, .base_delay_ms = 1000, .max_delay_ms = 60000, .rate_limit_patience_ms = 3600000
};

static const struct {
	enum error_code code;
	int fails;
	int64_t limited_for;
	int64_t retry_after;
	enum retry_action want;
	int64_t want_least, want_most; /* delay over all randoms */
	int want_fails;
} rows[] = {
	/* transient: four tries in all */
	{ ERROR_TIMEOUT, 0, 0, -1, RETRY_LATER, 500, 1000, 1 },
	{ ERROR_SERVER_ERROR, 1, 0, -1, RETRY_LATER, 1000, 2000, 2 },
	{ ERROR_NETWORK_ERROR, 2, 0, -1, RETRY_LATER, 2000, 4000, 3 },
	{ ERROR_NETWORK_ERROR, 3, 0, -1, RETRY_FAIL, 0, 0, 4 },
	{ ERROR_WORKER_CRASH, 9, 0, -1, RETRY_FAIL, 0, 0, 10 },
	{ ERROR_UNKNOWN, 0, 0, -1, RETRY_LATER, 500, 1000, 1 },
	/* the provider's word counts where it is longer */
	{ ERROR_SERVER_ERROR, 0, 0, 7000, RETRY_LATER, 7000, 7000, 1 },
	{ ERROR_SERVER_ERROR, 2, 0, 10, RETRY_LATER, 2000, 4000, 3 },
	{ ERROR_SERVER_ERROR, 0, 0, INT64_MAX, RETRY_LATER, 3600000, 3600000, 1 },
	/* rate limit: patience is time, tries stay */
	{ ERROR_RATE_LIMIT, 0, 0, 2000, RETRY_WAIT_LANE, 2000, 2000, 0 },
	{ ERROR_RATE_LIMIT, 3, 0, 2000, RETRY_WAIT_LANE, 2000, 2000, 3 },
	{ ERROR_RATE_LIMIT, 0, 0, 120000, RETRY_WAIT_LANE, 120000, 120000, 0 },
	{ ERROR_RATE_LIMIT, 0, 0, -1, RETRY_WAIT_LANE, 500, 1000, 0 },
	{ ERROR_RATE_LIMIT, 0, 0, 0, RETRY_WAIT_LANE, 500, 1000, 0 },
	{ ERROR_RATE_LIMIT, 0, 8000, -1, RETRY_WAIT_LANE, 4000, 8000, 0 },
	{ ERROR_RATE_LIMIT, 0, 900000, -1, RETRY_WAIT_LANE, 30000, 60000, 0 },
	{ ERROR_RATE_LIMIT, 0, 3590000, 20000, RETRY_WAIT_LANE, 10000, 10000, 0 },
	{ ERROR_RATE_LIMIT, 0, 3600000, 2000, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_RATE_LIMIT, 2, INT64_MAX, -1, RETRY_FAIL, 0, 0, 2 },
	{ ERROR_RATE_LIMIT, 0, 0, INT64_MAX, RETRY_WAIT_LANE, 3600000, 3600000, 0 },
	/* park */
	{ ERROR_QUOTA_EXHAUSTED, 3, 0, 5000, RETRY_PARK_LANE, 0, 0, 3 },
	/* permanent */
	{ ERROR_AUTH_ERROR, 0, 0, -1, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_MISSING_API_KEY, 0, 0, -1, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_VALIDATION_ERROR, 0, 0, 1000, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_NOT_FOUND, 0, 0, -1, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_INVALID_RESPONSE, 0, 0, -1, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_CONTENT_BLOCKED, 0, 0, -1, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_UNSUPPORTED_PROVIDER, 0, 0, -1, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_POISON, 0, 0, -1, RETRY_FAIL, 0, 0, 0 },
	{ ERROR_CANCELLED, 0, 0, -1, RETRY_FAIL, 0, 0, 0 },
};

/* The provider's own word outweighs the class of the code, but for parking. */
static const struct {
	enum error_code code;
	enum retry_word word;
	enum retry_action want;
} words[] = {
	{ ERROR_SERVER_ERROR, RETRY_UNSAID, RETRY_LATER },
	{ ERROR_SERVER_ERROR, RETRY_SAID_YES, RETRY_LATER },
	{ ERROR_SERVER_ERROR, RETRY_SAID_NO, RETRY_FAIL },
	{ ERROR_RATE_LIMIT, RETRY_SAID_YES, RETRY_WAIT_LANE },
	{ ERROR_RATE_LIMIT, RETRY_SAID_NO, RETRY_FAIL },
	{ ERROR_VALIDATION_ERROR, RETRY_SAID_NO, RETRY_FAIL },
	{ ERROR_VALIDATION_ERROR, RETRY_SAID_YES, RETRY_LATER },
	{ ERROR_QUOTA_EXHAUSTED, RETRY_SAID_NO, RETRY_PARK_LANE },
	{ ERROR_QUOTA_EXHAUSTED, RETRY_SAID_YES, RETRY_PARK_LANE },
};

static void test_the_providers_word_outweighs_the_class_but_for_parking(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		const struct retry_state job = { .word = words[i].word };
		struct retry_verdict got = retry_decide(&params, &job, words[i].code, -1, 7);

		if (got.action != words[i].want)
			fail_msg("word row %zu: action %d, wanted %d", i, (int)got.action,
				 (int)words[i].want);
	}
}

static void check_row(size_t i, uint32_t random)
{
	struct retry_state job = { .fails = rows[i].fails, .limited_for_ms = rows[i].limited_for };
	struct retry_verdict got = retry_decide(&params, &job, rows[i].code, rows[i].retry_after, random);

	expect(got.action == rows[i].want && got.fails == rows[i].want_fails,
	       "row %zu (%s): action %d, fails %d", i, error_spec(rows[i].code)->name, (int)got.action,
	       got.fails);
	expect(got.delay_ms >= rows[i].want_least && got.delay_ms <= rows[i].want_most,
	       "row %zu (%s): delay %" PRId64, i, error_spec(rows[i].code)->name, got.delay_ms);
}

static void test_each_error_gets_its_verdict(void **state)
{
	static const uint32_t randoms[] = { 0, 1, UINT32_MAX / 2, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t k = 0; k < ARRAY_LEN(randoms); k++)
			check_row(i, randoms[k]);
	}
}

static void test_one_try_in_all_never_retries(void **state)
{
	struct retry_params once = params;
	struct retry_state fresh = { 0 };

	(void)state;
	once.max_tries = 1;
	assert_int_equal(retry_decide(&once, &fresh, ERROR_TIMEOUT, -1, 7).action, RETRY_FAIL);
	assert_int_equal(retry_decide(&once, &fresh, ERROR_RATE_LIMIT, -1, 7).action, RETRY_WAIT_LANE);
}

static void test_a_lane_never_pauses_for_nothing(void **state)
{
	struct retry_params hasty = { .max_tries = 2, .rate_limit_patience_ms = 10 };
	struct retry_state fresh = { 0 };

	(void)state;
	assert_int_equal(retry_decide(&hasty, &fresh, ERROR_RATE_LIMIT, -1, 0).delay_ms, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_error_gets_its_verdict),
		cmocka_unit_test(test_one_try_in_all_never_retries),
		cmocka_unit_test(test_the_providers_word_outweighs_the_class_but_for_parking),
		cmocka_unit_test(test_a_lane_never_pauses_for_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
