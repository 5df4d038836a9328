#ifndef CORE_EMBEDDED_H
#define CORE_EMBEDDED_H

/* The embedded Postgres: found, initialised once under the state folder, and run as a service on a Unix
 * socket only. */

#include <stdint.h>

#include "core/service.h"

struct embedded;
struct loop;

struct embedded_options {
	const char *state_dir;	  /* the data folder is state_dir/postgres */
	const char *run_dir;	  /* holds the socket */
	unsigned socket_mode;	  /* who may connect: as the control socket */
	const char *socket_group; /* "" = our own */
	const char *const *env;	  /* of ours, for PATH and locale; borrowed */
	struct service_events events;
};

/* *ret_error is one fresh line with the remedy. -ENOPKG: no Postgres to be found; -EINVAL: a data folder of
 * another major version; -ENAMETOOLONG: of a socket. */
int embedded_new(struct loop *loop, const struct embedded_options *options, struct embedded **ret,
		 char **ret_error) __attribute__((warn_unused_result));
void embedded_free(struct embedded **embedded);

struct service *embedded_service(const struct embedded *embedded);

/* libpq conninfo; holds no secret. */
const char *embedded_url(const struct embedded *embedded);

/* Folder of psql, pg_dump, …. */
const char *embedded_bin_dir(const struct embedded *embedded);

#endif
