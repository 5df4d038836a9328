/* completion: the script of a shell, or what a word may become. Ids are the daemon's, asked for with little
 * patience: without an answer there are just no ids. */

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/completion.h"
#include "ctl/ctl.h"
#include "ctl/table.h"
#include "ctl/text.h"

enum { PATIENCE_MS = 700 };

/* Where the words of each kind are: of each item of a list, or of each node of a tree, the value at `path`, a
 * text, a number or a list of texts. */
static const struct {
	const char *cmd, *args, *path, *about;
	const char *further; /* that is understood as well; NULL = nothing */
} origins[REF_COUNT] = {
	[REF_RUN] = { "run.list", "{\"limit\":200}", "id", "definitionName", "latest" },
	[REF_DEFINITION] = { "definition.list", "{\"limit\":200}", "name", "id", NULL },
	[REF_TRANSCRIPT] = { "transcripts.list", "{\"run\":\"latest\",\"limit\":200}", "id", "modelId",
			     NULL },
	[REF_MODEL] = { "run.list", "{\"limit\":200}", "models", "", NULL },
	[REF_WORKER] = { "workers.list", "{}", "worker", "state", NULL },
	[REF_NODE] = { "tree", "{}", "name", "state", NULL },
	[REF_CRASH] = { "crashes", "{\"limit\":200}", "id", "name", NULL },
	[REF_SECTION] = { "config.show", "{}", "section", "", NULL },
};

struct finder {
	enum command_ref ref;
	json_t *seen; /* each word is told once */
	void (*found)(void *to, const char *word, const char *about);
	void *to;
};

static void tell(struct finder *finder, const json_t *value, const char *about)
{
	AUTO(mem_free_str) char *number = NULL;
	const char *word = json_string_value(value);

	if (json_is_integer(value))
		word = number = mem_printf("%lld", (long long)json_integer_value(value));
	if (!word || !*word || json_object_get(finder->seen, word))
		return;
	(void)json_object_set_new(finder->seen, word, json_true());
	finder->found(finder->to, word, about);
}

static void tell_item(struct finder *finder, const json_t *item)
{
	const json_t *value = table_lookup(item, origins[finder->ref].path);
	const char *bytes = json_string_value(table_lookup(item, origins[finder->ref].about));
	AUTO(mem_free_str) char *about = text_clean_line(bytes ? bytes : "");
	const json_t *children = json_object_get(item, "children");

	tell(finder, value, about);
	for (size_t i = 0; i < json_array_size(value); i++)
		tell(finder, json_array_get(value, i), "");
	for (size_t i = 0; i < json_array_size(children); i++)
		tell_item(finder, json_array_get(children, i));
}

/* The daemon's answer; false when there is none in time, which is nobody's error. */
static bool ask(const struct ctl *ctl, enum command_ref ref, struct conn_reply *ret)
{
	AUTO(mem_free_str) char *error = NULL;
	json_t *args = json_loads(origins[ref].args, 0, NULL);
	struct conn *conn = NULL;
	bool told = conn_open(ctl->socket, PATIENCE_MS, &conn, &error) == 0 &&
		    conn_send(conn, origins[ref].cmd, args, &error) == 0 &&
		    conn_receive(conn, PATIENCE_MS, ret, &error) == 0;

	conn_free(&conn);
	json_decref(args);
	return told;
}

static void ask_daemon(void *arg, int ref, void (*found)(void *to, const char *word, const char *about),
		       void *to)
{
	struct finder finder = { .ref = (enum command_ref)ref, .found = found, .to = to };
	struct conn_reply reply;
	const json_t *items;

	if (!origins[ref].cmd || !ask(arg, finder.ref, &reply))
		return;
	finder.seen = json_object();
	items = json_object_get(reply.data, "items");
	if (reply.ok && !items)
		tell_item(&finder, reply.data);
	for (size_t i = 0; i < json_array_size(items); i++)
		tell_item(&finder, json_array_get(items, i));
	if (origins[ref].further)
		found(to, origins[ref].further, "");
	json_decref(finder.seen);
	conn_reply_clear(&reply);
}

/* A --socket of the line that is being completed counts. */
static const char *socket_of(const struct parsed_args *parsed)
{
	for (int i = 0; i + 1 < parsed->rest_count; i++) {
		if (strcmp(parsed->rest[i], "--socket") == 0 && i + 2 < parsed->rest_count)
			return parsed->rest[i + 1];
		if (strncmp(parsed->rest[i], "--socket=", 9) == 0)
			return parsed->rest[i] + 9;
	}
	return NULL;
}

int action_completion(struct ctl *ctl)
{
	const char *shell = json_string_value(json_object_get(ctl->parsed->own, "shell"));
	const struct completion_source source = { .ask = ask_daemon, .arg = ctl };
	const char *socket = socket_of(ctl->parsed);

	if (!ctl->parsed->rest) {
		completion_print_script(stdout, shell);
		return CTL_OK;
	}
	if (socket)
		mem_set_str(&ctl->socket, mem_strdup(socket));
	completion_print(stdout, shell, ctl->parsed->rest, ctl->parsed->rest_count, &source);
	return CTL_OK;
}
