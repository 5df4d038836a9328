#include "io/spool_format.h"

#include <assert.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

/* Segment header:	 0 magic[8]  8 version  12 (zero)  16 id  24 first seq  32 created at  40 (zeros)  60
 *crc Record header:	 0 length of payload  4 crc  8 id  16 seq  24 at  32 job  40 attempt  44 kind Slot of
 *the cursor:	 0 magic[8]  8 version  12 (zero)  16 id  24 generation  32 acked  40 floor 48 database[40] 88
 *timeline[24]  112 (zeros)  124 crc
 *
 * The crc of a record is of its header without the crc, and of its payload. */

static const char segment_magic[8] = "PRspool\n";
static const char cursor_magic[8] = "PRcursr\n";

enum {
	VERSION_AT = 8,
	SEGMENT_CRC_AT = SPOOL_SEGMENT_HEADER - 4,
	CURSOR_CRC_AT = SPOOL_CURSOR_SLOT - 4,
	DATABASE_AT = 48,
	TIMELINE_AT = DATABASE_AT + SPOOL_DATABASE_MAX,
};

static void put32(unsigned char *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (unsigned char)(value >> (8 * i));
}

static void put64(unsigned char *at, uint64_t value)
{
	put32(at, (uint32_t)value);
	put32(at + 4, (uint32_t)(value >> 32));
}

static uint32_t get32(const unsigned char *at)
{
	uint32_t value = 0;

	for (int i = 3; i >= 0; i--)
		value = value << 8 | at[i];
	return value;
}

static uint64_t get64(const unsigned char *at)
{
	return (uint64_t)get32(at + 4) << 32 | get32(at);
}

static bool is_zeros(const unsigned char *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* ---- checksums ---- */

/* The library takes bytes that it does not change without `const`, and their number as an int. */
static uint32_t crc_add(uint32_t crc, const void *bytes, size_t len)
{
	assert(len <= INT_MAX);
	return len > 0 ? crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)len, crc) : crc;
}

uint32_t spool_crc(const void *bytes, size_t len)
{
	return ~crc_add(UINT32_MAX, bytes, len);
}

/* ---- what segments and slots have in common: magic, version, crc at the end ---- */

static void seal(unsigned char *bytes, const char magic[8], size_t crc_at)
{
	memcpy(bytes, magic, 8);
	put32(bytes + VERSION_AT, SPOOL_VERSION);
	put32(bytes + crc_at, spool_crc(bytes, crc_at));
}

/* Whether nothing but the number of the version keeps the checksum from being right. */
static bool is_only_version_wrong(const unsigned char *bytes, size_t crc_at)
{
	unsigned char mended[SPOOL_CURSOR_SLOT];

	memcpy(mended, bytes, crc_at);
	put32(mended + VERSION_AT, SPOOL_VERSION);
	return get32(bytes + crc_at) == spool_crc(mended, crc_at);
}

/* Every version keeps magic and version where they are; the rest is its own affair. */
static enum spool_found check_seal(const unsigned char *bytes, size_t len, const char magic[8], size_t crc_at,
				   uint32_t *ret_version)
{
	uint32_t version;

	if (len < crc_at + 4)
		return SPOOL_MORE;
	if (is_zeros(bytes, crc_at + 4))
		return SPOOL_ZEROS;
	version = get32(bytes + VERSION_AT);
	if (memcmp(bytes, magic, 8) != 0)
		return SPOOL_BAD;
	if (version > SPOOL_VERSION && !is_only_version_wrong(bytes, crc_at)) {
		*ret_version = version;
		return SPOOL_NEWER;
	}
	if (version != SPOOL_VERSION || get32(bytes + crc_at) != spool_crc(bytes, crc_at))
		return SPOOL_BAD;
	return SPOOL_GOOD;
}

void spool_encode_segment(const struct spool_segment_header *header,
			  unsigned char bytes[SPOOL_SEGMENT_HEADER])
{
	memset(bytes, 0, SPOOL_SEGMENT_HEADER);
	put64(bytes + 16, header->id);
	put64(bytes + 24, header->first);
	put64(bytes + 32, (uint64_t)header->created_ms);
	seal(bytes, segment_magic, SEGMENT_CRC_AT);
}

enum spool_found spool_decode_segment(const void *bytes, size_t len, struct spool_segment_header *ret,
				      uint32_t *ret_version)
{
	const unsigned char *at = bytes;
	enum spool_found found = check_seal(at, len, segment_magic, SEGMENT_CRC_AT, ret_version);

	if (found != SPOOL_GOOD)
		return found;
	if (get64(at + 16) == 0 || get64(at + 24) == 0 || get64(at + 24) > SPOOL_SEQ_MAX)
		return SPOOL_BAD;
	*ret = (struct spool_segment_header){ .id = get64(at + 16),
					      .first = get64(at + 24),
					      .created_ms = (int64_t)get64(at + 32) };
	return SPOOL_GOOD;
}

void spool_encode_cursor(const struct spool_cursor *cursor, unsigned char bytes[SPOOL_CURSOR_SLOT])
{
	memset(bytes, 0, SPOOL_CURSOR_SLOT);
	put64(bytes + 16, cursor->id);
	put64(bytes + 24, cursor->generation);
	put64(bytes + 32, cursor->acked);
	put64(bytes + 40, cursor->floor);
	memcpy(bytes + DATABASE_AT, cursor->database, strnlen(cursor->database, SPOOL_DATABASE_MAX - 1));
	memcpy(bytes + TIMELINE_AT, cursor->timeline, strnlen(cursor->timeline, SPOOL_TIMELINE_MAX - 1));
	seal(bytes, cursor_magic, CURSOR_CRC_AT);
}

enum spool_found spool_decode_cursor(const void *bytes, size_t len, struct spool_cursor *ret,
				     uint32_t *ret_version)
{
	const unsigned char *at = bytes;
	enum spool_found found = check_seal(at, len, cursor_magic, CURSOR_CRC_AT, ret_version);

	if (found != SPOOL_GOOD)
		return found;
	if (get64(at + 16) == 0 || at[TIMELINE_AT - 1] != 0 || at[TIMELINE_AT + SPOOL_TIMELINE_MAX - 1] != 0)
		return SPOOL_BAD;
	if (get64(at + 24) > SPOOL_SEQ_MAX || get64(at + 32) > SPOOL_SEQ_MAX ||
	    get64(at + 40) > SPOOL_SEQ_MAX)
		return SPOOL_BAD;
	*ret = (struct spool_cursor){ .id = get64(at + 16),
				      .generation = get64(at + 24),
				      .acked = get64(at + 32),
				      .floor = get64(at + 40) };
	memcpy(ret->database, at + DATABASE_AT, SPOOL_DATABASE_MAX);
	memcpy(ret->timeline, at + TIMELINE_AT, SPOOL_TIMELINE_MAX);
	return SPOOL_GOOD;
}

/* ---- records ---- */

size_t spool_record_bytes(const struct spool_record *record)
{
	return SPOOL_RECORD_MIN + record->meta_len + record->body_len;
}

/* In parts, so that nothing is copied to be written. */
static uint32_t record_crc(const unsigned char *header, const struct spool_record *record)
{
	uint32_t crc = crc_add(UINT32_MAX, header, 4);

	crc = crc_add(crc, header + 8, SPOOL_RECORD_HEADER - 8);
	crc = crc_add(crc, record->meta, record->meta_len);
	crc = crc_add(crc, "\n", 1);
	return ~crc_add(crc, record->body, record->body_len);
}

void spool_encode_record(const struct spool_record *record, uint64_t id,
			 unsigned char header[SPOOL_RECORD_HEADER])
{
	put32(header, (uint32_t)(record->meta_len + 1 + record->body_len));
	put64(header + 8, id);
	put64(header + 16, record->seq);
	put64(header + 24, (uint64_t)record->at_ms);
	put64(header + 32, (uint64_t)record->job_id);
	put32(header + 40, (uint32_t)record->attempt);
	put32(header + 44, (uint32_t)record->kind);
	put32(header + 4, record_crc(header, record));
}

/* What is wrong with a header, judged without its payload; NULL when nothing is. */
static const char *header_fault(const unsigned char *header, const struct spool_expect *expect)
{
	uint32_t length = get32(header);
	uint64_t seq = get64(header + 16);

	if (length == 0 || length > SPOOL_PAYLOAD_MAX)
		return "impossible length";
	if (get64(header + 8) != expect->id)
		return "not a record of this spool";
	if (seq < expect->seq_min || seq > expect->seq_max || seq > SPOOL_SEQ_MAX)
		return "out of sequence";
	return NULL;
}

/* Splits the payload; NULL, or what is wrong with a record whose crc is right. */
static const char *open_record(const unsigned char *at, struct spool_record *ret)
{
	const char *payload = (const char *)at + SPOOL_RECORD_HEADER;
	size_t length = get32(at);
	const char *newline = memchr(payload, '\n', length);
	uint32_t attempt = get32(at + 40);

	if (!newline || attempt > INT_MAX)
		return "not a record, though its checksum is right";
	*ret = (struct spool_record){
		.seq = get64(at + 16),
		.at_ms = (int64_t)get64(at + 24),
		.kind = (enum spool_kind)get32(at + 44),
		.job_id = (int64_t)get64(at + 32),
		.attempt = (int)attempt,
		.meta = payload,
		.meta_len = (size_t)(newline - payload),
		.body = newline + 1,
		.body_len = length - (size_t)(newline - payload) - 1,
	};
	return NULL;
}

enum spool_found spool_decode_record(const void *bytes, size_t len, const struct spool_expect *expect,
				     struct spool_record *ret, size_t *ret_len, const char **ret_why)
{
	const unsigned char *at = bytes;
	uint32_t crc;

	*ret_len = SPOOL_RECORD_HEADER;
	if (len < SPOOL_RECORD_HEADER)
		return SPOOL_MORE;
	if (is_zeros(at, SPOOL_RECORD_HEADER))
		return SPOOL_ZEROS;
	*ret_why = header_fault(at, expect);
	if (*ret_why)
		return SPOOL_BAD;
	*ret_len += get32(at);
	if (len < *ret_len)
		return SPOOL_MORE;
	crc = crc_add(UINT32_MAX, at, 4);
	crc = ~crc_add(crc, at + 8, *ret_len - 8);
	*ret_why = crc == get32(at + 4) ? open_record(at, ret) : "wrong checksum";
	return *ret_why ? SPOOL_BAD : SPOOL_GOOD;
}
