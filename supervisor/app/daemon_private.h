#ifndef APP_DAEMON_PRIVATE_H
#define APP_DAEMON_PRIVATE_H

/* Making and running the daemon: for main.c and tree.c. */

#include "app/daemon.h"

struct handover;

enum { DAEMON_EXIT_CONFIG = 78, DAEMON_EXIT_UNHEALTHY = 78, DAEMON_EXIT_FAILED = 1 };

/* All taken by daemon_new, whether it succeeds or not. */
struct daemon_start {
	struct config *config;
	struct models *models;
	struct program *program;
	struct paths paths;
	char *state_id;
	char *const *argv;	   /* our command line, NULL-terminated; borrowed */
	struct handover *handover; /* of the program whose place we take; borrowed; NULL = there was none */
};

int daemon_new(struct loop *loop, const struct daemon_start *start, struct daemon **ret, char **ret_error)
	__attribute__((warn_unused_result));
void daemon_free(struct daemon **daemon);

void paths_free(struct paths *paths);

/* Starts the parts; loop_run() then runs until all is stopped again. */
void daemon_start(struct daemon *daemon);

/* From the tree: all that can be up is up; all is down. */
void daemon_is_up(void *daemon);
void daemon_is_down(void *daemon);

/* Between runs of the health check. */
int64_t daemon_health_interval_ms(const struct config *config);

/* Records what happened; `data` is a JSON object or NULL. */
void daemon_event(void *daemon, const char *level, const char *kind, const char *subject, const char *data);

#endif
