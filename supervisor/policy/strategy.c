#include "policy/strategy.h"

#include <assert.h>

void strategy_span(enum strategy strategy, size_t count, size_t failed, size_t *ret_first, size_t *ret_last)
{
	assert(failed < count);
	*ret_first = strategy == STRATEGY_ONE_FOR_ALL ? 0 : failed;
	*ret_last = strategy == STRATEGY_ONE_FOR_ONE ? failed : count - 1;
}

const char *strategy_name(enum strategy strategy)
{
	static const char *const names[] = { "one_for_one", "one_for_all", "rest_for_one" };

	return (unsigned)strategy < sizeof(names) / sizeof(names[0]) ? names[strategy] : "?";
}
