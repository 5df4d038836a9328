#ifndef CORE_TALLY_H
#define CORE_TALLY_H

/* What a lane has done since the daemon was started, counted as it happens: for metrics alone. Counting costs
 * an increment, and for an answer a look-up of its model. */

#include <stddef.h>
#include <stdint.h>

#include "policy/error.h"
#include "policy/histogram.h"

struct handover;
struct map;

/* Of so many models of a lane it is told what each has cost; the others are counted together. */
enum { TALLY_MODELS_MAX = 50 };

struct tally_model {
	char *id;
	int64_t answers, unpriced, input_tokens, output_tokens;
	int64_t cost_e10; /* of those that are priced, 1e-10 USD */
};

/* A value within its lane; all zero is empty. */
struct tally {
	int64_t answered;
	int64_t errors[ERROR_CODE_COUNT];   /* calls, by how they failed */
	int64_t failures[ERROR_CODE_COUNT]; /* probes, by the code of their outcome */
	int64_t cancelled;		    /* probes */
	struct histogram call_time;	    /* of calls that were answered */
	struct histogram call_wait;	    /* of calls before they were begun */
	struct map *models;		    /* id → struct tally_model; NULL before the first */
	struct tally_model other;	    /* those beyond TALLY_MODELS_MAX; its id is NULL */
};

/* Frees what it holds. */
void tally_clear(struct tally *tally);

/* An answer; cost_e10 -1 = not known. */
void tally_answer(struct tally *tally, const char *model_id, int64_t took_ms, int64_t input_tokens,
		  int64_t output_tokens, int64_t cost_e10);

/* Walks the models in no order, the others last: begin with *cursor = 0; NULL at the end. */
const struct tally_model *tally_next_model(const struct tally *tally, size_t *cursor);

/* All of it, either way, while the daemon's program is replaced. */
void tally_pass(struct tally *tally, struct handover *h);

#endif
