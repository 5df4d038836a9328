/* The protocol with one worker, and the probes that it holds. */

#include <errno.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/lane.h"
#include "core/probe.h"
#include "core/worker_private.h"
#include "io/loop.h"

enum { EOF_MS = 1000 };

/* A good answer or a pong: this life was worth starting. */
void worker_prove(struct worker *worker)
{
	if (worker->own->proven)
		return;
	worker->own->proven = true;
	worker->own->events.proven(worker->own->events.arg, worker);
}

/* ---- probes in the worker ---- */

void worker_hold(struct worker *worker, struct probe *probe)
{
	probe->worker = worker;
	list_push_back(&worker->own->held, &probe->in_worker);
	(void)map_set_id(worker->own->by_id, probe->id, probe);
	worker->held++;
}

void worker_let_go(struct worker *worker, struct probe *probe)
{
	if (probe->state == PROBE_BETWEEN)
		lane_unlink(probe->lane, probe);
	else
		list_remove(&probe->link);
	list_remove(&probe->in_worker);
	(void)map_remove_id(worker->own->by_id, probe->id);
	probe->worker = NULL;
	worker->held--;
	if (worker->held == 0)
		worker->solo = false;
}

static void mark_calling(struct worker *worker, struct probe *probe)
{
	probe->state = PROBE_CALLING;
	probe->call_ms = loop_now_ms(worker->own->loop);
	list_push_back(&worker->own->calling, &probe->link);
	loop_timer_start_by(worker->own->call_timer, worker->config->job_timeout_ms + WORKER_CALL_SLACK_MS);
}

/* ---- lines from the worker ---- */

static struct probe *find_probe(struct worker *worker, const struct msg *msg, const char *what)
{
	struct probe *probe = map_get_id(worker->own->by_id, msg->id);

	if (probe && probe->attempt == msg->attempt)
		return probe;
	worker_fault(worker, WE_PROTOCOL_FAULT, "%s for job %lld attempt %d, which it does not hold", what,
		     (long long)msg->id, msg->attempt);
	return NULL;
}

static void on_turn_body(struct worker *worker, const char *body, size_t len)
{
	struct worker_own *own = worker->own;
	struct msg *msg = &own->turn;
	struct probe *probe;

	own->body_due = false;
	if (len != msg->body_bytes || body[0] != '{') {
		worker_fault(worker, WE_PROTOCOL_FAULT,
			     "the body of a turn of job %lld has %zu bytes, announced were %zu",
			     (long long)msg->id, len, msg->body_bytes);
		goto done;
	}
	probe = find_probe(worker, msg, "a turn");
	if (!probe)
		goto done;
	if (probe->state != PROBE_CALLING || probe->last_seen || strcmp(msg->prev, probe->digest) != 0 ||
	    msg->number != probe->turns_done + 1) {
		worker_fault(worker, WE_PROTOCOL_FAULT,
			     "turn %d of job %lld does not extend its conversation of %d turns", msg->number,
			     (long long)msg->id, probe->turns_done);
		goto done;
	}
	probe_add_turn(probe, body, len, msg->digest);
	probe->input_tokens += msg->input_tokens;
	probe->output_tokens += msg->output_tokens;
	probe->reasoning_tokens += msg->reasoning_tokens;
	probe->duration_ms += msg->latency_ms;
	probe->last_seen = msg->last;
	worker_prove(worker);
	if (!msg->last)
		list_remove(&probe->link);
	own->events.turn(own->events.arg, worker, probe, msg);
done:
	msg_free(msg);
}

static void on_result(struct worker *worker, struct msg *msg)
{
	struct probe *probe = find_probe(worker, msg, "a result");

	if (!probe)
		return;
	/* One whose turns were all done in an earlier life succeeds without a new one. */
	if (msg->success && probe->turns_done == 0) {
		worker_fault(worker, WE_PROTOCOL_FAULT, "success of job %lld without a turn",
			     (long long)msg->id);
		return;
	}
	if (msg->success) {
		worker_prove(worker);
		worker->jobs_done++;
	}
	worker_let_go(worker, probe);
	worker_check_recycling(worker);
	worker->own->events.result(worker->own->events.arg, worker, probe, msg);
}

static void on_hello(struct worker *worker, const struct msg *msg)
{
	if (worker->state != W_STARTING && worker->state != W_STOPPING && worker->state != W_KILLING) {
		worker_fault(worker, WE_PROTOCOL_FAULT, "a second hello");
		return;
	}
	if (msg->protocol != MSG_PROTOCOL || strcmp(msg->kind, "probe") != 0) {
		worker_fault(
			worker, WE_PROTOCOL_FAULT,
			"it speaks protocol %d of kind \"%.40s\"; this daemon speaks %d of kind \"probe\"",
			msg->protocol, msg->kind, MSG_PROTOCOL);
		return;
	}
	worker->capacity = msg->capacity < worker->config->capacity ? msg->capacity
								    : worker->config->capacity;
	mem_set_str(&worker->version, mem_strdup(msg->version));
	mem_set_str(&worker->python, mem_strdup(msg->python));
	worker_step(worker, WE_HELLO);
}

static void on_ready_message(struct worker *worker)
{
	if (worker->state == W_READY || worker->state == W_STARTING) {
		worker_fault(worker, WE_PROTOCOL_FAULT,
			     worker->state == W_READY ? "a second ready" : "ready before hello");
		return;
	}
	worker_step(worker, WE_READY);
}

static void on_pong(struct worker *worker, const struct msg *msg)
{
	struct worker_own *own = worker->own;

	if (!health_pong(&own->health, msg->seq, loop_now_ms(own->loop))) {
		worker_fault(worker, WE_PROTOCOL_FAULT, "a pong for ping %llu, which was not sent",
			     (unsigned long long)msg->seq);
		return;
	}
	own->hang = (struct hang){ 0 };
	worker->verdict = HANG_NONE;
	worker->ailment = NULL;
	worker->rss_kb = msg->rss_kb;
	worker->last_pong_ms = loop_now_ms(own->loop);
	worker_prove(worker);
	if (worker->state == W_SUSPECT && !own->overdue) {
		own->fault[0] = '\0';
		worker_step(worker, WE_RECOVERED);
	}
	worker_check_recycling(worker);
}

void worker_on_line(void *arg, char *line, size_t len)
{
	struct worker *worker = arg;
	struct worker_own *own = worker->own;
	char error[160];
	struct msg msg;

	/* Already given up on: what else it says is noise. */
	if (own->faulty)
		return;
	if (own->body_due) {
		on_turn_body(worker, line, len);
		return;
	}
	if (msg_parse(line, len, &msg, error, sizeof(error)) < 0) {
		worker_fault(worker, WE_PROTOCOL_FAULT, "a line of %zu bytes that is not the protocol: %s",
			     len, error);
		return;
	}
	switch (msg.type) {
	case MSG_HELLO:
		on_hello(worker, &msg);
		break;
	case MSG_READY:
		on_ready_message(worker);
		break;
	case MSG_TURN:
		own->turn = msg;
		own->body_due = true;
		return; /* freed with the body */
	case MSG_RESULT:
		on_result(worker, &msg);
		break;
	case MSG_PONG:
		on_pong(worker, &msg);
		break;
	}
	msg_free(&msg);
}

void worker_on_conn_end(void *arg, enum lineconn_end end, int error)
{
	struct worker *worker = arg;

	(void)error;
	if (end == LINECONN_TOO_LONG)
		worker_fault(worker, WE_PROTOCOL_FAULT, "a line over %u bytes", MSG_MAX_LINE);
	else if (worker->own->child)
		loop_timer_start(worker->own->eof_timer, EOF_MS);
}

/* A process that ends closes its stdout a moment before it can be reaped; one that lives on is no use. */
void worker_on_eof_timer(void *arg)
{
	worker_fault(arg, WE_PROTOCOL_FAULT, "it closed its stdout");
}

/* ---- lines to the worker ---- */

int worker_send_scratch(struct worker *worker)
{
	struct worker_own *own = worker->own;
	int r = own->conn ? lineconn_send(own->conn, buf_bytes(&own->scratch), buf_len(&own->scratch))
			  : -EPIPE;

	buf_clear(&own->scratch, 64 * 1024);
	if (r == -ENOBUFS)
		worker_fault(worker, WE_PROTOCOL_FAULT, "it does not read its stdin: %zu bytes wait",
			     lineconn_queued(own->conn));
	return r;
}

int worker_send_job(struct worker *worker, struct probe *probe)
{
	struct buf *out = &worker->own->scratch;
	struct buf turns = BUF_INIT(0);
	int r;

	probe_put_turns(probe, &turns);
	msg_put_job(out, probe->id, probe->attempt, worker->config->job_timeout_ms, probe->input,
		    probe->input_len, buf_bytes(&turns), buf_len(&turns), probe->digest);
	buf_free(&turns);
	r = worker_send_scratch(worker);
	if (r < 0)
		return r;
	worker_hold(worker, probe);
	mark_calling(worker, probe);
	return 0;
}

int worker_send_go(struct worker *worker, struct probe *probe)
{
	int r;

	msg_put_go(&worker->own->scratch, probe->id);
	r = worker_send_scratch(worker);
	if (r < 0)
		return r;
	lane_unlink(probe->lane, probe);
	mark_calling(worker, probe);
	return 0;
}

void worker_send_cancel(struct worker *worker, struct probe *probe)
{
	msg_put_cancel(&worker->own->scratch, probe->id);
	(void)worker_send_scratch(worker);
}
