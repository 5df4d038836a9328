#ifndef APP_UPGRADE_PRIVATE_H
#define APP_UPGRADE_PRIVATE_H

/* Shared by upgrade.c (beginning, settling, execve, refusals) and upgrade_check.c (the new program on trial).
 */

#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>

#include "app/upgrade.h"

struct upgrade {
	struct daemon *daemon;
	struct call *call;
	char *path;
	struct stat seen; /* the file, when it was checked */

	/* upgrade_check.c */
	struct child *check;
	struct lineconn *conn;
	struct errtail *tail;
	struct loop_timer *limit;
	char *verdict; /* the last line that it gave */
	bool late;

	/* upgrade.c */
	bool settling;
	sigset_t signals; /* that were held back before */
	struct loop_timer *timer;
	int ticks;
	int64_t settle_ms; /* when it began */
};

/* upgrade.c */

/* It comes to nothing, for this reason (one line). Frees it. */
void upgrade_refuse(struct upgrade *upgrade, const char *why);

/* The new program takes over: on to the next step. */
void upgrade_settle(struct upgrade *upgrade);

/* All that is to be handed over, and the file that it is in. */
int upgrade_seal_state(struct daemon *daemon, struct handover **ret, int *ret_fd)
	__attribute__((warn_unused_result));

/* upgrade_check.c. Ends in upgrade_refuse() or upgrade_settle(), now or later. */
void upgrade_check(struct upgrade *upgrade);
void upgrade_end_check(struct upgrade *upgrade);

#endif
