/* psql: hands over to psql on the daemon's database. */

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"
#include "ctl/pgtools.h"

int action_psql(struct ctl *ctl)
{
	const struct parsed_args *parsed = ctl->parsed;
	struct pgtools tools;
	char **argv;
	int code = pgtools_set_environment(ctl, &tools);

	if (code != CTL_OK)
		return code;
	argv = mem_array((size_t)parsed->rest_count + 2, sizeof(*argv));
	argv[0] = mem_strdup("psql");
	for (int i = 0; i < parsed->rest_count; i++)
		argv[i + 1] = parsed->rest[i];
	ctl_complain("cannot start psql: %s (Debian: apt install postgresql-client)",
		     strerror(-pgtools_exec(&tools, "psql", argv)));
	mem_free(&argv[0]);
	mem_free(&argv);
	pgtools_close(&tools);
	return CTL_FAILED;
}
