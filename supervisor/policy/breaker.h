#ifndef POLICY_BREAKER_H
#define POLICY_BREAKER_H

/* A circuit breaker for one provider: many failures of its servers in a short time stop the calls for a
 * while, then one trial at a time finds out whether it is back. It never touches the rate. Pure: time and
 * randomness come in as arguments. */

#include <stdbool.h>
#include <stdint.h>

struct breaker_params {
	int window;	 /* calls looked back upon, 1..64 */
	int failures;	 /* of them, that open it, 1..window */
	int64_t open_ms; /* first time open, and up to a quarter longer; doubles with each failed trial */
	int64_t open_max_ms;
};

extern const struct breaker_params breaker_defaults; /* 10 of 10, 5 s, 2 min */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

/* A value; all zero is a closed breaker. */
struct breaker {
	uint64_t results; /* of the last calls, the newest lowest; 1 = failed */
	int count;	  /* of them that are known */
	enum breaker_state state;
	bool trying;	  /* half open, and its trial is under way */
	int trials;	  /* failed in a row */
	int bad_checks;	  /* in a row, counted up to what opens it */
	int64_t until_ms; /* while open */
};

/* Whether a call may go now. Once its time open is over, one may: the caller tells by breaker_begin() that it
 * goes. */
bool breaker_lets(const struct breaker *b, int64_t now_ms);
/* A call goes that breaker_lets(). True when it is the trial: its end must be told with `trial`. */
bool breaker_begin(struct breaker *b, int64_t now_ms);

void breaker_success(struct breaker *b, bool trial);
/* What began before the breaker opened changes nothing any more. `random` is 32 uniform bits, for the jitter.
 * True when this opened it. */
bool breaker_failure(struct breaker *b, const struct breaker_params *params, int64_t now_ms, bool trial,
		     uint32_t random);
/* The trial ended in a way that says nothing of the provider (cancelled, never sent). */
void breaker_void(struct breaker *b, bool trial);

/* A check of the provider from outside failed or succeeded: opens it at the `failures`-th failed one in a
 * row; a good one makes an open breaker half open at once. It never closes one: that a provider lists its
 * models does not show that it answers. */
bool breaker_check(struct breaker *b, const struct breaker_params *params, int64_t now_ms, bool good,
		   uint32_t random);

/* Milliseconds until a trial may go; 0 = now, -1 = when the trial under way ends. */
int64_t breaker_wait_ms(const struct breaker *b, int64_t now_ms);

#endif
