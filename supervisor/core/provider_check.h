#ifndef CORE_PROVIDER_CHECK_H
#define CORE_PROVIDER_CHECK_H

/* Looks at the providers that cost no tokens (policy/check.h): every health_interval with some jitter, more
 * often while one fails, and when asked. Only at those whose key is set; on schedule, not at those that an
 * operator has paused.
 *
 * A verdict that differs from the one before is logged and recorded, once. Keys go into headers and nowhere
 * else. */

#include <stdbool.h>
#include <stdint.h>

#include "policy/check.h"

struct config;
struct loop;
struct provider_checks;

struct provider_checks_options {
	const struct config *config; /* borrowed until the next provider_checks_configure() */
	/* The value of a key's variable, borrowed for the moment; NULL when it is not set. */
	const char *(*key)(void *arg, const char *variable);
	/* Whether the provider is not to be looked at on schedule. */
	bool (*is_paused)(void *arg, const char *provider);
	/* After each look; `changed`: the one before said otherwise, or there was none. */
	void (*checked)(void *arg, const char *provider, enum check_verdict verdict, bool changed);
	/* What is to be recorded; `data` is a JSON object. */
	void (*event)(void *arg, const char *level, const char *kind, const char *subject, const char *data);
	void *arg;
};

/* The first looks come within moments. -ENOMEM when there is no HTTP. */
int provider_checks_new(struct loop *loop, const struct provider_checks_options *options,
			struct provider_checks **ret) __attribute__((warn_unused_result));

/* Who waits is not told. */
void provider_checks_free(struct provider_checks **checks);

/* Reload: addresses, keys and intervals may be others; all are looked at anew. */
void provider_checks_configure(struct provider_checks *checks, const struct config *config);

/* Looks at a provider now, or at all (NULL), paused or not, unless that is under way or the key is not set.
 */
void provider_checks_begin(struct provider_checks *checks, const char *provider);

/* Calls `done` once when no look at it, or at any (NULL), is under way: perhaps before this returns. */
void provider_checks_wait(struct provider_checks *checks, const char *provider, void (*done)(void *arg),
			  void *arg);

/* Forgets who waits. */
void provider_checks_forget(struct provider_checks *checks, const void *arg);

struct provider_checks_view {
	bool known; /* it has been looked at, with the key in force */
	enum check_verdict verdict;
	const char *detail; /* "answered 401", or why there was no answer; "" when ok */
	int64_t checked_ms; /* monotonic */
	int64_t took_ms;
};

/* Texts are valid until the next look's end. */
void provider_checks_view(struct provider_checks *checks, const char *provider,
			  struct provider_checks_view *ret);

#endif
