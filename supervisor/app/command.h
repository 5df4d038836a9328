#ifndef APP_COMMAND_H
#define APP_COMMAND_H

/* What the commands of the control socket do.
 *
 * Those that ask the database call one function api_…() of sql/0003_api.sql, which returns the answer's JSON:
 * it goes to the client unparsed. The others look at the daemon's own state. */

#include <stdbool.h>

struct commands;
struct daemon;
struct handover;

/* Listens on daemon->paths.socket, or goes on with the socket of `h` (NULL = none), and serves the command
 * table. The daemon is borrowed; its loop and config must be set, and the other parts before the loop runs.
 * On an error *ret_error is one fresh line. */
int commands_new(struct daemon *daemon, struct handover *h, struct commands **ret, char **ret_error)
	__attribute__((warn_unused_result));

/* Stops listening and drops the clients. The store must still be there, and must be freed in the same turn of
 * the loop: its answers to questions under way find nobody. */
void commands_free(struct commands **commands);

/* Applies what a reload changed. */
void commands_reconfigure(struct commands *commands);

/* As control_pass(), control_hold_back() and control_is_busy(), with what commands keep for their clients. */
void commands_pass(struct commands *commands, struct handover *h);
void commands_hold_back(struct commands *commands, bool hold_back);
bool commands_are_busy(const struct commands *commands);

#endif
