#include "policy/stall.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"

struct run {
	char *id;
	int64_t since_ms; /* the last success, or its appearance */
	uint64_t round;	  /* in which it was seen last */
	bool has_past;	  /* that is not known yet */
	bool moved;	  /* a success came since it was seen first */
	bool stalled;
};

struct stall {
	struct map *runs;
	uint64_t round;
};

void stall_new(struct stall **ret)
{
	struct stall *stall = mem_alloc(sizeof(*stall));

	map_new(&stall->runs);
	*ret = stall;
}

static void forget(struct stall *stall, struct run *run)
{
	(void)map_remove(stall->runs, run->id, strlen(run->id));
	mem_free(&run->id);
	mem_free(&run);
}

void stall_free(struct stall **stall)
{
	struct run *run;
	size_t cursor = 0;

	if (!*stall)
		return;
	while ((run = map_next((*stall)->runs, &cursor)))
		forget(*stall, run);
	map_free(&(*stall)->runs);
	mem_free(stall);
}

static struct run *find(const struct stall *stall, const char *run_id)
{
	return map_get(stall->runs, run_id, strlen(run_id));
}

void stall_begin_round(struct stall *stall)
{
	stall->round++;
}

void stall_see(struct stall *stall, const char *run_id, int64_t now_ms)
{
	struct run *run = find(stall, run_id);

	if (!run) {
		run = mem_alloc(sizeof(*run));
		run->id = mem_strdup(run_id);
		run->since_ms = now_ms;
		run->has_past = stall->round == 1;
		(void)map_set(stall->runs, run_id, strlen(run_id), run);
	}
	run->round = stall->round;
}

void stall_end_round(struct stall *stall)
{
	struct run *run;
	size_t cursor = 0;

	while ((run = map_next(stall->runs, &cursor)))
		if (run->round != stall->round)
			forget(stall, run);
}

bool stall_succeeded(struct stall *stall, const char *run_id, int64_t now_ms)
{
	struct run *run = find(stall, run_id);
	bool was = run && run->stalled;

	if (!run)
		return false;
	run->since_ms = now_ms;
	run->moved = true;
	run->stalled = false;
	return was;
}

size_t stall_ask(const struct stall *stall, int64_t now_ms, int64_t after_ms, const char ***ret)
{
	const struct run *run;
	size_t cursor = 0, count = 0;

	*ret = mem_array(map_len(stall->runs) + 1, sizeof(**ret));
	while ((run = map_next(stall->runs, &cursor)))
		if (run->has_past || now_ms - run->since_ms >= after_ms)
			(*ret)[count++] = run->id;
	return count;
}

enum stall_verdict stall_learn(struct stall *stall, const char *run_id, int64_t since_ms, bool told,
			       int64_t now_ms, int64_t after_ms)
{
	struct run *run = find(stall, run_id);
	bool was;

	if (!run)
		return STALL_NONE;
	was = run->has_past ? told : run->stalled;
	if (since_ms > run->since_ms || (run->has_past && !run->moved))
		run->since_ms = since_ms;
	run->has_past = false;
	run->stalled = now_ms - run->since_ms >= after_ms;
	if (was == run->stalled)
		return STALL_NONE;
	if (was)
		return STALL_ENDS;
	return told ? STALL_NONE : STALL_BEGINS;
}

bool stall_is(const struct stall *stall, const char *run_id, int64_t *ret_since_ms)
{
	const struct run *run = find(stall, run_id);

	if (!run || !run->stalled)
		return false;
	*ret_since_ms = run->since_ms;
	return true;
}

int stall_count(const struct stall *stall)
{
	const struct run *run;
	size_t cursor = 0;
	int count = 0;

	while ((run = map_next(stall->runs, &cursor)))
		count += run->stalled;
	return count;
}
