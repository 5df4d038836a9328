/* The sealed file in memory: a line with format and lengths, the document, the bytes. */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "io/handover_private.h"

#define HEAD "proctor-handover"

enum { HEAD_BYTES = 80 };

static void start(struct handover *h, json_t *root)
{
	handover_push(h, root, NULL);
	buf_init(&h->bytes, 0);
}

void handover_new(struct handover **ret)
{
	struct handover *h = mem_alloc(sizeof(*h));

	h->fds = json_array();
	start(h, json_object());
	*ret = h;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int handover_seal(struct handover *h, int *ret_fd)
{
	static const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	AUTO(fd_close) int fd = memfd_create("proctor-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	AUTO(mem_free_str) char *json = NULL;
	char head[HEAD_BYTES];
	int len, r;

	assert(h->depth == 1);
	if (fd < 0)
		return -errno;
	if (json_object_set(handover_here(h), "descriptors", h->fds) < 0 ||
	    !(json = json_dumps(handover_here(h), JSON_COMPACT)) || h->error)
		return -EPROTO;
	len = snprintf(head, sizeof(head), HEAD " %d %zu %zu\n", HANDOVER_FORMAT, strlen(json),
		       buf_len(&h->bytes));
	r = write_all(fd, head, (size_t)len);
	if (r == 0)
		r = write_all(fd, json, strlen(json));
	if (r == 0)
		r = write_all(fd, buf_bytes(&h->bytes), buf_len(&h->bytes));
	if (r == 0 && fcntl(fd, F_ADD_SEALS, seals) < 0)
		r = -errno;
	if (r == 0)
		*ret_fd = fd_take(&fd);
	return r;
}

static int map_file(struct handover *h, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return -EPROTO;
	h->map_len = (size_t)st.st_size;
	h->map = mmap(NULL, h->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (h->map == MAP_FAILED) {
		h->map = NULL;
		return -errno;
	}
	return 0;
}

/* Finds the parts of the file. `head` is its first line. */
static int find_parts(struct handover *h, const char *head, size_t *ret_json, size_t *ret_json_len,
		      char **ret_error)
{
	size_t json_len, bytes_len, head_len = strlen(head) + 1, room = h->map_len - head_len;
	int format = 0;

	if (sscanf(head, HEAD " %d", &format) == 1 && format != HANDOVER_FORMAT) {
		*ret_error = mem_printf("its state has format %d, this program takes over format %d: restart "
					"instead",
					format, HANDOVER_FORMAT);
		return -EPROTO;
	}
	if (sscanf(head, HEAD " %d %zu %zu", &format, &json_len, &bytes_len) != 3 || json_len > room ||
	    bytes_len != room - json_len) {
		*ret_error = mem_strdup("what was handed over is no state of a daemon");
		return -EPROTO;
	}
	h->stored = h->map + head_len + json_len;
	h->stored_len = bytes_len;
	*ret_json = head_len;
	*ret_json_len = json_len;
	return 0;
}

static int parse(struct handover *h, char **ret_error)
{
	const char *newline = memchr(h->map, '\n', h->map_len < HEAD_BYTES ? h->map_len : HEAD_BYTES);
	AUTO(mem_free_str)
	char *head = mem_strndup(h->map, newline ? (size_t)(newline - h->map) : 0);
	size_t json = 0, json_len = 0;
	json_error_t error;
	json_t *root;
	int r = find_parts(h, head, &json, &json_len, ret_error);

	if (r < 0)
		return r;
	root = json_loadb(h->map + json, json_len, 0, &error);
	if (!json_is_object(root)) {
		json_decref(root);
		*ret_error = mem_printf("what was handed over is no JSON: %s", error.text);
		return -EPROTO;
	}
	h->fds = json_incref(json_object_get(root, "descriptors"));
	start(h, root);
	return 0;
}

int handover_open(int fd, bool rehearsal, struct handover **ret, char **ret_error)
{
	AUTO(handover_free) struct handover *h = mem_alloc(sizeof(*h));
	AUTO(fd_close) int owned = fd;
	char *error = NULL;
	int r = map_file(h, owned);

	h->reading = true;
	h->rehearsal = rehearsal;
	if (r == 0)
		r = parse(h, &error);
	if (r < 0) {
		*ret_error = error ? error
				   : mem_printf("what was handed over cannot be read: %s", strerror(-r));
		return r;
	}
	*ret = h;
	h = NULL;
	return 0;
}

static void close_rest(struct handover *h)
{
	for (size_t i = 0; i < json_array_size(h->fds); i++) {
		int fd = (int)json_integer_value(json_array_get(h->fds, i));

		if (fd > STDERR_FILENO)
			(void)close(fd);
	}
}

void handover_free(struct handover **h)
{
	struct handover *dead = *h;

	if (!dead)
		return;
	if (dead->reading && !dead->rehearsal)
		close_rest(dead);
	if (dead->depth > 0)
		json_decref(dead->frames[0].at);
	json_decref(dead->fds);
	if (dead->map)
		(void)munmap(dead->map, dead->map_len);
	buf_free(&dead->bytes);
	free(dead->error);
	mem_free(h);
}
