/* The record of what happened, in the table `events`. Best effort: what cannot be held is dropped and
 * counted. */

#include "core/store_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/db.h"
#include "io/handover.h"
#include "io/loop.h"

enum {
	HELD_MAX = 2000,
	HELD_BYTES = 32 * 1024 * 1024, /* a crash record has up to 128 KiB */
	BATCH_MAX = 100,
	BATCH_BYTES = 1024 * 1024,
	GATHER_MS = 200,
};

struct event {
	struct list node;
	int64_t job_id;
	size_t bytes; /* of data */
	char *level, *kind, *run_id, *subject, *data;
};

/* Events of one query. */
struct sending {
	struct store *store;
	struct list events;
	size_t count;
};

static void on_due(void *arg)
{
	store_events_send(arg);
}

void store_events_new(struct store *store)
{
	list_init(&store->events);
	loop_timer_new(store->loop, on_due, store, &store->events_timer);
}

static void event_free(struct event *event)
{
	list_remove(&event->node);
	mem_free(&event->level);
	mem_free(&event->kind);
	mem_free(&event->run_id);
	mem_free(&event->subject);
	mem_free(&event->data);
	mem_free(&event);
}

static void events_free(struct list *events)
{
	while (!list_is_empty(events))
		event_free(list_entry(events->next, struct event, node));
}

void store_events_free(struct store *store)
{
	loop_timer_free(&store->events_timer);
	events_free(&store->events);
}

/* Back in front, in order: an answer that was lost may have been recorded, which repeats these few in the
 * table. */
static void put_back(struct sending *sending)
{
	while (!list_is_empty(&sending->events)) {
		struct list *last = sending->events.prev;

		list_remove(last);
		list_push_front(&sending->store->events, last);
		sending->store->event_count++;
		sending->store->event_bytes += list_entry(last, struct event, node)->bytes;
	}
}

static void on_recorded(void *arg, const struct db_reply *reply)
{
	struct sending *sending = arg;
	struct store *store = sending->store;

	store->events_sending = false;
	if (reply->status == DB_LOST && !store->closing)
		put_back(sending);
	else if (reply->status == DB_REFUSED)
		log_warning("store.events_refused", "dropped=%zu sqlstate=%s why=\"%s\"", sending->count,
			    reply->sqlstate, reply->message);
	events_free(&sending->events);
	mem_free(&sending);
	if (!store->closing && reply->status != DB_LOST && !list_is_empty(&store->events))
		store_events_send(store);
}

static struct db_params *params_of(const struct sending *sending)
{
	const char *levels[BATCH_MAX], *kinds[BATCH_MAX], *runs[BATCH_MAX], *subjects[BATCH_MAX],
		*data[BATCH_MAX];
	int64_t jobs[BATCH_MAX];
	struct db_params *params = db_params_new();
	size_t n = 0;

	list_foreach (node, &sending->events) {
		const struct event *event = list_entry(node, struct event, node);

		levels[n] = event->level;
		kinds[n] = event->kind;
		runs[n] = event->run_id;
		jobs[n] = event->job_id;
		subjects[n] = event->subject;
		data[n++] = event->data;
	}
	db_param_int(params, sending->store->node_id);
	db_param_texts(params, levels, NULL, n);
	db_param_texts(params, kinds, NULL, n);
	db_param_texts(params, runs, NULL, n);
	db_param_ints(params, jobs, n);
	db_param_texts(params, subjects, NULL, n);
	db_param_texts(params, data, NULL, n);
	return params;
}

void store_events_send(struct store *store)
{
	struct sending *sending;
	size_t bytes = 0;

	if (store->events_sending || list_is_empty(&store->events) || !store_is_booted(store))
		return;
	sending = mem_alloc(sizeof(*sending));
	sending->store = store;
	list_init(&sending->events);
	while (sending->count < BATCH_MAX && bytes < BATCH_BYTES && !list_is_empty(&store->events)) {
		struct list *first = list_pop_front(&store->events);

		list_push_back(&sending->events, first);
		bytes += list_entry(first, struct event, node)->bytes;
		sending->count++;
		store->event_count--;
	}
	store->event_bytes -= bytes;
	store->events_sending = db_query(store->control, "SELECT record_events($1, $2, $3, $4, $5, $6, $7)",
					 params_of(sending), on_recorded, sending) == 0;
	if (!store->events_sending) {
		put_back(sending);
		mem_free(&sending);
	}
}

static void append(struct store *store, struct event *event)
{
	event->bytes = event->data ? strlen(event->data) : 0;
	list_push_back(&store->events, &event->node);
	store->event_count++;
	store->event_bytes += event->bytes;
	loop_timer_start_by(store->events_timer, GATHER_MS);
}

void store_event(struct store *store, const char *level, const char *kind, const char *run_id, int64_t job_id,
		 const char *subject, const char *data)
{
	struct event *event;

	if (store->event_count >= HELD_MAX || store->event_bytes >= HELD_BYTES) {
		if (store->events_dropped++ % HELD_MAX == 0)
			log_warning("store.events_dropped", "held=%zu dropped=%zu", store->event_count,
				    store->events_dropped);
		return;
	}
	event = mem_alloc(sizeof(*event));
	event->level = mem_strdup(level);
	event->kind = mem_strdup(kind);
	event->run_id = mem_strdup(run_id);
	event->job_id = job_id;
	event->subject = mem_strdup(subject);
	event->data = mem_strdup(data);
	append(store, event);
}

const char *store_held_event(const struct store *store, const char *kind, const char *subject)
{
	for (struct list *node = store->events.prev; node != &store->events; node = node->prev) {
		const struct event *event = list_entry(node, struct event, node);

		if (strcmp(event->kind, kind) == 0 && event->subject &&
		    strcmp(event->subject, subject) == 0 && strcmp(event->level, "info") != 0)
			return event->data;
	}
	return NULL;
}

static void pass_event(struct store *store, struct handover *h, struct event *event)
{
	struct event *it = event ? event : mem_alloc(sizeof(*it));

	handover_begin(h, NULL);
	handover_text(h, "level", &it->level);
	handover_text(h, "kind", &it->kind);
	handover_text(h, "run", &it->run_id);
	handover_number(h, "job", &it->job_id);
	handover_text(h, "subject", &it->subject);
	handover_text(h, "data", &it->data);
	handover_end(h);
	if (event)
		return;
	list_init(&it->node);
	if (it->level && it->kind)
		append(store, it);
	else
		event_free(it);
}

void store_events_pass(struct store *store, struct handover *h)
{
	size_t count = handover_begin_list(h, "events", store->event_count);
	struct list *at = store->events.next;

	for (size_t i = 0; i < count; i++, at = at->next)
		pass_event(store, h, handover_is_read(h) ? NULL : list_entry(at, struct event, node));
	handover_end(h);
}
