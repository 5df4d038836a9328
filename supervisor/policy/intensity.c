#include "policy/intensity.h"

#include <errno.h>

#include "base/mem.h"

/* Ring of the last limit + 1 stamps: one more than is borne is all that must be told apart. */
struct intensity {
	int64_t period_ms;
	int64_t latest_ms; /* of any call; time does not run back */
	int room;	   /* limit + 1 */
	int first;	   /* index of the oldest */
	int count;
	int64_t stamps[];
};

int intensity_new(int limit, int64_t period_ms, struct intensity **ret)
{
	struct intensity *i;

	if (limit < 0 || limit > 10000 || period_ms < 1)
		return -EINVAL;
	i = mem_alloc(sizeof(*i) + ((size_t)limit + 1) * sizeof(i->stamps[0]));
	i->period_ms = period_ms;
	i->latest_ms = INT64_MIN;
	i->room = limit + 1;
	*ret = i;
	return 0;
}

void intensity_free(struct intensity **i)
{
	mem_free(i);
}

static void drop_oldest(struct intensity *i)
{
	i->first = (i->first + 1) % i->room;
	i->count--;
}

static void drop_older(struct intensity *i, int64_t now_ms)
{
	if (now_ms > i->latest_ms)
		i->latest_ms = now_ms;
	while (i->count && i->latest_ms - i->stamps[i->first] > i->period_ms)
		drop_oldest(i);
}

bool intensity_add(struct intensity *i, int64_t now_ms)
{
	drop_older(i, now_ms);
	if (i->count == i->room)
		drop_oldest(i);
	i->stamps[(i->first + i->count) % i->room] = i->latest_ms;
	i->count++;
	return i->count == i->room;
}

int intensity_count(struct intensity *i, int64_t now_ms)
{
	drop_older(i, now_ms);
	return i->count;
}

int64_t intensity_stamp(const struct intensity *i, int index)
{
	return index < i->count ? i->stamps[(i->first + index) % i->room] : 0;
}

void intensity_reset(struct intensity *i)
{
	i->first = 0;
	i->count = 0;
}

int intensity_of_pool(int intensity, int size)
{
	return intensity > size / 2 ? intensity : size / 2;
}
