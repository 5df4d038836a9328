#ifndef CORE_ALERTS_H
#define CORE_ALERTS_H

/* Tells webhooks what people should know (policy/alert.h says what and when): once a second it asks which
 * conditions hold, and sends what is owed. What is told and to whom is kept in `file`, so that another life
 * of the daemon neither repeats it nor forgets an end. A delivery whose answer was lost is repeated, with the
 * same id. Addresses and secrets are never logged. */

#include <stdbool.h>
#include <stdint.h>

#include "policy/alert.h"

struct alerts;
struct config;
struct loop;

struct alerts_options {
	const struct config *config; /* borrowed until the next alerts_configure() */
	const char *file;
	const char *node; /* shown to people */
	/* The value of a variable, borrowed for the moment; NULL when it is not set. */
	const char *(*variable)(void *arg, const char *name);
	/* Calls alerts_see() for all that holds. False: nothing can be judged now, as while the daemon stops.
	 */
	bool (*look)(void *arg, struct alerts *alerts, bool *ret_has_database);
	void *arg;
};

/* Reads the file, and begins. -ENOMEM when there is no HTTP, -errno when there is no thread. */
int alerts_new(struct loop *loop, const struct alerts_options *options, struct alerts **ret)
	__attribute__((warn_unused_result));
/* Who waits for a test is not told. */
void alerts_free(struct alerts **alerts);

void alerts_configure(struct alerts *alerts, const struct config *config);

void alerts_see(struct alerts *alerts, enum alert_kind kind, const char *subject, const char *text);
void alerts_see_again(struct alerts *alerts, enum alert_kind kind, const char *subject);
void alerts_notice(struct alerts *alerts, enum alert_kind kind, const char *subject, const char *text);

/* Sends one message to a target and calls `done` once: `error` is NULL when it was taken. -ENOENT when there
 * is no such target, -EBUSY while another test is under way. */
int alerts_test(struct alerts *alerts, const char *target, void (*done)(void *arg, const char *error),
		void *arg) __attribute__((warn_unused_result));
/* Nobody waits for the test any more. */
void alerts_forget_test(struct alerts *alerts);

/* For looking at. */
const struct alert_book *alerts_book(const struct alerts *alerts);

#endif
