#include "core/purse.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "core/store.h"
#include "io/handover.h"
#include "policy/price.h"

struct run {
	char *id;
	struct budget budget;
	int calls;   /* under way */
	bool active; /* in the pairs read last */
	bool told;   /* that its budget is used up */
};

struct purse {
	struct map *runs; /* id → struct run */
};

void purse_new(struct purse **ret)
{
	struct purse *purse = mem_alloc(sizeof(*purse));

	map_new(&purse->runs);
	*ret = purse;
}

static void run_free(struct run *run)
{
	mem_free(&run->id);
	mem_free(&run);
}

void purse_free(struct purse **purse)
{
	struct run *run;
	size_t cursor = 0;

	if (!*purse)
		return;
	while ((run = map_next((*purse)->runs, &cursor)))
		run_free(run);
	map_free(&(*purse)->runs);
	mem_free(purse);
}

static struct run *find(const struct purse *purse, const char *id)
{
	return map_get(purse->runs, id, strlen(id));
}

static struct run *find_or_make(struct purse *purse, const char *id)
{
	struct run *run = find(purse, id);

	if (run)
		return run;
	run = mem_alloc(sizeof(*run));
	run->id = mem_strdup(id);
	(void)map_set(purse->runs, id, strlen(id), run);
	return run;
}

static void read_pair(struct purse *purse, const struct store_pair *pair)
{
	struct run *run = find_or_make(purse, pair->run_id);

	run->active = true;
	run->budget.most = pair->budget_e10;
	budget_hear(&run->budget, pair->spent_e10);
	/* A pause that did not come to pass is asked for again. */
	if (strcmp(pair->run_status, "PAUSED") != 0)
		run->told = false;
}

static void forget_idle(struct purse *purse)
{
	struct run *run;
	size_t cursor = 0;

	while ((run = map_next(purse->runs, &cursor))) {
		if (run->active || run->calls > 0)
			continue;
		(void)map_remove(purse->runs, run->id, strlen(run->id));
		run_free(run);
	}
}

void purse_read(struct purse *purse, const struct store_pair *pairs, size_t count)
{
	struct run *run;
	size_t cursor = 0;

	while ((run = map_next(purse->runs, &cursor)))
		run->active = false;
	for (size_t i = 0; i < count; i++)
		read_pair(purse, &pairs[i]);
	forget_idle(purse);
}

enum budget_verdict purse_look(const struct purse *purse, const char *run_id, int64_t cost_e10)
{
	const struct run *run = find(purse, run_id);

	return run ? budget_look(&run->budget, cost_e10) : BUDGET_OPEN;
}

void purse_reserve(struct purse *purse, const char *run_id, int64_t cost_e10)
{
	struct run *run = find_or_make(purse, run_id);

	run->calls++;
	budget_reserve(&run->budget, cost_e10);
}

void purse_settle(struct purse *purse, const char *run_id, int64_t reserved_e10, int64_t real_e10)
{
	struct run *run = find_or_make(purse, run_id);

	if (run->calls > 0)
		run->calls--;
	budget_settle(&run->budget, reserved_e10, real_e10);
}

static void pass_run(struct purse *purse, struct handover *h, const struct run *from)
{
	AUTO(mem_free_str) char *id = from ? mem_strdup(from->id) : NULL;
	struct budget budget = from ? from->budget : (struct budget){ .most = 0 };

	handover_begin(h, NULL);
	handover_text(h, "run", &id);
	handover_time(h, "mostE10", &budget.most);
	handover_time(h, "spentE10", &budget.spent);
	handover_end(h);
	if (from)
		return;
	if (!id) {
		handover_fault(h, "a budget is nobody's");
		return;
	}
	budget.reserved = 0;
	find_or_make(purse, id)->budget = budget;
}

void purse_pass(struct purse *purse, struct handover *h)
{
	size_t count = handover_begin_list(h, "purse", map_len(purse->runs)), cursor = 0;

	for (size_t i = 0; i < count; i++)
		pass_run(purse, h, handover_is_read(h) ? NULL : map_next(purse->runs, &cursor));
	handover_end(h);
}

/* "$5.00"; four decimals below a dollar. */
static char *usd(int64_t e10)
{
	int decimals = e10 < PRICE_E10_PER_USD ? 4 : 2;
	int64_t unit = decimals == 4 ? PRICE_E10_PER_USD / 10000 : PRICE_E10_PER_USD / 100;
	int64_t whole = e10 / PRICE_E10_PER_USD, part = e10 % PRICE_E10_PER_USD / unit;

	return mem_printf("$%" PRId64 ".%0*" PRId64, whole, decimals, part);
}

char *purse_over(struct purse *purse, const char *run_id, int64_t *ret_budget_e10)
{
	struct run *run = find(purse, run_id);
	AUTO(mem_free_str) char *most = NULL;
	AUTO(mem_free_str) char *spent = NULL;
	AUTO(mem_free_str) char *reserved = NULL;

	if (!run || run->told || run->budget.most == 0)
		return NULL;
	run->told = true;
	*ret_budget_e10 = run->budget.most;
	most = usd(run->budget.most);
	spent = usd(run->budget.spent);
	reserved = usd(run->budget.reserved);
	return mem_printf("the budget of %s is used up: %s spent, %s for calls under way", most, spent,
			  reserved);
}
