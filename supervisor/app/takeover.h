#ifndef APP_TAKEOVER_H
#define APP_TAKEOVER_H

/* All that lives on when the daemon's program is replaced, each part by its own file. */

struct config;
struct daemon;
struct handover;
struct program;

/* Writes it down (the daemon as it is), or goes on with it: then the daemon is fresh from daemon_new(),
 * nothing in it was started, and handover_error() tells whether it can be gone on with. */
void takeover_pass(struct daemon *daemon, struct handover *h);

/* What is of the process: its children, the guard, the locks; before there is a daemon in the new program.
 * *ret_state_id is fresh. */
void takeover_pass_process(struct handover *h, char **state_id);

/* Whether configuration and keys are those that the former program runs with: it is a reload that changes
 * them, not an upgrade. NULL, or one fresh line that names what has changed. */
char *takeover_check_config(struct handover *h, const struct config *config, const struct program *program)
	__attribute__((warn_unused_result));

/* Lets the parts run that have gone on. Clients wait until the database is there again, as it was before, but
 * not for long. */
void takeover_resume(struct daemon *daemon);

/* The database is there again; to be told each time. */
void takeover_on_database(struct daemon *daemon);

#endif
