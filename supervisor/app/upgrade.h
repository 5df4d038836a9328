#ifndef APP_UPGRADE_H
#define APP_UPGRADE_H

/* Replacing the daemon's program while all that it supervises lives on.
 *
 *   checking   the new program, run as a child with --check-upgrade, reads configuration and a copy of our
 * state and says whether it would take over settling   clients and workers are not listened to while the
 * store saves what it was given execve     of the new program, with the state in a descriptor (io/handover.h)
 *
 * Whatever goes wrong before or in execve ends in a refusal, and the daemon goes on as if nothing had been.
 */

#include <stdbool.h>

struct call;
struct daemon;
struct handover;
struct upgrade;

/* The variable that names the descriptor of the state. */
#define UPGRADE_VARIABLE "PROCTOR_HANDOVER"

/* The descriptor at which a check finds the state. */
enum { UPGRADE_CHECK_FD = 3 };

/* Begins. `path`: of the new program, NULL = the file that we were started from, or what is in its place by
 * now. `call` is taken: it is answered by us when it comes to nothing, else by the new program. */
void upgrade_begin(struct daemon *daemon, const char *path, struct call *call);

/* Gives up what is under way, if anything is. */
void upgrade_cancel(struct daemon *daemon, const char *why);

/* ---- in the new program ---- */

/* Where it came from, either way. */
void upgrade_pass(struct daemon *daemon, struct handover *h);

/* The call that waits for this; to be called while what was handed over is read. */
void upgrade_await(struct daemon *daemon, struct call *call);

/* All is taken over: says so. */
void upgrade_finish(struct daemon *daemon);

#endif
