#ifndef APP_ROLES_H
#define APP_ROLES_H

/* Who may what on the control socket: [control] read, operate and admin. Root and the daemon's own user are
 * administrators whatever these say. */

#include "io/command_table.h"

struct config;
struct roles;
struct unixsock_peer;

/* Takes what `config`, which was checked, says; what *roles held is freed. A name that the system has
 * forgotten since the check means nobody. */
void roles_read(const struct config *config, struct roles **roles);
void roles_free(struct roles **roles);

/* The highest role of the peer, by its user and all its groups; `fd` is its connection. */
enum command_role roles_of(const struct roles *roles, const struct unixsock_peer *peer, int fd);

#endif
