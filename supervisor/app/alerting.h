#ifndef APP_ALERTING_H
#define APP_ALERTING_H

/* Which conditions hold in this daemon (see policy/alert.h), for core/alerts.h to tell. All but making is
 * fine with NULL, as in a rehearsal. */

#include <stddef.h>

struct alerting;
struct alerts;
struct config;
struct daemon;
struct store_pair;

/* -ENOMEM, or -errno when there is no thread. */
int alerting_new(struct daemon *daemon, struct alerting **ret) __attribute__((warn_unused_result));
void alerting_free(struct alerting **alerting);
void alerting_configure(struct alerting *alerting, const struct config *config);

/* From the store. */
void alerting_on_pairs(struct daemon *daemon, const struct store_pair *pairs, size_t count);
void alerting_on_run_finished(struct daemon *daemon, const char *run_id, const char *status);
void alerting_on_over_budget(struct daemon *daemon, const char *run_id, const char *reason);

struct alerts *alerting_alerts(struct alerting *alerting);

#endif
