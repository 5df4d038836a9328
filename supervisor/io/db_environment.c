#include "io/db_environment.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stddef.h>

int db_environment(const char *url, void (*each)(void *arg, const char *variable, const char *value),
		   void *arg)
{
	PQconninfoOption *options = PQconninfoParse(url, NULL);

	if (!options)
		return -EINVAL;
	for (const PQconninfoOption *option = options; option->keyword; option++)
		if (option->envvar && option->val)
			each(arg, option->envvar, option->val);
	PQconninfoFree(options);
	return 0;
}
