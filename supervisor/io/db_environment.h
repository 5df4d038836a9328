#ifndef IO_DB_ENVIRONMENT_H
#define IO_DB_ENVIRONMENT_H

/* A libpq URL as the environment variables that psql and other programs read (PGHOST, PGPASSWORD, …), so that
 * no password has to stand on a command line. Settings of the URL that have no variable are left out.
 *
 * `each` is called with strings that are valid during the call. -EINVAL for what is no URL or conninfo. */
int db_environment(const char *url, void (*each)(void *arg, const char *variable, const char *value),
		   void *arg) __attribute__((warn_unused_result));

#endif
