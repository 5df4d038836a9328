#ifndef APP_MANAGER_H
#define APP_MANAGER_H

/* What the service manager is told while the daemon runs, by sd_notify(3)'s protocol: one line of what it
 * does (STATUS=), that its loop turns (WATCHDOG=1), and that a stop takes longer (EXTEND_TIMEOUT_USEC=).
 * Nothing where none listens. READY=1 and its like are sent where they come true. */

struct daemon;
struct manager;

void manager_new(struct daemon *daemon, struct manager **ret);

/* Tells at once what would be told within some seconds. */
void manager_tell(struct manager *manager);

void manager_free(struct manager **manager);

#endif
