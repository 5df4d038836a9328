#include "app/state.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "config/config.h"
#include "io/handover.h"

enum { ID_BYTES = 16 };

static int lock_fd = -1; /* held as long as the process lives */

static int make_dir(const char *key, const char *path, unsigned mode, const struct passwd *owner,
		    char **ret_error)
{
	bool is_new = access(path, F_OK) < 0;
	int r = fd_make_dirs(path, mode);

	/* A folder that was there belongs to whom it belongs: the path may be a slip of the hand. */
	if (r == 0 && is_new && owner && chown(path, owner->pw_uid, owner->pw_gid) < 0)
		r = -errno;
	if (r < 0)
		*ret_error = mem_printf(
			"[daemon] %s: %s cannot be made: %s; make it, or choose another folder", key, path,
			strerror(-r));
	return r;
}

static int check_writable(const char *key, const char *path, char **ret_error)
{
	int r = access(path, R_OK | W_OK | X_OK) < 0 ? -errno : 0;

	if (r < 0)
		*ret_error = mem_printf(
			"[daemon] %s: %s is not writable by uid %u: %s; chown it to that user, or choose "
			"another folder",
			key, path, (unsigned)geteuid(), strerror(-r));
	return r;
}

static int become(const struct passwd *user, char **ret_error)
{
	int r = 0;

	if (initgroups(user->pw_name, user->pw_gid) < 0 || setgid(user->pw_gid) < 0 ||
	    setuid(user->pw_uid) < 0)
		r = -errno;
	if (r < 0)
		*ret_error = mem_printf("[daemon] user: cannot become %s: %s", user->pw_name, strerror(-r));
	return r;
}

int state_prepare(const struct config *config, char **ret_error)
{
	const struct config_daemon *daemon = &config->daemon;
	const struct passwd *user = NULL;
	int r;

	if (geteuid() == 0) {
		errno = 0;
		user = getpwnam(daemon->user);
		if (!user) {
			*ret_error = mem_printf(
				"[daemon] user: there is no user \"%s\" on this system; make it (useradd "
				"--system %s) or name another",
				daemon->user, daemon->user);
			return -EINVAL;
		}
	}
	r = make_dir("state_dir", daemon->state_dir, 0700, user, ret_error);
	if (r == 0)
		r = make_dir("run_dir", daemon->run_dir, 0755, user, ret_error);
	if (r == 0 && user && user->pw_uid != 0)
		r = become(user, ret_error);
	if (r == 0)
		r = check_writable("state_dir", daemon->state_dir, ret_error);
	if (r == 0)
		r = check_writable("run_dir", daemon->run_dir, ret_error);
	return r;
}

/* 32 random hex digits, made once and kept in the folder. */
static int read_or_make_id(const char *state_dir, char **ret)
{
	AUTO(mem_free_str) char *path = mem_printf("%s/id", state_dir);
	unsigned char bytes[ID_BYTES];
	char text[2 * ID_BYTES + 2];
	size_t len;
	int r = fd_read_file(path, 256, ret, &len);

	if (r == 0) {
		(*ret)[strcspn(*ret, "\n")] = '\0';
		return 0;
	}
	if (r != -ENOENT)
		return r;
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	(void)strcat(text, "\n");
	r = fd_write_file(path, text, strlen(text), 0600);
	if (r == 0)
		*ret = mem_strndup(text, 2 * ID_BYTES);
	return r;
}

int state_lock(const struct config *config, char **ret_id, char **ret_error)
{
	const char *state_dir = config->daemon.state_dir;
	AUTO(mem_free_str) char *path = mem_printf("%s/lock", state_dir);
	AUTO(mem_free_str) char *folder_id = NULL, *machine_id = NULL;
	AUTO(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	size_t len;
	int r;

	if (fd < 0) {
		r = -errno;
		*ret_error = mem_printf("%s cannot be opened: %s", path, strerror(-r));
		return r;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		*ret_error = mem_printf(
			"another proctord runs on %s (it holds %s); stop it, or use another state_dir",
			state_dir, path);
		return -EBUSY;
	}
	r = read_or_make_id(state_dir, &folder_id);
	if (r < 0) {
		*ret_error = mem_printf("%s/id cannot be read or made: %s", state_dir, strerror(-r));
		return r;
	}
	/* A copied folder on another machine is another node. */
	if (fd_read_file("/etc/machine-id", 256, &machine_id, &len) == 0)
		machine_id[strcspn(machine_id, "\n")] = '\0';
	*ret_id = mem_printf("%s@%s", folder_id, machine_id ? machine_id : "");
	lock_fd = fd_take(&fd);
	return 0;
}

void state_pass(struct handover *h, const char *name)
{
	handover_fd(h, name, &lock_fd);
}
