#include "policy/error.h"

#include <string.h>

static const struct error_spec specs[ERROR_CODE_COUNT] = {
#define X(code, kind, text) [ERROR_##code] = { .name = #code, .class = ERROR_##kind, .meaning = text },
	ERROR_CODES(X)
#undef X
};

const struct error_spec *error_spec(enum error_code code)
{
	if ((unsigned)code >= ERROR_CODE_COUNT)
		code = ERROR_UNKNOWN;
	return &specs[code];
}

enum error_code error_parse(const char *name)
{
	for (unsigned i = 0; name && i < ERROR_CODE_COUNT; i++) {
		if (!strcmp(specs[i].name, name))
			return (enum error_code)i;
	}
	return ERROR_UNKNOWN;
}
