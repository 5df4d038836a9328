#ifndef APP_STATE_H
#define APP_STATE_H

/* The state folder and who we are: made, handed to the daemon's user, locked. */

struct config;
struct handover;

/* As root: makes state_dir and run_dir, gives them to [daemon] user and becomes that user. As anyone else:
 * makes them as we are. -errno with *ret_error (one fresh line). */
int state_prepare(const struct config *config, char **ret_error) __attribute__((warn_unused_result));

/* Locks the folder for the life of the process: -EBUSY when another daemon holds it. *ret_id is fresh text
 * that names this folder on this machine, for as long as both exist. */
int state_lock(const struct config *config, char **ret_id, char **ret_error)
	__attribute__((warn_unused_result));

/* The lock, while the daemon's program is replaced, either way. */
void state_pass(struct handover *h, const char *name);

#endif
