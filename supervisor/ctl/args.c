#include "ctl/args.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ctl/words.h"

struct parser {
	int argc;
	char **argv;
	int at;
	struct parsed_args *out;
	int positionals; /* given so far */
	char *error;	 /* fresh */
};

static int refuse(struct parser *parser, char *message)
{
	mem_set_str(&parser->error, message);
	return -EINVAL;
}

char *args_option_name(const char *name)
{
	struct buf text = BUF_INIT(0);
	size_t len;

	for (; *name; name++) {
		char lower = (char)tolower((unsigned char)*name);

		if (isupper((unsigned char)*name))
			buf_puts(&text, "-");
		buf_put(&text, &lower, 1);
	}
	return buf_take(&text, &len);
}

int args_parse_duration(const char *text, int64_t *ret_ms)
{
	static const struct {
		const char *suffix;
		int64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno || end == text || number < 0)
		return -EINVAL;
	if (number == 0 && *end == '\0') {
		*ret_ms = 0;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(end, units[i].suffix) != 0)
			continue;
		if (number > INT64_MAX / units[i].ms)
			return -EINVAL;
		*ret_ms = number * units[i].ms;
		return 0;
	}
	return -EINVAL;
}

/* ---- values ---- */

static json_t *parse_int(const char *text)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	return errno || end == text || *end ? NULL : json_integer(number);
}

static json_t *parse_number(const char *text)
{
	char *end;
	double number;

	errno = 0;
	number = strtod(text, &end);
	if (errno || end == text || *end || isspace((unsigned char)*text))
		return NULL;
	/* json_real() refuses what is not finite. */
	return json_real(number);
}

static json_t *parse_bool(const char *text)
{
	if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0)
		return json_true();
	if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0)
		return json_false();
	return NULL;
}

static json_t *parse_duration(const char *text)
{
	int64_t ms;

	return args_parse_duration(text, &ms) == 0 ? json_integer(ms) : NULL;
}

/* "a,b" appended to what the list holds already. */
static json_t *parse_list(const char *text, json_t *held)
{
	json_t *list = held ? json_incref(held) : json_array();

	for (;;) {
		size_t len = strcspn(text, ",");

		if (len > 0 && json_array_append_new(list, json_stringn(text, len)) < 0) {
			json_decref(list);
			return NULL;
		}
		if (text[len] == '\0')
			return list;
		text += len + 1;
	}
}

static json_t *parse_value(const struct command_arg *arg, const char *text, json_t *held)
{
	switch (arg->type) {
	case COMMAND_STRING:
		return json_string(text);
	case COMMAND_INT:
		return parse_int(text);
	case COMMAND_NUMBER:
		return parse_number(text);
	case COMMAND_BOOL:
		return parse_bool(text);
	case COMMAND_LIST_OF:
		return parse_list(text, held);
	case COMMAND_DURATION:
		return parse_duration(text);
	case COMMAND_JSON:
		return json_loads(text, JSON_DECODE_ANY, NULL);
	}
	return NULL;
}

static const char *type_hint(enum command_type type)
{
	static const char *const hints[] = {
		[COMMAND_STRING] = "text in UTF-8",
		[COMMAND_INT] = "a whole number",
		[COMMAND_NUMBER] = "a number such as 0.5",
		[COMMAND_BOOL] = "true or false",
		[COMMAND_LIST_OF] = "a list such as a,b",
		[COMMAND_DURATION] = "a duration such as 30s, 5m or 2h",
		[COMMAND_JSON] = "JSON",
	};

	return hints[type];
}

static int set_value(struct parser *parser, const struct command_arg *arg, const char *shown,
		     const char *text)
{
	bool own = (arg->flags & ARG_CLIENT) || parser->out->command->place == COMMAND_IN_CLIENT;
	json_t *target = own ? parser->out->own : parser->out->args;
	json_t *held = json_object_get(target, arg->name);
	json_t *value;

	if (held && arg->type != COMMAND_LIST_OF)
		return refuse(parser, mem_printf("%s is given twice", shown));
	if (arg->choices && !command_choice_matches(arg->choices, text))
		return refuse(parser,
			      mem_printf("%s must be one of %s, not \"%s\"", shown, arg->choices, text));
	value = parse_value(arg, text, held);
	if (!value)
		return refuse(parser,
			      mem_printf("%s must be %s, not \"%s\"", shown, type_hint(arg->type), text));
	json_object_set_new(target, arg->name, value);
	return 0;
}

/* ---- options ---- */

/* The value of an option: behind its '=', or the next word. NULL with an error when there is none. */
static const char *option_value(struct parser *parser, const char *word)
{
	const char *equals = strchr(word, '=');

	if (equals)
		return equals + 1;
	if (parser->at < parser->argc)
		return parser->argv[parser->at++];
	(void)refuse(parser, mem_printf("%s needs a value", word));
	return NULL;
}

static int parse_color(struct parser *parser, const char *text)
{
	static const char *const words[] = { "auto", "always", "never" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(text, words[i]) == 0) {
			parser->out->color = (enum args_color)i;
			return 0;
		}
	return refuse(parser, mem_printf("--color must be auto, always or never, not \"%s\"", text));
}

static int parse_columns(struct parser *parser, const char *text)
{
	json_t *names = parse_list(text, parser->out->columns);

	json_decref(parser->out->columns);
	parser->out->columns = names;
	return json_array_size(names) > 0
		       ? 0
		       : refuse(parser, mem_strdup("--columns needs names of columns in UTF-8, such as a,b"));
}

/* 1 = it was a global option; 0 = it is none; -EINVAL. */
static int parse_global(struct parser *parser, const char *word)
{
	struct parsed_args *out = parser->out;
	const char *value;

	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		out->help = true;
	} else if (strcmp(word, "--version") == 0) {
		out->version = true;
	} else if (strcmp(word, "--json") == 0) {
		out->json = true;
	} else if (strcmp(word, "--no-pager") == 0) {
		out->no_pager = true;
	} else if (words_is_option(word, "--columns")) {
		value = option_value(parser, word);
		return value && parse_columns(parser, value) == 0 ? 1 : -EINVAL;
	} else if (words_is_option(word, "--socket")) {
		out->socket = option_value(parser, word);
		return out->socket ? 1 : -EINVAL;
	} else if (words_is_option(word, "--color")) {
		value = option_value(parser, word);
		return value && parse_color(parser, value) == 0 ? 1 : -EINVAL;
	} else if (words_is_option(word, "--timeout")) {
		value = option_value(parser, word);
		if (!value)
			return -EINVAL;
		if (args_parse_duration(value, &out->timeout_ms) < 0 || out->timeout_ms == 0)
			return refuse(
				parser,
				mem_printf("--timeout must be a duration such as 30s, not \"%s\"", value));
	} else {
		return 0;
	}
	return 1;
}

static int parse_option(struct parser *parser, const char *word)
{
	const struct command *command = parser->out->command;
	const struct command_arg *arg;
	AUTO(mem_free_str) char *shown = mem_strndup(word, strcspn(word, "="));
	const char *value;
	int r = parse_global(parser, word);

	if (r != 0)
		return r < 0 ? r : 0;
	if (!command)
		return refuse(parser, mem_printf("unknown option %s; `proctorctl --help` lists them", shown));
	arg = words_find_option(command, word);
	if (!arg)
		return refuse(parser, mem_printf("`%s` has no option %s; `proctorctl %s --help` lists them",
						 command->words, shown, command->words));
	if (arg->type == COMMAND_BOOL && !strchr(word, '='))
		return set_value(parser, arg, shown, "true");
	value = option_value(parser, word);
	return value ? set_value(parser, arg, shown, value) : -EINVAL;
}

/* ---- words ---- */

static int parse_word(struct parser *parser, const char *word)
{
	struct parsed_args *out = parser->out;
	AUTO(mem_free_str)
	char *words = out->words ? mem_printf("%s %s", out->words, word) : mem_strdup(word);
	const char *nearest;

	if (words_match(words, &out->command) > 0) {
		mem_set_str(&out->words, mem_strdup(words));
		return 0;
	}
	nearest = words_nearest(words);
	return refuse(parser,
		      mem_printf("there is no command \"%s\"%s%s%s; `proctorctl %s%s--help` lists them",
				 words, nearest ? ": did you mean \"" : "", nearest ? nearest : "",
				 nearest ? "\"?" : "", out->words ? out->words : "", out->words ? " " : ""));
}

static int parse_positional(struct parser *parser, const char *word)
{
	const struct command_arg *arg = words_positional(parser->out->command, parser->positionals);

	if (!arg)
		return refuse(parser,
			      mem_printf("`%s` does not take \"%s\"; `proctorctl %s --help` explains it",
					 parser->out->command->words, word, parser->out->command->words));
	parser->positionals++;
	return set_value(parser, arg, arg->name, word);
}

/* `crashes` is a command, and the beginning of `crashes show`. */
static bool goes_on(const struct parser *parser, const char *word)
{
	AUTO(mem_free_str) char *words = mem_printf("%s %s", parser->out->words, word);
	const struct command *command;

	return parser->positionals == 0 && words_match(words, &command) == 2;
}

static int parse_next(struct parser *parser)
{
	const char *word = parser->argv[parser->at++];

	if (strcmp(word, "--") == 0) {
		parser->out->rest = parser->argv + parser->at;
		parser->out->rest_count = parser->argc - parser->at;
		parser->at = parser->argc;
		return 0;
	}
	if (word[0] == '-' && word[1] != '\0')
		return parse_option(parser, word);
	if (!parser->out->command || goes_on(parser, word))
		return parse_word(parser, word);
	return parse_positional(parser, word);
}

static int check_complete(struct parser *parser)
{
	struct parsed_args *out = parser->out;

	if (out->help || out->version || !out->command)
		return 0;
	if (out->rest_count > 0 && !out->command->rest)
		return refuse(parser, mem_printf("`%s` takes nothing behind --", out->words));
	for (const struct command_arg *arg = out->command->args; arg && arg->name; arg++) {
		AUTO(mem_free_str) char *option = NULL;

		if (!(arg->flags & ARG_REQUIRED) || (arg->flags & ARG_WIRE) ||
		    json_object_get(out->args, arg->name) || json_object_get(out->own, arg->name))
			continue;
		option = args_option_name(arg->name);
		return refuse(parser, mem_printf("`%s` needs %s%s: %s; `proctorctl %s --help` explains it",
						 out->words, arg->flags & ARG_POSITIONAL ? "" : "--", option,
						 arg->help, out->words));
	}
	return 0;
}

int args_parse(int argc, char **argv, struct parsed_args **ret, char **ret_error)
{
	AUTO(args_free) struct parsed_args *out = mem_alloc(sizeof(*out));
	struct parser parser = { .argc = argc, .argv = argv, .out = out };
	int r = 0;

	out->args = json_object();
	out->own = json_object();
	out->timeout_ms = ARGS_TIMEOUT_DEFAULT_MS;
	while (r == 0 && parser.at < argc)
		r = parse_next(&parser);
	if (r == 0)
		r = check_complete(&parser);
	if (r < 0) {
		*ret_error = parser.error;
		return r;
	}
	*ret = out;
	out = NULL;
	return 0;
}

void args_free(struct parsed_args **parsed)
{
	struct parsed_args *dead = *parsed;

	if (!dead)
		return;
	*parsed = NULL;
	mem_free(&dead->words);
	json_decref(dead->args);
	json_decref(dead->own);
	json_decref(dead->columns);
	mem_free(&dead);
}
