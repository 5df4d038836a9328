#include "io/command_table.h"

#include <string.h>

#include "base/mem.h"

#define ARGS(...)                                                                                            \
	(const struct command_arg[])                                                                         \
	{                                                                                                    \
		__VA_ARGS__                                                                                  \
		{                                                                                            \
			.name = NULL                                                                         \
		}                                                                                            \
	}

/* Arguments that many commands share. */
#define RUN_ARG                                                                                              \
	{ .name = "run",                                                                                     \
	  .type = COMMAND_STRING,                                                                            \
	  .flags = ARG_REQUIRED | ARG_POSITIONAL,                                                            \
	  .placeholder = "RUN",                                                                              \
	  .help = "the run's id, a beginning of it that no other has, or `latest`" },
#define RUN_MODEL_ARG                                                                                        \
	{ .name = "model",                                                                                   \
	  .type = COMMAND_STRING,                                                                            \
	  .placeholder = "MODEL",                                                                            \
	  .help = "only this model of the run" },
#define LIMIT_ARG(standard, most)                                                                            \
	{ .name = "limit",                                                                                   \
	  .type = COMMAND_INT,                                                                               \
	  .min = 1,                                                                                          \
	  .max = (most),                                                                                     \
	  .fallback = (standard),                                                                            \
	  .help = "how many at most" },
#define AFTER_ARG                                                                                            \
	{ .name = "after",                                                                                   \
	  .type = COMMAND_STRING,                                                                            \
	  .placeholder = "CURSOR",                                                                           \
	  .help = "go on behind this one: the `next` of the page before" },
#define PROVIDER_ARG                                                                                         \
	{ .name = "provider",                                                                                \
	  .type = COMMAND_STRING,                                                                            \
	  .flags = ARG_REQUIRED | ARG_POSITIONAL,                                                            \
	  .choices = "openai|anthropic|google|xai|deepseek|mistral|simulated",                               \
	  .help = "its name" },
#define NODE_ARG                                                                                             \
	{ .name = "name",                                                                                    \
	  .type = COMMAND_STRING,                                                                            \
	  .flags = ARG_REQUIRED | ARG_POSITIONAL,                                                            \
	  .placeholder = "NAME",                                                                             \
	  .help = "its name, as `tree` shows it" },
#define REASON_ARG                                                                                           \
	{ .name = "reason", .type = COMMAND_STRING, .placeholder = "TEXT", .help = "why, shown to others" },
#define BUDGET_ARG(text)                                                                                     \
	{ .name = "budgetUsd",                                                                               \
	  .type = COMMAND_NUMBER,                                                                            \
	  .flags = ARG_ABOVE_MIN,                                                                            \
	  .min = 0,                                                                                          \
	  .max = 100000000,                                                                                  \
	  .placeholder = "USD",                                                                              \
	  .help = (text) },
#define SCENARIOS_ARG                                                                                        \
	{ .name = "scenarios",                                                                               \
	  .type = COMMAND_JSON,                                                                              \
	  .flags = ARG_WIRE | ARG_REQUIRED,                                                                  \
	  .help = "at most 500 of {key, name, prompt, metadata}" },
#define MORE_ARG                                                                                             \
	{ .name = "more",                                                                                    \
	  .type = COMMAND_BOOL,                                                                              \
	  .flags = ARG_WIRE,                                                                                 \
	  .help = "further pages follow by definition.append" },

const struct command command_table[COMMAND_COUNT] = {
	[COMMAND_STATUS] = {
		.name = "status",
		.words = "status",
		.role = COMMAND_READ,
		.summary = "What the daemon, its workers, providers and database are doing",
	},
	[COMMAND_TREE] = {
		.name = "tree",
		.words = "tree",
		.role = COMMAND_READ,
		.summary = "All that is supervised: state, restarts, what starts next and why it is down",
	},
	[COMMAND_SERVICES_STOP] = {
		.name = "services.stop",
		.words = "services stop",
		.role = COMMAND_OPERATE,
		.summary = "Stop a service, pool or group until it is started again, or the daemon is",
		.args = ARGS(NODE_ARG),
		.examples = "proctorctl services stop simulator",
	},
	[COMMAND_SERVICES_START] = {
		.name = "services.start",
		.words = "services start",
		.role = COMMAND_OPERATE,
		.summary = "Start what was stopped, has ended, or was given up on",
		.args = ARGS(NODE_ARG),
		.examples = "proctorctl services start simulator",
	},
	[COMMAND_WORKERS_LIST] = {
		.name = "workers.list",
		.words = "workers list",
		.role = COMMAND_READ,
		.summary = "The worker processes, their state and load",
	},
	[COMMAND_WORKERS_SHOW] = {
		.name = "workers.show",
		.words = "workers show",
		.role = COMMAND_READ,
		.summary = "All about one worker, and how it crashed the last time",
		.args = ARGS({ .name = "worker",
			       .type = COMMAND_STRING,
			       .flags = ARG_REQUIRED | ARG_POSITIONAL,
			       .placeholder = "POOL/N",
			       .help = "its name, as `workers list` shows it" }, ),
		.examples = "proctorctl workers show probe/1",
	},
	[COMMAND_WORKERS_RESTART] = {
		.name = "workers.restart",
		.words = "workers restart",
		.role = COMMAND_OPERATE,
		.summary = "Restart a worker, or all one after another; the conversations it holds go on elsewhere",
		.args = ARGS({ .name = "worker",
			       .type = COMMAND_STRING,
			       .flags = ARG_POSITIONAL,
			       .placeholder = "POOL/N",
			       .fallback = "all of them",
			       .help = "its name, as `workers list` shows it" }, ),
		.examples = "proctorctl workers restart probe/1\nproctorctl workers restart",
	},
	[COMMAND_WORKERS_SCALE] = {
		.name = "workers.scale",
		.words = "workers scale",
		.role = COMMAND_OPERATE,
		.summary = "Change how many workers a pool has, until the next reload",
		.args = ARGS({ .name = "size",
			       .type = COMMAND_INT,
			       .flags = ARG_REQUIRED | ARG_POSITIONAL,
			       .min = 1,
			       .max = 256,
			       .help = "how many workers" },
			     { .name = "pool",
			       .type = COMMAND_STRING,
			       .fallback = "probe",
			       .help = "the pool's name" }, ),
		.examples = "proctorctl workers scale 4",
	},
	[COMMAND_CRASHES] = {
		.name = "crashes",
		.words = "crashes",
		.role = COMMAND_READ,
		.summary = "How workers and services ended that nobody had told to end, newest first",
		.args = ARGS({ .name = "worker",
			       .type = COMMAND_STRING,
			       .placeholder = "NAME",
			       .help = "only of this worker or service, or of all workers of this pool" },
			     { .name = "since",
			       .type = COMMAND_DURATION,
			       .min = 0,
			       .max = 31536000000.0,
			       .help = "only of the last so long" },
			     LIMIT_ARG("20", 1000)),
		.notes = "`crashes show ID` shows one with its stack and its last words.",
		.examples = "proctorctl crashes --worker probe/1 --since 1h\nproctorctl crashes show 4711",
	},
	[COMMAND_CRASHES_SHOW] = {
		.name = "crashes.show",
		.words = "crashes show",
		.role = COMMAND_READ,
		.summary = "One crash: why, what it held, its stack and the end of its stderr",
		.args = ARGS({ .name = "id",
			       .type = COMMAND_INT,
			       .flags = ARG_REQUIRED | ARG_POSITIONAL,
			       .min = 1,
			       .max = 9007199254740991.0,
			       .placeholder = "ID",
			       .help = "its id, as `crashes` shows it" }, ),
		.examples = "proctorctl crashes show 4711",
	},
	[COMMAND_PROVIDERS_LIST] = {
		.name = "providers.list",
		.words = "providers list",
		.role = COMMAND_READ,
		.summary = "The providers: key, limits, calls in flight, and what each waits for",
	},
	[COMMAND_PROVIDERS_SHOW] = {
		.name = "providers.show",
		.words = "providers show",
		.role = COMMAND_READ,
		.summary = "All about one provider",
		.args = ARGS(PROVIDER_ARG{ .name = "check",
					   .type = COMMAND_BOOL,
					   .help = "look first whether it is up and takes the key; costs no tokens" }, ),
		.examples = "proctorctl providers show openai\nproctorctl providers show openai --check",
	},
	[COMMAND_PROVIDERS_PAUSE] = {
		.name = "providers.pause",
		.words = "providers pause",
		.role = COMMAND_OPERATE,
		.summary = "Stop starting calls to a provider; its probes stay queued",
		.args = ARGS(PROVIDER_ARG REASON_ARG),
		.examples = "proctorctl providers pause openai --reason 'invoice unpaid'",
	},
	[COMMAND_PROVIDERS_RESUME] = {
		.name = "providers.resume",
		.words = "providers resume",
		.role = COMMAND_OPERATE,
		.summary = "Start calls to a provider again, after a pause or a used-up quota",
		.args = ARGS(PROVIDER_ARG),
		.examples = "proctorctl providers resume openai",
	},
	[COMMAND_DEFINITION_IMPORT] = {
		.name = "definition.import",
		.words = "definition import",
		.role = COMMAND_OPERATE,
		.summary = "Import a definition from a YAML or JSON file, as a new version of its name",
		.args = ARGS({ .name = "file",
			       .type = COMMAND_STRING,
			       .flags = ARG_REQUIRED | ARG_POSITIONAL | ARG_CLIENT,
			       .placeholder = "FILE",
			       .help = "the definition file; - reads standard input" },
			     { .name = "name",
			       .type = COMMAND_STRING,
			       .flags = 0,
			       .fallback = "the file's own",
			       .help = "import under this name" },
			     { .name = "preamble",
			       .type = COMMAND_STRING,
			       .flags = ARG_WIRE | ARG_LONG_TEXT,
			       .help = "system message of every conversation" },
			     { .name = "followups",
			       .type = COMMAND_JSON,
			       .flags = ARG_WIRE,
			       .help = "list of {label, prompt}" },
			     { .name = "metadata",
			       .type = COMMAND_JSON,
			       .flags = ARG_WIRE,
			       .help = "object, kept as it is" },
			     SCENARIOS_ARG MORE_ARG),
		.notes = "The file has `name`, `preamble`, `followups` (a list of {label, prompt}, or label: prompt) and\n"
			 "`scenarios` (a list, or id: scenario) with their text in `prompt` or `body` and their title in\n"
			 "`name` or `subject`. Other keys are kept as metadata. A file with a mistake changes nothing.",
		.examples = "proctorctl definition import dilemmas.yaml",
	},
	[COMMAND_DEFINITION_APPEND] = {
		.name = "definition.append",
		.role = COMMAND_OPERATE,
		.summary = "Add a page of scenarios to an import under way",
		.args = ARGS({ .name = "id",
			       .type = COMMAND_STRING,
			       .flags = ARG_WIRE | ARG_REQUIRED,
			       .help = "the id that definition.import gave" },
			     SCENARIOS_ARG MORE_ARG),
	},
	[COMMAND_DEFINITION_LIST] = {
		.name = "definition.list",
		.words = "definition list",
		.role = COMMAND_READ,
		.summary = "The definitions, newest first",
		.args = ARGS({ .name = "name", .type = COMMAND_STRING, .help = "only versions of this name" },
			     LIMIT_ARG("50", 1000)),
	},
	[COMMAND_DEFINITION_SHOW] = {
		.name = "definition.show",
		.words = "definition show",
		.role = COMMAND_READ,
		.summary = "A definition with its scenarios",
		.args = ARGS({ .name = "definition",
			       .type = COMMAND_STRING,
			       .flags = ARG_REQUIRED | ARG_POSITIONAL,
			       .placeholder = "DEFINITION",
			       .help = "its name (the latest version), its id, or a unique beginning of the id" },
			     { .name = "scenarios",
			       .type = COMMAND_INT,
			       .min = 0,
			       .max = 1000,
			       .fallback = "20",
			       .help = "how many scenarios to show" }, ),
		.examples = "proctorctl definition show dilemmas --scenarios 3",
	},
	[COMMAND_RUN_START] = {
		.name = "run.start",
		.words = "run start",
		.role = COMMAND_OPERATE,
		.summary = "Start a run: every chosen scenario with every model",
		.args = ARGS({ .name = "definition",
			       .type = COMMAND_STRING,
			       .flags = ARG_REQUIRED | ARG_POSITIONAL,
			       .placeholder = "DEFINITION",
			       .help = "its name (the latest version), its id, or a unique beginning of the id" },
			     { .name = "models",
			       .type = COMMAND_LIST_OF,
			       .flags = ARG_REQUIRED,
			       .placeholder = "MODEL,…",
			       .help = "model ids, e.g. gpt-4 or provider:model" },
			     { .name = "samplePercentage",
			       .type = COMMAND_NUMBER,
			       .flags = ARG_ABOVE_MIN,
			       .min = 0,
			       .max = 100,
			       .fallback = "100",
			       .placeholder = "PERCENT",
			       .help = "run on this share of the scenarios" },
			     { .name = "sampleSeed",
			       .type = COMMAND_INT,
			       .fallback = "0",
			       .help = "which share: the same seed chooses the same scenarios" },
			     { .name = "samples",
			       .type = COMMAND_INT,
			       .min = 1,
			       .max = 1000,
			       .fallback = "1",
			       .help = "how often each scenario is asked of each model" },
			     { .name = "priority",
			       .type = COMMAND_INT,
			       .min = -1000,
			       .max = 1000,
			       .fallback = "0",
			       .help = "each step above another run gets four times its turns, 64 times at most" },
			     { .name = "temperature",
			       .type = COMMAND_NUMBER,
			       .min = 0,
			       .max = 2,
			       .fallback = "the provider's own",
			       .help = "sampling temperature" },
			     { .name = "maxTokens",
			       .type = COMMAND_INT,
			       .min = 1,
			       .max = 10000000,
			       .fallback = "the provider's own",
			       .help = "longest answer, in tokens" },
			     { .name = "maxTurns",
			       .type = COMMAND_INT,
			       .min = 1,
			       .max = 1000,
			       .fallback = "10",
			       .help = "most turns of a conversation" },
			     { .name = "seed",
			       .type = COMMAND_INT,
			       .fallback = "none",
			       .help = "sent to providers that take one, plus the sample's number" },
			     BUDGET_ARG("pause the run before a call that would cost more in all, with four decimals at most")
			     { .name = "estimate",
			       .type = COMMAND_BOOL,
			       .help = "tell calls, tokens, cost and time beforehand; nothing is started" },
			     { .name = "watch",
			       .type = COMMAND_BOOL,
			       .flags = ARG_CLIENT,
			       .help = "watch it until it ends, as `run watch` does" }, ),
		.notes = "--estimate tells, for the run and for each model: probes, calls, inputTokens, outputTokens, costUsd; and\n"
			 "for each limit how long it takes to let that through, the slowest of all being the run's limitMs. What\n"
			 "is guessed is {low, likely, high}. `answers` says where answers' lengths come from: measured (since the\n"
			 "daemon's start), transcripts, or assumed (100, 500 and 1000 tokens). costUsd is null where no price is\n"
			 "known, and for simulated models; costKnown is false when one is missing in the sum. Retries, and what\n"
			 "other runs have queued (`ahead`, by lane), come on top. With --budget-usd it is warned of when the\n"
			 "run may cost more; without --estimate, as with it, of models whose price is not known.",
		.examples = "proctorctl run start dilemmas --models gpt-4,claude-3-sonnet --estimate\n"
			    "proctorctl run start dilemmas --models gpt-4 --budget-usd 5\n"
			    "proctorctl run start dilemmas --models gpt-4,claude-3-sonnet --sample-percentage 10\n"
			    "proctorctl run start dilemmas --models mistral:my-finetune --temperature 0.7 --watch",
	},
	[COMMAND_RUN_LIST] = {
		.name = "run.list",
		.words = "run list",
		.role = COMMAND_READ,
		.summary = "The runs, newest first",
		.args = ARGS({ .name = "status",
			       .type = COMMAND_STRING,
			       .choices = "PENDING|RUNNING|PAUSED|COMPLETED|FAILED|CANCELLED",
			       .help = "only those of this status" },
			     { .name = "active", .type = COMMAND_BOOL, .help = "only those not finished" },
			     LIMIT_ARG("20", 1000)),
	},
	[COMMAND_RUN_SHOW] = {
		.name = "run.show",
		.words = "run show",
		.role = COMMAND_READ,
		.summary = "A run: progress, models, errors, and what it waits for",
		.args = ARGS(RUN_ARG{ .name = "transcripts",
				      .type = COMMAND_INT,
				      .min = 0,
				      .max = 1000,
				      .fallback = "0",
				      .help = "also list this many of its transcripts" },
			     { .name = "brief",
			       .type = COMMAND_BOOL,
			       .help = "status, progress and waits only: cheap to ask often" }, ),
		.examples = "proctorctl run show latest --transcripts 5",
	},
	[COMMAND_RUN_WATCH] = {
		.name = "run.watch",
		.words = "run watch",
		.place = COMMAND_IN_CLIENT,
		.role = COMMAND_READ,
		.summary = "Follow a run's progress until it ends",
		.args = ARGS(RUN_ARG{ .name = "interval",
				      .type = COMMAND_DURATION,
				      .min = 100,
				      .max = 3600000,
				      .fallback = "500ms on a terminal, 5s otherwise",
				      .help = "how often to look" }, ),
		.notes = "Exit status: 0 when the run is COMPLETED, 1 when FAILED, 4 when CANCELLED. Ctrl-C leaves the run going.",
		.examples = "proctorctl run watch latest",
	},
	[COMMAND_RUN_PAUSE] = {
		.name = "run.pause",
		.words = "run pause",
		.role = COMMAND_OPERATE,
		.summary = "Start no more of a run's probes; those under way finish",
		.args = ARGS(RUN_ARG RUN_MODEL_ARG REASON_ARG),
	},
	[COMMAND_RUN_RESUME] = {
		.name = "run.resume",
		.words = "run resume",
		.role = COMMAND_OPERATE,
		.summary = "Go on with a paused run",
		.args = ARGS(RUN_ARG RUN_MODEL_ARG BUDGET_ARG("a new budget: one that was used up has to be raised")),
	},
	[COMMAND_RUN_CANCEL] = {
		.name = "run.cancel",
		.words = "run cancel",
		.role = COMMAND_OPERATE,
		.summary = "Cancel what is queued of a run; what is already paid for is kept",
		.args = ARGS(RUN_ARG),
	},
	[COMMAND_RUN_RETRY] = {
		.name = "run.retry",
		.words = "run retry",
		.role = COMMAND_OPERATE,
		.summary = "Queue a run's failed probes again",
		.args = ARGS(RUN_ARG{ .name = "codes",
				      .type = COMMAND_LIST_OF,
				      .placeholder = "CODE,…",
				      .fallback = "all",
				      .help = "only those that failed with these codes" }, ),
		.examples = "proctorctl run retry latest --codes TIMEOUT,SERVER_ERROR",
	},
	[COMMAND_RUN_DELETE] = {
		.name = "run.delete",
		.words = "run delete",
		.role = COMMAND_OPERATE,
		.summary = "Delete a run with all its transcripts",
		.args = ARGS(RUN_ARG{ .name = "force",
				      .type = COMMAND_BOOL,
				      .help = "also one that is not finished" }, ),
	},
	[COMMAND_TRANSCRIPTS_LIST] = {
		.name = "transcripts.list",
		.words = "transcripts list",
		.role = COMMAND_READ,
		.summary = "The transcripts of a run",
		.args = ARGS(RUN_ARG RUN_MODEL_ARG LIMIT_ARG("20", 1000) AFTER_ARG),
	},
	[COMMAND_TRANSCRIPTS_SHOW] = {
		.name = "transcripts.show",
		.words = "transcripts show",
		.role = COMMAND_READ,
		.summary = "One transcript, turn by turn",
		.args = ARGS({ .name = "transcript",
			       .type = COMMAND_STRING,
			       .flags = ARG_REQUIRED | ARG_POSITIONAL,
			       .placeholder = "TRANSCRIPT",
			       .help = "its id" }, ),
	},
	[COMMAND_TRANSCRIPTS_EXPORT] = {
		.name = "transcripts.export",
		.words = "transcripts export",
		.role = COMMAND_READ,
		.summary = "Write a run's transcripts as JSON lines or CSV",
		.args = ARGS(RUN_ARG RUN_MODEL_ARG{ .name = "format",
						    .type = COMMAND_STRING,
						    .flags = ARG_CLIENT,
						    .choices = "jsonl|csv",
						    .fallback = "jsonl",
						    .help = "one transcript a line, or one turn a line" },
			     { .name = "output",
			       .type = COMMAND_STRING,
			       .flags = ARG_CLIENT,
			       .fallback = "standard output",
			       .placeholder = "FILE",
			       .help = "written whole or not at all" },
			     { .name = "after",
			       .type = COMMAND_STRING,
			       .flags = ARG_WIRE,
			       .help = "go on behind this one: the `next` of the page before" },
			     { .name = "limit",
			       .type = COMMAND_INT,
			       .flags = ARG_WIRE,
			       .min = 1,
			       .max = 1000,
			       .help = "how many at most; a page also ends at about 4 MB" }, ),
		.examples = "proctorctl transcripts export latest --format csv --output turns.csv",
	},
	[COMMAND_JOBS] = {
		.name = "jobs",
		.words = "jobs",
		.role = COMMAND_READ,
		.summary = "The queue: how many probes are ready, waiting, under way or done",
		.args = ARGS({ .name = "run",
			       .type = COMMAND_STRING,
			       .flags = ARG_POSITIONAL,
			       .placeholder = "RUN",
			       .fallback = "all active runs",
			       .help = "the run's id, a beginning of it that no other has, or `latest`" },
			     { .name = "state",
			       .type = COMMAND_STRING,
			       .choices = "ready|delayed|leased|failed",
			       .help = "list the probes in this state, not the counts" },
			     LIMIT_ARG("50", 1000)),
		.examples = "proctorctl jobs latest --state delayed",
	},
	[COMMAND_EVENTS] = {
		.name = "events",
		.words = "events",
		.role = COMMAND_READ,
		.summary = "What happened to runs, workers and providers",
		.args = ARGS({ .name = "since",
			       .type = COMMAND_DURATION,
			       .min = 0,
			       .max = 31536000000.0,
			       .help = "only of the last so long" },
			     { .name = "follow", .type = COMMAND_BOOL, .help = "go on with what happens next" },
			     { .name = "run",
			       .type = COMMAND_STRING,
			       .placeholder = "RUN",
			       .help = "only of this run" },
			     LIMIT_ARG("50", 1000)),
		.examples = "proctorctl events --since 1h\nproctorctl events --follow --run latest",
	},
	[COMMAND_ALERTS] = {
		.name = "alerts",
		.words = "alerts",
		.role = COMMAND_READ,
		.summary = "What an operator should know now, and which webhooks have been told",
		.notes = "Each [alert:NAME] section of proctor.ini is a webhook. A condition is told once, and its end once. What\n"
			 "a webhook does not take is sent again with back-off, also after a restart. Messages carry an id: one\n"
			 "whose answer was lost comes twice.\n"
			 "With secret_env, `X-Proctor-Signature: t=SECONDS,v1=HEX` has the HMAC-SHA256 of `SECONDS.BODY`.\n",
		.examples = "proctorctl alerts\nproctorctl alerts test ops",
	},
	[COMMAND_ALERTS_TEST] = {
		.name = "alerts.test",
		.words = "alerts test",
		.role = COMMAND_OPERATE,
		.summary = "Send a test message to a webhook, and say how it went",
		.args = ARGS({ .name = "target",
			       .type = COMMAND_STRING,
			       .flags = ARG_REQUIRED | ARG_POSITIONAL,
			       .placeholder = "NAME",
			       .help = "NAME of its section [alert:NAME]" }, ),
		.examples = "proctorctl alerts test ops",
	},
	[COMMAND_SPOOL] = {
		.name = "spool",
		.words = "spool",
		.role = COMMAND_READ,
		.summary = "The local log of answers: what waits in it for the database, and since when",
		.notes = "Answers are written there before anything else is done with them. `proctord --spool-dump FILE` "
			 "reads one of its files without a daemon.",
	},
	[COMMAND_HEALTH] = {
		.name = "health",
		.words = "health",
		.role = COMMAND_READ,
		.summary = "The last verdict on the Python environment, the workers, the database and the providers",
		.args = ARGS({ .name = "now", .type = COMMAND_BOOL, .help = "check the environment and look at the providers first" }, ),
	},
	[COMMAND_METRICS] = {
		.name = "metrics",
		.words = "metrics",
		.role = COMMAND_READ,
		.summary = "All that is measured, as text that Prometheus reads",
		.notes = "The same is served over HTTP where [metrics] listen says so, beside /healthz and /readyz.\n"
			 "`proctord --metrics-reference` explains each. Rates and quantiles are Prometheus' to make.\n",
		.examples = "proctorctl metrics | grep proctor_calls_total",
	},
	[COMMAND_CONFIG_SHOW] = {
		.name = "config.show",
		.words = "config show",
		.role = COMMAND_READ,
		.summary = "The configuration in effect and where each value comes from, secrets redacted",
		.args = ARGS({ .name = "section",
			       .type = COMMAND_STRING,
			       .flags = ARG_POSITIONAL,
			       .placeholder = "SECTION",
			       .help = "only this section, e.g. pool:probe" },
			     { .name = "changed", .type = COMMAND_BOOL, .help = "only keys that the file sets" }, ),
	},
	[COMMAND_CONFIG_CHECK] = {
		.name = "config.check",
		.words = "config check",
		.role = COMMAND_READ,
		.summary = "Check a configuration file, and say what a reload of it would change",
		.args = ARGS({ .name = "file",
			       .type = COMMAND_STRING,
			       .flags = ARG_POSITIONAL | ARG_CLIENT,
			       .placeholder = "FILE",
			       .fallback = "the file the daemon reads",
			       .help = "the file to check" },
			     { .name = "name",
			       .type = COMMAND_STRING,
			       .flags = ARG_WIRE,
			       .help = "stands for the file in messages" },
			     { .name = "text",
			       .type = COMMAND_STRING,
			       .flags = ARG_WIRE | ARG_LONG_TEXT,
			       .help = "the file's text; without it the daemon's own file is checked" }, ),
	},
	[COMMAND_CONFIG_DATABASE] = {
		.name = "config.database",
		.role = COMMAND_ADMIN,
		.summary = "How to connect to the daemon's database, password included",
	},
	[COMMAND_PSQL] = {
		.name = "psql",
		.words = "psql",
		.place = COMMAND_IN_CLIENT,
		.role = COMMAND_ADMIN,
		.summary = "Open psql on the daemon's database",
		.notes = "What stands behind -- goes to psql. Asks the daemon how to connect, so it is for root and the\n"
			 "daemon's own user.",
		.examples = "proctorctl psql -- -c 'SELECT count(*) FROM transcripts'",
	},
	[COMMAND_RELOAD] = {
		.name = "reload",
		.words = "reload",
		.role = COMMAND_OPERATE,
		.summary = "Read configuration and key file again; says what changed and what needs a restart",
	},
	[COMMAND_UPGRADE] = {
		.name = "upgrade",
		.words = "upgrade",
		.role = COMMAND_OPERATE,
		.summary = "Replace the daemon's program; workers, conversations and services live on",
		.args = ARGS({ .name = "program",
			       .type = COMMAND_STRING,
			       .flags = ARG_POSITIONAL,
			       .placeholder = "PATH",
			       .fallback = "the file the daemon was started from",
			       .help = "the new program, with its whole path; for root and the daemon's own user" }, ),
		.notes = "The new program first reads configuration and state on trial. One that refuses them, or\n"
			 "cannot be run, leaves the daemon as it is, and the reason is told. Configuration and keys\n"
			 "must be as they were read: `reload` is what changes them.\n",
		.examples = "apt-get install proctor && proctorctl upgrade",
	},
	[COMMAND_LOG_LEVEL] = {
		.name = "log-level",
		.words = "log-level",
		.role = COMMAND_OPERATE,
		.summary = "Show the log level, or change it until the next restart",
		.args = ARGS({ .name = "level",
			       .type = COMMAND_STRING,
			       .flags = ARG_POSITIONAL,
			       .choices = "error|warning|info|debug",
			       .help = "the new level" }, ),
	},
	[COMMAND_SHUTDOWN] = {
		.name = "shutdown",
		.words = "shutdown",
		.role = COMMAND_ADMIN,
		.summary = "Stop the daemon: calls under way may finish, everything else stays queued",
	},
	[COMMAND_VERSION] = {
		.name = "version",
		.words = "version",
		.role = COMMAND_READ,
		.summary = "The versions of client and daemon",
	},
	[COMMAND_HELP] = {
		.name = "help",
		.words = "help",
		.place = COMMAND_IN_CLIENT,
		.role = COMMAND_READ,
		.summary = "Explain a command or a group of commands",
		.args = ARGS({ .name = "topic",
			       .type = COMMAND_LIST_OF,
			       .flags = ARG_POSITIONAL,
			       .placeholder = "COMMAND",
			       .help = "which one" },
			     { .name = "reference",
			       .type = COMMAND_BOOL,
			       .flags = ARG_CLIENT,
			       .help = "all of them at once, in Markdown" }, ),
		.examples = "proctorctl help run start",
	},
	[COMMAND_COMPLETION] = {
		.name = "completion",
		.words = "completion",
		.place = COMMAND_IN_CLIENT,
		.role = COMMAND_READ,
		.summary = "Print a completion script for the shell",
		.args = ARGS({ .name = "shell",
			       .type = COMMAND_STRING,
			       .flags = ARG_POSITIONAL | ARG_REQUIRED,
			       .choices = "bash",
			       .help = "which shell" }, ),
		.examples = "eval \"$(proctorctl completion bash)\"",
	},
};

static const struct {
	const char *word, *summary;
} groups[] = {
	{ "services", "Stop and start what the configuration names: services, pools, groups" },
	{ "workers", "The worker processes" },
	{ "alerts", "What an operator should know, and webhooks" },
	{ "providers", "The providers and their limits" },
	{ "definition", "Definitions: prompts, follow-ups and scenarios" },
	{ "run", "Runs: a definition asked of models" },
	{ "transcripts", "What the models answered" },
	{ "config", "The daemon's configuration" },
};

const char *command_group_summary(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(groups); i++)
		if (strcmp(groups[i].word, word) == 0)
			return groups[i].summary;
	return NULL;
}
