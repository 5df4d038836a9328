/* Why a run, a model of it or a job waits, in words: what the database knows (paused, delayed, leased by
 * another node; run_waits() of sql/0010_waiting.sql), joined with what holds up calls on this node. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/clock.h"
#include "core/dispatch.h"
#include "core/lane.h"
#include "core/store.h"
#include "io/loop.h"

json_t *cmd_wall_time(const struct daemon *daemon, int64_t at_ms)
{
	if (at_ms == 0)
		return json_null();
	return json_integer(clock_wall_ms() + at_ms - loop_now_ms(daemon->loop));
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* ---- one model of a run ---- */

/* A reason for people, "" when there is none, and until when; both are new references. */
struct wait {
	json_t *why, *until_ms;
};

static struct wait wait_of(json_t *why, json_t *until_ms)
{
	return (struct wait){ .why = why, .until_ms = until_ms };
}

static struct wait wait_at_gate(struct daemon *daemon, const json_t *row)
{
	struct lane *lane = dispatch_lane(daemon->dispatch, text_of(row, "lane"));
	const struct lane_family *family;
	struct dispatch_wait wait;

	if (!lane)
		return wait_of(json_string(""), json_null());
	family = &lane->families[lane_family_of(lane, text_of(row, "modelId"))];
	/* What is leased is being asked, or waits here. */
	if (strcmp(text_of(row, "state"), "leased") == 0 && family->queued + family->between_count == 0)
		return wait_of(json_string(""), json_null());
	wait = dispatch_why_model(daemon->dispatch, lane, text_of(row, "modelId"));
	return wait_of(json_string(wait.why), cmd_wall_time(daemon, wait.until_ms));
}

static struct wait wait_of_model(struct daemon *daemon, const json_t *row)
{
	if (strcmp(text_of(row, "runStatus"), "PAUSED") == 0)
		return wait_of(json_sprintf("the run is paused: %s", text_of(row, "pauseReason")),
			       json_null());
	if (json_is_true(json_object_get(row, "paused")))
		return wait_of(json_string("the model is paused"), json_null());
	if (strcmp(text_of(row, "state"), "delayed") == 0)
		return wait_of(json_sprintf("retrying after %s", text_of(row, "code")),
			       json_incref(json_object_get(row, "untilMs")));
	return wait_at_gate(daemon, row);
}

/* ---- runs ---- */

/* The entry with the same lane and reason; NULL when there is none yet. */
static json_t *find_same(const json_t *waiting, const char *lane, const json_t *why)
{
	size_t i;
	json_t *entry;

	json_array_foreach(waiting, i, entry)
	{
		if (strcmp(text_of(entry, "lane"), lane) == 0 &&
		    json_equal(json_object_get(entry, "why"), why))
			return entry;
	}
	return NULL;
}

static void keep_sooner(json_t *entry, json_t *until_ms)
{
	json_int_t had = json_integer_value(json_object_get(entry, "untilMs"));

	if (json_is_integer(until_ms) && (had == 0 || json_integer_value(until_ms) < had))
		json_object_set(entry, "untilMs", until_ms);
}

static void add_wait(json_t *waiting, const json_t *row, const struct wait *wait)
{
	json_t *entry = find_same(waiting, text_of(row, "lane"), wait->why);

	if (!entry) {
		entry = json_pack("{s:O, s:[], s:O, s:O}", "lane", json_object_get(row, "lane"), "models",
				  "why", wait->why, "untilMs", wait->until_ms);
		json_array_append_new(waiting, entry);
	}
	keep_sooner(entry, wait->until_ms);
	json_array_append(json_object_get(entry, "models"), json_object_get(row, "modelId"));
}

static json_t *waiting_of(struct daemon *daemon, const char *run_id, const json_t *rows)
{
	json_t *waiting = json_array();
	size_t i;
	json_t *row;

	json_array_foreach(rows, i, row)
	{
		struct wait wait;

		if (strcmp(text_of(row, "runId"), run_id) != 0)
			continue;
		wait = wait_of_model(daemon, row);
		if (json_string_length(wait.why) > 0)
			add_wait(waiting, row, &wait);
		json_decref(wait.why);
		json_decref(wait.until_ms);
	}
	return waiting;
}

/* null unless the run is stalled; in the words of its first wait, when it has one. */
static json_t *stalled_of(struct daemon *daemon, const char *run_id, const json_t *waiting)
{
	const json_t *first = json_array_get(waiting, 0);
	struct dispatch_wait wait;
	int64_t since_ms;

	if (!dispatch_is_stalled(daemon->dispatch, run_id, &since_ms))
		return json_null();
	if (first)
		return json_pack("{s:o, s:o}", "sinceMs", cmd_wall_time(daemon, since_ms), "why",
				 json_sprintf("%s: %s", text_of(first, "lane"), text_of(first, "why")));
	wait = dispatch_why_run(daemon->dispatch, run_id, NULL);
	return json_pack("{s:o, s:s}", "sinceMs", cmd_wall_time(daemon, since_ms), "why", wait.why);
}

/* The shortest that can be said, for a list. */
static json_t *brief_of(const json_t *waiting, const json_t *stalled)
{
	const json_t *first = json_array_get(waiting, 0);
	size_t more = json_array_size(waiting);

	if (json_is_object(stalled))
		return json_sprintf("stalled: %s", text_of(stalled, "why"));
	if (!first)
		return json_null();
	if (more == 1)
		return json_sprintf("%s: %s", text_of(first, "lane"), text_of(first, "why"));
	return json_sprintf("%s: %s, and %d more", text_of(first, "lane"), text_of(first, "why"),
			    (int)more - 1);
}

void cmd_add_waits(struct daemon *daemon, json_t *run, const char *run_id, const json_t *rows)
{
	json_t *waiting = waiting_of(daemon, run_id, rows);
	json_t *stalled = stalled_of(daemon, run_id, waiting);

	json_object_set_new(run, "waitsFor", brief_of(waiting, stalled));
	json_object_set_new(run, "waiting", waiting);
	json_object_set_new(run, "stalled", stalled);
}

/* ---- jobs ---- */

static const json_t *row_of(const json_t *rows, const char *run_id, const char *model_id)
{
	size_t i;
	json_t *row;

	json_array_foreach(rows, i, row)
	{
		if (strcmp(text_of(row, "runId"), run_id) == 0 &&
		    strcmp(text_of(row, "modelId"), model_id) == 0)
			return row;
	}
	return NULL;
}

/* An ISO time of the database ("2026-11-22T17:33:07.390Z") as milliseconds since 1970; null for anything
 * else. */
static json_t *ms_of_time(const char *iso)
{
	struct tm tm = { .tm_isdst = 0 };
	const char *rest = strptime(iso, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest)
		return json_null();
	return json_integer((json_int_t)timegm(&tm) * 1000 + (json_int_t)(strtod(rest, NULL) * 1000));
}

static void set_wait(json_t *job, struct wait wait)
{
	json_object_set_new(job, "why", wait.why);
	json_object_set_new(job, "untilMs", wait.until_ms);
}

/* Jobs of its run that stand before it; they come in their order. */
static int before(const json_t *jobs, size_t index)
{
	const char *run_id = text_of(json_array_get(jobs, index), "runId");
	int count = 0;

	for (size_t i = 0; i < index; i++)
		count += strcmp(text_of(json_array_get(jobs, i), "runId"), run_id) == 0;
	return count;
}

static void say_ready(struct daemon *daemon, const json_t *jobs, size_t index, const json_t *rows)
{
	json_t *job = json_array_get(jobs, index);
	const json_t *row = row_of(rows, text_of(job, "runId"), text_of(job, "modelId"));
	struct wait wait = row ? wait_of_model(daemon, row) : wait_of(json_string(""), json_null());
	int ahead;

	if (json_string_length(wait.why) == 0) {
		ahead = before(jobs, index);
		json_decref(wait.why);
		wait.why = ahead > 0 ? json_sprintf("its turn; jobs of the run before it: %d", ahead)
				     : json_string("its turn; it comes next of its run");
	}
	set_wait(job, wait);
}

static void say_leased(struct daemon *daemon, json_t *job)
{
	json_int_t node = json_integer_value(json_object_get(job, "nodeId"));
	struct dispatch_wait wait;
	const char *doing;

	if (!dispatch_why_job(daemon->dispatch, json_integer_value(json_object_get(job, "jobId")), &doing,
			      &wait)) {
		set_wait(job, wait_of(node == store_node_id(daemon->store)
					      ? json_string("its end is being recorded")
					      : json_sprintf("held by node %lld", (long long)node),
				      json_null()));
		return;
	}
	json_object_set_new(job, "doing", json_string(doing));
	set_wait(job, wait_of(*wait.why ? json_sprintf("%s: %s", doing, wait.why) : json_string(doing),
			      cmd_wall_time(daemon, wait.until_ms)));
}

static void say_delayed(json_t *job)
{
	set_wait(job, wait_of(json_sprintf("retrying after %s", text_of(job, "reason")),
			      ms_of_time(text_of(job, "at"))));
}

static void say_job(struct daemon *daemon, const json_t *jobs, size_t index, const json_t *rows)
{
	json_t *job = json_array_get(jobs, index);
	const char *state = text_of(job, "state");

	if (strcmp(state, "ready") == 0)
		say_ready(daemon, jobs, index, rows);
	else if (strcmp(state, "leased") == 0)
		say_leased(daemon, job);
	else if (strcmp(state, "delayed") == 0)
		say_delayed(job);
}

/* A run's line of the summary, with its models. */
static void say_counts(struct daemon *daemon, json_t *item, const json_t *rows)
{
	const char *run_id = text_of(item, "runId");
	size_t i;
	json_t *model;

	json_array_foreach(json_object_get(item, "models"), i, model)
	{
		const json_t *row = row_of(rows, run_id, text_of(model, "modelId"));

		if (row)
			set_wait(model, wait_of_model(daemon, row));
	}
	cmd_add_waits(daemon, item, run_id, rows);
}

void cmd_say_jobs(struct daemon *daemon, json_t *items, const json_t *rows)
{
	size_t i;
	json_t *item;

	json_array_foreach(items, i, item)
	{
		if (json_object_get(item, "jobId"))
			say_job(daemon, items, i, rows);
		else
			say_counts(daemon, item, rows);
	}
}
