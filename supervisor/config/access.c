#include "config/access.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "config/keys.h"

static bool is_number(const char *text, unsigned *ret)
{
	const char *rest;
	int64_t number;

	/* The last one means "none" to the kernel. */
	if (key_parse_number(text, &number, &rest) < 0 || *rest || number >= UINT_MAX)
		return false;
	*ret = (unsigned)number;
	return true;
}

static bool find_user(const char *name, unsigned *ret)
{
	const struct passwd *user = getpwnam(name);

	if (user)
		*ret = user->pw_uid;
	return user || is_number(name, ret);
}

static bool find_group(const char *name, unsigned *ret)
{
	const struct group *group = getgrnam(name);

	if (group)
		*ret = group->gr_gid;
	return group || is_number(name, ret);
}

int access_parse(const char *text, struct access_word *ret, char **ret_error)
{
	static const char user[] = "user:", group[] = "group:";
	unsigned id = 0;

	if (!strcmp(text, "any")) {
		*ret = (struct access_word){ .kind = ACCESS_ANY };
		return 0;
	}
	if (!strncmp(text, user, strlen(user))) {
		if (find_user(text + strlen(user), &id)) {
			*ret = (struct access_word){ .kind = ACCESS_USER, .id = id };
			return 0;
		}
		*ret_error = mem_printf("there is no user '%.60s' on this system; make it, or name another",
					text + strlen(user));
		return -EINVAL;
	}
	if (!strncmp(text, group, strlen(group))) {
		if (find_group(text + strlen(group), &id)) {
			*ret = (struct access_word){ .kind = ACCESS_GROUP, .id = id };
			return 0;
		}
		*ret_error = mem_printf("there is no group '%.60s' on this system; make it, or name another",
					text + strlen(group));
		return -EINVAL;
	}
	*ret_error = mem_printf("'%.60s' is not user:NAME, group:NAME or any, with blanks between several",
				text);
	return -EINVAL;
}

bool access_means(const struct access_word *word, const struct access_peer *peer)
{
	bool is = word->kind == ACCESS_ANY || (word->kind == ACCESS_USER && word->id == peer->uid) ||
		  (word->kind == ACCESS_GROUP && word->id == peer->gid);

	for (size_t i = 0; word->kind == ACCESS_GROUP && i < peer->ngroups && !is; i++)
		is = word->id == peer->groups[i];
	return is;
}
