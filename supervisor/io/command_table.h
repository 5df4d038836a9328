#ifndef IO_COMMAND_TABLE_H
#define IO_COMMAND_TABLE_H

/* The one table of control commands. A row feeds the daemon's parsing and permission check, the client's
 * command line, help and completion; nothing about a command is said anywhere else.
 *
 * The list gives each command its id and the function that serves it: D in the daemon (cmd_NAME in app/), C
 * in the client alone (ctl/). So a command of the daemon without a handler does not compile. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define COMMAND_LIST(D, C)                                                                                   \
	D(STATUS, status)                                                                                    \
	C(TOP, top)                                                                                          \
	D(TREE, tree)                                                                                        \
	D(SERVICES_STOP, services_stop)                                                                      \
	D(SERVICES_START, services_start)                                                                    \
	D(WORKERS_LIST, workers_list)                                                                        \
	D(WORKERS_SHOW, workers_show)                                                                        \
	D(WORKERS_RESTART, workers_restart)                                                                  \
	D(WORKERS_SCALE, workers_scale)                                                                      \
	D(ALERTS, alerts)                                                                                    \
	D(ALERTS_TEST, alerts_test)                                                                          \
	D(CRASHES, crashes)                                                                                  \
	D(CRASHES_SHOW, crashes_show)                                                                        \
	D(PROVIDERS_LIST, providers_list)                                                                    \
	D(PROVIDERS_SHOW, providers_show)                                                                    \
	D(PROVIDERS_PAUSE, providers_pause)                                                                  \
	D(PROVIDERS_RESUME, providers_resume)                                                                \
	D(DEFINITION_IMPORT, definition_import)                                                              \
	D(DEFINITION_APPEND, definition_append)                                                              \
	D(DEFINITION_LIST, definition_list)                                                                  \
	D(DEFINITION_SHOW, definition_show)                                                                  \
	D(RUN_START, run_start)                                                                              \
	D(RUN_LIST, run_list)                                                                                \
	D(RUN_SHOW, run_show)                                                                                \
	C(RUN_WATCH, run_watch)                                                                              \
	D(RUN_PAUSE, run_pause)                                                                              \
	D(RUN_RESUME, run_resume)                                                                            \
	D(RUN_CANCEL, run_cancel)                                                                            \
	D(RUN_RETRY, run_retry)                                                                              \
	D(RUN_DELETE, run_delete)                                                                            \
	D(TRANSCRIPTS_LIST, transcripts_list)                                                                \
	D(TRANSCRIPTS_SHOW, transcripts_show)                                                                \
	D(TRANSCRIPTS_EXPORT, transcripts_export)                                                            \
	D(JOBS, jobs)                                                                                        \
	D(EVENTS, events)                                                                                    \
	D(SPOOL, spool)                                                                                      \
	D(HEALTH, health)                                                                                    \
	D(METRICS, metrics)                                                                                  \
	D(CONFIG_SHOW, config_show)                                                                          \
	D(CONFIG_CHECK, config_check)                                                                        \
	D(CONFIG_DATABASE, config_database)                                                                  \
	D(DATABASE_HOLD, database_hold)                                                                      \
	C(BACKUP, backup)                                                                                    \
	C(RESTORE, restore)                                                                                  \
	C(PSQL, psql)                                                                                        \
	D(RELOAD, reload)                                                                                    \
	D(UPGRADE, upgrade)                                                                                  \
	D(LOG_LEVEL, log_level)                                                                              \
	D(SHUTDOWN, shutdown)                                                                                \
	D(VERSION, version)                                                                                  \
	C(HELP, help)                                                                                        \
	C(COMPLETION, completion)

#define COMMAND_ID(id, function) COMMAND_##id,
enum command_id { COMMAND_LIST(COMMAND_ID, COMMAND_ID) COMMAND_COUNT };
#undef COMMAND_ID

enum command_place { COMMAND_IN_DAEMON, COMMAND_IN_CLIENT };

/* Each may do what those before it may. COMMAND_NONE is the role of who may do nothing, and of no command. */
enum command_role { COMMAND_NONE, COMMAND_READ, COMMAND_OPERATE, COMMAND_ADMIN };

enum command_type {		      /* as JSON            on the command line */
		    COMMAND_STRING,   /* string             as it is */
		    COMMAND_INT,      /* integer            digits */
		    COMMAND_NUMBER,   /* number             12 or 0.5 */
		    COMMAND_BOOL,     /* true, false        --name */
		    COMMAND_LIST_OF,  /* array of strings   a,b or given several times */
		    COMMAND_DURATION, /* integer, ms        500ms 30s 5m 6h 2d */
		    COMMAND_JSON,     /* anything           not on the command line */
};

enum {
	ARG_REQUIRED = 1,
	ARG_POSITIONAL = 2,
	ARG_CLIENT = 4,	    /* the client's own: never sent */
	ARG_WIRE = 8,	    /* sent by programs: not on the command line */
	ARG_ABOVE_MIN = 16, /* `min` itself is refused */
	ARG_LONG_TEXT = 32, /* not bounded by COMMAND_TEXT_MAX */
};

/* What a value names, so that completion can offer what there is. */
enum command_ref {
	REF_NONE,
	REF_RUN,
	REF_DEFINITION,
	REF_TRANSCRIPT,
	REF_MODEL,
	REF_WORKER,
	REF_NODE, /* of the supervision tree */
	REF_CRASH,
	REF_SECTION, /* of the configuration */
	REF_COMMAND,
	REF_FILE,
	REF_COUNT
};

enum { COMMAND_TEXT_MAX = 1000, COMMAND_LIST_MAX = 1000 };

struct command_arg {
	const char
		*name; /* camelCase, as in JSON; --sample-percentage on the command line. NULL ends a list */
	enum command_type type;
	unsigned flags;
	enum command_ref ref;
	double min, max;	 /* of numbers and durations; both 0 = any */
	const char *choices;	 /* "one|two", or NULL */
	const char *fallback;	 /* what holds without it, for people; NULL = nothing to say */
	const char *placeholder; /* in help; NULL = by type */
	const char *help;	 /* one line, no full stop */
};

struct command {
	const char *name;  /* "run.start" */
	const char *words; /* "run start" as typed; NULL = for programs only */
	enum command_place place;
	enum command_role role;
	const char *summary; /* one line, no full stop */
	const struct command_arg *args;
	bool paged;	      /* its answer may be long: on a terminal $PAGER shows it */
	const char *rest;     /* what may stand behind --, for help; NULL = nothing */
	const char *notes;    /* further help text, lines; or NULL */
	const char *examples; /* lines; or NULL */
};

/* By enum command_id. */
extern const struct command command_table[COMMAND_COUNT];

/* "read" … */
const char *command_role_name(enum command_role role);

/* What "workers", "run" … are, for the list of groups; NULL for a word that is no group. */
const char *command_group_summary(const char *word);

/* NULL when there is none. */
const struct command *command_find(const char *name);

enum command_id command_id_of(const struct command *command);

/* NULL when there is none. */
const struct command_arg *command_find_arg(const struct command *command, const char *name);

/* Checks names, types, ranges and that nothing required is missing; null counts as absent. -EINVAL with
 * *ret_error, fresh, naming the argument. Arguments of the client alone are unknown here. */
int command_check_args(const struct command *command, json_t *args, char **ret_error)
	__attribute__((warn_unused_result));

/* Whether `text` is one of "one|two|three". */
bool command_choice_matches(const char *choices, const char *text);

#endif
