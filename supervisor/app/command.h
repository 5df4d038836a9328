#ifndef APP_COMMAND_H
#define APP_COMMAND_H

/* What the commands of the control socket do.
 *
 * Those that ask the database call one function api_…() of sql/0003_api.sql, which returns the answer's JSON:
 * it goes to the client unparsed. The others look at the daemon's own state. */

struct commands;
struct daemon;

/* Listens on daemon->paths.socket and serves the command table. The daemon is borrowed; its loop and config
 * must be set, and the other parts before the loop runs. On an error *ret_error is one fresh line. */
int commands_new(struct daemon *daemon, struct commands **ret, char **ret_error)
	__attribute__((warn_unused_result));

/* Stops listening and drops the clients. The store must still be there, and must be freed in the same turn of
 * the loop: its answers to questions under way find nobody. */
void commands_free(struct commands **commands);

/* Applies what a reload changed. */
void commands_reconfigure(struct commands *commands);

#endif
