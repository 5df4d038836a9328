/* Which records are acknowledged. A segment with one that is not has an entry for each of its records; what
 * is acknowledged without a gap follows from the first segment that has one. */

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "io/loop.h"
#include "io/spool_private.h"

/* ---- entries ---- */

static void advance_oldest(struct spool_segment *segment)
{
	while (segment->oldest < segment->count && segment->entries[segment->oldest].acked)
		segment->oldest++;
}

void spool_entry_add(struct spool *spool, struct spool_segment *segment, int64_t at_ms, uint32_t bytes,
		     bool acked)
{
	if (segment->count == segment->entry_room) {
		segment->entry_room = segment->entry_room ? segment->entry_room * 2 : 256;
		segment->entries = mem_resize(segment->entries, segment->entry_room,
					      sizeof(*segment->entries));
	}
	segment->entries[segment->count++] = (struct spool_entry){ .at_ms = at_ms,
								   .bytes = bytes,
								   .acked = acked };
	if (!acked)
		segment->unacked++;
	advance_oldest(segment);
	if (!acked && spool->low >= spool->segment_count)
		spool->low = spool->segment_count - 1;
}

static void expect_again(struct spool *spool, struct spool_segment *segment, struct spool_entry *entry)
{
	entry->acked = false;
	segment->unacked++;
	spool->depth++;
	spool->depth_bytes += entry->bytes;
}

void spool_entries_estimate(struct spool *spool, struct spool_segment *segment, uint64_t acked)
{
	int64_t used = segment->end > 0 ? segment->end : segment->size;
	uint32_t share;

	if (segment->count == 0 || segment->first + segment->count - 1 <= acked)
		return;
	share = (uint32_t)((uint64_t)(used - SPOOL_SEGMENT_HEADER) / segment->count);
	segment->entries = mem_array(segment->count, sizeof(*segment->entries));
	segment->entry_room = segment->count;
	for (uint64_t i = 0; i < segment->count; i++) {
		struct spool_entry *entry = &segment->entries[i];

		*entry = (struct spool_entry){ .at_ms = segment->created_ms, .bytes = share, .acked = true };
		if (segment->first + i > acked)
			expect_again(spool, segment, entry);
	}
	segment->oldest = 0;
	advance_oldest(segment);
}

uint64_t spool_acked(const struct spool *spool)
{
	for (size_t i = spool->low; i < spool->segment_count; i++) {
		const struct spool_segment *segment = spool->segments[i];

		if (segment->unacked > 0)
			return segment->first + segment->oldest - 1;
	}
	if (spool->waiting_low < spool->waiting_len)
		return spool->waiting[spool->waiting_head + spool->waiting_low]->record.seq - 1;
	return spool->next_seq - 1;
}

/* The entry of a record that is in a file; NULL when all of its segment are acknowledged, or none has it. */
static struct spool_entry *entry_of(const struct spool *spool, uint64_t seq, struct spool_segment **ret)
{
	ssize_t index = spool_segment_find(spool, seq);

	if (index < 0)
		return NULL;
	*ret = spool->segments[index];
	if (!(*ret)->entries || seq - (*ret)->first >= (*ret)->count)
		return NULL;
	return &(*ret)->entries[seq - (*ret)->first];
}

bool spool_is_acked(const struct spool *spool, uint64_t seq)
{
	struct spool_segment *segment;
	const struct spool_entry *entry = entry_of(spool, seq, &segment);

	return !entry || entry->acked;
}

/* ---- acknowledging ---- */

/* A record that waits need not be written any more, but its number must: what takes its place is small. */
static bool ack_waiting(struct spool *spool, uint64_t seq)
{
	struct spool_waiting **slot;

	slot = &spool->waiting[spool->waiting_head + (seq - spool->written - 1)];
	assert((*slot)->record.seq == seq);
	if ((*slot)->acked)
		return false;
	(*slot)->acked = true;
	spool->depth--;
	spool->depth_bytes -= (int64_t)spool_record_bytes(&(*slot)->record);
	/* One that was tried may lie half in the file: only all of it covers that. */
	if (!(*slot)->attempted) {
		(*slot)->record.kind = (enum spool_kind)SPOOL_NOTHING;
		(*slot)->record.meta_len = (*slot)->record.body_len = 0;
		*slot = mem_resize(*slot, 1, sizeof(**slot));
		(*slot)->record.meta = (*slot)->record.body = "";
	}
	while (spool->waiting_low < spool->waiting_len &&
	       spool->waiting[spool->waiting_head + spool->waiting_low]->acked)
		spool->waiting_low++;
	return true;
}

static bool ack_written(struct spool *spool, uint64_t seq)
{
	struct spool_segment *segment = NULL;
	struct spool_entry *entry = entry_of(spool, seq, &segment);

	if (!entry || entry->acked)
		return false;
	entry->acked = true;
	segment->unacked--;
	segment->acked_ms = loop_now_ms(spool->loop);
	spool->depth--;
	spool->depth_bytes -= entry->bytes;
	advance_oldest(segment);
	while (spool->low < spool->segment_count && spool->segments[spool->low]->unacked == 0)
		spool->low++;
	spool_keep_on_acked(spool, segment);
	return true;
}

static bool ack(struct spool *spool, uint64_t seq)
{
	if (seq == 0 || seq >= spool->next_seq)
		return false;
	return seq > spool->written ? ack_waiting(spool, seq) : ack_written(spool, seq);
}

void spool_ack(struct spool *spool, uint64_t seq)
{
	if (!ack(spool, seq))
		return;
	spool_cursor_soon(spool);
	spool_judge(spool);
}

uint64_t spool_ack_missing(struct spool *spool, uint64_t from, uint64_t to)
{
	ssize_t index = spool_segment_find(spool, from);
	uint64_t end, count = 0;

	if (index < 0)
		return 0;
	end = spool->segments[index]->first + spool->segments[index]->count;
	for (uint64_t seq = from; seq < to && seq < end; seq++)
		count += ack(spool, seq);
	if (count > 0) {
		spool_cursor_soon(spool);
		spool_judge(spool);
	}
	return count;
}

/* ---- taking back ---- */

static void take_back(struct spool *spool, struct spool_segment *segment)
{
	if (!segment->entries) {
		spool_entries_estimate(spool, segment, spool->cursor.floor);
		return;
	}
	for (uint64_t i = 0; i < segment->count; i++) {
		struct spool_entry *entry = &segment->entries[i];

		if (entry->acked && segment->first + i > spool->cursor.floor)
			expect_again(spool, segment, entry);
	}
	segment->oldest = 0;
	advance_oldest(segment);
}

uint64_t spool_rewind(struct spool *spool)
{
	for (size_t i = 0; i < spool->segment_count; i++)
		take_back(spool, spool->segments[i]);
	spool->low = 0;
	spool->cursor_dirty = true;
	spool_cursor_now(spool);
	spool_judge(spool);
	return spool_acked(spool) + 1;
}
