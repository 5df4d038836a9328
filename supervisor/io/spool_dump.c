/* Offline: one segment as JSON lines, for people and for tests that keep books. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "io/spool_format.h"
#include "io/spool_scan.h"

static const char *kind_name(enum spool_kind kind)
{
	switch ((int)kind) {
	case SPOOL_NOTHING:
		return "nothing";
	case SPOOL_TURN:
		return "turn";
	case SPOOL_END:
		return "end";
	}
	return "unknown";
}

static void print_time(FILE *out, int64_t at_ms)
{
	time_t seconds = (time_t)(at_ms / 1000);
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&seconds, &tm))
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)fprintf(out, ",\"at\":\"%s.%03dZ\"", text, (int)(at_ms % 1000));
}

/* Meta and body are JSON already, each one line of it. */
static void print_record(FILE *out, const struct spool_record *record)
{
	(void)fprintf(out, "{\"seq\":%" PRIu64, record->seq);
	print_time(out, record->at_ms);
	(void)fprintf(out, ",\"kind\":\"%s\",\"job\":%" PRId64 ",\"attempt\":%d", kind_name(record->kind),
		      record->job_id, record->attempt);
	if (record->meta_len > 0) {
		(void)fputs(",\"meta\":", out);
		(void)fwrite(record->meta, 1, record->meta_len, out);
	}
	if (record->body_len > 0) {
		(void)fputs(",\"body\":", out);
		(void)fwrite(record->body, 1, record->body_len, out);
	}
	(void)fputs("}\n", out);
}

static void print_end(FILE *out, const struct spool_scan *scan, uint64_t records, int damages)
{
	(void)fprintf(out, "{\"end\":\"%s\",\"byte\":%lld,\"records\":%" PRIu64 ",\"damages\":%d}\n",
		      scan->lost ? "cut off" : "good",
		      (long long)(scan->lost ? scan->damaged_at : scan->offset), records, damages);
}

/* Damage is told where it is met; the records behind it are printed if there are any. */
static int print_all(FILE *out, struct spool_scan *scan)
{
	struct spool_record record;
	uint64_t records = 0;
	int damages = 0;

	for (;;) {
		switch (spool_scan_next(scan, &record)) {
		case SCAN_RECORD:
			records++;
			print_record(out, &record);
			continue;
		case SCAN_DAMAGE:
			damages++;
			(void)fprintf(out, "{\"damage\":\"%s\",\"byte\":%lld}\n", scan->why,
				      (long long)scan->damaged_at);
			continue;
		case SCAN_FAILED:
			return scan->error;
		case SCAN_END:
			print_end(out, scan, records, damages);
			return 0;
		}
	}
}

static int dump(int fd, FILE *out, const char **ret_reason)
{
	unsigned char bytes[SPOOL_SEGMENT_HEADER];
	struct spool_segment_header header;
	struct spool_scan scan = { 0 };
	uint32_t version;
	ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
	int r;

	if (n < 0)
		return -errno;
	switch (spool_decode_segment(bytes, (size_t)n, &header, &version)) {
	case SPOOL_GOOD:
		break;
	case SPOOL_NEWER:
		*ret_reason = "it is of a newer version of the format than this proctord knows";
		return -EPROTONOSUPPORT;
	case SPOOL_ZEROS:
		*ret_reason = "nothing was written to it yet";
		return -ENODATA;
	default:
		*ret_reason = "it is not a segment of a spool, or its header is damaged";
		return -EBADMSG;
	}
	r = spool_scan_start(&scan, fd, header.id, SPOOL_SEGMENT_HEADER, header.first, UINT64_MAX, -1);
	if (r == 0)
		r = print_all(out, &scan);
	spool_scan_free(&scan);
	if (r == 0 && (fflush(out) != 0 || ferror(out))) {
		*ret_reason = "its records cannot be written to the output";
		return -EIO;
	}
	return r;
}

int spool_dump(const char *path, FILE *out, char **ret_error)
{
	AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *reason = NULL;
	int r = fd < 0 ? -errno : dump(fd, out, &reason);

	if (r < 0)
		*ret_error = mem_printf("%s: %s", path, reason ? reason : strerror(-r));
	return r;
}
