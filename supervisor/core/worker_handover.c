/* A worker that lives on while the daemon's program is replaced: its process, its pipes with what is on the
 * way in them, and the conversations that it holds. */

#include <limits.h>
#include <string.h>

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/handover_parts.h"
#include "core/probe.h"
#include "core/worker_private.h"
#include "io/child.h"
#include "io/errtail.h"
#include "io/handover.h"
#include "io/loop.h"

/* What people see of it. */
static void pass_record(struct worker *worker, struct handover *h)
{
	handover_int(h, "capacity", 0, INT_MAX, &worker->capacity);
	handover_time(h, "startedMs", &worker->started_ms);
	handover_time(h, "readyMs", &worker->ready_ms);
	handover_time(h, "bootTookMs", &worker->boot_took_ms);
	handover_int(h, "restarts", 0, INT_MAX, &worker->restarts);
	handover_time(h, "jobsDone", &worker->jobs_done);
	handover_time(h, "rssKb", &worker->rss_kb);
	handover_time(h, "lastPongMs", &worker->last_pong_ms);
	handover_time(h, "nextStartMs", &worker->next_start_ms);
	handover_text(h, "lastDeath", &worker->last_death);
	handover_text(h, "version", &worker->version);
	handover_text(h, "python", &worker->python);
	handover_enum(h, "verdict", HANG_VERDICT_COUNT - 1, &worker->verdict);
	if (handover_is_read(h) && worker->verdict != HANG_NONE)
		worker->ailment = hang_text(worker->verdict, '?');
}

/* What decides on its next steps. */
static void pass_standing(struct worker *worker, struct handover *h)
{
	struct worker_own *own = worker->own;

	handover_enum(h, "state", WORKER_STATE_COUNT - 1, &worker->state);
	handover_slot(h, "slot", &worker->slot);
	handover_bool(h, "solo", &worker->solo);
	handover_bool(h, "retiring", &worker->retiring);
	handover_bool(h, "givenUp", &worker->given_up);
	handover_bool(h, "bootFailed", &worker->boot_failed);
	handover_bool(h, "outdated", &worker->outdated);
	handover_bool(h, "replace", &worker->replace);
	handover_bool(h, "forking", &own->forking);
	handover_bool(h, "planned", &own->planned);
	handover_bool(h, "faulty", &own->faulty);
	handover_bool(h, "signalled", &own->signalled);
	handover_bool(h, "proven", &own->proven);
	handover_bool(h, "overdue", &own->overdue);
	handover_bool(h, "dumped", &own->dumped);
	handover_size(h, "dumpMark", &own->dump_mark);
	handover_chars(h, "fault", own->fault, sizeof(own->fault));
	handover_time(h, "drainMs", &own->drain_ms);
	handover_bool(h, "recycleTold", &own->recycle_told);
	handover_health(h, "health", &own->health);
	handover_hang(h, "hang", &own->hang);
	handover_recycle(h, "recycle", &own->recycle);
}

static void pass_timers(struct worker *worker, struct handover *h)
{
	struct worker_own *own = worker->own;

	handover_timer(h, "deadline", own->deadline);
	handover_timer(h, "healthTimer", own->health_timer);
	handover_timer(h, "callTimer", own->call_timer);
	handover_timer(h, "restartTimer", own->restart_timer);
	handover_timer(h, "eofTimer", own->eof_timer);
}

/* The header of a turn whose body is still to come. */
static void pass_turn(struct worker *worker, struct handover *h)
{
	struct worker_own *own = worker->own;
	AUTO(mem_free_str) char *header = own->body_due ? msg_text(&own->turn) : mem_strdup("");
	size_t len = strlen(header);
	char error[160];

	handover_bytes(h, "header", &header, &len);
	if (!handover_is_read(h) || len == 0)
		return;
	own->body_due = msg_parse(header, len, &own->turn, error, sizeof(error)) == 0;
	if (!own->body_due)
		handover_fault(h, "header: %s", error);
}

static void pass_pipes(struct worker *worker, struct handover *h)
{
	struct worker_own *own = worker->own;
	struct child_fds fds = { -1, -1, -1, -1 };

	if (!handover_is_read(h)) {
		lineconn_fds(own->conn, &fds.from_stdout, &fds.to_stdin);
		fds.from_stderr = errtail_fd(own->tail);
	}
	handover_begin(h, "pipes");
	handover_fd(h, "stdin", &fds.to_stdin);
	handover_fd(h, "stdout", &fds.from_stdout);
	handover_fd(h, "stderr", &fds.from_stderr);
	/* A write side that was closed is none; of the others there always is one. */
	if (handover_is_read(h) && fds.from_stdout >= 0 && fds.from_stderr >= 0)
		worker_attach(worker, &fds);
	if (own->conn) {
		lineconn_pass(own->conn, h, "lines");
		errtail_pass(own->tail, h, "errors");
	}
	handover_end(h);
}

/* ---- the probes that it holds ---- */

static void hold(struct worker *worker, struct handover *h, const struct map *probes, int64_t id)
{
	struct probe *probe = map_get_id(probes, id);

	if (!probe || probe->worker || probe->state == PROBE_QUEUED)
		handover_fault(h, "it cannot hold job %lld", (long long)id);
	else
		worker_hold(worker, probe);
}

static void call(struct worker *worker, struct handover *h, int64_t id)
{
	struct probe *probe = map_get_id(worker->own->by_id, id);

	if (!probe || probe->state != PROBE_CALLING || !list_is_empty(&probe->link))
		handover_fault(h, "it has no call for job %lld", (long long)id);
	else
		list_push_back(&worker->own->calling, &probe->link);
}

static size_t gather_held(const struct worker *worker, int64_t *ids)
{
	size_t count = 0;

	list_foreach (at, &worker->own->held) {
		ids[count++] = list_entry(at, struct probe, in_worker)->id;
	}
	return count;
}

static size_t gather_calling(const struct worker *worker, int64_t *ids)
{
	size_t count = 0;

	list_foreach (at, &worker->own->calling) {
		ids[count++] = list_entry(at, struct probe, link)->id;
	}
	return count;
}

static void pass_probes(struct worker *worker, struct handover *h, const struct map *probes)
{
	int64_t *held = mem_array((size_t)worker->held, sizeof(*held));
	int64_t *calling = mem_array((size_t)worker->held, sizeof(*calling));
	size_t held_count = gather_held(worker, held), calling_count = gather_calling(worker, calling);

	handover_numbers(h, "held", &held, &held_count);
	handover_numbers(h, "calling", &calling, &calling_count);
	for (size_t i = 0; handover_is_read(h) && i < held_count; i++)
		hold(worker, h, probes, held[i]);
	for (size_t i = 0; handover_is_read(h) && i < calling_count; i++)
		call(worker, h, calling[i]);
	mem_free(&held);
	mem_free(&calling);
}

/* ---- all of it ---- */

/* Who was asked for the process went with the former program, and so did its answer, and the pipes. */
static void ask_anew(void *arg)
{
	worker_on_forked(arg, -1);
}

void worker_pass(struct worker *worker, struct handover *h, const struct map *probes)
{
	struct worker_own *own = worker->own;
	bool attached = own->conn != NULL;

	pass_record(worker, h);
	pass_standing(worker, h);
	child_pass(h, "process", own->loop, worker_on_child_exit, worker, &own->child);
	handover_bool(h, "attached", &attached);
	if (attached)
		pass_pipes(worker, h);
	pass_turn(worker, h);
	pass_probes(worker, h, probes);
	pass_timers(worker, h);
	if (!handover_is_read(h))
		return;
	if (worker_state_has_process(worker->state) != (own->child || own->forking) ||
	    (own->child && !own->conn))
		handover_fault(h, "state %s does not go with its process", worker_state_name(worker->state));
	if (own->forking) {
		own->near = (struct child_fds){ -1, -1, -1, -1 };
		loop_defer(own->loop, ask_anew, worker);
	}
}

bool worker_is_forking(const struct worker *worker)
{
	const struct worker_own *own = worker->own;

	/* One without a pid has ended by now, and is about to be told of. */
	return own->forking || (own->child && child_pid(own->child) == 0);
}

void worker_hold_back(struct worker *worker, bool hold_back)
{
	if (worker->own->conn)
		lineconn_pause(worker->own->conn, hold_back);
}
