/* Definition files: the first byte says whether the rest is YAML or JSON. One that is taken can be sent to
 * the daemon: every scenario has a prompt and an object of its other keys. */

#include "fuzz.h"

#include "base/mem.h"
#include "ctl/definition_file.h"

static void check(const struct definition_file *file)
{
	char *head = json_dumps(file->head, JSON_COMPACT);
	char *scenarios = json_dumps(file->scenarios, JSON_COMPACT);

	claim(head && scenarios, "it can be written as JSON");
	claim(json_is_array(json_object_get(file->head, "followups")), "follow-ups are a list");
	for (size_t i = 0; i < json_array_size(file->scenarios); i++) {
		const json_t *scenario = json_array_get(file->scenarios, i);

		claim(json_string_length(json_object_get(scenario, "prompt")) > 0, "a scenario has a prompt");
		claim(json_is_object(json_object_get(scenario, "metadata")), "a scenario has its other keys");
	}
	free(head);
	free(scenarios);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(definition_file_free) struct definition_file *file = NULL;
	AUTO(mem_free_str) char *error = NULL;
	char *text;

	if (size == 0)
		return 0;
	/* As fd_read_file() gives it: NUL-terminated, in memory that ends there. */
	text = mem_array(size, 1);
	memcpy(text, data + 1, size - 1);
	if (definition_file_parse(data[0] & 1 ? "fuzz.json" : "fuzz.yaml", text, size - 1, &file, &error) < 0)
		claim_one_line(error);
	else
		check(file);
	mem_free(&text);
	return 0;
}
