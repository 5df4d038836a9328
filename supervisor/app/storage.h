#ifndef APP_STORAGE_H
#define APP_STORAGE_H

/* The database and the store over it, as leaves of the supervision tree. */

struct daemon;
struct service_events;
struct suptree_node;

/* Makes the embedded Postgres, where the configuration wants one, and the store. -errno with *ret_error (one
 * fresh line). */
int storage_make(struct daemon *daemon, const char *state_id, char **ret_error)
	__attribute__((warn_unused_result));

/* Adds them to the tree, in their order. */
void storage_plant(struct daemon *daemon, struct suptree_node *root);

/* Tells the store how long things are kept, by the daemon's configuration. */
void storage_keep(struct daemon *daemon);

void storage_free(struct daemon *daemon);

#endif
