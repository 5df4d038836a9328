#include "io/command_table.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(command_table[i].name, name) == 0)
			return &command_table[i];
	return NULL;
}

enum command_id command_id_of(const struct command *command)
{
	assert(command >= command_table && command < command_table + COMMAND_COUNT);
	return (enum command_id)(command - command_table);
}

const char *command_role_name(enum command_role role)
{
	static const char *const names[] = {
		[COMMAND_NONE] = "none",
		[COMMAND_READ] = "read",
		[COMMAND_OPERATE] = "operate",
		[COMMAND_ADMIN] = "admin",
	};

	return names[role];
}

const struct command_arg *command_find_arg(const struct command *command, const char *name)
{
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++)
		if (strcmp(arg->name, name) == 0)
			return arg;
	return NULL;
}

bool command_choice_matches(const char *choices, const char *text)
{
	size_t len = strlen(text);

	while (*choices) {
		size_t choice = strcspn(choices, "|");

		if (choice == len && memcmp(choices, text, len) == 0)
			return true;
		choices += choice + (choices[choice] == '|');
	}
	return false;
}

static int refuse(char **ret_error, char *message)
{
	*ret_error = message;
	return -EINVAL;
}

static const char *type_text(enum command_type type)
{
	static const char *const texts[] = {
		[COMMAND_STRING] = "a string",
		[COMMAND_INT] = "an integer",
		[COMMAND_NUMBER] = "a number",
		[COMMAND_BOOL] = "true or false",
		[COMMAND_LIST_OF] = "a list of strings",
		[COMMAND_DURATION] = "an integer of milliseconds",
		[COMMAND_JSON] = "JSON",
	};

	return texts[type];
}

static bool type_matches(enum command_type type, const json_t *value)
{
	switch (type) {
	case COMMAND_STRING:
		return json_is_string(value);
	case COMMAND_INT:
	case COMMAND_DURATION:
		return json_is_integer(value);
	case COMMAND_NUMBER:
		return json_is_number(value);
	case COMMAND_BOOL:
		return json_is_boolean(value);
	case COMMAND_LIST_OF:
		return json_is_array(value);
	case COMMAND_JSON:
		return true;
	}
	return false;
}

static int check_range(const struct command_arg *arg, const json_t *value, char **ret_error)
{
	double number = json_number_value(value);
	bool above = arg->flags & ARG_ABOVE_MIN;

	if (arg->min == 0 && arg->max == 0)
		return 0;
	if (number <= arg->max && (above ? number > arg->min : number >= arg->min))
		return 0;
	return refuse(ret_error, mem_printf("%s must be %s %.15g and at most %.15g, not %.15g", arg->name,
					    above ? "above" : "at least", arg->min, arg->max, number));
}

static int check_text(const struct command_arg *arg, const json_t *value, char **ret_error)
{
	const char *text = json_string_value(value);

	if (!(arg->flags & ARG_LONG_TEXT) && json_string_length(value) > COMMAND_TEXT_MAX)
		return refuse(ret_error, mem_printf("%s is too long: %zu bytes, %d at most", arg->name,
						    json_string_length(value), COMMAND_TEXT_MAX));
	if (*text == '\0' && (arg->flags & ARG_REQUIRED) && !(arg->flags & ARG_LONG_TEXT))
		return refuse(ret_error, mem_printf("%s is empty", arg->name));
	if (arg->choices && !command_choice_matches(arg->choices, text))
		return refuse(ret_error,
			      mem_printf("%s must be one of %s, not \"%s\"", arg->name, arg->choices, text));
	return 0;
}

static int check_list(const struct command_arg *arg, const json_t *list, char **ret_error)
{
	size_t len = json_array_size(list);

	if (len > COMMAND_LIST_MAX)
		return refuse(ret_error,
			      mem_printf("%s has %zu entries, %d at most", arg->name, len, COMMAND_LIST_MAX));
	if (len == 0 && (arg->flags & ARG_REQUIRED))
		return refuse(ret_error, mem_printf("%s is empty: give at least one", arg->name));
	for (size_t i = 0; i < len; i++) {
		const json_t *entry = json_array_get(list, i);
		size_t bytes = json_string_length(entry);

		if (!json_is_string(entry) || bytes == 0 || bytes > COMMAND_TEXT_MAX)
			return refuse(ret_error, mem_printf("%s: entry %zu must be a string of 1 to %d bytes",
							    arg->name, i + 1, COMMAND_TEXT_MAX));
	}
	return 0;
}

static int check_value(const struct command_arg *arg, const json_t *value, char **ret_error)
{
	if (!type_matches(arg->type, value))
		return refuse(ret_error, mem_printf("%s must be %s", arg->name, type_text(arg->type)));
	switch (arg->type) {
	case COMMAND_INT:
	case COMMAND_NUMBER:
	case COMMAND_DURATION:
		return check_range(arg, value, ret_error);
	case COMMAND_STRING:
		return check_text(arg, value, ret_error);
	case COMMAND_LIST_OF:
		return check_list(arg, value, ret_error);
	case COMMAND_BOOL:
	case COMMAND_JSON:
		break;
	}
	return 0;
}

static char *known_args(const struct command *command)
{
	struct buf text = BUF_INIT(0);
	size_t len;

	for (const struct command_arg *arg = command->args; arg && arg->name; arg++)
		if (!(arg->flags & ARG_CLIENT))
			buf_putf(&text, "%s%s", buf_len(&text) ? ", " : "", arg->name);
	if (buf_len(&text) == 0)
		buf_puts(&text, "none");
	return buf_take(&text, &len);
}

static int check_unknown(const struct command *command, json_t *args, char **ret_error)
{
	const char *name;
	json_t *value;

	json_object_foreach(args, name, value)
	{
		const struct command_arg *arg = command_find_arg(command, name);

		if (!arg || (arg->flags & ARG_CLIENT)) {
			AUTO(mem_free_str) char *known = known_args(command);

			return refuse(ret_error, mem_printf("%s has no argument \"%.60s\"; it takes: %s",
							    command->name, name, known));
		}
	}
	return 0;
}

int command_check_args(const struct command *command, json_t *args, char **ret_error)
{
	int r = check_unknown(command, args, ret_error);

	if (r < 0)
		return r;
	for (const struct command_arg *arg = command->args; arg && arg->name; arg++) {
		const json_t *value = json_object_get(args, arg->name);

		if (arg->flags & ARG_CLIENT)
			continue;
		if (!value || json_is_null(value)) {
			if (arg->flags & ARG_REQUIRED)
				return refuse(ret_error,
					      mem_printf("%s is missing: %s", arg->name, arg->help));
			continue;
		}
		r = check_value(arg, value, ret_error);
		if (r < 0)
			return r;
	}
	return 0;
}
