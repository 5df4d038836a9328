/* When runs last got on, as far as the database knows; sql/0010_waiting.sql. */

#include "core/store_private.h"

#include <errno.h>

#include "base/mem.h"
#include "io/db.h"

struct question {
	struct store *store;
	store_successes_fn *fn;
	void *arg;
};

enum { COL_RUN, COL_AGO, COL_TOLD, COL_RETRYING };

static void tell(const struct question *question, const struct db_rows *rows)
{
	size_t count = db_rows_count(rows);
	struct store_success *list = mem_array(count + 1, sizeof(*list));

	for (size_t i = 0; i < count; i++)
		list[i] = (struct store_success){
			.run_id = db_text(rows, i, COL_RUN, NULL),
			.ago_ms = db_int(rows, i, COL_AGO),
			.told = db_bool(rows, i, COL_TOLD),
			.retrying = db_is_null(rows, i, COL_RETRYING) ? NULL
								      : db_text(rows, i, COL_RETRYING, NULL),
		};
	question->fn(question->arg, list, count);
	mem_free(&list);
}

static void on_told(void *arg, const struct db_reply *reply)
{
	struct question *question = arg;

	if (store_answered(question->store, reply, "successes"))
		tell(question, reply->rows);
	else if (!question->store->closing)
		question->fn(question->arg, NULL, 0);
	mem_free(&question);
}

int store_ask_successes(struct store *store, const char *const *run_ids, size_t count, store_successes_fn *fn,
			void *arg)
{
	struct db_params *params;
	struct question *question;
	int r;

	if (!store->ready)
		return -ENOTCONN;
	params = db_params_new();
	db_param_texts(params, run_ids, NULL, count);
	question = mem_alloc(sizeof(*question));
	*question = (struct question){ .store = store, .fn = fn, .arg = arg };
	r = db_query(store->control, "SELECT * FROM run_successes($1)", params, on_told, question);
	if (r < 0)
		mem_free(&question);
	return r;
}
