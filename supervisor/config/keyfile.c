#include "config/keyfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"

struct variable {
	char *name;
	char *value;
	int line;
};

struct parse {
	const char *path;
	int line;
	struct variable *variables;
	size_t len;
};

static char *refuse(const struct parse *p, const char *what)
{
	return mem_printf("%s:%d: %s", p->path, p->line, what);
}

static const char *skip_blanks(const char *text)
{
	return text + strspn(text, " \t");
}

/* Behind a value only blanks and a comment may follow. */
static bool is_end(const char *text)
{
	const char *rest = skip_blanks(text);

	return !*rest || (*rest == '#' && rest > text);
}

/* Wipes before freeing: the values are secrets, and freed memory may show up in a core file. */
static void free_secret(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	mem_free(text);
}

static const char *take_single(const char *text, struct buf *value)
{
	const char *close = strchr(text, '\'');

	if (!close)
		return NULL;
	buf_put(value, text, (size_t)(close - text));
	return close + 1;
}

static const char *take_double(const char *text, struct buf *value)
{
	for (; *text && *text != '"'; text++) {
		char c = *text;

		if (c == '\\' && text[1] && strchr("nt\"\\$", text[1])) {
			c = *++text;
			c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
		}
		buf_put(value, &c, 1);
	}
	return *text ? text + 1 : NULL;
}

static const char *take_bare(const char *text, struct buf *value)
{
	size_t len = 0;

	while (text[len] && !is_end(text + len))
		len++;
	buf_put(value, text, len);
	return text + len;
}

/* Reads the value behind the `=`; NULL with *ret_what set when it is malformed. */
static char *parse_value(const char *text, const char **ret_what)
{
	const char *start = skip_blanks(text), *rest;
	struct buf value = BUF_INIT(0);
	size_t len;

	if (*start == '\'')
		rest = take_single(start + 1, &value);
	else if (*start == '"')
		rest = take_double(start + 1, &value);
	else
		rest = take_bare(is_end(text) ? text : start, &value);
	if (rest && is_end(rest))
		return buf_take(&value, &len);
	*ret_what = rest ? "text behind the closing quote" : "the quote is not closed";
	if (buf_len(&value))
		explicit_bzero(value.bytes, value.end);
	buf_free(&value);
	return NULL;
}

static size_t name_len(const char *text)
{
	size_t len = 0;

	if (isdigit((unsigned char)*text))
		return 0;
	while (isalnum((unsigned char)text[len]) || text[len] == '_')
		len++;
	return len;
}

static int parse_line(struct parse *p, const char *text, char **ret_error)
{
	const char *what = NULL, *name = skip_blanks(text), *rest;
	char *value;
	size_t len;

	if (!*name || *name == '#')
		return 0;
	if (!strncmp(name, "export", 6) && (name[6] == ' ' || name[6] == '\t'))
		name = skip_blanks(name + 6);
	len = name_len(name);
	rest = skip_blanks(name + len);
	if (!len || *rest != '=') {
		*ret_error = refuse(p, "not NAME=value");
		return -EINVAL;
	}
	value = parse_value(rest + 1, &what);
	if (!value) {
		*ret_error = mem_printf("%s:%d: %.*s: %s", p->path, p->line, (int)len, name, what);
		return -EINVAL;
	}
	p->variables = mem_resize(p->variables, p->len + 1, sizeof(p->variables[0]));
	p->variables[p->len++] = (struct variable){ mem_strndup(name, len), value, p->line };
	return 0;
}

/* Cuts the text into lines in place. */
static int parse_text(struct parse *p, char *text, size_t len, char **ret_error)
{
	char *end = text + len, *stop;
	int r = 0;

	if (memchr(text, '\0', len)) {
		*ret_error = mem_printf("%s: a NUL byte; is this a text file?", p->path);
		return -EINVAL;
	}
	for (; text < end && r == 0; text = stop + 1) {
		p->line++;
		stop = memchr(text, '\n', (size_t)(end - text));
		if (!stop)
			stop = end;
		if (stop - text > KEYFILE_LINE_MAX) {
			*ret_error = mem_printf("%s:%d: a line has at most %d bytes", p->path, p->line,
						KEYFILE_LINE_MAX);
			return -EINVAL;
		}
		*stop = '\0';
		if (stop > text && stop[-1] == '\r')
			stop[-1] = '\0';
		r = parse_line(p, text, ret_error);
	}
	return r;
}

/* The checks are made on the open file, so that it cannot be swapped between check and use. */
static int open_private(const char *path, bool guarded, int *ret_fd, char **ret_error)
{
	AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;

		*ret_error = mem_printf("%s: cannot be read: %s", path, strerror(-r));
		return r;
	}
	if (!S_ISREG(st.st_mode)) {
		*ret_error = mem_printf("%s: not a regular file", path);
		return -EINVAL;
	}
	if (!guarded && (st.st_mode & 077)) {
		*ret_error = mem_printf("%s: others may read the keys in it (mode %04o); run: chmod 600 %s",
					path, (unsigned)st.st_mode & 07777, path);
		return -EACCES;
	}
	*ret_fd = fd_take(&fd);
	return 0;
}

static int read_all(const char *path, int fd, struct buf *text, char **ret_error)
{
	for (;;) {
		char *room = buf_reserve(text, 16384);
		ssize_t n = room ? read(fd, room, 16384) : -1;

		if (!n)
			return 0;
		if (n < 0 && room && errno == EINTR)
			continue;
		if (n < 0) {
			int r = room ? -errno : -EFBIG;

			*ret_error = mem_printf("%s: cannot be read: %s", path, strerror(-r));
			return r;
		}
		buf_commit(text, (size_t)n);
	}
}

static void free_variables(struct parse *p)
{
	for (size_t i = 0; i < p->len; i++) {
		mem_free(&p->variables[i].name);
		free_secret(&p->variables[i].value);
	}
	mem_free(&p->variables);
}

int keyfile_read(const char *path, bool guarded,
		 void (*each)(void *arg, const char *variable, const char *value, int line), void *arg,
		 char **ret_error)
{
	AUTO(fd_close) int fd = -1;
	struct parse p = { .path = path };
	struct buf held = BUF_INIT(KEYFILE_MAX);
	char *text;
	size_t len;
	int r = open_private(path, guarded, &fd, ret_error);

	if (r < 0)
		return r;
	r = read_all(path, fd, &held, ret_error);
	text = buf_take(&held, &len);
	if (r == 0)
		r = parse_text(&p, text, len, ret_error);
	for (size_t i = 0; r == 0 && i < p.len; i++)
		each(arg, p.variables[i].name, p.variables[i].value, p.variables[i].line);
	free_variables(&p);
	explicit_bzero(text, len);
	mem_free(&text);
	return r;
}
