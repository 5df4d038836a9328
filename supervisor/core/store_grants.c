/* Rounds of grants: what a node asks of the limits that all nodes share; sql/0008_grants.sql has the rules.
 */

#include "core/store_private.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"

struct round {
	struct store *store;
	store_grants_fn *fn;
	void *arg;
	size_t count;
};

enum { COL_PLACE, COL_GRANTED, COL_WAIT, COL_OTHERS };

static void hand_out(const struct round *round, const struct db_rows *rows)
{
	struct store_grant *grants = mem_array(round->count, sizeof(*grants));

	for (size_t i = 0; i < db_rows_count(rows); i++) {
		size_t place = (size_t)db_int(rows, i, COL_PLACE) - 1;

		if (place >= round->count)
			continue;
		grants[place] = (struct store_grant){
			.granted = db_int(rows, i, COL_GRANTED),
			.wait_ms = db_int(rows, i, COL_WAIT),
			.others = (int)db_int(rows, i, COL_OTHERS),
		};
	}
	round->fn(round->arg, grants, round->count);
	mem_free(&grants);
}

static void on_taken(void *arg, const struct db_reply *reply)
{
	struct round *round = arg;

	if (store_answered(round->store, reply, "grants"))
		hand_out(round, reply->rows);
	else if (!round->store->closing)
		round->fn(round->arg, NULL, 0);
	mem_free(&round);
}

static struct db_params *params_of(const struct store *store, const struct store_ask *asks, size_t count)
{
	static const size_t columns[] = {
		offsetof(struct store_ask, rate),    offsetof(struct store_ask, window_ms),
		offsetof(struct store_ask, life_ms), offsetof(struct store_ask, rest),
		offsetof(struct store_ask, gives),   offsetof(struct store_ask, needs),
		offsetof(struct store_ask, wants),
	};
	struct db_params *params = db_params_new();
	const char **names = mem_array(3 * count, sizeof(*names));
	int64_t *numbers = mem_array(count, sizeof(*numbers));

	for (size_t i = 0; i < count; i++) {
		names[i] = asks[i].lane;
		names[count + i] = asks[i].scope;
		names[2 * count + i] = asks[i].unit;
	}
	db_param_int(params, store->node_id);
	for (size_t k = 0; k < 3; k++)
		db_param_texts(params, names + k * count, NULL, count);
	for (size_t k = 0; k < ARRAY_LEN(columns); k++) {
		for (size_t i = 0; i < count; i++)
			memcpy(&numbers[i], (const char *)&asks[i] + columns[k], sizeof(*numbers));
		db_param_ints(params, numbers, count);
	}
	mem_free(&names);
	mem_free(&numbers);
	return params;
}

int store_take_grants(struct store *store, const struct store_ask *asks, size_t count, store_grants_fn *fn,
		      void *arg)
{
	struct round *round;
	int error;

	if (!store->ready || store->fenced || !store->grants)
		return -ENOTCONN;
	if (count == 0)
		return -EINVAL;
	round = mem_alloc(sizeof(*round));
	*round = (struct round){ .store = store, .fn = fn, .arg = arg, .count = count };
	error = db_query(store->grants,
			 "SELECT * FROM take_grants($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
			 params_of(store, asks, count), on_taken, round);
	if (error != 0)
		mem_free(&round);
	return error;
}
