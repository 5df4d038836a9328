#include "io/spool_scan.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/spool_format.h"

enum {
	CHUNK_BYTES = 256 * 1024,
	ID_AT = 8, /* of the spool's id in a record's header */
	ID_BYTES = 8,
	LENGTH_BYTES = 4,
};

int spool_scan_start(struct spool_scan *scan, int fd, uint64_t id, int64_t offset, uint64_t seq,
		     uint64_t seq_end, int64_t end)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (end < 0 || end > st.st_size)
		end = st.st_size;
	*scan = (struct spool_scan){
		.fd = fd, .id = id, .seq = seq, .seq_end = seq_end, .offset = offset, .end = end
	};
	return 0;
}

void spool_scan_free(struct spool_scan *scan)
{
	mem_free(&scan->bytes);
}

static size_t held(const struct spool_scan *scan)
{
	return scan->len - scan->pos;
}

static void advance(struct spool_scan *scan, size_t len)
{
	scan->pos += len;
	scan->offset += (int64_t)len;
}

static void make_room(struct spool_scan *scan, size_t want)
{
	if (scan->pos > 0 && held(scan) > 0)
		memmove(scan->bytes, scan->bytes + scan->pos, held(scan));
	scan->len = held(scan);
	scan->pos = 0;
	if (want <= scan->room)
		return;
	scan->bytes = mem_resize(scan->bytes, want, 1);
	scan->room = want;
}

/* Holds `need` bytes, or all that there are. False when the file cannot be read. */
static bool fill(struct spool_scan *scan, size_t need)
{
	if (held(scan) >= need)
		return true;
	make_room(scan, need > CHUNK_BYTES ? need : CHUNK_BYTES);
	while (held(scan) < need) {
		int64_t from = scan->offset + (int64_t)held(scan);
		size_t want = scan->room - scan->len;
		ssize_t n;

		if (from >= scan->end)
			return true;
		if ((int64_t)want > scan->end - from)
			want = (size_t)(scan->end - from);
		n = pread(scan->fd, scan->bytes + scan->len, want, from);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			scan->error = -errno;
			return false;
		}
		if (n == 0)
			scan->end = from;
		scan->len += (size_t)n;
	}
	return true;
}

static size_t zeros_in_front(const char *bytes, size_t len)
{
	size_t count = 0;

	/* Mostly it is all of them: the rest of a segment that was allocated beforehand. */
	if (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0)
		return len;
	while (bytes[count] == 0)
		count++;
	return count;
}

/* Takes the zeros in front. 1 when nothing but zeros was left, 0 when something else follows, -1 unreadable.
 */
static int skip_zeros(struct spool_scan *scan)
{
	for (;;) {
		if (!fill(scan, 1))
			return -1;
		if (held(scan) == 0)
			return 1;
		advance(scan, zeros_in_front(scan->bytes + scan->pos, held(scan)));
		if (held(scan) > 0)
			return 0;
	}
}

/* Decodes what is in front, with as much of the file as that takes. SPOOL_MORE: the file ends within it. */
static enum spool_found decode(struct spool_scan *scan, uint64_t seq_max, struct spool_record *ret,
			       size_t *ret_len)
{
	struct spool_expect expect = { .id = scan->id, .seq_min = scan->seq, .seq_max = seq_max };
	size_t need = SPOOL_RECORD_HEADER;
	enum spool_found found;

	for (;;) {
		if (!fill(scan, need))
			return SPOOL_BAD;
		found = spool_decode_record(scan->bytes + scan->pos, held(scan), &expect, ret, ret_len,
					    &scan->why);
		if (found != SPOOL_MORE || held(scan) < need)
			return found;
		need = *ret_len;
	}
}

/* Stands at the next record that is good, whatever its number as long as it fits; false when there is none.
 */
static bool seek(struct spool_scan *scan)
{
	unsigned char id[ID_BYTES];

	for (int i = 0; i < ID_BYTES; i++)
		id[i] = (unsigned char)(scan->id >> (8 * i));
	while (fill(scan, SPOOL_RECORD_MIN) && held(scan) >= SPOOL_RECORD_MIN) {
		const char *from = scan->bytes + scan->pos;
		const char *at = memmem(from + ID_AT, held(scan) - ID_AT, id, sizeof(id));
		struct spool_record record;
		size_t len;

		if (!at) {
			advance(scan, held(scan) - (ID_AT + ID_BYTES - 1));
			continue;
		}
		advance(scan, (size_t)(at - from) - ID_AT);
		if (decode(scan, scan->seq_end - 1, &record, &len) == SPOOL_GOOD) {
			scan->seq = record.seq;
			return true;
		}
		if (scan->error)
			return false;
		advance(scan, 1);
	}
	return false;
}

static enum spool_scanned damage(struct spool_scan *scan, int64_t at, const char *why)
{
	if (scan->error)
		return SCAN_FAILED;
	scan->why = why;
	scan->damaged_at = at;
	scan->lost = true;
	return SCAN_DAMAGE;
}

/* A header of zeros, or less of the file than a header: the end, if nothing but zeros follows. */
static enum spool_scanned judge_zeros(struct spool_scan *scan, const char *otherwise)
{
	int64_t at = scan->offset;
	int64_t back;

	switch (skip_zeros(scan)) {
	case -1:
		return SCAN_FAILED;
	case 1:
		scan->offset = at;
		scan->pos = scan->len = 0;
		return SCAN_END;
	}
	/* A record's length, its first bytes, may begin with zeros of its own. */
	back = scan->offset - at < LENGTH_BYTES ? scan->offset - at : LENGTH_BYTES - 1;
	scan->offset -= back;
	scan->pos = scan->len = 0;
	return damage(scan, at, otherwise);
}

enum spool_scanned spool_scan_next(struct spool_scan *scan, struct spool_record *ret)
{
	size_t len;

	if (scan->lost) {
		if (!seek(scan))
			return scan->error ? SCAN_FAILED : SCAN_END;
		scan->lost = false;
	}
	if (scan->seq >= scan->seq_end)
		return SCAN_END;
	switch (decode(scan, scan->seq, ret, &len)) {
	case SPOOL_GOOD:
		advance(scan, len);
		scan->seq++;
		return SCAN_RECORD;
	case SPOOL_ZEROS:
		return judge_zeros(scan, "nothing where a record should be");
	case SPOOL_MORE:
		if (held(scan) < SPOOL_RECORD_HEADER)
			return judge_zeros(scan, "cut off");
		return damage(scan, scan->offset, "cut off");
	default:
		return damage(scan, scan->offset, scan->why);
	}
}
