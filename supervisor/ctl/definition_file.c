#include "ctl/definition_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "ctl/yaml_tree.h"

/* Aliases may unfold to this many values in all: enough for any honest file, too few for a bomb. */
enum { VALUES_MAX = 2000000, FOLLOWUPS_MAX = 999, KEY_MAX = 200, READ_CHUNK = 64 * 1024 };

struct reading {
	const char *name;
	bool json; /* plain scalars of metadata are JSON's */
	int values;
	struct definition_file *out;
	struct map *keys; /* of scenarios, to the value that gave each */
	char *error;
};

static int refuse(struct reading *reading, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct reading *reading, int line, const char *format, ...)
{
	char message[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	/* What it quotes of the file may hold anything. */
	for (char *c = message; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = ' ';
	mem_set_str(&reading->error, mem_printf("%s:%d: %s", reading->name, line, message));
	return -EINVAL;
}

/* ---- values ---- */

/* Nothing at all, or null: as good as a key that is not there. */
static bool is_nothing(const struct yaml_value *value)
{
	return value->kind == YAML_SCALAR && value->plain &&
	       (value->len == 0 || strcmp(value->text, "~") == 0 || strcmp(value->text, "null") == 0);
}

static bool is_blank(const struct yaml_value *value)
{
	return value->text[strspn(value->text, " \t\r\n")] == '\0';
}

static bool is_key(const struct yaml_value *key, const char *name)
{
	return strcmp(key->text, name) == 0;
}

static int read_text(struct reading *reading, const struct yaml_value *value, const char *what, json_t **ret)
{
	if (value->kind != YAML_SCALAR)
		return refuse(reading, value->line, "%s must be text, not a %s", what,
			      value->kind == YAML_LIST ? "list" : "mapping");
	if (value->len > DEFINITION_PROMPT_MAX)
		return refuse(reading, value->line, "%s has %zu bytes, %u at most", what, value->len,
			      DEFINITION_PROMPT_MAX);
	*ret = json_stringn(value->text, value->len);
	return *ret ? 0 : refuse(reading, value->line, "%s is not valid UTF-8", what);
}

static json_t *read_scalar(const struct reading *reading, const struct yaml_value *value)
{
	json_t *number = reading->json && value->plain
				 ? json_loadb(value->text, value->len, JSON_DECODE_ANY, NULL)
				 : NULL;

	return number ? number : json_stringn(value->text, value->len);
}

/* Metadata: any value, kept as it is. The depth is bounded by the tree's, but for aliases, which it bounds
 * too: a value only holds what stands before it, and each unfolding is counted. */
static int read_any(struct reading *reading, const struct yaml_value *value, int depth, json_t **ret)
{
	json_t *out;
	size_t step = value->kind == YAML_MAP ? 2 : 1;

	if (++reading->values > VALUES_MAX || depth > YAML_DEPTH_MAX)
		return refuse(reading, value->line,
			      "the aliases unfold to too much: %d values or %d levels at most", VALUES_MAX,
			      YAML_DEPTH_MAX);
	if (value->kind == YAML_SCALAR) {
		*ret = read_scalar(reading, value);
		return *ret ? 0 : refuse(reading, value->line, "not valid UTF-8");
	}
	out = value->kind == YAML_MAP ? json_object() : json_array();
	for (size_t i = 0; i < value->count; i += step) {
		json_t *item = NULL;
		int r = read_any(reading, value->items[i + step - 1], depth + 1, &item);

		if (r < 0) {
			json_decref(out);
			return r;
		}
		if (value->kind == YAML_MAP)
			json_object_set_new(out, value->items[i]->text, item);
		else
			json_array_append_new(out, item);
	}
	*ret = out;
	return 0;
}

static int add_metadata(struct reading *reading, json_t *metadata, const struct yaml_value *key,
			const struct yaml_value *value)
{
	json_t *item = NULL;
	int r;

	if (is_key(key, "<<"))
		return refuse(reading, key->line, "merge keys (<<) are not understood; write the keys out");
	r = read_any(reading, value, 0, &item);
	if (r < 0)
		return r;
	if (json_object_set_new(metadata, key->text, item) < 0)
		return refuse(reading, key->line, "the key is not valid UTF-8");
	return 0;
}

/* ---- prompts ---- */

static int read_prompt(struct reading *reading, const struct yaml_value *value, const char *whose,
		       json_t *into)
{
	json_t *text = NULL;
	int r = read_text(reading, value, "a prompt", &text);

	if (r < 0)
		return r;
	if (is_nothing(value) || is_blank(value)) {
		json_decref(text);
		return refuse(reading, value->line, "%s has an empty prompt", whose);
	}
	if (json_object_get(into, "prompt")) {
		json_decref(text);
		return refuse(reading, value->line, "%s has its prompt twice, as `prompt` and as `body`",
			      whose);
	}
	json_object_set_new(into, "prompt", text);
	return 0;
}

/* ---- follow-ups ---- */

static int add_followup_key(struct reading *reading, const struct yaml_value *key,
			    const struct yaml_value *value, const char *whose, json_t *followup)
{
	json_t *label = NULL;
	int r;

	if (is_key(key, "prompt") || is_key(key, "body"))
		return read_prompt(reading, value, whose, followup);
	if (!is_key(key, "label"))
		return refuse(reading, key->line,
			      "%s has an unknown key \"%.60s\"; it takes label and prompt", whose, key->text);
	r = read_text(reading, value, "a label", &label);
	if (r == 0 && !is_nothing(value))
		json_object_set(followup, "label", label);
	json_decref(label);
	return r;
}

static int read_followup(struct reading *reading, const struct yaml_value *value, size_t number,
			 json_t *followup)
{
	char whose[40];
	int r = 0;

	(void)snprintf(whose, sizeof(whose), "follow-up %zu", number);
	if (value->kind == YAML_SCALAR)
		return read_prompt(reading, value, whose, followup);
	if (value->kind != YAML_MAP)
		return refuse(reading, value->line, "%s must be {label, prompt} or text", whose);
	for (size_t i = 0; r == 0 && i < value->count; i += 2)
		r = add_followup_key(reading, value->items[i], value->items[i + 1], whose, followup);
	if (r == 0 && !json_object_get(followup, "prompt"))
		return refuse(reading, value->line, "%s has no prompt", whose);
	return r;
}

static int read_followups(struct reading *reading, const struct yaml_value *value)
{
	json_t *list = json_object_get(reading->out->head, "followups");
	bool map = value->kind == YAML_MAP;
	size_t step = map ? 2 : 1;
	int r = 0;

	if (is_nothing(value))
		return 0;
	if (value->kind == YAML_SCALAR)
		return refuse(reading, value->line, "followups must be a list, or label: prompt");
	if (value->count / step > FOLLOWUPS_MAX)
		return refuse(reading, value->line, "%zu follow-ups, %d at most", value->count / step,
			      FOLLOWUPS_MAX);
	for (size_t i = 0; r == 0 && i < value->count; i += step) {
		json_t *followup = json_object();

		json_array_append_new(list, followup);
		if (map)
			json_object_set_new(followup, "label", json_string(value->items[i]->text));
		r = read_followup(reading, value->items[i + step - 1], i / step + 1, followup);
	}
	return r;
}

/* ---- scenarios ---- */

static int read_name(struct reading *reading, const struct yaml_value *value, const char *whose,
		     json_t *scenario)
{
	json_t *name = NULL;
	int r = read_text(reading, value, "a name", &name);

	if (r == 0 && json_object_get(scenario, "name"))
		r = refuse(reading, value->line, "%s has its name twice, as `name` and as `subject`", whose);
	if (r == 0 && !is_nothing(value))
		json_object_set(scenario, "name", name);
	json_decref(name);
	return r;
}

static int set_key(struct reading *reading, const struct yaml_value *value, const char *whose,
		   json_t *scenario)
{
	const struct yaml_value *before;
	json_t *key = NULL;
	int r = read_text(reading, value, "an id", &key);

	if (r < 0)
		return r;
	if (value->len == 0 || value->len > KEY_MAX)
		r = refuse(reading, value->line, "the id of %s must have 1 to %d bytes", whose, KEY_MAX);
	else if (json_object_get(scenario, "key"))
		r = refuse(reading, value->line, "%s has its id twice", whose);
	else
		json_object_set(scenario, "key", key);
	json_decref(key);
	if (r < 0)
		return r;
	before = map_get(reading->keys, value->text, value->len);
	if (before)
		return refuse(reading, value->line, "the id \"%.60s\" is given twice, first in line %d",
			      value->text, before->line);
	(void)map_set(reading->keys, value->text, value->len, (void *)(uintptr_t)value);
	return 0;
}

static int add_scenario_key(struct reading *reading, const struct yaml_value *key,
			    const struct yaml_value *value, const char *whose, json_t *scenario)
{
	if (is_key(key, "prompt") || is_key(key, "body"))
		return read_prompt(reading, value, whose, scenario);
	if (is_key(key, "name") || is_key(key, "subject"))
		return read_name(reading, value, whose, scenario);
	if (is_key(key, "id") || is_key(key, "key"))
		return set_key(reading, value, whose, scenario);
	return add_metadata(reading, json_object_get(scenario, "metadata"), key, value);
}

static int read_scenario(struct reading *reading, const struct yaml_value *value, const char *whose,
			 json_t *scenario)
{
	int r = 0;

	if (value->kind == YAML_SCALAR)
		return read_prompt(reading, value, whose, scenario);
	if (value->kind != YAML_MAP)
		return refuse(reading, value->line, "%s must be a mapping with a prompt, or text", whose);
	for (size_t i = 0; r == 0 && i < value->count; i += 2)
		r = add_scenario_key(reading, value->items[i], value->items[i + 1], whose, scenario);
	if (r == 0 && !json_object_get(scenario, "prompt"))
		return refuse(reading, value->line, "%s has no prompt (`prompt` or `body`)", whose);
	return r;
}

/* Scenarios that the file gives no id are called by their number, which must not be another's id. */
static int default_key(struct reading *reading, const struct yaml_value *value, size_t number,
		       json_t *scenario)
{
	char key[40];
	int len = snprintf(key, sizeof(key), "scenario_%zu", number);
	const struct yaml_value *other;

	if (json_object_get(scenario, "key"))
		return 0;
	other = map_set(reading->keys, key, (size_t)len, (void *)(uintptr_t)value);
	if (other)
		return refuse(reading, value->line,
			      "scenario %zu needs an id: \"%s\" is another's, in line %d", number, key,
			      other->line);
	json_object_set_new(scenario, "key", json_string(key));
	return 0;
}

static int read_scenarios(struct reading *reading, const struct yaml_value *value)
{
	bool map = value->kind == YAML_MAP;
	size_t step = map ? 2 : 1;
	int r = 0;

	if (value->kind == YAML_SCALAR && !is_nothing(value))
		return refuse(reading, value->line, "scenarios must be a list, or id: scenario");
	if (value->count == 0)
		return refuse(reading, value->line,
			      "there are no scenarios: a definition needs at least one");
	for (size_t i = 0; r == 0 && i < value->count; i += step) {
		const struct yaml_value *item = value->items[i + step - 1];
		json_t *scenario = json_pack("{s:{}}", "metadata");
		char whose[80];

		if (map)
			(void)snprintf(whose, sizeof(whose), "scenario %zu (\"%.40s\")", i / step + 1,
				       value->items[i]->text);
		else
			(void)snprintf(whose, sizeof(whose), "scenario %zu", i / step + 1);
		json_array_append_new(reading->out->scenarios, scenario);
		if (map)
			r = set_key(reading, value->items[i], whose, scenario);
		if (r == 0)
			r = read_scenario(reading, item, whose, scenario);
		if (r == 0)
			r = default_key(reading, item, i / step + 1, scenario);
	}
	return r;
}

/* ---- the file ---- */

static int read_head(struct reading *reading, const struct yaml_value *value, const char *key, json_t *head)
{
	json_t *text = NULL;
	int r = read_text(reading, value, key, &text);

	if (r == 0 && !is_nothing(value) && !is_blank(value))
		json_object_set(head, key, text);
	else if (r == 0 && strcmp(key, "name") == 0)
		r = refuse(reading, value->line, "the name is empty");
	json_decref(text);
	return r;
}

static int read_root(struct reading *reading, const struct yaml_value *root)
{
	json_t *head = reading->out->head;
	bool scenarios = false;
	int r = 0;

	if (root->kind != YAML_MAP)
		return refuse(reading, root->line, "a definition is a mapping with `name` and `scenarios`");
	for (size_t i = 0; r == 0 && i < root->count; i += 2) {
		const struct yaml_value *key = root->items[i];
		const struct yaml_value *value = root->items[i + 1];

		if (is_key(key, "name") || is_key(key, "preamble")) {
			r = read_head(reading, value, key->text, head);
		} else if (is_key(key, "followups")) {
			r = read_followups(reading, value);
		} else if (is_key(key, "scenarios")) {
			scenarios = true;
			r = read_scenarios(reading, value);
		} else {
			r = add_metadata(reading, json_object_get(head, "metadata"), key, value);
		}
	}
	if (r == 0 && !scenarios)
		return refuse(reading, root->line, "there are no scenarios: a definition needs at least one");
	return r;
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t len = strlen(text);

	return len >= strlen(suffix) && strcmp(text + len - strlen(suffix), suffix) == 0;
}

static int parse_tree(struct reading *reading, const char *text, size_t len, struct yaml_tree **ret)
{
	AUTO(mem_free_str) char *joined = NULL;
	AUTO(mem_free_str) char *error = NULL;
	json_error_t json_error;
	json_t *json;
	int line;

	if (reading->json) {
		json = json_loadb(text, len, JSON_DECODE_ANY, &json_error);
		if (!json)
			return refuse(reading, json_error.line, "%s", json_error.text);
		json_decref(json);
		joined = yaml_join_surrogates(text, len, &len);
		text = joined;
	}
	if (yaml_tree_parse(text, len, ret, &error) == 0)
		return 0;
	/* "line N: …" becomes "FILE:N: …". */
	if (sscanf(error, "line %d: ", &line) != 1)
		line = 1;
	return refuse(reading, line, "%s", strchr(error, ':') + 2);
}

int definition_file_parse(const char *name, const char *text, size_t len, struct definition_file **ret,
			  char **ret_error)
{
	AUTO(definition_file_free) struct definition_file *out = mem_alloc(sizeof(*out));
	AUTO(yaml_tree_free) struct yaml_tree *tree = NULL;
	struct reading reading = { .name = name, .json = has_suffix(name, ".json"), .out = out };
	int r;

	out->head = json_pack("{s:[], s:{}}", "followups", "metadata");
	out->scenarios = json_array();
	map_new(&reading.keys);
	r = parse_tree(&reading, text, len, &tree);
	if (r == 0)
		r = read_root(&reading, tree->root);
	map_free(&reading.keys);
	if (r < 0) {
		*ret_error = reading.error;
		return r;
	}
	*ret = out;
	out = NULL;
	return 0;
}

static int read_stdin(char **ret, size_t *ret_len)
{
	struct buf text = BUF_INIT(DEFINITION_FILE_MAX);

	for (;;) {
		char *room = buf_reserve(&text, READ_CHUNK);
		ssize_t n = room ? read(STDIN_FILENO, room, READ_CHUNK) : -1;

		if (n < 0) {
			int r = room ? -errno : -EFBIG;

			buf_free(&text);
			return r;
		}
		if (n == 0)
			break;
		buf_commit(&text, (size_t)n);
	}
	*ret = buf_take(&text, ret_len);
	return 0;
}

int definition_file_read(const char *path, struct definition_file **ret, char **ret_error)
{
	bool standard = strcmp(path, "-") == 0;
	const char *name = standard ? "standard input" : path;
	AUTO(mem_free_str) char *text = NULL;
	size_t len;
	int r = standard ? read_stdin(&text, &len) : fd_read_file(path, DEFINITION_FILE_MAX, &text, &len);

	if (r == -EFBIG)
		*ret_error = mem_printf("%s is larger than %u MB", name, DEFINITION_FILE_MAX / 1024 / 1024);
	else if (r < 0)
		*ret_error = mem_printf("cannot read %s: %s", name, strerror(-r));
	if (r < 0)
		return r;
	return definition_file_parse(name, text, len, ret, ret_error);
}

void definition_file_free(struct definition_file **file)
{
	struct definition_file *dead = *file;

	if (!dead)
		return;
	*file = NULL;
	json_decref(dead->head);
	json_decref(dead->scenarios);
	mem_free(&dead);
}
