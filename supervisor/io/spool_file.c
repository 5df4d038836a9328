#include "io/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crashpoint.h"
#include "base/fd.h"
#include "base/mem.h"

enum { DIGITS = 16 };

static const char suffix[] = ".spool";

void spool_file_name(uint64_t first, char ret[SPOOL_NAME_MAX])
{
	(void)snprintf(ret, SPOOL_NAME_MAX, "%016" PRIx64 "%s", first, suffix);
}

bool spool_file_parse(const char *name, uint64_t *ret_first)
{
	uint64_t first = 0;

	if (strspn(name, "0123456789abcdef") != DIGITS || strcmp(name + DIGITS, suffix) != 0)
		return false;
	for (int i = 0; i < DIGITS; i++)
		first = first << 4 | (uint64_t)(name[i] <= '9' ? name[i] - '0' : name[i] - 'a' + 10);
	*ret_first = first;
	return first > 0 && first <= SPOOL_SEQ_MAX;
}

/* ---- writing ---- */

/* Drops what is written from the front. */
static void use_up(struct iovec **iov, int *count, size_t written)
{
	while (*count > 0 && written >= (*iov)->iov_len) {
		written -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count == 0)
		return;
	(*iov)->iov_base = (char *)(*iov)->iov_base + written;
	(*iov)->iov_len -= written;
}

int spool_file_write(int fd, struct iovec *iov, int count, int64_t offset)
{
	use_up(&iov, &count, 0);
	while (count > 0) {
		ssize_t n = pwritev(fd, iov, count, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		offset += n;
		use_up(&iov, &count, (size_t)n);
	}
	return 0;
}

static int write_header(int fd, const struct spool_segment_header *header)
{
	unsigned char bytes[SPOOL_SEGMENT_HEADER];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };

	spool_encode_segment(header, bytes);
	return spool_file_write(fd, &iov, 1, 0);
}

/* ---- making ---- */

int spool_file_create(int dir_fd, const struct spool_segment_header *header, int *ret_fd)
{
	AUTO(fd_close) int fd = -1;
	char name[SPOOL_NAME_MAX];
	int r;

	spool_file_name(header->first, name);
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = write_header(fd, header);
	if (r < 0) {
		(void)unlinkat(dir_fd, name, 0);
		return r;
	}
	CRASH_POINT("spool.segment");
	*ret_fd = fd_take(&fd);
	return 0;
}

int spool_file_make_spare(int dir_fd, int64_t size, int *ret_fd)
{
	/* Cut to nothing first: one that an earlier process left may have another size. */
	AUTO(fd_close)
	int fd = openat(dir_fd, SPOOL_SPARE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	/* Not posix_fallocate(), which writes it all where the file system cannot allocate. */
	if (fallocate(fd, 0, 0, size) < 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
		int r = -errno;

		(void)unlinkat(dir_fd, SPOOL_SPARE_NAME, 0);
		return r;
	}
	*ret_fd = fd_take(&fd);
	return 0;
}

int spool_file_name_spare(int dir_fd, int fd, const struct spool_segment_header *header)
{
	char name[SPOOL_NAME_MAX];
	int r;

	/* Never over another file, however it came there: nobody else makes any while we hold the lock. */
	spool_file_name(header->first, name);
	if (faccessat(dir_fd, name, F_OK, 0) == 0)
		return -EEXIST;
	/* The header first: a segment's name says that there is one. */
	r = write_header(fd, header);
	if (r < 0)
		return r;
	if (renameat(dir_fd, SPOOL_SPARE_NAME, dir_fd, name) < 0)
		return -errno;
	CRASH_POINT("spool.segment");
	return 0;
}

int spool_file_put_aside(int dir_fd, uint64_t first)
{
	char name[SPOOL_NAME_MAX], aside[SPOOL_NAME_MAX + 8];

	spool_file_name(first, name);
	(void)snprintf(aside, sizeof(aside), "%s.aside", name);
	return renameat(dir_fd, name, dir_fd, aside) < 0 ? -errno : 0;
}
