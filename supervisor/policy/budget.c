#include "policy/budget.h"

static int64_t known(int64_t cost)
{
	return cost > 0 ? cost : 0;
}

static int64_t sum(int64_t a, int64_t b)
{
	int64_t both;

	return __builtin_add_overflow(a, b, &both) ? INT64_MAX : both;
}

enum budget_verdict budget_look(const struct budget *b, int64_t cost)
{
	int64_t with = sum(b->spent, known(cost));

	if (b->most == 0 || sum(with, b->reserved) <= b->most)
		return BUDGET_OPEN;
	return with <= b->most ? BUDGET_WAITS : BUDGET_OVER;
}

void budget_reserve(struct budget *b, int64_t cost)
{
	b->reserved = sum(b->reserved, known(cost));
}

void budget_settle(struct budget *b, int64_t reserved, int64_t real)
{
	reserved = known(reserved);
	b->reserved = b->reserved > reserved ? b->reserved - reserved : 0;
	b->spent = sum(b->spent, known(real));
}

void budget_hear(struct budget *b, int64_t spent)
{
	if (spent > b->spent)
		b->spent = spent;
}
