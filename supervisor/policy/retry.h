#ifndef POLICY_RETRY_H
#define POLICY_RETRY_H

/* What becomes of a job whose attempt ended with an error.
 * Three budgets stay apart: `fails` (transient errors), the patience with a rate limit (time, not tries), and
 * the lane's parking, which costs the job nothing. Planned give-backs (a drain, a lost lease) are no errors
 * and never come here. */

#include <stdint.h>

#include "policy/error.h"

struct retry_params {
	int max_tries; /* tries in all, >= 1: 4 = the first and three more */
	int64_t base_delay_ms;
	int64_t max_delay_ms;
	int64_t rate_limit_patience_ms; /* a job rate-limited for longer than this fails with RATE_LIMIT */
};

/* What the provider said of trying again (x-should-retry); it outweighs the code's class, but for parking. */
enum retry_word { RETRY_UNSAID, RETRY_SAID_YES, RETRY_SAID_NO };

struct retry_state {
	int fails;		/* transient failures before this one */
	int64_t limited_for_ms; /* since the first of an unbroken row of RATE_LIMITs; 0 for the first */
	enum retry_word word;
};

enum retry_action {
	RETRY_FAIL,	 /* the code is the outcome */
	RETRY_LATER,	 /* the job runs again after delay_ms */
	RETRY_WAIT_LANE, /* the lane pauses for delay_ms, the job keeps its place */
	RETRY_PARK_LANE, /* the lane is parked, the job stays queued */
};

struct retry_verdict {
	enum retry_action action;
	int64_t delay_ms; /* of RETRY_LATER and RETRY_WAIT_LANE, else 0 */
	int fails;	  /* the job's count after this error */
};

/* retry_after_ms: what the provider asked for; -1 when it told nothing, and 0 tells nothing either. It is
 * obeyed even above max_delay_ms, but no longer than the job's patience lasts: a nonsense header must not
 * shut a lane for a year. A transient error's delay is at least as long. `random` is 32 uniform bits. */
struct retry_verdict retry_decide(const struct retry_params *params, const struct retry_state *state,
				  enum error_code code, int64_t retry_after_ms, uint32_t random);

#endif
