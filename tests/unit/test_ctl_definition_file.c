#include "row.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ctl/definition_file.h"

/* Both JSON: what comes of a good file. */
static const struct {
	const char *name, *text, *head, *scenarios;
} good[] = {
	{ "a.yaml", "name: n\nscenarios:\n  - prompt: P\n",
	  "{\"name\":\"n\",\"followups\":[],\"metadata\":{}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"P\",\"metadata\":{}}]" },
	{ "texts and names",
	  "name: n\npreamble: |\n  Two\n  lines\nscenarios:\n  - just text\n  - {id: k, subject: S, body: "
	  "B}\n",
	  "{\"name\":\"n\",\"preamble\":\"Two\\nlines\\n\",\"followups\":[],\"metadata\":{}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"just text\",\"metadata\":{}},"
	  "{\"key\":\"k\",\"name\":\"S\",\"prompt\":\"B\",\"metadata\":{}}]" },
	{ "a mapping of scenarios", "name: n\nscenarios:\n  a: {prompt: A}\n  b: B\n",
	  "{\"name\":\"n\",\"followups\":[],\"metadata\":{}}",
	  "[{\"key\":\"a\",\"prompt\":\"A\",\"metadata\":{}},{\"key\":\"b\",\"prompt\":\"B\",\"metadata\":{}}"
	  "]" },
	{ "a list of followups", "name: n\nfollowups:\n  - {label: l, prompt: p}\n  - q\nscenarios: [x]\n",
	  "{\"name\":\"n\",\"followups\":[{\"label\":\"l\",\"prompt\":\"p\"},{\"prompt\":\"q\"}],"
	  "\"metadata\":{}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"x\",\"metadata\":{}}]" },
	{ "a mapping of followups", "name: n\nfollowups: {l: p, m: q}\nscenarios: [x]\n",
	  "{\"name\":\"n\",\"followups\":[{\"label\":\"l\",\"prompt\":\"p\"},{\"label\":\"m\",\"prompt\":"
	  "\"q\"}],"
	  "\"metadata\":{}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"x\",\"metadata\":{}}]" },
	{ "YAML scalars stay text",
	  "name: 1.0\nkind: yes\nn: 012\nscenarios: [{prompt: no, weight: 1e3, tags: [on, ~]}]\n",
	  "{\"name\":\"1.0\",\"followups\":[],\"metadata\":{\"kind\":\"yes\",\"n\":\"012\"}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"no\",\"metadata\":{\"weight\":\"1e3\",\"tags\":[\"on\",\"~"
	  "\"]}}]" },
	{ "aliases are followed", "name: n\nx: &p Same\nscenarios:\n  - prompt: *p\n  - prompt: *p\n",
	  "{\"name\":\"n\",\"followups\":[],\"metadata\":{\"x\":\"Same\"}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"Same\",\"metadata\":{}},"
	  "{\"key\":\"scenario_2\",\"prompt\":\"Same\",\"metadata\":{}}]" },
	{ "nothing is nothing", "name: n\npreamble:\nfollowups: null\nscenarios: [x]\n",
	  "{\"name\":\"n\",\"followups\":[],\"metadata\":{}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"x\",\"metadata\":{}}]" },
	{ "a.json",
	  "{\"name\": \"n\", \"m\": [1, true, null, \"1\"],\n\t\"scenarios\": [{\"prompt\": \"\\ud83d\\ude00 "
	  "\\\\ud83d \\u00e9\"}]}",
	  "{\"name\":\"n\",\"followups\":[],\"metadata\":{\"m\":[1,true,null,\"1\"]}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"\\ud83d\\ude00 \\\\ud83d \\u00e9\",\"metadata\":{}}]" },
	{ "a name may come later", "scenarios: [x]\n", "{\"followups\":[],\"metadata\":{}}",
	  "[{\"key\":\"scenario_1\",\"prompt\":\"x\",\"metadata\":{}}]" },
};

static bool is_json(const json_t *value, const char *text)
{
	json_t *want = json_loads(text, 0, NULL);
	bool same = json_equal(value, want);

	assert_non_null(want);
	json_decref(want);
	return same;
}

static void test_good_files_are_understood(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		AUTO(definition_file_free) struct definition_file *file = NULL;
		AUTO(mem_free_str) char *error = NULL;
		int r = definition_file_parse(good[i].name, good[i].text, strlen(good[i].text), &file,
					      &error);

		expect(r == 0, "%s: %s", good[i].name, error);
		expect(is_json(file->head, good[i].head), "%s: %s", good[i].name, json_dumps(file->head, 0));
		expect(is_json(file->scenarios, good[i].scenarios), "%s: %s", good[i].name,
		       json_dumps(file->scenarios, 0));
	}
}

/* Each with its line. */
static const struct {
	const char *name, *text, *want;
} bad[] = {
	{ "f", "", "f:1: the file is empty" },
	{ "f", "- a\n", "f:1: a definition is a mapping" },
	{ "f", "name: n\n", "f:1: there are no scenarios" },
	{ "f", "name: n\nscenarios: []\n", "f:2: there are no scenarios" },
	{ "f", "name: n\nscenarios:\n", "f:2: there are no scenarios" },
	{ "f", "name: n\nscenarios: text\n", "f:2: scenarios must be a list" },
	{ "f", "name: n\nscenarios:\n  - prompt: a\n  - prompt: ''\n",
	  "f:4: scenario 2 has an empty prompt" },
	{ "f", "name: n\nscenarios:\n  - prompt: \"  \\n \"\n", "f:3: scenario 1 has an empty prompt" },
	{ "f", "name: n\nscenarios:\n  - prompt:\n", "f:3: scenario 1 has an empty prompt" },
	{ "f", "name: n\nscenarios:\n  - name: x\n", "f:3: scenario 1 has no prompt" },
	{ "f", "name: n\nscenarios:\n  k: {name: x}\n", "f:3: scenario 1 (\"k\") has no prompt" },
	{ "f", "name: n\nscenarios:\n  - [a]\n", "f:3: scenario 1 must be a mapping" },
	{ "f", "name: n\nscenarios:\n  - prompt: [a]\n", "f:3: a prompt must be text, not a list" },
	{ "f", "name: n\nscenarios:\n  - prompt: a\n    body: b\n", "f:4: scenario 1 has its prompt twice" },
	{ "f", "name: n\nscenarios:\n  - {id: a, prompt: a}\n  - {id: a, prompt: b}\n",
	  "f:4: the id \"a\" is given twice, first in line 3" },
	{ "f", "name: n\nscenarios:\n  a: x\n  a: y\n",
	  "f:4: the key \"a\" is given twice, first in line 3" },
	{ "f", "name: n\nscenarios:\n  - {id: scenario_2, prompt: a}\n  - b\n",
	  "f:4: scenario 2 needs an id" },
	{ "f", "name: n\nname: m\nscenarios: [x]\n",
	  "f:2: the key \"name\" is given twice, first in line 1" },
	{ "f", "name: [n]\nscenarios: [x]\n", "f:1: name must be text, not a list" },
	{ "f", "name: ''\nscenarios: [x]\n", "f:1: the name is empty" },
	{ "f", "name: n\nfollowups: text\nscenarios: [x]\n", "f:2: followups must be a list" },
	{ "f", "name: n\nfollowups:\n  - {label: l}\nscenarios: [x]\n", "f:3: follow-up 1 has no prompt" },
	{ "f", "name: n\nfollowups:\n  - {label: l, prompt: ''}\nscenarios: [x]\n",
	  "f:3: follow-up 1 has an empty prompt" },
	{ "f", "name: n\nfollowups:\n  - {label: l, text: p}\nscenarios: [x]\n",
	  "f:3: follow-up 1 has an unknown key \"text\"" },
	{ "f", "name: n\nfollowups: {l: ''}\nscenarios: [x]\n", "f:2: follow-up 1 has an empty prompt" },
	{ "f", "name: n\nscenarios:\n  - prompt: \"a\n", "f:4: found unexpected end of stream" },
	{ "f", "name: n\nscenarios:\n\t- a\n", "f:3: found character that cannot start any token" },
	{ "f", "name: n\n scenarios: [x]\n", "f:2: mapping values are not allowed" },
	{ "f", "name: n\nscenarios: [*x]\n", "f:2: the alias *x names nothing" },
	{ "f", "name: n\nscenarios: &s [*s]\n", "f:2: the alias *s names nothing" },
	{ "f", "name: n\nx: {<<: y}\n? [a]\n: b\n", "f:3: a key must be plain text" },
	{ "f", "name: n\n<<: {a: b}\nscenarios: [x]\n", "f:2: merge keys (<<) are not understood" },
	{ "f", "name: n\nscenarios: [x]\n---\nname: m\n", "f:3: a second document" },
	{ "f", "name: n\nscenarios: [\"a\\0b\"]\n", "f:2: a NUL character" },
	{ "f", "name: n\nscenarios: [\xff]\n", "f:2: " },
	{ "f.json", "{\"name\": \"n\",\n \"scenarios\": [\"x\",]}", "f.json:2: " },
	{ "f.json", "name: n\nscenarios: [x]\n", "f.json:1: " },
	{ "f.json", "{\"name\": \"n\",\n \"scenarios\": [\"\"]}",
	  "f.json:2: scenario 1 has an empty prompt" },
};

static void test_bad_files_are_refused_with_their_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct definition_file *file = NULL;
		AUTO(mem_free_str) char *error = NULL;
		int r = definition_file_parse(bad[i].name, bad[i].text, strlen(bad[i].text), &file, &error);

		expect(r == -EINVAL, "row %zu is accepted: %s", i, bad[i].text);
		expect(strncmp(error, bad[i].want, strlen(bad[i].want)) == 0, "row %zu: %s", i, error);
	}
}

static int parse(const struct buf *text, char **ret_error)
{
	struct definition_file *file = NULL;
	int r = definition_file_parse("f", buf_bytes(text), buf_len(text), &file, ret_error);

	definition_file_free(&file);
	return r;
}

/* Ten aliases of ten aliases of …: 10^9 values from 300 bytes. */
static void test_a_bomb_of_aliases_is_refused(void **state)
{
	AUTO(buf_free) struct buf text = BUF_INIT(0);
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	buf_puts(&text, "name: n\nscenarios: [x]\na0: &a0 x\n");
	for (int i = 1; i < 10; i++) {
		buf_putf(&text, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			buf_putf(&text, "%s*a%d", k ? ", " : "", i - 1);
		buf_puts(&text, "]\n");
	}
	assert_int_equal(parse(&text, &error), -EINVAL);
	assert_non_null(strstr(error, "the aliases unfold to too much"));
}

static void test_deep_nesting_is_refused(void **state)
{
	AUTO(buf_free) struct buf text = BUF_INIT(0);
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	buf_puts(&text, "name: n\nscenarios: [x]\ndeep: ");
	for (int i = 0; i < 100000; i++)
		buf_puts(&text, "[");
	assert_int_equal(parse(&text, &error), -EINVAL);
	assert_string_equal(error, "f:3: nested more than 64 deep");
}

static void test_many_scenarios_are_read_in_order(void **state)
{
	AUTO(definition_file_free) struct definition_file *file = NULL;
	AUTO(buf_free) struct buf text = BUF_INIT(0);
	AUTO(mem_free_str) char *error = NULL;
	const json_t *last;

	(void)state;
	buf_puts(&text, "name: n\nscenarios:\n");
	for (int i = 0; i < 5000; i++)
		buf_putf(&text, "  id_%d: {prompt: text %d}\n", i, i);
	assert_int_equal(definition_file_parse("f", buf_bytes(&text), buf_len(&text), &file, &error), 0);
	assert_int_equal(json_array_size(file->scenarios), 5000);
	last = json_array_get(file->scenarios, 4999);
	assert_string_equal(json_string_value(json_object_get(last, "key")), "id_4999");
}

static void test_a_prompt_over_the_limit_is_refused(void **state)
{
	AUTO(buf_free) struct buf text = BUF_INIT(0);
	AUTO(mem_free_str) char *error = NULL;
	char *room;

	(void)state;
	buf_puts(&text, "name: n\nscenarios:\n  - ");
	room = buf_reserve(&text, DEFINITION_PROMPT_MAX + 1);
	memset(room, 'x', DEFINITION_PROMPT_MAX + 1);
	buf_commit(&text, DEFINITION_PROMPT_MAX + 1);
	assert_int_equal(parse(&text, &error), -EINVAL);
	assert_non_null(strstr(error, "f:3: a prompt has 4194305 bytes, 4194304 at most"));
}

static void test_a_file_that_cannot_be_read_is_named(void **state)
{
	struct definition_file *file = NULL;
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	assert_int_equal(definition_file_read("/nonexistent/d.yaml", &file, &error), -ENOENT);
	assert_non_null(strstr(error, "cannot read /nonexistent/d.yaml"));
}

static void test_a_refusal_is_one_line_whatever_it_quotes(void **state)
{
	static const struct {
		const char *name, *text;
	} cases[] = {
		{ "f.json", "{\"scenarios\": [\"\\ud83d\\ude\n00\"]}" },
		{ "f.yaml", "scenarios: {\"a\\n\\e[2Jb\": {}}\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(definition_file_free) struct definition_file *file = NULL;
		AUTO(mem_free_str) char *error = NULL;

		expect(definition_file_parse(cases[i].name, cases[i].text, strlen(cases[i].text), &file,
					     &error) == -EINVAL,
		       "%s", cases[i].text);
		expect(!strpbrk(error, "\n\033"), "%s", error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_files_are_understood),
		cmocka_unit_test(test_bad_files_are_refused_with_their_line),
		cmocka_unit_test(test_a_bomb_of_aliases_is_refused),
		cmocka_unit_test(test_deep_nesting_is_refused),
		cmocka_unit_test(test_many_scenarios_are_read_in_order),
		cmocka_unit_test(test_a_prompt_over_the_limit_is_refused),
		cmocka_unit_test(test_a_file_that_cannot_be_read_is_named),
		cmocka_unit_test(test_a_refusal_is_one_line_whatever_it_quotes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
