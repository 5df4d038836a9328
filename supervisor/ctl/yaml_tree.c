#include "ctl/yaml_tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"

struct reader {
	yaml_parser_t parser;
	struct yaml_tree *tree;
	struct map *anchors;			 /* name → struct yaml_value; of complete values only */
	struct yaml_value *open[YAML_DEPTH_MAX]; /* the containers that we are in */
	char *open_anchor[YAML_DEPTH_MAX];	 /* theirs, set when they end */
	struct map *open_keys[YAML_DEPTH_MAX];	 /* of a map: key → struct yaml_value; NULL for lists */
	size_t depth;
	bool done;
	char *error;
};

static int refuse(struct reader *reader, size_t line, char *message)
{
	mem_set_str(&reader->error, mem_printf("line %zu: %s", line + 1, message));
	mem_free(&message);
	return -EINVAL;
}

static struct yaml_value *value_new(struct reader *reader, enum yaml_kind kind, const yaml_event_t *event)
{
	struct yaml_value *value = mem_alloc(sizeof(*value));

	value->kind = kind;
	value->line = (int)event->start_mark.line + 1;
	value->next = reader->tree->all;
	reader->tree->all = value;
	return value;
}

static void add_item(struct yaml_value *container, struct yaml_value *value)
{
	if (container->count == container->room) {
		container->room = container->room ? 2 * container->room : 8;
		container->items = mem_resize(container->items, container->room, sizeof(struct yaml_value *));
	}
	container->items[container->count++] = value;
}

static int check_key(struct reader *reader, struct yaml_value *key, size_t line)
{
	const struct yaml_value *before;

	if (key->kind != YAML_SCALAR)
		return refuse(reader, line, mem_strdup("a key must be plain text"));
	before = map_set(reader->open_keys[reader->depth - 1], key->text, key->len, key);
	if (before)
		return refuse(reader, line,
			      mem_printf("the key \"%.60s\" is given twice, first in line %d", key->text,
					 before->line));
	return 0;
}

static int place(struct reader *reader, struct yaml_value *value, size_t line)
{
	struct yaml_value *container = reader->depth ? reader->open[reader->depth - 1] : NULL;
	int r = 0;

	if (!container) {
		reader->tree->root = value;
		return 0;
	}
	if (container->kind == YAML_MAP && container->count % 2 == 0)
		r = check_key(reader, value, line);
	if (r == 0)
		add_item(container, value);
	return r;
}

static void set_anchor(struct reader *reader, const char *name, struct yaml_value *value)
{
	if (name)
		(void)map_set(reader->anchors, name, strlen(name), value);
}

static int on_scalar(struct reader *reader, const yaml_event_t *event)
{
	struct yaml_value *value = value_new(reader, YAML_SCALAR, event);

	value->len = event->data.scalar.length;
	value->text = mem_strndup((const char *)event->data.scalar.value, value->len);
	value->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if (memchr(event->data.scalar.value, '\0', value->len))
		return refuse(reader, event->start_mark.line, mem_strdup("a NUL character cannot be kept"));
	set_anchor(reader, (const char *)event->data.scalar.anchor, value);
	return place(reader, value, event->start_mark.line);
}

static int on_start(struct reader *reader, enum yaml_kind kind, const yaml_char_t *anchor,
		    const yaml_event_t *event)
{
	struct yaml_value *value;
	int r;

	if (reader->depth == YAML_DEPTH_MAX)
		return refuse(reader, event->start_mark.line,
			      mem_printf("nested more than %d deep", YAML_DEPTH_MAX));
	value = value_new(reader, kind, event);
	r = place(reader, value, event->start_mark.line);
	if (r < 0)
		return r;
	reader->open_anchor[reader->depth] = mem_strdup((const char *)anchor);
	if (kind == YAML_MAP)
		map_new(&reader->open_keys[reader->depth]);
	reader->open[reader->depth++] = value;
	return 0;
}

static void on_container_end(struct reader *reader)
{
	reader->depth--;
	set_anchor(reader, reader->open_anchor[reader->depth], reader->open[reader->depth]);
	mem_free(&reader->open_anchor[reader->depth]);
	map_free(&reader->open_keys[reader->depth]);
}

static int on_alias(struct reader *reader, const yaml_event_t *event)
{
	const char *name = (const char *)event->data.alias.anchor;
	struct yaml_value *value = map_get(reader->anchors, name, strlen(name));

	/* A container that is not complete yet has no anchor: an alias within itself would never end. */
	if (!value)
		return refuse(reader, event->start_mark.line,
			      mem_printf("the alias *%s names nothing that stands before it", name));
	return place(reader, value, event->start_mark.line);
}

static int on_event(struct reader *reader, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return on_scalar(reader, event);
	case YAML_SEQUENCE_START_EVENT:
		return on_start(reader, YAML_LIST, event->data.sequence_start.anchor, event);
	case YAML_MAPPING_START_EVENT:
		return on_start(reader, YAML_MAP, event->data.mapping_start.anchor, event);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		on_container_end(reader);
		return 0;
	case YAML_ALIAS_EVENT:
		return on_alias(reader, event);
	case YAML_DOCUMENT_START_EVENT:
		if (reader->tree->root)
			return refuse(reader, event->start_mark.line,
				      mem_strdup("a second document begins here"));
		return 0;
	case YAML_STREAM_END_EVENT:
		reader->done = true;
		return 0;
	default:
		return 0;
	}
}

static size_t line_of_offset(const char *text, size_t offset)
{
	size_t line = 0;

	for (size_t i = 0; i < offset; i++)
		line += text[i] == '\n';
	return line;
}

static int refuse_syntax(struct reader *reader, const char *text, size_t len)
{
	const yaml_parser_t *parser = &reader->parser;
	const char *problem = parser->problem ? parser->problem : "not YAML";
	/* What is no UTF-8 is found before there are lines. */
	size_t line = parser->error == YAML_READER_ERROR
			      ? line_of_offset(text,
					       parser->problem_offset < len ? parser->problem_offset : len)
			      : parser->problem_mark.line;

	if (parser->context)
		return refuse(reader, line,
			      mem_printf("%s (%s, begun in line %zu)", problem, parser->context,
					 parser->context_mark.line + 1));
	return refuse(reader, line, mem_strdup(problem));
}

static int read_all(struct reader *reader, const char *text, size_t len)
{
	int r = 0;

	while (r == 0 && !reader->done) {
		yaml_event_t event;

		if (!yaml_parser_parse(&reader->parser, &event))
			return refuse_syntax(reader, text, len);
		r = on_event(reader, &event);
		yaml_event_delete(&event);
	}
	if (r == 0 && !reader->tree->root)
		return refuse(reader, 0, mem_strdup("the file is empty"));
	return r;
}

int yaml_tree_parse(const char *text, size_t len, struct yaml_tree **ret, char **ret_error)
{
	struct reader reader = { .tree = mem_alloc(sizeof(*reader.tree)) };
	int r;

	map_new(&reader.anchors);
	if (!yaml_parser_initialize(&reader.parser)) {
		r = refuse(&reader, 0, mem_strdup("no memory"));
	} else {
		yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, len);
		r = read_all(&reader, text, len);
		yaml_parser_delete(&reader.parser);
	}
	for (size_t i = 0; i < reader.depth; i++) {
		mem_free(&reader.open_anchor[i]);
		map_free(&reader.open_keys[i]);
	}
	map_free(&reader.anchors);
	if (r < 0) {
		yaml_tree_free(&reader.tree);
		*ret_error = reader.error;
		return r;
	}
	*ret = reader.tree;
	return 0;
}

void yaml_tree_free(struct yaml_tree **tree)
{
	struct yaml_tree *dead = *tree;
	struct yaml_value *value;

	if (!dead)
		return;
	*tree = NULL;
	while ((value = dead->all)) {
		dead->all = value->next;
		mem_free(&value->text);
		mem_free(&value->items);
		mem_free(&value);
	}
	mem_free(&dead);
}

/* The four hex digits of a \uXXXX at `at`; -1 when they are none. */
static long surrogate_at(const char *at, size_t left)
{
	unsigned value;

	if (left < 6 || at[0] != '\\' || at[1] != 'u' || sscanf(at + 2, "%4x", &value) != 1)
		return -1;
	return (long)value;
}

char *yaml_join_surrogates(const char *text, size_t len, size_t *ret_len)
{
	struct buf out = BUF_INIT(0);

	for (size_t i = 0; i < len;) {
		long high = surrogate_at(text + i, len - i);
		long low = high >= 0xd800 && high < 0xdc00 ? surrogate_at(text + i + 6, len - i - 6) : -1;

		if (low >= 0xdc00 && low < 0xe000) {
			unsigned point = 0x10000u + ((unsigned)(high - 0xd800) << 10) +
					 (unsigned)(low - 0xdc00);

			buf_putf(&out, "%c%c%c%c", (int)(0xf0 | point >> 18),
				 (int)(0x80 | (point >> 12 & 0x3f)), (int)(0x80 | (point >> 6 & 0x3f)),
				 (int)(0x80 | (point & 0x3f)));
			i += 12;
			continue;
		}
		buf_put(&out, text + i, 1);
		i++;
		/* An escaped character, a backslash above all, begins no escape itself. */
		if (text[i - 1] == '\\' && i < len) {
			buf_put(&out, text + i, 1);
			i++;
		}
	}
	return buf_take(&out, ret_len);
}
