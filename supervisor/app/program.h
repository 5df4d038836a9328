#ifndef APP_PROGRAM_H
#define APP_PROGRAM_H

/* Commands and environments of the children.
 *
 * Workers get our environment, the key file's variables over it, and what the configuration says. Services
 * and Postgres get our environment without any key. Neither gets the database URL or what belongs to systemd.
 */

#include <stdbool.h>
#include <stddef.h>

struct config;
struct paths;
struct program;

/* Reads the key file. -errno with *ret_error (one fresh line) when that fails, or the database's URL is none.
 */
int program_new(const struct config *config, const struct paths *paths, struct program **ret,
		char **ret_error) __attribute__((warn_unused_result));
void program_free(struct program **program);

/* How the workers of the pool with this index in the configuration are started. All lists are NULL-terminated
 * and valid as long as the program. */
struct program_pool {
	const char *const *argv, *const *env;
	const char *const
		*fork_argv; /* of the prepared parent; NULL when the ini names a command of its own */
};

struct program_pool program_pool(const struct program *program, size_t index);
const char *const *program_service_env(const struct program *program, size_t index);
const char *const *program_plain_env(const struct program *program); /* for Postgres */
const char *const *program_health_argv(const struct program *program);
/* As the first pool's workers have it: what the ini adds there may be what they need to run. */
const char *const *program_health_env(const struct program *program);

/* Value of a variable in the workers' environment; NULL when unset or empty. */
const char *program_variable(const struct program *program, const char *name);

/* The database URL in effect before "embedded" is resolved: the ini's, else DATABASE_URL of the key file or
 * of our environment, else "embedded". */
const char *program_database_url(const struct program *program);

#endif
