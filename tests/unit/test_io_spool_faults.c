#include "spool_place.h"

#include <pthread.h>
#include <stdarg.h>
#include <sys/uio.h>

/* A disk that fails: full, short of what was asked, unable to sync. The calls that meet it are stood in for,
 * here and in the spool's thread. */

ssize_t __real_pwritev(int fd, const struct iovec *iov, int count, off_t offset);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __real_openat(int dir_fd, const char *path, int flags, ...);
int __real_renameat(int old_fd, const char *old, int new_fd, const char *new);

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_openat(int dir_fd, const char *path, int flags, ...);
int __wrap_renameat(int old_fd, const char *old, int new_fd, const char *new);

enum { FOR_EVER = 1 << 20 };

static struct {
	pthread_mutex_t lock;
	/* Of the calls that take room on the disk, from this one on (from 1; 0 = never) … */
	long fail_from, fail_count;
	int error;
	long calls; /* of them so far */
	long failed;
	/* One write gives up after so many bytes; -1 = none does. */
	ssize_t short_after;
	bool short_then_full; /* … and the disk is full after it */
	int sync_error, dir_sync_error, allocate_error;
	long syncs;
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .short_after = -1 };

static void heal(void)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.fail_from = disk.fail_count = disk.failed = disk.calls = disk.syncs = 0;
	disk.error = ENOSPC;
	disk.short_after = -1;
	disk.short_then_full = false;
	disk.sync_error = disk.dir_sync_error = disk.allocate_error = 0;
	(void)pthread_mutex_unlock(&disk.lock);
}

/* From the n-th call from now on (1 = the next), so many of them; 0 of them = none any more. */
static void fail_calls(long from, long count, int error)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.calls = 0;
	disk.fail_from = from;
	disk.fail_count = count;
	disk.error = error;
	(void)pthread_mutex_unlock(&disk.lock);
}

static void fail_allocation(int error)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.allocate_error = error;
	(void)pthread_mutex_unlock(&disk.lock);
}

static void fail_syncs(int file_error, int dir_error)
{
	(void)pthread_mutex_lock(&disk.lock);
	disk.sync_error = file_error;
	disk.dir_sync_error = dir_error;
	(void)pthread_mutex_unlock(&disk.lock);
}

/* Whether this call meets the fault; errno is set then. */
static bool meets_fault(void)
{
	bool fails;

	(void)pthread_mutex_lock(&disk.lock);
	disk.calls++;
	fails = disk.fail_from > 0 && disk.calls >= disk.fail_from &&
		disk.calls < disk.fail_from + disk.fail_count;
	if (fails) {
		disk.failed++;
		errno = disk.error;
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return fails;
}

/* The bytes after which this write gives up, or -1. */
static ssize_t take_short(void)
{
	ssize_t after;

	(void)pthread_mutex_lock(&disk.lock);
	after = disk.short_after;
	disk.short_after = -1;
	if (after >= 0 && disk.short_then_full) {
		disk.fail_from = disk.calls + 1;
		disk.fail_count = FOR_EVER;
	}
	(void)pthread_mutex_unlock(&disk.lock);
	return after;
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	ssize_t left, written = 0;

	if (meets_fault())
		return -1;
	left = take_short();
	if (left < 0)
		return __real_pwritev(fd, iov, count, offset);
	for (int i = 0; i < count && left > 0; i++) {
		size_t len = iov[i].iov_len < (size_t)left ? iov[i].iov_len : (size_t)left;

		assert_int_equal(pwrite(fd, iov[i].iov_base, len, offset + written), len);
		written += (ssize_t)len;
		left -= (ssize_t)len;
	}
	return written;
}

static int sync_result(const int *error)
{
	int result;

	(void)pthread_mutex_lock(&disk.lock);
	disk.syncs++;
	result = *error ? -1 : 0;
	errno = *error;
	(void)pthread_mutex_unlock(&disk.lock);
	return result;
}

int __wrap_fdatasync(int fd)
{
	return sync_result(&disk.sync_error) < 0 ? -1 : __real_fdatasync(fd);
}

int __wrap_fsync(int fd)
{
	return sync_result(&disk.dir_sync_error) < 0 ? -1 : __real_fsync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (disk.allocate_error) {
		errno = disk.allocate_error;
		return -1;
	}
	return meets_fault() ? -1 : __real_fallocate(fd, mode, offset, len);
}

int __wrap_openat(int dir_fd, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	if ((flags & O_CREAT) && meets_fault())
		return -1;
	return __real_openat(dir_fd, path, flags, mode);
}

int __wrap_renameat(int old_fd, const char *old, int new_fd, const char *new)
{
	return meets_fault() ? -1 : __real_renameat(old_fd, old, new_fd, new);
}

static int healthy(void **state)
{
	(void)state;
	heal();
	return 0;
}

/* ---- no room ---- */

enum { RECORDS = 16 };

static bool is_well(struct place *place)
{
	return !spool_trouble(place->spool) && place_stat(place).unwritten == 0;
}

static bool is_quiet(struct place *place)
{
	return place_stat(place).synced == place_stat(place).written && place_stat(place).bytes > 0;
}

static bool has_told(struct place *place)
{
	return place->changes > 0;
}

/* A small life, in which the fault may hit anything. It must end as if there had been none. */
static void live_through_fault(long from, long count, int error)
{
	struct place *place = place_new();

	heal();
	place->options.segment_bytes = 700;
	place_open(place);
	fail_calls(from, count, error);
	for (int i = 0; i < RECORDS; i++) {
		place_append_many(place, 1);
		/* What cannot be written is told by then. */
		expect(place_stat(place).unwritten == 0 || spool_trouble(place->spool), "fault %ld", from);
		if (i % 5 == 4 && place_stat(place).unwritten == 0)
			place_wait(place, is_quiet);
	}
	if (count == FOR_EVER)
		fail_calls(1, 0, ENOSPC);
	place_wait(place, is_well);
	assert_int_equal(place_stat(place).written, RECORDS);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, RECORDS);
	place_close(place);
	fail_calls(1, 0, ENOSPC);
	place_open(place);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, RECORDS);
	place_free(&place);
}

/* The first call that takes room fails, then the second instead, and so on until there is none left to fail.
 */
static void test_a_full_disk_at_any_one_call_loses_nothing(void **state)
{
	long from = 0;

	(void)state;
	do
		live_through_fault(++from, 1, ENOSPC);
	while (disk.failed > 0);
	assert_true(from > RECORDS + 10);
}

static void test_a_disk_that_is_full_from_any_call_on_loses_nothing(void **state)
{
	long from = 0;

	(void)state;
	do {
		from += 3;
		live_through_fault(from, FOR_EVER, from % 2 ? ENOSPC : EDQUOT);
	} while (disk.failed > 0);
	assert_true(from > RECORDS);
}

static void test_an_io_error_at_any_call_loses_nothing(void **state)
{
	long from = -1;

	(void)state;
	do {
		from += 4;
		live_through_fault(from < 1 ? 1 : from, 2, EIO);
	} while (disk.failed > 0);
	assert_true(from > RECORDS);
}

static void test_a_full_disk_is_told_by_name_and_so_is_its_end(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 5);
	fail_calls(1, FOR_EVER, ENOSPC);
	place_append_many(place, 10);
	assert_int_equal(place_stat(place).unwritten, 10);
	assert_int_equal(place_stat(place).written, 5);
	assert_int_equal(place_stat(place).depth, 15);
	assert_true(spool_is_holding(place->spool));
	assert_non_null(strstr(spool_trouble(place->spool), "No space left on device"));
	assert_non_null(strstr(spool_trouble(place->spool), place->dir));
	place_wait(place, has_told);
	assert_int_equal(place->changes, 1);
	place->changes = 0;
	fail_calls(1, 0, ENOSPC);
	place_wait(place, is_well);
	place_wait(place, has_told);
	assert_false(spool_is_holding(place->spool));
	place_free(&place);
}

/* Told while the present segment still takes what is under way. */
static void test_no_room_for_the_next_segment_is_told_ahead(void **state)
{
	struct place *place = place_new();
	int64_t segments;

	(void)state;
	place_open(place);
	place_append_many(place, 1);
	place_wait(place, is_quiet);
	fail_allocation(ENOSPC);
	segments = place_stat(place).segments;
	while (place_stat(place).segments == segments)
		place_append_many(place, 1);
	place_wait(place, has_told);
	assert_non_null(strstr(spool_trouble(place->spool), "no room for another segment"));
	assert_int_equal(place_stat(place).unwritten, 0);
	place_append_many(place, 1);
	assert_int_equal(place_stat(place).unwritten, 0);
	fail_allocation(0);
	place_wait(place, is_well);
	place_free(&place);
}

static bool is_held(struct place *place)
{
	return place_stat(place).unwritten > 0 || place_stat(place).kept_bytes == 0;
}

static void test_kept_segments_make_way_when_the_disk_is_full(void **state)
{
	struct place *place = place_new();
	int64_t kept;

	(void)state;
	place_open(place);
	place_append_many(place, 200);
	for (uint64_t seq = 1; seq <= 200; seq++)
		place_ack(place, seq);
	place_wait(place, is_quiet);
	kept = place_stat(place).kept_bytes;
	assert_true(kept > 3 * PLACE_SMALL);
	fail_calls(1, 2, ENOSPC);
	place_append_many(place, 1);
	place_wait(place, is_well);
	assert_true(place_stat(place).kept_bytes < kept);
	/* With none left, it is trouble. */
	fail_calls(1, FOR_EVER, ENOSPC);
	place_append_many(place, 1);
	place_wait(place, is_held);
	assert_non_null(spool_trouble(place->spool));
	fail_calls(1, 0, ENOSPC);
	place_wait(place, is_well);
	place_read_all(place, 1, 1000);
	place_expect(place, 201, 202);
	place_free(&place);
}

/* All of them go before nothing new may be begun. */
static void test_kept_segments_make_way_for_the_next_segment(void **state)
{
	struct place *place = place_new();
	int segments;

	(void)state;
	place_open(place);
	place_append_many(place, 200);
	for (uint64_t seq = 1; seq <= 200; seq++)
		place_ack(place, seq);
	place_wait(place, is_quiet);
	assert_true(place_stat(place).kept_bytes > 3 * PLACE_SMALL);
	fail_allocation(ENOSPC);
	segments = place_stat(place).segments;
	while (place_stat(place).segments == segments)
		(void)place_append(place, 100);
	place_wait(place, has_told);
	assert_non_null(strstr(spool_trouble(place->spool), "no room for another segment"));
	/* But for the one that was left just now and is not synced yet. */
	assert_true(place_stat(place).kept_bytes <= PLACE_SMALL);
	fail_allocation(0);
	place_wait(place, is_well);
	place_free(&place);
}

static void test_without_allocation_it_works_all_the_same(void **state)
{
	struct place *place = place_new();

	(void)state;
	fail_allocation(EOPNOTSUPP);
	for (uint64_t round = 1; round <= 3; round++) {
		place_open(place);
		place_append_many(place, 200);
		assert_null(spool_trouble(place->spool));
		place_read_all(place, 1, 1000);
		place_expect(place, 1, 200 * round);
		place_close(place);
	}
	place_free(&place);
}

static void test_a_full_disk_at_the_start_is_trouble_and_no_failure(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 20);
	place_close(place);
	fail_allocation(ENOSPC);
	place_open(place);
	assert_non_null(spool_trouble(place->spool));
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 20);
	fail_allocation(0);
	place_wait(place, is_well);
	place_free(&place);
}

/* ---- short writes ---- */

/* The dump of the only segment. */
static char *dump(const struct place *place)
{
	AUTO(mem_free_str) char *error = NULL;
	char *text = NULL;
	char path[128];
	size_t len;
	FILE *out = open_memstream(&text, &len);

	place_path(place, "0000000000000001.spool", path);
	if (spool_dump(path, out, &error) < 0)
		fail_msg("%s", error);
	(void)fclose(out);
	return text;
}

/* How many records it says that there are. */
static uint64_t dump_count(const struct place *place)
{
	AUTO(mem_free_str) char *text = dump(place);
	const char *count = strstr(text, "\"records\":");

	assert_non_null(count);
	return strtoull(count + 10, NULL, 10);
}

static bool is_dump_good(const struct place *place)
{
	AUTO(mem_free_str) char *text = dump(place);

	return strstr(text, "{\"end\":\"good\"") && strstr(text, "\"damages\":0}");
}

static void test_a_short_write_of_any_length_is_gone_on_with(void **state)
{
	struct place *place = place_new();

	(void)state;
	place->options.segment_bytes = 1 << 20;
	place_open(place);
	for (ssize_t after = 1; after < 300; after++) {
		disk.short_after = after;
		assert_int_equal(place_append(place, 200), after);
		assert_int_equal(place_stat(place).unwritten, 0);
		disk.short_after = -1;
	}
	place_read_all(place, 1, 1000);
	place_expect(place, 1, 299);
	place_free(&place);
}

static bool is_written(struct place *place)
{
	return place_stat(place).unwritten == 0;
}

/* Half of a record, then no room for the rest: whoever reads it then finds the records before it, and in the
 * end it is there whole. */
static void test_half_a_record_is_never_one(void **state)
{
	struct place *place = place_new();
	uint64_t written = 1;

	(void)state;
	place->options.segment_bytes = 1 << 20;
	place_open(place);
	place_append_many(place, 1);
	for (ssize_t after = 0; after < 140; after += after < 60 ? 7 : 19) {
		disk.short_after = after;
		disk.short_then_full = true;
		(void)place_append(place, 100);
		(void)place_append(place, 40);
		assert_int_equal(place_stat(place).unwritten, 2);
		assert_int_equal(dump_count(place), written);
		fail_calls(1, 0, ENOSPC);
		place_wait(place, is_written);
		written += 2;
		assert_int_equal(dump_count(place), written);
	}
	place_read_all(place, 1, 1000);
	place_expect(place, 1, written);
	place_free(&place);
}

/* What is acknowledged while it waits is written smaller, but not over a part of its own. */
static void test_half_a_record_that_is_not_needed_any_more_leaves_nothing_behind(void **state)
{
	struct place *place = place_new();

	(void)state;
	place->options.segment_bytes = 1 << 20;
	place_open(place);
	place_append_many(place, 1);
	disk.short_after = 140;
	disk.short_then_full = true;
	assert_int_equal(place_append(place, 100), 2);
	place_ack(place, 2);
	fail_calls(1, 0, ENOSPC);
	place_wait(place, is_well);
	assert_int_equal(place_stat(place).written, 2);
	/* The dump counts what is good, and says so of the end. */
	assert_int_equal(dump_count(place), 2);
	assert_true(is_dump_good(place));
	place_free(&place);
}

/* ---- syncs that fail ---- */

static bool is_poisoned(struct place *place)
{
	return place_stat(place).poisoned && place->changes > 0;
}

static void expect_poisoned(struct place *place, const char *name)
{
	uint64_t synced, written;
	long syncs;

	place_append_many(place, 3);
	place_wait(place, is_poisoned);
	assert_non_null(strstr(spool_trouble(place->spool), "Input/output error"));
	assert_non_null(strstr(spool_trouble(place->spool), name));
	synced = place_stat(place).synced;
	written = place_stat(place).written;
	syncs = disk.syncs;
	/* A later sync may succeed and mean nothing: there is none. */
	fail_syncs(0, 0);
	place_append_many(place, 100);
	place_read_all(place, 1, 1000);
	place_expect(place, 1, written + 100);
	assert_true(place_stat(place).poisoned);
	assert_int_equal(place_stat(place).synced, synced);
	assert_true(synced < written);
	place_close(place);
	assert_int_equal(disk.syncs, syncs);
	place_open(place);
	assert_false(place_stat(place).poisoned);
	assert_null(spool_trouble(place->spool));
	place_read_all(place, 1, 1000);
	place_expect(place, 1, written + 100);
	place_free(&place);
}

static void test_a_failed_sync_poisons_until_the_next_start(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 30);
	place_wait(place, is_quiet);
	fail_syncs(EIO, 0);
	expect_poisoned(place, "/00000000000000");
}

static void test_a_failed_sync_of_the_folder_poisons_too(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	fail_syncs(0, EIO);
	expect_poisoned(place, place->dir);
}

static void test_a_failed_sync_at_the_start_poisons(void **state)
{
	struct place *place = place_new();

	(void)state;
	place_open(place);
	place_append_many(place, 5);
	place_close(place);
	fail_syncs(EIO, 0);
	place_open(place);
	expect_poisoned(place, "/00000000000000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_full_disk_at_any_one_call_loses_nothing, healthy),
		cmocka_unit_test_setup(test_a_disk_that_is_full_from_any_call_on_loses_nothing, healthy),
		cmocka_unit_test_setup(test_an_io_error_at_any_call_loses_nothing, healthy),
		cmocka_unit_test_setup(test_a_full_disk_is_told_by_name_and_so_is_its_end, healthy),
		cmocka_unit_test_setup(test_no_room_for_the_next_segment_is_told_ahead, healthy),
		cmocka_unit_test_setup(test_kept_segments_make_way_when_the_disk_is_full, healthy),
		cmocka_unit_test_setup(test_kept_segments_make_way_for_the_next_segment, healthy),
		cmocka_unit_test_setup(test_without_allocation_it_works_all_the_same, healthy),
		cmocka_unit_test_setup(test_a_full_disk_at_the_start_is_trouble_and_no_failure, healthy),
		cmocka_unit_test_setup(test_a_short_write_of_any_length_is_gone_on_with, healthy),
		cmocka_unit_test_setup(test_half_a_record_is_never_one, healthy),
		cmocka_unit_test_setup(test_half_a_record_that_is_not_needed_any_more_leaves_nothing_behind,
				       healthy),
		cmocka_unit_test_setup(test_a_failed_sync_poisons_until_the_next_start, healthy),
		cmocka_unit_test_setup(test_a_failed_sync_of_the_folder_poisons_too, healthy),
		cmocka_unit_test_setup(test_a_failed_sync_at_the_start_poisons, healthy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
