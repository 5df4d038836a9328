/* The files of a spool. An input is a byte of flags, a slot of the cursor file where FLAG_CURSOR says so, and
 * a segment. Since nearly no change of a byte survives a checksum, FLAG_MEND makes them right first, and
 * gives the records the id and the numbers that are due.
 *
 * The segment is dumped, and, with FLAG_FOLDER, opened as a spool, read from end to end, written to and
 * opened once more: what was written must be there. */

#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/loop.h"
#include "io/spool.h"
#include "io/spool_format.h"

enum {
	FLAG_MEND = 1,
	FLAG_FOLDER = 2,
	FLAG_CURSOR = 4,
	SEGMENT_BYTES = 65536,
	READ_BYTES = 4096,
};

static struct loop *loop;
static char folder[] = "/dev/shm/proctor-fuzz-XXXXXX";
static char path[64];
static uint64_t read_next;
static size_t read_count;

/* ---- checksums ---- */

static void put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static void put64(uint8_t *at, uint64_t value)
{
	put32(at, (uint32_t)value);
	put32(at + 4, (uint32_t)(value >> 32));
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Where magic and version are right, the checksum behind `len` bytes becomes so too. */
static void mend_sealed(uint8_t *bytes, size_t len)
{
	put32(bytes + len - 4, spool_crc(bytes, len - 4));
}

static void mend_records(uint8_t *at, size_t len, const uint8_t *id, uint64_t seq)
{
	while (len >= SPOOL_RECORD_MIN) {
		size_t whole = (size_t)SPOOL_RECORD_HEADER + get32(at);
		uint8_t *joined;

		if (whole > len)
			return;
		memcpy(at + 8, id, 8);
		put64(at + 16, seq++);
		joined = mem_array(whole, 1);
		memcpy(joined, at, 4);
		memcpy(joined + 4, at + 8, whole - 8);
		put32(at + 4, spool_crc(joined, whole - 4));
		mem_free(&joined);
		at += whole;
		len -= whole;
	}
}

static void mend_segment(uint8_t *bytes, size_t len)
{
	if (len < SPOOL_SEGMENT_HEADER)
		return;
	put64(bytes + 24, 1);
	mend_sealed(bytes, SPOOL_SEGMENT_HEADER);
	mend_records(bytes + SPOOL_SEGMENT_HEADER, len - SPOOL_SEGMENT_HEADER, bytes + 16, 1);
}

/* ---- files ---- */

static void write_file(const char *name, const uint8_t *bytes, size_t len)
{
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	claim(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "the file can be written");
	(void)close(fd);
}

static void empty_folder(void)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;

	while ((entry = readdir(dir)))
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	(void)closedir(dir);
}

static void remove_folder(void)
{
	empty_folder();
	(void)rmdir(folder);
}

static void set_up(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	claim(mkdtemp(folder) && loop_new(&loop) == 0, "there is a folder and a loop");
	claim(freopen("/dev/null", "w", stdout), "standard output can go nowhere");
	(void)atexit(remove_folder);
}

/* ---- the checks ---- */

static void check_dump(const uint8_t *bytes, size_t len)
{
	AUTO(mem_free_str) char *error = NULL;

	write_file("0000000000000001.spool", bytes, len);
	if (spool_dump(path, stdout, &error) < 0)
		claim_one_line(error);
}

static void got(void *arg, const struct spool_record *records, size_t count, uint64_t next)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		claim(records[i].seq < next, "`next` is behind all records");
		claim(!memchr(records[i].meta, '\n', records[i].meta_len), "meta is one line");
	}
	claim(next >= read_next, "numbers only rise");
	read_next = next;
	read_count = count;
	loop_stop(loop);
}

static void read_all(struct spool *spool)
{
	struct spool_reader *reader;

	read_next = 0;
	spool_reader_new(spool, 1, &reader);
	do {
		spool_read(reader, READ_BYTES, got, NULL);
		loop_run(loop);
	} while (read_count > 0);
	spool_reader_free(&reader);
}

static bool open_spool(struct spool **ret)
{
	const struct spool_options options = {
		.dir = folder,
		.max_bytes = SEGMENT_BYTES * 64,
		.segment_bytes = SEGMENT_BYTES,
		.keep_ms = 1000,
	};
	AUTO(mem_free_str) char *error = NULL;

	if (spool_open(loop, &options, ret, &error) == 0)
		return true;
	claim_one_line(error);
	return false;
}

static void check_folder(void)
{
	struct spool_record record = {
		.kind = SPOOL_END, .job_id = 7, .meta = "{}", .meta_len = 2, .body = ""
	};
	struct spool_stat stat;
	struct spool *spool;

	if (!open_spool(&spool))
		return;
	read_all(spool);
	spool_append(spool, &record);
	spool_close(&spool);
	claim(open_spool(&spool), "what was open can be opened again");
	spool_stat(spool, &stat);
	claim(stat.written >= record.seq && stat.acked < record.seq, "what was appended is there");
	spool_close(&spool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t flags = size > 0 ? data[0] : 0;
	size_t cursor = flags & FLAG_CURSOR ? SPOOL_CURSOR_SLOT : 0;
	uint8_t *bytes;

	if (!loop)
		set_up();
	if (size < 1 + cursor || size > SEGMENT_BYTES)
		return 0;
	bytes = mem_array(size, 1);
	memcpy(bytes, data + 1, size - 1);
	if (flags & FLAG_MEND) {
		mend_segment(bytes + cursor, size - 1 - cursor);
		if (cursor)
			mend_sealed(bytes, cursor);
	}
	if (cursor)
		write_file("cursor", bytes, cursor);
	check_dump(bytes + cursor, size - 1 - cursor);
	if (flags & FLAG_FOLDER)
		check_folder();
	empty_folder();
	mem_free(&bytes);
	return 0;
}
