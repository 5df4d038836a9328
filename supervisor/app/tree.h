#ifndef APP_TREE_H
#define APP_TREE_H

/* The daemon's supervision tree, built from the configuration:
 *
 *   root ── postgres (embedded mode only) ── store ── groups, pools and services in the file's order
 *
 * The store is a leaf like the others, between its server and what needs it: so it starts when there is a
 * server to speak to, and its last results are flushed when the pools are gone and before the server goes. */

#include <stdbool.h>
#include <stddef.h>

struct config;
struct daemon;
struct pool;
struct service;
struct suptree;
struct suptree_node;
struct tree;

/* Makes the store and the tree over it; nothing is started. On an error *ret_error is one fresh line, and
 * tree_free() takes down what was made. */
int tree_build(struct daemon *daemon, const char *state_id, char **ret_error)
	__attribute__((warn_unused_result));
void tree_free(struct daemon *daemon);

/* Tells the dispatcher which pool serves which lane. */
void tree_route(struct daemon *daemon);

/* Starts what is new since `from`, stops what is gone, and gives the rest their new
 * settings: a changed service is restarted, a pool whose workers would start otherwise is rolled
 * (*ret_rolled), all others keep their processes. The daemon's configuration and program must be the new ones
 * already. */
void tree_reload(struct daemon *daemon, const struct config *from, bool *ret_rolled);

struct suptree *tree_nodes(const struct tree *tree);

/* What a leaf runs; NULL when it is none of that kind. */
struct service *tree_service(const struct tree *tree, const struct suptree_node *node);
struct pool *tree_pool(const struct tree *tree, const struct suptree_node *node);

/* Pools in the file's order; NULL behind the last. */
struct pool *tree_pool_at(const struct tree *tree, size_t index);
struct pool *tree_find_pool(const struct tree *tree, const char *name); /* NULL when there is none */

/* Totals over all pools. */
int tree_workers(const struct tree *tree);
int tree_serving(const struct tree *tree);
const char *tree_degraded(const struct tree *tree); /* the first reason found; NULL when all is well */

#endif
