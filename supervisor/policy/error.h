#ifndef POLICY_ERROR_H
#define POLICY_ERROR_H

/* The error codes that an outcome can carry, and what each does to job and lane.
 * One row per code in ERROR_CODES: enum, names and classes come from it. */

/* clang-format off */
#define ERROR_CODES(X)                                                                                       \
	X(RATE_LIMIT,           WAIT,      "the provider asked to wait")                                     \
	X(TIMEOUT,              TRANSIENT, "one call took longer than it may")                               \
	X(NETWORK_ERROR,        TRANSIENT, "the provider could not be reached, or hung up")                  \
	X(SERVER_ERROR,         TRANSIENT, "the provider failed (5xx)")                                      \
	X(WORKER_CRASH,         TRANSIENT, "the worker process ended or was killed while it held the job")   \
	X(UNKNOWN,              TRANSIENT, "something that no other code names")                             \
	X(QUOTA_EXHAUSTED,      PARK,      "the account at the provider is used up")                         \
	X(AUTH_ERROR,           PERMANENT, "the provider refused the key")                                   \
	X(MISSING_API_KEY,      PERMANENT, "the provider's key is not set")                                  \
	X(VALIDATION_ERROR,     PERMANENT, "the request can never be valid")                                 \
	X(NOT_FOUND,            PERMANENT, "the provider knows no such model")                               \
	X(INVALID_RESPONSE,     PERMANENT, "the provider's answer cannot be used")                           \
	X(CONTENT_BLOCKED,      PERMANENT, "the provider declined to answer")                                \
	X(UNSUPPORTED_PROVIDER, PERMANENT, "no provider claims the model id")                                \
	X(POISON,               PERMANENT, "the job, running alone, killed its worker twice")                \
	X(CANCELLED,            PERMANENT, "cancelled before its end")
/* clang-format on */

enum error_code {
#define X(name, class, meaning) ERROR_##name,
	ERROR_CODES(X)
#undef X
		ERROR_CODE_COUNT
};

enum error_class {
	ERROR_WAIT,	 /* the lane waits; the job goes back, its tries unspent */
	ERROR_TRANSIENT, /* retried with back-off, a bounded number of times */
	ERROR_PARK,	 /* the lane is parked until an operator or a recheck resumes it */
	ERROR_PERMANENT, /* fails at once */
};

struct error_spec {
	const char *name; /* as in outcomes and in the worker protocol: "RATE_LIMIT" */
	enum error_class class;
	const char *meaning; /* one line for people */
};

/* Never NULL; a number that is no code gives UNKNOWN's row. */
const struct error_spec *error_spec(enum error_code code);

/* Exact name → code; NULL or an unknown name is ERROR_UNKNOWN. */
enum error_code error_parse(const char *name);

#endif
