#include "ctl/first_aid.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

/* ---- who may use the socket ---- */

/* The group that opens the way: of the socket, or of the folder that hides it. NULL when none is found.
 * Fresh. */
static char *group_of(const char *path)
{
	AUTO(mem_free_str) char *copy = mem_strdup(path);
	struct stat info;
	const struct group *group;

	if (stat(path, &info) < 0 && stat(dirname(copy), &info) < 0)
		return NULL;
	group = getgrgid(info.st_gid);
	return group ? mem_strdup(group->gr_name) : NULL;
}

/* Whether the user database has us in the group, whatever this process has. */
static bool is_listed(const char *group_name, const char *user)
{
	const struct group *group = getgrnam(group_name);

	for (char **member = group ? group->gr_mem : NULL; member && *member; member++)
		if (strcmp(*member, user) == 0)
			return true;
	return false;
}

static char *not_allowed(const char *path)
{
	AUTO(mem_free_str) char *group = group_of(path);
	const struct passwd *entry = getpwuid(geteuid());
	AUTO(mem_free_str) char *user = mem_strdup(entry ? entry->pw_name : "USER");
	const char *name = group ? group : "GROUP";

	if (group && is_listed(group, user))
		return mem_printf("you may not use %s yet: you are in its group %s, but were not when you "
				  "logged in.\n"
				  "  In this shell:       newgrp %s\n"
				  "  Everywhere:          log out and in again",
				  path, name, name);
	return mem_printf(
		"you may not use %s: it is for root, its owner%s%s.\n"
		"  Join the group:      sudo usermod -aG %s %s   (then: newgrp %s, or log in again)\n"
		"  Just this once:      sudo proctorctl …\n"
		"  Which group?         [control] group in proctor.ini says",
		path, group && strcmp(name, "root") != 0 ? " and the group " : "",
		group && strcmp(name, "root") != 0 ? name : "", name, user, name);
}

char *first_aid(const char *path, int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return mem_printf(
			"no daemon has a socket at %s.\n"
			"  Is it running?       systemctl status proctord\n"
			"  Start it:            sudo systemctl start proctord   (or: proctord --config "
			"FILE)\n"
			"  Another socket?      proctorctl --socket PATH …   or PROCTOR_SOCKET=PATH; it "
			"is in [daemon] run_dir",
			path);
	case ECONNREFUSED:
		return mem_printf(
			"the socket %s is left over: its daemon is gone.\n"
			"  Why did it end?      journalctl -u proctord -n 50\n"
			"  Start it again:      sudo systemctl start proctord   (it takes the socket "
			"over)",
			path);
	case EACCES:
	case EPERM:
		return not_allowed(path);
	case EAGAIN:
	case ETIMEDOUT:
		return mem_printf(
			"the daemon behind %s does not take connections: it hangs or is overrun.\n"
			"  What is it doing?    journalctl -u proctord -n 50\n"
			"  Start it anew:       sudo systemctl restart proctord   (nothing paid for is "
			"lost)",
			path);
	case ENOTSOCK:
	case EPROTOTYPE:
		return mem_printf(
			"%s is no control socket of a daemon.\n"
			"  Another socket?      proctorctl --socket PATH …   or PROCTOR_SOCKET=PATH",
			path);
	default:
		return mem_printf("cannot connect to %s: %s", path, strerror(error));
	}
}
