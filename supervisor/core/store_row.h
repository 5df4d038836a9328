#ifndef CORE_STORE_ROW_H
#define CORE_STORE_ROW_H

/* One end of an attempt on its way into the database; between store_finish.c, which keeps count of them, and
 * store_batch.c, which sends them. */

#include "core/store_private.h"

/* What the caller may say, and what only the store says. */
enum store_row_fate {
	ROW_COMPLETED = STORE_COMPLETED,
	ROW_FAILED = STORE_FAILED,
	ROW_CANCELLED = STORE_CANCELLED,
	ROW_LATER = STORE_LATER,
	ROW_RETURNED, /* given back unharmed */
	ROW_REFUSED,  /* the server does not take what is in it */
};

struct store_row {
	struct list node;
	uint64_t serial;
	int64_t since_ms; /* handed over */
	int64_t job_id;
	int attempt;
	enum store_row_fate fate;
	char *turns; /* JSON array of bodies */
	size_t turns_len;
	char *digests; /* comma separated */
	char *model_version;
	char *error; /* JSON; plain text for ROW_REFUSED */
	int64_t input_tokens, output_tokens, reasoning_tokens, duration_ms, cost_e10, delay_ms,
		limited_for_ms;
	int fails, deaths, solo_deaths;
	size_t bytes;
};

/* The row is committed, or superseded: either way it is over. store_rows_settled() follows once for several.
 */
void store_row_done(struct store *store, struct store_row *row);
void store_rows_settled(struct store *store);

void store_rows_free(struct list *rows);

#endif
