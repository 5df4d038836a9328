/* proctorctl: one command, one answer. The command table says what there is; view.c how answers look. */

#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"
#include "ctl/help.h"
#include "ctl/pager.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/view.h"

#define DEFAULT_SOCKET "/run/proctor/proctor.sock"

/* Commands not listed here are one question and one answer. */
static int (*const actions[COMMAND_COUNT])(struct ctl *ctl) = {
	[COMMAND_DEFINITION_IMPORT] = action_definition_import,
	[COMMAND_RUN_START] = action_run_start,
	[COMMAND_RUN_WATCH] = action_run_watch,
	[COMMAND_TRANSCRIPTS_EXPORT] = action_transcripts_export,
	[COMMAND_EVENTS] = action_events,
	[COMMAND_CONFIG_CHECK] = action_config_check,
	[COMMAND_HEALTH] = action_health,
	[COMMAND_BACKUP] = action_backup,
	[COMMAND_RESTORE] = action_restore,
	[COMMAND_PSQL] = action_psql,
	[COMMAND_VERSION] = action_version,
	[COMMAND_TOP] = action_top,
	[COMMAND_HELP] = action_help,
	[COMMAND_COMPLETION] = action_completion,
};

void ctl_complain(const char *format, ...)
{
	va_list args;

	(void)fputs("proctorctl: ", stderr);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
}

int ctl_ask(struct ctl *ctl, const char *cmd, json_t *args, struct conn_reply *ret)
{
	AUTO(mem_free_str) char *error = NULL;
	int r = ctl->conn ? 0 : conn_open(ctl->socket, CONN_PATIENCE_MS, &ctl->conn, &error);

	if (r == 0)
		r = conn_send(ctl->conn, cmd, args, &error);
	if (r == 0)
		r = conn_receive(ctl->conn, ctl->timeout_ms, ret, &error);
	if (r < 0) {
		ctl_complain("%s", error);
		return CTL_UNREACHABLE;
	}
	if (!ret->ok) {
		bool ambiguous = strcmp(ret->code, "AMBIGUOUS") == 0;
		AUTO(mem_free_str) char *message = text_clean(ret->message, strlen(ret->message));

		ctl_complain("%s", message);
		conn_reply_clear(ret);
		return ambiguous ? CTL_USAGE : CTL_REFUSED;
	}
	return CTL_OK;
}

void ctl_print_json(const struct ctl *ctl, const struct conn_reply *reply)
{
	char *pretty = ctl->terminal ? json_dumps(reply->data,
						  JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))
				     : NULL;

	if (pretty)
		(void)puts(pretty);
	else
		(void)printf("%s\n", reply->raw);
	mem_free(&pretty);
}

static void show_paged(const struct ctl *ctl, const json_t *data)
{
	struct pager pager;

	pager_start(&pager);
	view_print(ctl, ctl->parsed->command, data);
	pager_finish(&pager);
}

static int ask_and_show(struct ctl *ctl)
{
	struct conn_reply reply;
	int code = ctl_ask(ctl, ctl->parsed->command->name, ctl->parsed->args, &reply);

	if (code != CTL_OK)
		return code;
	if (ctl->json)
		ctl_print_json(ctl, &reply);
	else if (ctl->terminal && ctl->parsed->command->paged && !ctl->parsed->no_pager)
		show_paged(ctl, reply.data);
	else
		view_print(ctl, ctl->parsed->command, reply.data);
	conn_reply_clear(&reply);
	return CTL_OK;
}

/* Whether --columns makes sense here and its columns exist. */
static int check_columns(const struct parsed_args *parsed)
{
	const struct column *columns = view_columns(command_id_of(parsed->command), parsed->args);
	AUTO(mem_free_str) char *names = NULL;

	if (!parsed->columns)
		return CTL_OK;
	if (parsed->json) {
		ctl_complain("--columns chooses what people see; --json has everything, always");
		return CTL_USAGE;
	}
	if (!columns) {
		ctl_complain("`%s` shows no list to choose columns of", parsed->words);
		return CTL_USAGE;
	}
	for (size_t i = 0; i < json_array_size(parsed->columns); i++) {
		const char *name = json_string_value(json_array_get(parsed->columns, i));

		if (table_find_column(columns, name))
			continue;
		names = table_column_names(columns);
		ctl_complain("`%s` has no column \"%s\"; there are %s", parsed->words, name, names);
		return CTL_USAGE;
	}
	return CTL_OK;
}

static int show_help(const struct parsed_args *parsed)
{
	if (parsed->command)
		help_print_command(stdout, parsed->command);
	else if (!parsed->words || help_print_group(stdout, parsed->words) < 0)
		help_print_all(stdout);
	return CTL_OK;
}

/* A group, or nothing, without a command: say what there is. */
static int lacks_command(const struct parsed_args *parsed)
{
	if (!parsed->words || help_print_group(stderr, parsed->words) < 0)
		help_print_all(stderr);
	return CTL_USAGE;
}

static char *socket_path(const struct parsed_args *parsed)
{
	const char *path = parsed->socket ? parsed->socket : getenv("PROCTOR_SOCKET");

	return mem_strdup(path && *path ? path : DEFAULT_SOCKET);
}

static bool wants_color(const struct parsed_args *parsed, bool terminal)
{
	const char *term = getenv("TERM");

	if (parsed->color != ARGS_COLOR_AUTO)
		return parsed->color == ARGS_COLOR_ALWAYS;
	return terminal && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

static int run(const struct parsed_args *parsed)
{
	bool terminal = isatty(STDOUT_FILENO) == 1;
	struct ctl ctl = {
		.parsed = parsed,
		.socket = socket_path(parsed),
		.json = parsed->json,
		.color = wants_color(parsed, terminal),
		.terminal = terminal,
		.timeout_ms = parsed->timeout_ms,
	};
	enum command_id id = command_id_of(parsed->command);
	int code = check_columns(parsed);

	if (code == CTL_OK)
		code = actions[id] ? actions[id](&ctl) : ask_and_show(&ctl);

	conn_free(&ctl.conn);
	mem_free(&ctl.socket);
	return code;
}

/* A full disk or a closed pipe behind stdout must not look like success. */
static int flush_output(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	ctl_complain("cannot write the output");
	return code == CTL_OK ? CTL_FAILED : code;
}

int main(int argc, char **argv)
{
	AUTO(args_free) struct parsed_args *parsed = NULL;
	AUTO(mem_free_str) char *error = NULL;

	/* All that is written is UTF-8, whatever the environment says; widths are counted by it. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	(void)signal(SIGPIPE, SIG_DFL);
	if (args_parse(argc - 1, argv + 1, &parsed, &error) < 0) {
		ctl_complain("%s", error);
		return CTL_USAGE;
	}
	if (parsed->version) {
		(void)printf("proctorctl %s\n", PROCTOR_VERSION);
		return flush_output(CTL_OK);
	}
	if (parsed->help)
		return flush_output(show_help(parsed));
	if (!parsed->command)
		return lacks_command(parsed);
	return flush_output(run(parsed));
}
