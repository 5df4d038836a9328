#include "policy/alert.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "policy/backoff.h"

const char *const alert_kind_names[ALERT_KIND_COUNT + 1] = {
	"pool.degraded",   "provider.parked", "run.finished",  "run.stalled",
	"run.over_budget", "spool.high",      "database.away", NULL,
};

/* A pause for the budget shows in the database a moment after it was asked for; a short outage of the
 * database, such as its restart, is nobody's business. */
const struct alert_kind_spec alert_kinds[ALERT_KIND_COUNT] = {
	[ALERT_POOL_DEGRADED] = { .severity = "error", .clear_ms = 2000 },
	[ALERT_PROVIDER_PARKED] = { .severity = "error" },
	[ALERT_RUN_FINISHED] = { .severity = "info", .is_notice = true },
	[ALERT_RUN_STALLED] = { .severity = "warning", .needs_database = true },
	[ALERT_RUN_OVER_BUDGET] = { .severity = "warning", .clear_ms = 3000, .needs_database = true },
	[ALERT_SPOOL_HIGH] = { .severity = "error", .is_known_at_once = true },
	[ALERT_DATABASE_AWAY] = { .severity = "error", .raise_ms = 5000, .is_known_at_once = true },
};

struct entry {
	struct list link;
	struct alert alert;
	char *subject, *text;
	int64_t first_ms, seen_ms;
	int64_t patience_ms; /* at least so long unseen before it ends: restored and not seen since */
	bool open;	     /* seen for long enough */
};

struct target {
	char *name, *last_error;
	unsigned kinds, failures;
	int64_t min_interval_ms, next_ms, sent;
	int64_t sending; /* id of what is under way; 0 = nothing */
	enum alert_message message;
};

struct alert_book {
	struct list entries; /* oldest first */
	size_t entry_count;
	struct target targets[ALERT_TARGETS_MAX];
	size_t target_count;
	int64_t last_id;
	bool changed;
};

void alert_book_new(struct alert_book **ret)
{
	struct alert_book *book = mem_alloc(sizeof(*book));

	list_init(&book->entries);
	*ret = book;
}

static void entry_free(struct alert_book *book, struct entry *entry)
{
	list_remove(&entry->link);
	book->entry_count--;
	book->changed = true;
	mem_free(&entry->subject);
	mem_free(&entry->text);
	mem_free(&entry);
}

static void target_clear(struct target *target)
{
	mem_free(&target->name);
	mem_free(&target->last_error);
}

void alert_book_free(struct alert_book **book)
{
	if (!*book)
		return;
	while (!list_is_empty(&(*book)->entries))
		entry_free(*book, list_entry((*book)->entries.next, struct entry, link));
	for (size_t i = 0; i < (*book)->target_count; i++)
		target_clear(&(*book)->targets[i]);
	mem_free(book);
}

/* ---- conditions ---- */

/* Notices are never found: each stands for itself. */
static struct entry *find(const struct alert_book *book, enum alert_kind kind, const char *subject)
{
	list_foreach (at, &book->entries) {
		struct entry *entry = list_entry(at, struct entry, link);

		if (entry->alert.kind == kind && !entry->alert.ended_wall_ms &&
		    strcmp(entry->subject, subject) == 0)
			return entry;
	}
	return NULL;
}

static bool make_room(struct alert_book *book)
{
	if (book->entry_count < ALERT_HELD_MAX)
		return true;
	list_foreach (at, &book->entries) {
		struct entry *entry = list_entry(at, struct entry, link);

		if (alert_kinds[entry->alert.kind].is_notice) {
			entry_free(book, entry);
			return true;
		}
	}
	return false;
}

static struct entry *add(struct alert_book *book, const struct alert *alert, int64_t now_ms)
{
	struct entry *entry;

	if (!make_room(book))
		return NULL;
	entry = mem_alloc(sizeof(*entry));
	entry->alert = *alert;
	entry->alert.subject = entry->subject = mem_strdup(alert->subject);
	entry->alert.text = entry->text = mem_strdup(alert->text);
	entry->first_ms = entry->seen_ms = now_ms;
	if (alert->id > book->last_id)
		book->last_id = alert->id;
	list_push_back(&book->entries, &entry->link);
	book->entry_count++;
	return entry;
}

static int64_t next_id(const struct alert_book *book, int64_t wall_ms)
{
	return wall_ms > book->last_id ? wall_ms : book->last_id + 1;
}

static void see(struct entry *entry, int64_t now_ms)
{
	entry->seen_ms = now_ms;
	entry->patience_ms = 0;
}

void alert_see(struct alert_book *book, enum alert_kind kind, const char *subject, const char *text,
	       int64_t now_ms, int64_t wall_ms)
{
	struct entry *entry = find(book, kind, subject);
	const struct alert alert = { .id = next_id(book, wall_ms),
				     .kind = kind,
				     .subject = subject,
				     .text = text,
				     .since_wall_ms = wall_ms };

	if (!entry)
		entry = add(book, &alert, now_ms);
	if (entry)
		see(entry, now_ms);
}

void alert_see_again(struct alert_book *book, enum alert_kind kind, const char *subject, int64_t now_ms)
{
	struct entry *entry = find(book, kind, subject);

	if (entry)
		see(entry, now_ms);
}

void alert_notice(struct alert_book *book, enum alert_kind kind, const char *subject, const char *text,
		  int64_t wall_ms)
{
	const struct alert alert = { .id = next_id(book, wall_ms),
				     .kind = kind,
				     .subject = subject,
				     .text = text,
				     .since_wall_ms = wall_ms,
				     .ended_wall_ms = wall_ms };
	struct entry *entry = add(book, &alert, 0);

	if (entry)
		entry->open = book->changed = true;
}

void alert_restore(struct alert_book *book, const struct alert *alert, int64_t now_ms)
{
	struct entry *entry = add(book, alert, now_ms);

	if (!entry)
		return;
	entry->open = true;
	entry->patience_ms = alert_kinds[alert->kind].is_known_at_once ? 0 : ALERT_RESTORED_MS;
}

/* ---- who is owed what ---- */

static enum alert_message owed(const struct alert_book *book, const struct entry *entry, size_t target)
{
	const struct alert *alert = &entry->alert;
	unsigned bit = 1u << target;

	if (!entry->open || !(book->targets[target].kinds & 1u << alert->kind))
		return ALERT_NOTHING;
	if (alert_kinds[alert->kind].is_notice)
		return alert->told & bit ? ALERT_NOTHING : ALERT_NOTICE;
	if (!alert->ended_wall_ms)
		return alert->told & bit ? ALERT_NOTHING : ALERT_RAISED;
	return (alert->told & bit) && !(alert->told_end & bit) ? ALERT_RESOLVED : ALERT_NOTHING;
}

static bool is_done(const struct alert_book *book, const struct entry *entry)
{
	if (!entry->alert.ended_wall_ms)
		return false;
	for (size_t i = 0; i < book->target_count; i++)
		if (owed(book, entry, i) != ALERT_NOTHING || book->targets[i].sending == entry->alert.id)
			return false;
	return true;
}

static void settle(struct alert_book *book, struct entry *entry, bool has_database, int64_t now_ms,
		   int64_t wall_ms)
{
	const struct alert_kind_spec *kind = &alert_kinds[entry->alert.kind];
	int64_t clear_ms = kind->clear_ms > entry->patience_ms ? kind->clear_ms : entry->patience_ms;

	if (!entry->open && entry->seen_ms - entry->first_ms >= kind->raise_ms)
		entry->open = book->changed = true;
	/* One that is not seen in this very round has lasted until the round before. */
	if (entry->seen_ms == now_ms || now_ms - entry->seen_ms < clear_ms)
		return;
	if (kind->needs_database && !has_database) {
		entry->seen_ms = now_ms;
		return;
	}
	entry->alert.ended_wall_ms = wall_ms;
	book->changed = true;
}

bool alert_settle(struct alert_book *book, bool has_database, int64_t now_ms, int64_t wall_ms)
{
	bool changed;

	list_foreach_safe (at, &book->entries) {
		struct entry *entry = list_entry(at, struct entry, link);

		if (!entry->alert.ended_wall_ms)
			settle(book, entry, has_database, now_ms, wall_ms);
		if (is_done(book, entry))
			entry_free(book, entry);
	}
	changed = book->changed;
	book->changed = false;
	return changed;
}

/* ---- targets ---- */

static unsigned moved(unsigned bits, const int *places)
{
	unsigned result = 0;

	for (int i = 0; i < ALERT_TARGETS_MAX; i++)
		if ((bits & 1u << i) && places[i] >= 0)
			result |= 1u << places[i];
	return result;
}

/* Takes over what is known of the target that had this name. */
static void go_on(struct target *target, struct target *old)
{
	target->failures = old->failures;
	target->next_ms = old->next_ms;
	target->sent = old->sent;
	mem_set_str(&target->last_error, mem_strdup(old->last_error));
}

void alert_set_targets(struct alert_book *book, const struct alert_target *targets, size_t count)
{
	struct target fresh[ALERT_TARGETS_MAX] = { 0 };
	int places[ALERT_TARGETS_MAX];

	assert(count <= ALERT_TARGETS_MAX);
	for (size_t i = 0; i < ALERT_TARGETS_MAX; i++)
		places[i] = -1;
	for (size_t i = 0; i < count; i++) {
		fresh[i].name = mem_strdup(targets[i].name);
		fresh[i].kinds = targets[i].kinds;
		fresh[i].min_interval_ms = targets[i].min_interval_ms;
		for (size_t old = 0; old < book->target_count; old++) {
			if (strcmp(book->targets[old].name, targets[i].name) != 0)
				continue;
			places[old] = (int)i;
			go_on(&fresh[i], &book->targets[old]);
		}
	}
	for (size_t i = 0; i < book->target_count; i++)
		target_clear(&book->targets[i]);
	memcpy(book->targets, fresh, sizeof(fresh));
	book->target_count = count;
	list_foreach (at, &book->entries) {
		struct alert *alert = &list_entry(at, struct entry, link)->alert;

		alert->told = moved(alert->told, places);
		alert->told_end = moved(alert->told_end, places);
	}
	book->changed = true;
}

enum alert_message alert_next(struct alert_book *book, size_t index, int64_t now_ms, struct alert *ret)
{
	struct target *target = &book->targets[index];

	if (target->sending || now_ms < target->next_ms)
		return ALERT_NOTHING;
	list_foreach (at, &book->entries) {
		struct entry *entry = list_entry(at, struct entry, link);
		enum alert_message message = owed(book, entry, index);

		if (message == ALERT_NOTHING)
			continue;
		target->sending = entry->alert.id;
		target->message = message;
		*ret = entry->alert;
		return message;
	}
	return ALERT_NOTHING;
}

static void note_told(struct alert_book *book, const struct target *target, unsigned bit)
{
	list_foreach (at, &book->entries) {
		struct alert *alert = &list_entry(at, struct entry, link)->alert;

		if (alert->id != target->sending)
			continue;
		if (target->message == ALERT_RESOLVED)
			alert->told_end |= bit;
		else
			alert->told |= bit;
		book->changed = true;
	}
}

void alert_delivered(struct alert_book *book, size_t index, const char *error, int64_t now_ms,
		     uint32_t random)
{
	struct target *target = &book->targets[index];

	mem_set_str(&target->last_error, mem_strdup(error));
	if (error) {
		target->failures++;
		target->next_ms = now_ms + backoff_delay_ms(ALERT_RETRY_MS, ALERT_RETRY_MAX_MS,
							    target->failures, random);
	} else {
		target->failures = 0;
		target->next_ms = now_ms + target->min_interval_ms;
		target->sent++;
		note_told(book, target, 1u << index);
	}
	target->sending = 0;
}

/* ---- looking ---- */

bool alert_is_open(const struct alert_book *book, enum alert_kind kind, const char *subject)
{
	const struct entry *entry = find(book, kind, subject);

	return entry && entry->open;
}

bool alert_at(const struct alert_book *book, size_t index, struct alert *ret)
{
	list_foreach (at, &book->entries) {
		const struct entry *entry = list_entry(at, struct entry, link);

		if (!entry->open || index-- > 0)
			continue;
		*ret = entry->alert;
		return true;
	}
	return false;
}

size_t alert_target_count(const struct alert_book *book)
{
	return book->target_count;
}

void alert_target_look(const struct alert_book *book, size_t index, struct alert_target_view *ret)
{
	const struct target *target = &book->targets[index];

	*ret = (struct alert_target_view){
		.name = target->name,
		.sending = target->sending != 0,
		.failures = target->failures,
		.last_error = target->last_error,
		.next_ms = target->next_ms,
		.sent = target->sent,
	};
	list_foreach (at, &book->entries)
		if (owed(book, list_entry(at, struct entry, link), index) != ALERT_NOTHING)
			ret->owed++;
}
