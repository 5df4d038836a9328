#ifndef CORE_COSTING_H
#define CORE_COSTING_H

/* What the next call of a probe will take from the limits and the purse, before it is made, and what it has
 * taken when it is answered. Learns from every answer, model by model. */

#include <stdint.h>

#include "policy/estimate.h"
#include "policy/gate.h"

struct costing;
struct models;
struct probe;
struct store_bill;

void costing_new(const struct models *models, struct costing **ret);
void costing_free(struct costing **costing);

/* Reload: new prices. Borrowed. */
void costing_configure(struct costing *costing, const struct models *models);

/* What the probe's next call is expected to cost, at most as a rule: kept in probe->cost until its next turn.
 */
void costing_next(struct costing *costing, struct probe *probe);

/* What the call that was answered did cost, as the provider charges it; learned from. */
void costing_answered(struct costing *costing, struct probe *probe, const struct tokens *real,
		      struct gate_cost *ret);

/* What an answer that has come costs, at today's price, as it is to be stored; added to the probe's own cost.
 * To be called once for each. */
struct store_bill costing_bill(const struct costing *costing, struct probe *probe, const struct tokens *real);

/* What has been learned of a model's answers; all zero when nothing has. */
struct estimate costing_estimate(const struct costing *costing, const char *model_id);

#endif
