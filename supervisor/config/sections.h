#ifndef CONFIG_SECTIONS_H
#define CONFIG_SECTIONS_H

/* The sections of a config as a list, and where each value came from: shared by loading and showing. */

#include <stddef.h>

#include "config/config.h"
#include "config/keys.h"

struct section {
	enum key_section kind;
	const char *name; /* NULL when the kind has no names */
	const void *base; /* the section's struct */
};

/* All sections in effect, in the order in which they are shown. *ret is freed by the caller; what it points
 * at belongs to the config. */
size_t sections_list(const struct config *c, struct section **ret) __attribute__((warn_unused_result));

/* The section of a group, pool or service. */
struct section sections_of_child(const struct config *c, const struct config_child *child);

/* "pool:probe", fresh. */
char *sections_title(enum key_section kind, const char *name) __attribute__((warn_unused_result));

/* The default of a key; providers and the root group have their own. */
const char *sections_default(const struct key_spec *key, const char *name);

/* The same for a section by its title, "provider:openai". */
int sections_given(const struct config *c, const char *title, const char *key);

/* Line that gave the key (key NULL: the section); 0 = none did. */
int sections_line(const struct config *c, enum key_section kind, const char *name, const char *key);
void sections_set_line(struct config *c, enum key_section kind, const char *name, const char *key, int line);

/* Sets all fields to their defaults / frees what they hold. The struct is zeroed before the first. */
void sections_init(enum key_section kind, const char *name, void *base);
void sections_clear(enum key_section kind, void *base);

#endif
