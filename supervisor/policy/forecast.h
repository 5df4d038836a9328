#ifndef POLICY_FORECAST_H
#define POLICY_FORECAST_H

/* What a run would cost, and how long limits would hold it, reckoned before anything is asked: for people to
 * decide by, not for admission. All conversations of a model are taken for its average one. Sums that no run
 * has end at FORECAST_MOST. */

#include <stdbool.h>
#include <stdint.h>

#include "policy/estimate.h"
#include "policy/gate.h"
#include "policy/price.h"

#define FORECAST_MOST INT64_C(1000000000000000000)

enum forecast_guess { FORECAST_LOW, FORECAST_LIKELY, FORECAST_HIGH, FORECAST_GUESSES };

/* Tokens of one answer. Low and high are two standard deviations from the mean. Of a model of which nothing
 * is known they are 100, 500 and 1000. High is at least 1000, or max_tokens, and none is above max_tokens. */
enum forecast_source {
	FORECAST_ASSUMED,
	FORECAST_TRANSCRIPTS, /* of earlier runs */
	FORECAST_MEASURED,    /* by this daemon, since its start */
};

struct forecast_model {
	const char *provider; /* whose way of charging it is; "" = what is used */
	int64_t probes;	      /* conversations */
	int turns;	      /* calls of each */
	const int64_t *bytes; /* what the call of each turn sends that none before it has: `turns` of them */
	int64_t max_tokens;   /* of an answer; 0 = not told to the provider */
	struct estimate learned;
	int64_t seen;			  /* turns in transcripts; 0 = none */
	double seen_mean, seen_deviation; /* tokens of their answers */
	struct price price;
};

struct forecast {
	int64_t calls;
	struct tokens tokens;	  /* of all calls; every call sends all that was said before it */
	int64_t cost_e10;	  /* of all calls; -1 = no price is known */
	struct gate_cost charged; /* to limits, by all calls */
	struct gate_cost largest; /* by one call */
};

enum forecast_source forecast_source(const struct forecast_model *model);
void forecast_model(const struct forecast_model *model, enum forecast_guess guess, struct forecast *ret);

/* Milliseconds that a limit needs for `amount`, at most FORECAST_MOST. */

/* Of `rate` units in span_ms; both > 0. Calls at once are such a limit of their milliseconds: `rate` slots
 * earn as many in each. */
int64_t forecast_paced_ms(int64_t amount, int64_t rate, int64_t span_ms);
/* Of `most` units (> 0) a calendar day, of which `used` are gone for today, with rest_ms of today to come:
 * until the day begins in which the last of it fits; 0 = today. */
int64_t forecast_day_ms(int64_t amount, int64_t most, int64_t used, int64_t rest_ms);
/* a + b and a * b of what is not negative. */
int64_t forecast_add(int64_t a, int64_t b);
int64_t forecast_times(int64_t a, int64_t b);

#endif
