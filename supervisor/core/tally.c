#include "core/tally.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "core/handover_parts.h"
#include "io/handover.h"

static void free_model(struct tally_model *model)
{
	free(model->id);
	free(model);
}

void tally_clear(struct tally *tally)
{
	struct tally_model *model;
	size_t cursor = 0;

	while (tally->models && (model = map_next(tally->models, &cursor)))
		free_model(model);
	if (tally->models)
		map_free(&tally->models);
}

static struct tally_model *model_of(struct tally *tally, const char *id)
{
	struct tally_model *model;

	if (!tally->models)
		map_new(&tally->models);
	model = map_get(tally->models, id, strlen(id));
	if (model)
		return model;
	if (map_len(tally->models) == TALLY_MODELS_MAX)
		return &tally->other;
	model = mem_alloc(sizeof(*model));
	model->id = mem_strdup(id);
	(void)map_set(tally->models, id, strlen(id), model);
	return model;
}

void tally_answer(struct tally *tally, const char *model_id, int64_t took_ms, int64_t input_tokens,
		  int64_t output_tokens, int64_t cost_e10)
{
	struct tally_model *model = model_of(tally, model_id);

	tally->answered++;
	histogram_add(&tally->call_time, took_ms);
	model->answers++;
	model->input_tokens += input_tokens;
	model->output_tokens += output_tokens;
	if (cost_e10 < 0)
		model->unpriced++;
	else
		model->cost_e10 += cost_e10;
}

const struct tally_model *tally_next_model(const struct tally *tally, size_t *cursor)
{
	const struct tally_model *model = tally->models && *cursor != SIZE_MAX
						  ? map_next(tally->models, cursor)
						  : NULL;

	if (model || *cursor == SIZE_MAX || tally->other.answers == 0)
		return model;
	*cursor = SIZE_MAX;
	return &tally->other;
}

/* ---- while the daemon's program is replaced ---- */

static void pass_histogram(struct handover *h, const char *name, struct histogram *histogram)
{
	handover_begin(h, name);
	handover_counts(h, "in", histogram->in, ARRAY_LEN(histogram->in));
	handover_time(h, "sumMs", &histogram->sum_ms);
	handover_end(h);
}

static void pass_model(struct handover *h, struct tally_model *model)
{
	handover_time(h, "answers", &model->answers);
	handover_time(h, "unpriced", &model->unpriced);
	handover_time(h, "inputTokens", &model->input_tokens);
	handover_time(h, "outputTokens", &model->output_tokens);
	handover_time(h, "costE10", &model->cost_e10);
}

static void write_models(struct tally *tally, struct handover *h)
{
	struct tally_model *model;
	size_t cursor = 0;

	(void)handover_begin_list(h, "models", tally->models ? map_len(tally->models) : 0);
	while (tally->models && (model = map_next(tally->models, &cursor))) {
		handover_begin(h, NULL);
		handover_text(h, "id", &model->id);
		pass_model(h, model);
		handover_end(h);
	}
	handover_end(h);
}

static void read_models(struct tally *tally, struct handover *h)
{
	size_t count = handover_begin_list(h, "models", 0);

	for (size_t i = 0; i < count; i++) {
		AUTO(mem_free_str) char *id = NULL;

		handover_begin(h, NULL);
		handover_text(h, "id", &id);
		pass_model(h, id ? model_of(tally, id) : &tally->other);
		handover_end(h);
	}
	handover_end(h);
}

void tally_pass(struct tally *tally, struct handover *h)
{
	handover_begin(h, "tally");
	handover_time(h, "answered", &tally->answered);
	handover_counts(h, "errors", tally->errors, ARRAY_LEN(tally->errors));
	handover_counts(h, "failures", tally->failures, ARRAY_LEN(tally->failures));
	handover_time(h, "cancelled", &tally->cancelled);
	pass_histogram(h, "callTime", &tally->call_time);
	pass_histogram(h, "callWait", &tally->call_wait);
	if (handover_is_read(h))
		read_models(tally, h);
	else
		write_models(tally, h);
	handover_begin(h, "other");
	pass_model(h, &tally->other);
	handover_end(h);
	handover_end(h);
}
