#ifndef APP_TREE_H
#define APP_TREE_H

/* The daemon's supervision tree, built from the configuration:
 *
 *   root ── postgres (embedded mode only) ── store ── services and pools in the file's order
 *
 * The store is a leaf like the others, between its server and what needs it: so it starts when there is a
 * server to speak to, and its last results are flushed when the pools are gone and before the server goes. */

struct daemon;

/* Makes store, pool, services and the tree over them; nothing is started. On an error *ret_error is one fresh
 * line; tree_free() takes down what was made. */
int tree_build(struct daemon *daemon, const char *state_id, char **ret_error)
	__attribute__((warn_unused_result));
void tree_free(struct daemon *daemon);

#endif
