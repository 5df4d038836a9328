#include "core/tally.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "core/handover_parts.h"
#include "io/handover.h"
#include "row.h"

static struct tally_model find(const struct tally *tally, const char *id)
{
	const struct tally_model *model;
	size_t cursor = 0;

	while ((model = tally_next_model(tally, &cursor)))
		if (id ? model->id && strcmp(model->id, id) == 0 : !model->id)
			return *model;
	return (struct tally_model){ .answers = -1 };
}

static int count_models(const struct tally *tally)
{
	size_t cursor = 0;
	int count = 0;

	while (tally_next_model(tally, &cursor))
		count++;
	return count;
}

static void test_an_answer_counts_for_its_model(void **state)
{
	AUTO(tally_clear) struct tally tally = { .answered = 0 };

	(void)state;
	assert_int_equal(count_models(&tally), 0);
	tally_answer(&tally, "a", 10, 100, 20, 5);
	tally_answer(&tally, "a", 30, 1, 2, -1);
	tally_answer(&tally, "b", 30, 7, 8, 0);
	assert_int_equal(count_models(&tally), 2);
	assert_int_equal(tally.answered, 3);
	assert_int_equal(tally.call_time.sum_ms, 70);
	assert_int_equal(find(&tally, "a").answers, 2);
	assert_int_equal(find(&tally, "a").unpriced, 1);
	assert_int_equal(find(&tally, "a").input_tokens, 101);
	assert_int_equal(find(&tally, "a").output_tokens, 22);
	assert_int_equal(find(&tally, "a").cost_e10, 5);
	assert_int_equal(find(&tally, "b").unpriced, 0);
}

static void fill(struct tally *tally, int models)
{
	for (int i = 0; i < models; i++) {
		AUTO(mem_free_str) char *id = mem_printf("model-%d", i);

		tally_answer(tally, id, 1, 2, 3, 4);
	}
}

static void test_models_beyond_the_cap_are_counted_together(void **state)
{
	AUTO(tally_clear) struct tally tally = { .answered = 0 };

	(void)state;
	fill(&tally, TALLY_MODELS_MAX);
	assert_int_equal(count_models(&tally), TALLY_MODELS_MAX);
	fill(&tally, TALLY_MODELS_MAX + 3);
	assert_int_equal(count_models(&tally), TALLY_MODELS_MAX + 1);
	assert_int_equal(find(&tally, NULL).answers, 3);
	assert_int_equal(find(&tally, NULL).cost_e10, 12);
	assert_int_equal(find(&tally, "model-0").answers, 2);
	assert_int_equal(tally.answered, 2 * TALLY_MODELS_MAX + 3);
}

static void test_all_of_it_outlives_an_upgrade(void **state)
{
	AUTO(tally_clear) struct tally was = { .cancelled = 6 };
	AUTO(tally_clear) struct tally is = { .cancelled = 0 };
	AUTO(handover_free) struct handover *out = NULL;
	AUTO(handover_free) struct handover *in = NULL;
	AUTO(mem_free_str) char *error = NULL;
	int fd;

	(void)state;
	fill(&was, TALLY_MODELS_MAX + 1);
	was.errors[ERROR_RATE_LIMIT] = 4;
	was.failures[ERROR_POISON] = 2;
	histogram_add(&was.call_wait, 77);
	handover_new(&out);
	tally_pass(&was, out);
	assert_int_equal(handover_seal(out, &fd), 0);
	assert_int_equal(handover_open(fd, false, &in, &error), 0);
	tally_pass(&is, in);
	assert_null(handover_error(in));
	assert_int_equal(is.answered, was.answered);
	assert_int_equal(is.cancelled, 6);
	assert_memory_equal(is.errors, was.errors, sizeof(is.errors));
	assert_memory_equal(is.failures, was.failures, sizeof(is.failures));
	assert_memory_equal(&is.call_time, &was.call_time, sizeof(is.call_time));
	assert_memory_equal(&is.call_wait, &was.call_wait, sizeof(is.call_wait));
	assert_int_equal(count_models(&is), TALLY_MODELS_MAX + 1);
	assert_int_equal(find(&is, "model-7").input_tokens, 2);
	assert_int_equal(find(&is, NULL).answers, 1);
}

static void test_counts_of_another_row_begin_anew(void **state)
{
	int64_t was[3] = { 1, 2, 3 }, same[3] = { 0 }, longer[4] = { 0 };
	AUTO(handover_free) struct handover *out = NULL;
	AUTO(handover_free) struct handover *in = NULL;
	AUTO(mem_free_str) char *error = NULL;
	int fd;

	(void)state;
	handover_new(&out);
	handover_counts(out, "counts", was, ARRAY_LEN(was));
	assert_int_equal(handover_seal(out, &fd), 0);
	assert_int_equal(handover_open(fd, false, &in, &error), 0);
	handover_counts(in, "counts", longer, ARRAY_LEN(longer));
	handover_counts(in, "none", same, ARRAY_LEN(same));
	assert_int_equal(longer[0] + longer[1] + longer[2] + longer[3] + same[0], 0);
	handover_counts(in, "counts", same, ARRAY_LEN(same));
	assert_memory_equal(same, was, sizeof(was));
	assert_null(handover_error(in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_counts_for_its_model),
		cmocka_unit_test(test_models_beyond_the_cap_are_counted_together),
		cmocka_unit_test(test_all_of_it_outlives_an_upgrade),
		cmocka_unit_test(test_counts_of_another_row_begin_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
