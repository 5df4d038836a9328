/* psql: hands over to psql on the daemon's database. All goes by the environment: on a command line every
 * user of the machine could read the password. */

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"

static int set_environment(json_t *environment)
{
	const char *name;
	json_t *value;

	json_object_foreach(environment, name, value)
	{
		if (setenv(name, json_string_value(value), 1) < 0) {
			ctl_complain("cannot set %s: %s", name, strerror(errno));
			return CTL_FAILED;
		}
	}
	return CTL_OK;
}

/* A server's own psql, where none is on PATH. */
static void exec_installed(char **argv)
{
	glob_t found;

	if (glob("/usr/lib/postgresql/*/bin/psql", 0, NULL, &found) != 0)
		return;
	for (size_t i = found.gl_pathc; i-- > 0;)
		(void)execv(found.gl_pathv[i], argv);
	globfree(&found);
}

static int exec_psql(const struct parsed_args *parsed)
{
	char **argv = mem_array((size_t)parsed->rest_count + 2, sizeof(*argv));

	argv[0] = mem_strdup("psql");
	for (int i = 0; i < parsed->rest_count; i++)
		argv[i + 1] = parsed->rest[i];
	(void)execvp("psql", argv);
	if (errno == ENOENT)
		exec_installed(argv);
	ctl_complain("cannot start psql: %s (Debian: apt install postgresql-client)", strerror(errno));
	mem_free(&argv[0]);
	mem_free(&argv);
	return CTL_FAILED;
}

int action_psql(struct ctl *ctl)
{
	struct conn_reply reply;
	int code = ctl_ask(ctl, "config.database", NULL, &reply);

	if (code != CTL_OK)
		return code;
	code = set_environment(json_object_get(reply.data, "environment"));
	conn_reply_clear(&reply);
	conn_free(&ctl->conn);
	return code == CTL_OK ? exec_psql(ctl->parsed) : code;
}
