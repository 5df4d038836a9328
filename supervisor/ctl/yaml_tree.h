#ifndef CTL_YAML_TREE_H
#define CTL_YAML_TREE_H

/* A YAML document as a tree that knows its lines. Scalars are text: `yes`, `1.0` and `null` are what they
 * look like. Aliases share the node they name; how often that unfolds is for the reader to bound. */

#include <stdbool.h>
#include <stddef.h>

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_value {
	enum yaml_kind kind;
	int line;   /* from 1 */
	char *text; /* of a scalar, NUL-terminated */
	size_t len;
	bool plain; /* a scalar without quotes */
	/* Of a list its items, of a map key, value, key, value, …; owned by the tree. */
	struct yaml_value **items;
	size_t count, room;
	struct yaml_value *next; /* of all in the tree */
};

struct yaml_tree {
	struct yaml_value *root;
	struct yaml_value *all;
};

#define YAML_DEPTH_MAX 64

/* -EINVAL with *ret_error "line N: what is wrong" (fresh). */
int yaml_tree_parse(const char *text, size_t len, struct yaml_tree **ret, char **ret_error)
	__attribute__((warn_unused_result));
void yaml_tree_free(struct yaml_tree **tree);

/* JSON writes characters beyond the BMP as two escapes, which YAML does not know: gives fresh text in which
 * they are the characters themselves. No line changes its number. */
char *yaml_join_surrogates(const char *text, size_t len, size_t *ret_len) __attribute__((warn_unused_result));

#endif
