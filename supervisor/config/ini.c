/* inih is fed from memory through ini_parse_stream(). Its own buffer holds 200 bytes in Debian's build and
 * what does not fit is cut in silence; so a longer value goes in as pieces, the later ones indented, which
 * inih hands back one by one as continuations, and they are put together here. The reader runs at most one
 * line ahead of the handler, which is why one `struct feed` can tell the handler what the piece is. */

#include "config/ini.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"

enum piece {
	PIECE_NEW,   /* a key and the start of its value */
	PIECE_SPLIT, /* goes on where the last one ended */
	PIECE_JOIN,  /* a continuation line of the user's: one space between */
};

struct feed {
	const char *name;
	const char *text; /* what is left */
	const char *end;
	int line;
	struct buf pending; /* what is left of a line that did not fit */
	enum piece piece;

	char section[INI_NAME_MAX + 1];
	char key[INI_NAME_MAX + 1]; /* "" = none open */
	struct buf value;
	int key_line;
	struct map *seen; /* "section" and "section\nkey" → line */

	int (*each)(void *arg, const struct ini_entry *entry, char **ret_error);
	void *arg;
	int error;     /* first one; ends the feed */
	char *message; /* "file:line: what" */
};

/* Keeps the first error; takes `what`. */
static void fail(struct feed *f, int line, int error, char *what)
{
	if (f->error) {
		mem_free(&what);
		return;
	}
	f->error = error;
	f->message = mem_printf("%s:%d: %s", f->name, line, what ? what : "refused");
	mem_free(&what);
}

static void emit(struct feed *f, const char *key, const char *value, int line)
{
	struct ini_entry entry = { .section = f->section, .key = key, .value = value, .line = line };
	char *what = NULL;
	int r;

	if (f->error)
		return;
	r = f->each(f->arg, &entry, &what);
	if (r < 0)
		fail(f, line, r, what);
}

/* Hands over the key that is open, now that its value is whole. */
static void close_key(struct feed *f)
{
	if (!f->key[0])
		return;
	emit(f, f->key, buf_bytes(&f->value), f->key_line);
	f->key[0] = '\0';
	buf_clear(&f->value, INI_LINE_MAX);
}

/* The line of an earlier one of the same name, else 0 and it is noted. */
static int note(struct feed *f, const char *key)
{
	AUTO(mem_free_str) char *id = mem_printf("%s%s%s", f->section, key ? "\n" : "", key ? key : "");
	void *before = map_get(f->seen, id, strlen(id));

	if (before)
		return (int)(intptr_t)before;
	(void)map_set(f->seen, id, strlen(id), (void *)(intptr_t)f->line);
	return 0;
}

static const char *trim(char *text)
{
	size_t len;

	while (isspace((unsigned char)*text))
		text++;
	len = strlen(text);
	while (len && isspace((unsigned char)text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

/* inih's rule for comments behind a value, applied to every line alike. */
static void cut_comment(char *line)
{
	for (size_t i = 1; line[i]; i++) {
		if (line[i] == ';' && isspace((unsigned char)line[i - 1])) {
			line[i] = '\0';
			return;
		}
	}
}

static void open_section(struct feed *f, char *line)
{
	char *close = strchr(line, ']');
	const char *name;
	size_t len;
	int before;

	close_key(f);
	if (!close || close[1]) {
		fail(f, f->line, -EINVAL, mem_strdup("a section is written [name], with nothing behind it"));
		return;
	}
	*close = '\0';
	name = trim(line + 1);
	len = strlen(name);
	if (!len || len > INI_NAME_MAX) {
		fail(f, f->line, -EINVAL,
		     mem_printf("a section's name has 1 to %d bytes, this one %zu", INI_NAME_MAX, len));
		return;
	}
	memcpy(f->section, name, len + 1);
	before = note(f, NULL);
	if (before) {
		fail(f, f->line, -EINVAL,
		     mem_printf("[%s] is there already, in line %d; put its keys together", f->section,
				before));
		return;
	}
	emit(f, NULL, NULL, f->line);
}

/* Opens the key of an unindented line; `len` bytes of it are the name. */
static void open_key(struct feed *f, const char *line, size_t len)
{
	int before;

	close_key(f);
	while (len && isspace((unsigned char)line[len - 1]))
		len--;
	if (!len || len > INI_NAME_MAX) {
		fail(f, f->line, -EINVAL,
		     mem_printf("a key has 1 to %d bytes, this one %zu", INI_NAME_MAX, len));
		return;
	}
	if (!f->section[0]) {
		fail(f, f->line, -EINVAL, mem_printf("%.*s stands before any [section]", (int)len, line));
		return;
	}
	memcpy(f->key, line, len);
	f->key[len] = '\0';
	f->key_line = f->line;
	before = note(f, f->key);
	if (before)
		fail(f, f->line, -EINVAL,
		     mem_printf("[%s] %s: given already, in line %d", f->section, f->key, before));
}

/* An indented "key = value" is nearly always meant as a key, and would be swallowed by the value above. */
static bool looks_like_key(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz_0123456789");

	return len && text[len + strspn(text + len, " \t")] == '=';
}

static void continue_key(struct feed *f, const char *text)
{
	if (!f->key[0])
		fail(f, f->line, -EINVAL,
		     mem_strdup("an indented line continues a value, and there is none above; start it at "
				"the left"));
	else if (looks_like_key(text))
		fail(f, f->line, -EINVAL,
		     mem_strdup("an indented line continues the value above it; start a key at the left"));
}

/* Copies the next line of the text without its end; false at the end of the text or on an error. */
static bool next_line(struct feed *f, char *line)
{
	const char *end;
	size_t len;

	if (f->text == f->end || f->error)
		return false;
	f->line++;
	end = memchr(f->text, '\n', (size_t)(f->end - f->text));
	len = (size_t)((end ? end : f->end) - f->text);
	if (len > INI_LINE_MAX) {
		fail(f, f->line, -EINVAL,
		     mem_printf("a line has at most %d bytes, this one %zu", INI_LINE_MAX, len));
		return false;
	}
	if (memchr(f->text, '\0', len)) {
		fail(f, f->line, -EINVAL, mem_strdup("a NUL byte; is this a text file?"));
		return false;
	}
	memcpy(line, f->text, len);
	line[len] = '\0';
	f->text = end ? end + 1 : f->end;
	return true;
}

/* Looks at a line before inih does; true when inih shall see it. */
static bool admit(struct feed *f, char *line)
{
	const char *text;
	bool indented = isspace((unsigned char)line[0]);
	size_t len;

	cut_comment(line);
	for (len = strlen(line); len && isspace((unsigned char)line[len - 1]); len--)
		line[len - 1] = '\0';
	text = line + strspn(line, " \t\r\v\f");
	if (!*text || *text == ';' || *text == '#')
		return false;
	if (!utf8_is_valid(text)) {
		fail(f, f->line, -EINVAL, mem_strdup("not UTF-8; save the file in that encoding"));
		return false;
	}
	f->piece = indented ? PIECE_JOIN : PIECE_NEW;
	len = strcspn(line, "=:");
	if (indented)
		continue_key(f, text);
	else if (line[0] == '[')
		open_section(f, line);
	else if (line[len])
		open_key(f, line, len);
	else
		fail(f, f->line, -EINVAL, mem_strdup("neither [section] nor key = value"));
	/* Sections are told by `emit`, and inih hears of them by way of their first key. */
	return !f->error && (indented || line[0] != '[');
}

/* How much of `text` can go in one piece of `min` to `max` bytes: inih trims what it gets, and takes a line
 * that starts with ; or # for a comment. 0 when there is no such place. */
static size_t split_at(const char *text, size_t min, size_t max)
{
	size_t len = strlen(text);

	if (len <= max)
		return len;
	for (len = max; len >= min; len--) {
		if (!isspace((unsigned char)text[len - 1]) && !isspace((unsigned char)text[len]) &&
		    text[len] != ';' && text[len] != '#')
			return len;
	}
	return 0;
}

/* inih's reader: one line, or one piece of it, into `line` of `size` bytes; NULL at the end. */
static char *feed_line(char *line, int size, void *stream)
{
	struct feed *f = stream;
	size_t len, min = 1, indent;

	if (buf_len(&f->pending)) {
		f->piece = PIECE_SPLIT;
	} else {
		char text[INI_LINE_MAX + 1];

		do {
			if (!next_line(f, text)) {
				close_key(f);
				return NULL;
			}
		} while (!admit(f, text) && !f->error);
		if (f->error)
			return NULL;
		if (f->piece == PIECE_NEW)
			min = strcspn(text, "=:") + 1;
		buf_puts(&f->pending, text);
	}
	indent = f->piece == PIECE_SPLIT;
	len = split_at(buf_bytes(&f->pending), min, (size_t)size - 3);
	if (!len) {
		fail(f, f->line, -EINVAL, mem_strdup("too many blanks, ; or # in a row"));
		return NULL;
	}
	line[0] = ' ';
	memcpy(line + indent, buf_bytes(&f->pending), len);
	memcpy(line + indent + len, "\n", 2);
	buf_drop(&f->pending, len);
	return line;
}

static int on_pair(void *user, const char *section, const char *key, const char *piece)
{
	struct feed *f = user;

	(void)section;
	(void)key;
	if (f->piece == PIECE_JOIN && buf_len(&f->value))
		buf_puts(&f->value, " ");
	buf_puts(&f->value, piece);
	return 1;
}

int ini_read_text(const char *name, const char *text, size_t len,
		  int (*each)(void *arg, const struct ini_entry *entry, char **ret_error), void *arg,
		  char **ret_error)
{
	struct feed f = { .name = name, .text = text, .end = text + len, .each = each, .arg = arg };
	int r;

	if (len >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3))
		f.text += 3;
	map_new(&f.seen);
	r = ini_parse_stream(feed_line, &f, on_pair, &f);
	if (r && !f.error)
		fail(&f, f.line, -EINVAL, mem_strdup("cannot be read as key = value"));
	map_free(&f.seen);
	buf_free(&f.pending);
	buf_free(&f.value);
	if (f.error)
		*ret_error = f.message;
	return f.error;
}

int ini_read_file(const char *path, int (*each)(void *arg, const struct ini_entry *entry, char **ret_error),
		  void *arg, char **ret_error)
{
	AUTO(mem_free_str) char *text = NULL;
	size_t len;
	int r = fd_read_file(path, INI_FILE_MAX, &text, &len);

	if (r < 0) {
		*ret_error = mem_printf("%s: cannot be read: %s", path, strerror(-r));
		return r;
	}
	return ini_read_text(path, text, len, each, arg, ret_error);
}
