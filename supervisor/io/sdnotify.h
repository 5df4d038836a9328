#ifndef IO_SDNOTIFY_H
#define IO_SDNOTIFY_H

#include <stdint.h>

/* sd_notify(3)'s protocol: one datagram to $NOTIFY_SOCKET. All are silent no-ops when it is not set. */

/* Remembers $NOTIFY_SOCKET and $WATCHDOG_USEC, and takes the former out of the environment, so that no child
 * speaks for us. Once, at start. */
void sdnotify_init(void);

/* Lines such as "READY=1\nSTATUS=…". */
void sdnotify_send(const char *lines);

/* RELOADING=1 with the MONOTONIC_USEC that Type=notify-reload wants; READY=1 is to follow. */
void sdnotify_reloading(void);

/* How often at least the manager wants WATCHDOG=1, by $WATCHDOG_USEC; 0 = it does not watch us. */
int64_t sdnotify_watchdog_ms(void);

/* What $NOTIFY_SOCKET was, for a program that takes our place; NULL when it was not set. */
const char *sdnotify_path(void);

#endif
