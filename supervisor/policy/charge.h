#ifndef POLICY_CHARGE_H
#define POLICY_CHARGE_H

/* What each provider counts against its limits for a call: at its begin, when nobody knows the answer's
 * length, and in the end. Facts about providers, from their documentation; a provider that is not known
 * counts what was used. */

#include <stdbool.h>

#include "policy/estimate.h"
#include "policy/gate.h"

/* What a call is charged before its answer is known; money is left 0. max_tokens: as the provider is told it;
 * 0 = it is not. */
void charge_reserve(const char *provider, struct tokens estimated, int64_t max_tokens, struct gate_cost *ret);

/* What it is charged in the end, by its real usage; money is left 0. `reserved` and max_tokens are those of
 * charge_reserve(). */
void charge_settle(const char *provider, struct tokens real, int64_t max_tokens,
		   const struct gate_cost *reserved, struct gate_cost *ret);

/* Takes out of what the provider's headers told what does not mean what its name says. */
void charge_hear(const char *provider, struct gate_told *told);

/* Its refusals without a word of when to try again mean too many calls at once, not too many a minute. */
bool charge_learns_concurrency(const char *provider);

#endif
