#include "app/hold.h"

#include <stdlib.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/dispatch.h"
#include "core/store.h"
#include "io/loop.h"
#include "io/spool.h"

enum {
	LOOK_MS = 100,	 /* between looks whether calls are still under way */
	FLUSH_MS = 5000, /* for the last results */
};

static const char why[] = "a backup takes the place of the database";

struct hold {
	struct daemon *daemon;
	struct call *call; /* NULL once its client has gone */
	struct loop_timer *timer;
	char *database; /* id of what is to be put in place */
	int told;	/* how many calls the client knows to be under way; -1 = nothing yet */
	bool flushing;	/* the store calls back */
	bool resting;	/* the store has no connection */
};

void hold_free(struct hold **hold)
{
	struct hold *dead = *hold;

	if (!dead)
		return;
	loop_timer_free(&dead->timer);
	mem_free(&dead->database);
	mem_free(hold);
}

/* Work goes on. */
static void release(struct hold *hold)
{
	struct daemon *daemon = hold->daemon;

	log_info("database.released", "by=%s",
		 hold->resting ? "\"the client is done\"" : "\"nothing was changed\"");
	if (hold->resting)
		store_start(daemon->store);
	dispatch_rest(daemon->dispatch, false);
	hold_free(&daemon->hold);
}

static void on_gone(void *arg)
{
	struct hold *hold = arg;

	call_ok_json(hold->call, json_null());
	hold->call = NULL;
	if (!hold->flushing)
		release(hold);
}

static void tell(struct hold *hold, int under_way)
{
	AUTO(mem_free_str)
	char *text = mem_printf("{\"underWay\":%d,\"held\":%s}", under_way, hold->resting ? "true" : "false");

	hold->told = under_way;
	/* A client that cannot take it is dropped, which calls on_gone(). */
	(void)!call_stream_raw(hold->call, text, strlen(text));
}

/* What the spool has for another database would be lost, or would be taken for answers to jobs of this one.
 */
static char *refusal(const struct hold *hold)
{
	const char *known = store_database_id(hold->daemon->store);
	struct spool_stat spool;

	store_spool_stat(hold->daemon->store, &spool);
	if (spool.depth == 0 || !known || strcmp(known, hold->database) == 0)
		return NULL;
	return mem_printf(
		"the spool has %llu answers that only the database %s can take, and the backup is of %s: "
		"see `proctorctl spool` for what keeps them from it",
		(unsigned long long)spool.depth, known, hold->database);
}

static void on_flushed(void *arg, bool flushed)
{
	struct hold *hold = arg;
	struct call *call = hold->call;
	AUTO(mem_free_str) char *refused = refusal(hold);

	(void)flushed; /* what is left of the same database's is sent to what takes its place */
	hold->flushing = false;
	if (!call) {
		release(hold);
	} else if (refused) {
		hold->call = NULL;
		call_on_gone(call, NULL, NULL);
		release(hold);
		call_error(call, CALL_CONFLICT, "%s", refused);
	} else {
		hold->resting = true;
		store_rest(hold->daemon->store, why);
		log_info("database.held", "next=\"%s\"", why);
		tell(hold, 0);
	}
}

static void look(void *arg)
{
	struct hold *hold = arg;
	int under_way = dispatch_held(hold->daemon->dispatch);

	if (under_way > 0) {
		loop_timer_start(hold->timer, LOOK_MS);
		if (under_way != hold->told)
			tell(hold, under_way);
		return;
	}
	hold->flushing = true;
	/* A store that is not ready has nobody to send to. */
	store_flush(hold->daemon->store, store_is_ready(hold->daemon->store) ? FLUSH_MS : 0, on_flushed,
		    hold);
}

/* Why there can be no hold now; NULL = there can. */
static char *hindrance(const struct daemon *daemon, const json_t *args)
{
	int newest = store_newest_schema(daemon->store);
	int64_t schema = arg_int(args, "schemaVersion", 0);

	if (!daemon->embedded)
		return mem_strdup(
			"the database is a server of your own: put the backup into it by pg_restore, with "
			"the daemon stopped, and then run SELECT begin_history() in it");
	if (daemon->phase == DAEMON_STOPPING)
		return mem_strdup("the daemon is stopping");
	if (daemon->hold)
		return mem_strdup("a backup is being put in place already");
	if (daemon->upgrade)
		return mem_strdup("an upgrade is under way");
	if (newest == 0)
		return mem_strdup("the embedded server has not been reached yet: see `proctorctl status`");
	if (schema > newest)
		return mem_printf(
			"the backup has schema version %lld and this Proctor knows those up to %d: it was "
			"made by a newer one, install that",
			(long long)schema, newest);
	return NULL;
}

void cmd_database_hold(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);
	AUTO(mem_free_str) char *hindered = hindrance(daemon, args);
	struct hold *hold;

	if (hindered) {
		call_error(call, CALL_CONFLICT, "%s", hindered);
		return;
	}
	hold = mem_alloc(sizeof(*hold));
	if (call_stream_begin(call, on_gone, hold) < 0) {
		mem_free(&hold);
		call_ok_json(call, json_null());
		return;
	}
	hold->daemon = daemon;
	hold->call = call;
	hold->database = mem_strdup(arg_text(args, "database"));
	hold->told = -1;
	loop_timer_new(daemon->loop, look, hold, &hold->timer);
	loop_timer_start(hold->timer, 0);
	daemon->hold = hold;
	log_info("database.hold", "under_way=%d why=\"%s\"", dispatch_held(daemon->dispatch), why);
	dispatch_rest(daemon->dispatch, true);
}
