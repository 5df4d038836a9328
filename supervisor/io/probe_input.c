#include "io/probe_input.h"

#include <errno.h>
#include <jansson.h>

#include "base/mem.h"

static int64_t bytes_of(const json_t *object, const char *key)
{
	return (int64_t)json_string_length(json_object_get(object, key));
}

static void read_followups(const json_t *followups, struct probe_input *input)
{
	size_t count = json_array_size(followups);

	input->followup_bytes = mem_array(count, sizeof(*input->followup_bytes));
	for (size_t i = 0; i < count; i++)
		input->followup_bytes[i] = bytes_of(json_array_get(followups, i), "prompt");
	input->followups = (int)count;
}

int probe_input_parse(const char *text, size_t len, struct probe_input *ret)
{
	json_t *root = json_loadb(text, len, 0, NULL);
	const json_t *scenario = json_object_get(root, "scenario"), *config = json_object_get(root, "config");

	if (!json_is_object(scenario)) {
		json_decref(root);
		return -EPROTO;
	}
	*ret = (struct probe_input){
		.first_bytes = bytes_of(scenario, "preamble") + bytes_of(scenario, "prompt"),
		.max_turns = (int)json_integer_value(json_object_get(config, "maxTurns")),
		.max_tokens = json_integer_value(json_object_get(config, "maxTokens")),
	};
	read_followups(json_object_get(scenario, "followups"), ret);
	json_decref(root);
	return 0;
}

void probe_input_clear(struct probe_input *input)
{
	mem_free(&input->followup_bytes);
	*input = (struct probe_input){ 0 };
}
