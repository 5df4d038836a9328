#include "policy/histogram.h"

const int64_t histogram_bounds_ms[HISTOGRAM_BOUNDS] = {
	5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 1800000,
};

void histogram_add(struct histogram *histogram, int64_t ms)
{
	int bound = 0;

	if (ms < 0)
		ms = 0;
	while (bound < HISTOGRAM_BOUNDS && ms > histogram_bounds_ms[bound])
		bound++;
	histogram->in[bound]++;
	histogram->sum_ms += ms;
}

int64_t histogram_upto(const struct histogram *histogram, int bound)
{
	int64_t count = 0;

	for (int i = 0; i <= bound; i++)
		count += histogram->in[i];
	return count;
}
