/* events: what happened, and with `follow` what happens.
 *
 * A follower asks the table again every half second; what it has sent beyond the cursor that
 * api_events_after() gives is remembered, so that nothing is sent twice and nothing is missed. */

#include <stdlib.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/mem.h"
#include "core/store.h"
#include "io/db.h"
#include "io/handover.h"
#include "io/loop.h"

enum { POLL_MS = 500, PATIENCE_MS = 2000, PAGE = 500, SHOWN_BEFORE_FOLLOWING = 10, SHOWN = 50 };

/* Lives until its call has ended and no answer of the database is awaited. */
struct follower {
	struct call *call; /* NULL once ended */
	struct store *store;
	struct loop_timer *timer; /* armed between two questions */
	/* The conditions, as api_events() has them; NULL = none. */
	char *run, *kind, *level, *subject;
	int64_t cursor; /* everything up to here has been sent */
	int64_t *seen;	/* sent, beyond the cursor */
	size_t seen_len, seen_room;
	bool asking;
};

static void free_if_over(struct follower *follower)
{
	if (follower->call || follower->asking)
		return;
	mem_free(&follower->run);
	mem_free(&follower->kind);
	mem_free(&follower->level);
	mem_free(&follower->subject);
	mem_free(&follower->seen);
	mem_free(&follower);
}

/* The call has been answered, or is answered by whoever calls this. */
static void detach(struct follower *follower)
{
	follower->call = NULL;
	loop_timer_free(&follower->timer);
}

static void on_gone(void *arg)
{
	struct follower *follower = arg;

	call_ok_json(follower->call, json_null());
	detach(follower);
	free_if_over(follower);
}

static void forget_up_to_cursor(struct follower *follower)
{
	size_t kept = 0;

	for (size_t i = 0; i < follower->seen_len; i++)
		if (follower->seen[i] > follower->cursor)
			follower->seen[kept++] = follower->seen[i];
	follower->seen_len = kept;
}

/* `ids` is a list with commas. Returns how many there are. */
static size_t remember(struct follower *follower, const char *ids)
{
	size_t count = 0;

	while (*ids) {
		char *end;
		int64_t id = strtoll(ids, &end, 10);

		if (follower->seen_len == follower->seen_room) {
			follower->seen_room = follower->seen_room ? 2 * follower->seen_room : 64;
			follower->seen = mem_resize(follower->seen, follower->seen_room,
						    sizeof(*follower->seen));
		}
		follower->seen[follower->seen_len++] = id;
		count++;
		ids = *end == ',' ? end + 1 : end;
	}
	return count;
}

static void send_events(struct follower *follower, const struct db_rows *rows)
{
	size_t len;
	const char *answer = db_text(rows, 0, 0, &len);
	size_t count = remember(follower, db_text(rows, 0, 1, NULL));

	follower->cursor = db_int(rows, 0, 2);
	forget_up_to_cursor(follower);
	/* A client that cannot take it is dropped, which calls on_gone(). */
	if (count > 0 && call_stream_raw(follower->call, answer, len) < 0)
		return;
	loop_timer_start(follower->timer, count >= PAGE ? 0 : POLL_MS);
}

static void on_events(void *arg, const struct db_reply *reply)
{
	struct follower *follower = arg;

	/* Held until the end, whatever becomes of the client in between. */
	if (follower->call && reply->status == DB_OK) {
		send_events(follower, reply->rows);
	} else if (follower->call && reply->status == DB_LOST) {
		loop_timer_start(follower->timer, PATIENCE_MS);
	} else if (follower->call) {
		call_error(follower->call, CALL_INTERNAL, "%s", reply->message);
		detach(follower);
	}
	follower->asking = false;
	free_if_over(follower);
}

static void ask(void *arg)
{
	struct follower *follower = arg;
	struct db_params *params;

	if (!store_is_ready(follower->store)) {
		loop_timer_start(follower->timer, PATIENCE_MS);
		return;
	}
	params = db_params_new();
	db_param_int(params, follower->cursor);
	db_param_ints(params, follower->seen, follower->seen_len);
	db_param_text(params, follower->run);
	db_param_int(params, PAGE);
	db_param_text(params, follower->kind);
	db_param_text(params, follower->level);
	db_param_text(params, follower->subject);
	follower->asking =
		db_query(store_control_db(follower->store),
			 "SELECT answer, ids, cursor FROM api_events_after($1, $2, $3, $4, $5, $6, $7)",
			 params, on_events, follower) == 0;
	if (!follower->asking)
		loop_timer_start(follower->timer, PATIENCE_MS);
}

/* NULL when the client has gone: then the call has been ended. */
static struct follower *begin(struct call *call)
{
	struct follower *follower = mem_alloc(sizeof(*follower));

	if (call_stream_begin(call, on_gone, follower) < 0) {
		mem_free(&follower);
		call_ok_json(call, json_null());
		return NULL;
	}
	follower->call = call;
	follower->store = call_daemon(call)->store;
	loop_timer_new(call_daemon(call)->loop, ask, follower, &follower->timer);
	loop_timer_start(follower->timer, 0);
	return follower;
}

static char *text_or_null(const struct db_rows *rows, int column)
{
	return db_is_null(rows, 0, column) ? NULL : mem_strdup(db_text(rows, 0, column, NULL));
}

/* The conditions come back with where to begin. */
static void follow(struct call *call, const struct db_rows *rows)
{
	struct follower *follower = begin(call);

	if (!follower)
		return;
	follower->cursor = db_int(rows, 0, 0);
	follower->run = text_or_null(rows, 1);
	follower->kind = text_or_null(rows, 2);
	follower->level = text_or_null(rows, 3);
	follower->subject = text_or_null(rows, 4);
}

/* What an earlier version did not pass. */
static void pass_new(struct handover *h, const char *name, char **value)
{
	if (handover_has(h, name))
		handover_text(h, name, value);
}

void cmd_events_pass(struct call *call, struct handover *h)
{
	struct follower *follower = handover_is_read(h) ? begin(call) : call_gone_arg(call);

	if (!follower)
		return;
	handover_text(h, "run", &follower->run);
	pass_new(h, "kind", &follower->kind);
	pass_new(h, "level", &follower->level);
	pass_new(h, "subject", &follower->subject);
	handover_number(h, "cursor", &follower->cursor);
	handover_numbers(h, "seen", &follower->seen, &follower->seen_len);
	follower->seen_room = follower->seen_len;
}

void cmd_events(struct call *call, const json_t *args)
{
	bool following = arg_bool(args, "follow");
	struct db_params *params = db_params_new();

	db_param_since(params, args);
	db_param_text(params, arg_text(args, "run"));
	db_param_int(params, arg_int(args, "limit", following ? SHOWN_BEFORE_FOLLOWING : SHOWN));
	db_param_text(params, arg_text(args, "kind"));
	db_param_text(params, arg_text(args, "level"));
	db_param_text(params, arg_text(args, "subject"));
	if (following)
		command_query_then(call,
				   "SELECT cursor, run_id, $4, $5, $6 "
				   "FROM api_events_start($1, $2, $3, $4, $5, $6)",
				   params, follow);
	else
		command_query(call, "SELECT api_events($1, $2, $3, $4, $5, $6)", params);
}
