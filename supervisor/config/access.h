#ifndef CONFIG_ACCESS_H
#define CONFIG_ACCESS_H

/* Whom a word of [control] read, operate or admin means: `user:NAME`, `group:NAME` or `any`; a number may
 * stand for a name. Names are looked up in the system's tables, so at a start and a reload only. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum access_kind { ACCESS_ANY, ACCESS_USER, ACCESS_GROUP };

struct access_word {
	enum access_kind kind;
	unsigned id; /* uid or gid */
};

/* Who asks: as of when he connected. */
struct access_peer {
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* further ones */
	size_t ngroups;
};

/* -EINVAL: *ret_error is fresh text "what is wrong; what is allowed". */
int access_parse(const char *text, struct access_word *ret, char **ret_error)
	__attribute__((warn_unused_result));

bool access_means(const struct access_word *word, const struct access_peer *peer);

#endif
