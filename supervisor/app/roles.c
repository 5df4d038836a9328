#include "app/roles.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "config/access.h"
#include "config/config.h"
#include "io/unixsock.h"

enum { GROUPS_MAX = 4096 }; /* of a peer; of one with more, only its own group is known */

struct grant {
	enum command_role role;
	struct access_word word;
};

struct roles {
	struct grant *grants;
	size_t count;
};

static void read_list(struct roles *roles, const struct config_list *list, enum command_role role)
{
	for (size_t i = 0; i < list->len; i++) {
		AUTO(mem_free_str) char *error = NULL;
		struct grant *grant = &roles->grants[roles->count];

		grant->role = role;
		if (access_parse(list->words[i], &grant->word, &error) == 0)
			roles->count++;
		else
			log_error("control.role", "role=%s reason=\"%s\"", command_role_name(role), error);
	}
}

void roles_read(const struct config *config, struct roles **ret)
{
	static const enum command_role by_access[CONFIG_ACCESS_COUNT] = {
		[CONFIG_MAY_READ] = COMMAND_READ,
		[CONFIG_MAY_OPERATE] = COMMAND_OPERATE,
		[CONFIG_MAY_ADMIN] = COMMAND_ADMIN,
	};
	struct roles *roles = mem_alloc(sizeof(*roles));
	size_t words = 0;

	for (size_t i = 0; i < CONFIG_ACCESS_COUNT; i++)
		words += config->control.access[i].len;
	roles->grants = mem_alloc((words + 1) * sizeof(*roles->grants));
	for (size_t i = 0; i < CONFIG_ACCESS_COUNT; i++)
		read_list(roles, &config->control.access[i], by_access[i]);
	roles_free(ret);
	*ret = roles;
}

void roles_free(struct roles **roles)
{
	if (!*roles)
		return;
	free((*roles)->grants);
	mem_free(roles);
}

enum command_role roles_of(const struct roles *roles, const struct unixsock_peer *peer, int fd)
{
	gid_t groups[GROUPS_MAX];
	int count = unixsock_peer_groups(fd, groups, GROUPS_MAX);
	const struct access_peer who = {
		.uid = peer->uid,
		.gid = peer->gid,
		.groups = groups,
		.ngroups = count > 0 ? (size_t)count : 0,
	};
	enum command_role role = COMMAND_NONE;

	if (peer->uid == 0 || peer->uid == geteuid())
		return COMMAND_ADMIN;
	for (size_t i = 0; i < roles->count; i++) {
		if (roles->grants[i].role > role && access_means(&roles->grants[i].word, &who))
			role = roles->grants[i].role;
	}
	return role;
}
