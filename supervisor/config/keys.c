#include "config/keys.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"
#include "policy/alert.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define MIB INT64_C(1048576)
#define TIB (MIB * MIB)

#define UNITS_MAX 1000000000
#define USD_MAX	  INT64_C(10000000000000000) /* a million */

static const char *const log_levels[] = { "error", "warning", "info", "debug", NULL };
static const char *const log_formats[] = { "text", "json", NULL };
static const char *const strategies[] = { "one_for_one", "one_for_all", "rest_for_one", NULL };
static const char *const alert_formats[] = { "json", "slack", NULL };
static const char *const restart_types[] = { "permanent", "transient", "temporary", NULL };

#define FIELD(type, member)                                                                                  \
	.offset = offsetof(struct type, member), .width = sizeof(((struct type *)0)->member)
#define ROW(kind, type_, key, member, kind_) .section = kind, .name = key, .type = kind_, FIELD(type_, member)

#define DAEMON(key, member, type)   ROW(KEY_DAEMON, config_daemon, key, member, type)
#define DATABASE(key, member, type) ROW(KEY_DATABASE, config_database, key, member, type)
#define SPOOL(key, member, type)    ROW(KEY_SPOOL, config_spool, key, member, type)
#define RETAIN(key, member, type)   ROW(KEY_RETENTION, config_retention, key, member, type)
#define CONTROL(key, member, type)  ROW(KEY_CONTROL, config_control, key, member, type)
#define GROUP(key, member, type)    ROW(KEY_GROUP, config_group, key, member, type)
#define POOL(key, member, type)	    ROW(KEY_POOL, config_pool, key, member, type)
#define SERVICE(key, member, type)  ROW(KEY_SERVICE, config_service, key, member, type)
#define PROVIDER(key, member, type) ROW(KEY_PROVIDER, config_provider, key, member, type)
#define LIMIT(key, member, type)    ROW(KEY_LIMIT, config_limit, key, member, type)
#define RETRY(key, member, type)    ROW(KEY_RETRY, config_retry, key, member, type)
#define ALERT(key, member, type)    ROW(KEY_ALERT, config_alert, key, member, type)
#define METRICS(key, member, type)  ROW(KEY_METRICS, config_metrics, key, member, type)

/* clang-format off */
const struct key_spec key_table[] = {
	{ DAEMON("state_dir", state_dir, KEY_PATH), .fallback = "/var/lib/proctor", .min = 1, .max = 4000,
	  .help = "folder of all that must survive a restart: spool, embedded database" },
	{ DAEMON("run_dir", run_dir, KEY_PATH), .fallback = "/run/proctor", .min = 1, .max = 4000,
	  .help = "folder of what lives as long as the daemon: sockets, lock" },
	{ DAEMON("user", user, KEY_STRING), .fallback = "proctor", .min = 1, .max = 32,
	  .help = "account to drop to when started as root; else unused" },
	{ DAEMON("key_file", key_file, KEY_PATH), .fallback = "", .max = 4000,
	  .help = "file of API keys, NAME=value lines, mode 0600; empty: systemd's credential keys.env, or the environment alone" },
	{ DAEMON("models", models, KEY_PATH), .fallback = "", .max = 4000,
	  .help = "models.ini to use; empty: the installed one" },
	{ DAEMON("log_level", log_level, KEY_ENUM), .fallback = "info", .words = log_levels, .live = true,
	  .help = "least severe lines to log" },
	{ DAEMON("log_levels", log_levels, KEY_LIST), .fallback = "", .max = 1000, .live = true,
	  .help = "other levels for single subsystems, the first words of events: store=debug worker=warning" },
	{ DAEMON("log_format", log_format, KEY_ENUM), .fallback = "text", .words = log_formats, .live = true,
	  .help = "text, or one JSON object a line: time, level, event, data, text" },
	{ DAEMON("drain_timeout", drain_timeout_ms, KEY_DURATION), .fallback = "30s", .max = HOUR, .live = true,
	  .help = "how long calls under way may take to finish at a shutdown" },
	{ DAEMON("stalled_after", stalled_after_ms, KEY_DURATION), .fallback = "15m", .max = 30 * DAY, .live = true,
	  .help = "a run without a success for this long is said to be stalled, with the reason; 0: never" },

	{ DATABASE("url", url, KEY_DATABASE_URL), .fallback = "embedded", .min = 1, .max = 4000,
	  .help = "embedded: a PostgreSQL of its own below state_dir; or any libpq URL" },
	{ DATABASE("shared", shared, KEY_BOOL), .fallback = "no",
	  .help = "several nodes on one database; without it they start nothing new" },

	{ SPOOL("max_size", max_bytes, KEY_SIZE), .fallback = "4G", .min = 256 * MIB, .max = TIB, .live = true,
	  .help = "of the spool in state_dir; from 80 % of it in results that the database has not got, nothing new is begun" },
	{ SPOOL("keep", keep_ms, KEY_DURATION), .fallback = "30m", .max = 7 * DAY, .live = true,
	  .help = "how long results are kept that the database has got: a standby that takes over may not have them" },

	{ RETAIN("events", events_ms, KEY_DURATION), .fallback = "30d", .max = 3650 * DAY, .live = true,
	  .help = "how long events and crash records are kept; 0: for ever" },
	{ RETAIN("content", content_ms, KEY_DURATION), .fallback = "0s", .max = 3650 * DAY, .live = true,
	  .help = "how long the turns of transcripts, prompts and answers, are kept; counts and costs of them stay; 0: for ever" },
	{ RETAIN("outcomes", outcomes_ms, KEY_DURATION), .fallback = "90d", .max = 3650 * DAY, .live = true,
	  .help = "how long is kept what became of the probes of deleted runs, and what they cost; 0: for ever" },

	{ CONTROL("socket", socket, KEY_PATH), .fallback = "", .max = 107,
	  .help = "control socket; empty: proctor.sock in run_dir" },
	{ CONTROL("mode", mode, KEY_MODE), .fallback = "0660", .max = 0777,
	  .help = "permissions of the control socket" },
	{ CONTROL("group", group, KEY_STRING), .fallback = "", .max = 32,
	  .help = "group of the control socket; empty: the daemon's own" },
	{ CONTROL("read", access[CONFIG_MAY_READ], KEY_LIST), .fallback = "", .max = 4000, .live = true,
	  .help = "who may look, of those who may open the socket: user:NAME, group:NAME or any" },
	{ CONTROL("operate", access[CONFIG_MAY_OPERATE], KEY_LIST), .fallback = "any", .max = 4000, .live = true,
	  .help = "who may also start, pause and cancel runs, and restart workers" },
	{ CONTROL("admin", access[CONFIG_MAY_ADMIN], KEY_LIST), .fallback = "", .max = 4000, .live = true,
	  .help = "who may also stop the daemon and see its database, besides root and the daemon's own user" },
	{ CONTROL("max_clients", max_clients, KEY_INT), .fallback = "64", .min = 1, .max = 10000,
	  .help = "clients at once; a further one is told so and closed" },

	{ GROUP("group", group, KEY_STRING), .fallback = "root", .max = 32,
	  .help = "group that it stands in; root stands in none" },
	{ GROUP("strategy", strategy, KEY_ENUM), .fallback = "one_for_one", .words = strategies, .live = true,
	  .help = "which siblings restart with a child that failed" },
	/* Five, because a crash loop must get there: the back-off before the sixth failure of one slot takes 7.75 to
	 * 15.5 s at the default delays, which leaves each of the six lives 7 s to start and fail. Ten would take two
	 * minutes at least, and so never happen within one. */
	{ GROUP("intensity", intensity, KEY_INT), .fallback = "5", .min = 1, .max = 10000, .live = true,
	  .help = "restarts without proven work that are borne within period; one more, and the group gives up" },
	{ GROUP("period", period_ms, KEY_DURATION), .fallback = "1m", .min = 100, .max = DAY, .live = true,
	  .help = "window in which restarts are counted" },

	{ POOL("group", group, KEY_STRING), .fallback = "root", .min = 1, .max = 32,
	  .help = "group that it stands in" },
	{ POOL("providers", providers, KEY_NAMES), .fallback = "", .max = 400, .words = config_provider_names, .live = true,
	  .help = "whose calls it runs, and no other pool; empty: of all providers that no other pool names" },
	{ POOL("command", command, KEY_WORDS), .fallback = "", .max = 4000, .live = true,
	  .help = "worker program and arguments; empty: the installed probe worker" },
	{ POOL("size", size, KEY_INT), .fallback = "2", .min = 1, .max = 1024, .live = true,
	  .help = "worker processes" },
	{ POOL("capacity", capacity, KEY_INT), .fallback = "500", .min = 1, .max = 100000, .live = true,
	  .help = "conversations at once in each worker" },
	{ POOL("boot_timeout", boot_timeout_ms, KEY_DURATION), .fallback = "30s", .min = 10, .max = HOUR, .live = true,
	  .help = "from spawn to ready" },
	{ POOL("job_timeout", job_timeout_ms, KEY_DURATION), .fallback = "5m", .min = 10, .max = DAY, .live = true,
	  .help = "the most that one call may take" },
	{ POOL("require_healthy", require_healthy, KEY_BOOL), .fallback = "no",
	  .help = "refuse to start when the health check of the workers' environment fails" },
	{ POOL("health_interval", health_interval_ms, KEY_DURATION), .fallback = "1m", .min = 100, .max = DAY, .live = true,
	  .help = "between health checks of the workers' environment" },
	{ POOL("ping_interval", ping_interval_ms, KEY_DURATION), .fallback = "10s", .min = 10, .max = HOUR, .live = true,
	  .help = "between pings of a worker" },
	{ POOL("ping_timeout", ping_timeout_ms, KEY_DURATION), .fallback = "5s", .min = 10, .max = HOUR, .live = true,
	  .help = "from ping to pong; two misses in a row make a worker suspect" },
	{ POOL("restart_delay", restart_delay_ms, KEY_DURATION), .fallback = "500ms", .max = HOUR, .live = true,
	  .help = "first delay of the restart back-off; doubles with each failure" },
	{ POOL("restart_delay_max", restart_delay_max_ms, KEY_DURATION), .fallback = "1m", .max = DAY, .live = true,
	  .help = "longest delay of the restart back-off" },
	{ POOL("stable_after", stable_after_ms, KEY_DURATION), .fallback = "1m", .max = DAY, .live = true,
	  .help = "a life this long, with proven work, clears the failures before it" },
	{ POOL("shutdown_timeout", shutdown_timeout_ms, KEY_DURATION), .fallback = "10s", .min = 10, .max = HOUR, .live = true,
	  .help = "from TERM to KILL of a worker that was asked to end" },
	{ POOL("environment", environment, KEY_ENV), .fallback = "", .max = 4000, .live = true,
	  .help = "NAME=value for the workers, besides what the daemon passes on" },
	{ POOL("max_jobs", max_jobs, KEY_INT), .fallback = "0", .max = 1000000000, .live = true,
	  .help = "conversations after which a worker is replaced; 0: never for this" },
	{ POOL("max_age", max_age_ms, KEY_DURATION), .fallback = "0s", .max = 365 * DAY, .live = true,
	  .help = "age at which a worker is replaced; 0: never for this" },
	{ POOL("max_rss", max_rss_bytes, KEY_SIZE), .fallback = "0", .min = MIB, .max = TIB, .live = true,
	  .help = "resident memory at which a worker is replaced, its conversations finished; 0: never for this" },
	{ POOL("memory_limit", memory_limit_bytes, KEY_SIZE), .fallback = "0", .min = MIB, .max = TIB, .live = true,
	  .help = "address space that a worker may take, beyond which it gets no more; 0: no limit" },
	{ POOL("cpu_limit", cpu_limit_ms, KEY_DURATION), .fallback = "0s", .max = 365 * DAY, .live = true,
	  .help = "processor time of a worker, in whole seconds, after which the kernel ends it; 0: no limit" },

	{ SERVICE("group", group, KEY_STRING), .fallback = "root", .min = 1, .max = 32, .live = true,
	  .help = "group that it stands in" },
	{ SERVICE("command", command, KEY_WORDS), .fallback = "", .max = 4000, .live = true,
	  .help = "program and arguments; a service must have one" },
	{ SERVICE("type", type, KEY_ENUM), .fallback = "permanent", .words = restart_types, .live = true,
	  .help = "restarted always, after an abnormal end, or never" },
	{ SERVICE("ready", ready_ms, KEY_READY), .fallback = "none", .min = 1, .max = HOUR, .live = true,
	  .help = "fd: when it writes a newline to descriptor 3; command: when ready_command succeeds; none: at once; "
		  "or after a time" },
	{ SERVICE("ready_command", ready_command, KEY_WORDS), .fallback = "", .max = 4000, .live = true,
	  .help = "program and arguments, run until it exits with 0; for ready = command" },
	{ SERVICE("ready_interval", ready_interval_ms, KEY_DURATION), .fallback = "500ms", .min = 10, .max = HOUR, .live = true,
	  .help = "between runs of ready_command" },
	{ SERVICE("ready_timeout", ready_timeout_ms, KEY_DURATION), .fallback = "30s", .min = 10, .max = HOUR, .live = true,
	  .help = "from spawn to ready" },
	{ SERVICE("shutdown_timeout", shutdown_timeout_ms, KEY_DURATION), .fallback = "10s", .min = 10, .max = HOUR, .live = true,
	  .help = "from stop_signal to KILL" },
	{ SERVICE("stop_signal", stop_signal, KEY_SIGNAL), .fallback = "TERM", .live = true,
	  .help = "what asks it to end" },
	{ SERVICE("death_signal", death_signal, KEY_SIGNAL), .fallback = "KILL", .live = true,
	  .help = "what the kernel sends it when the daemon dies" },
	{ SERVICE("restart_delay", restart_delay_ms, KEY_DURATION), .fallback = "500ms", .max = HOUR, .live = true,
	  .help = "first delay of the restart back-off; doubles with each failure" },
	{ SERVICE("restart_delay_max", restart_delay_max_ms, KEY_DURATION), .fallback = "1m", .max = DAY, .live = true,
	  .help = "longest delay of the restart back-off" },
	{ SERVICE("stable_after", stable_after_ms, KEY_DURATION), .fallback = "1m", .max = DAY, .live = true,
	  .help = "a life this long clears the failures before it" },
	{ SERVICE("environment", environment, KEY_ENV), .fallback = "", .max = 4000, .live = true,
	  .help = "NAME=value for the service" },
	{ SERVICE("memory_limit", memory_limit_bytes, KEY_SIZE), .fallback = "0", .min = MIB, .max = TIB, .live = true,
	  .help = "address space that it may take, beyond which it gets no more; 0: no limit" },
	{ SERVICE("cpu_limit", cpu_limit_ms, KEY_DURATION), .fallback = "0s", .max = 365 * DAY, .live = true,
	  .help = "processor time, in whole seconds, after which the kernel ends it; 0: no limit" },

	{ PROVIDER("key_env", key_env, KEY_STRING), .fallback = "", .max = 128, .live = true,
	  .help = "variable that holds the key, in the environment or in key_file" },
	{ PROVIDER("base_url", base_url, KEY_URL), .fallback = "", .max = 2000, .live = true,
	  .help = "gateway, local server or simulator that speaks this format; empty: the provider's own" },
	{ PROVIDER("requests_per_minute", requests_per_minute, KEY_INT), .fallback = "0", .max = UNITS_MAX, .live = true,
	  .help = "calls started in a minute; 0: no limit" },
	{ PROVIDER("tokens_per_minute", tokens_per_minute, KEY_INT), .fallback = "0", .max = UNITS_MAX, .live = true,
	  .help = "tokens of prompts and answers in a minute, counted as the provider does; 0: no limit" },
	{ PROVIDER("input_tokens_per_minute", input_tokens_per_minute, KEY_INT), .fallback = "0", .max = UNITS_MAX, .live = true,
	  .help = "tokens of prompts in a minute; 0: no limit" },
	{ PROVIDER("output_tokens_per_minute", output_tokens_per_minute, KEY_INT), .fallback = "0", .max = UNITS_MAX, .live = true,
	  .help = "tokens of answers in a minute; 0: no limit" },
	{ PROVIDER("requests_per_day", requests_per_day, KEY_INT), .fallback = "0", .max = UNITS_MAX, .live = true,
	  .help = "calls started in a calendar day (UTC); 0: no limit" },
	{ PROVIDER("requests_window", requests_span_ms, KEY_DURATION), .fallback = "1m", .min = SECOND, .max = MINUTE, .live = true,
	  .help = "span over which the provider counts requests: 1s where 60 a minute means one a second" },
	{ PROVIDER("burst", burst, KEY_INT), .fallback = "0", .max = UNITS_MAX, .live = true,
	  .help = "calls at once after a lull, within the limit; 0: what an even pace needs" },
	{ PROVIDER("ramp_up", ramp_ms, KEY_DURATION), .fallback = "10s", .max = HOUR, .live = true,
	  .help = "a fresh lane, and one that was refused, rises to its rate over this time" },
	{ PROVIDER("concurrency", concurrency, KEY_INT), .fallback = "100", .max = 1000000, .live = true,
	  .help = "calls under way at once; 0: no limit" },
	{ PROVIDER("budget_usd_per_day", budget_day_e10, KEY_MONEY), .fallback = "0", .max = USD_MAX, .live = true,
	  .help = "US dollars in a calendar day (UTC), beyond which no call is begun; 0: no limit" },
	{ PROVIDER("health_interval", health_interval_ms, KEY_DURATION), .fallback = "5m", .max = DAY, .live = true,
	  .help = "between token-free checks of the provider, for those with a key; 0: never" },
	{ PROVIDER("recheck_interval", recheck_ms, KEY_DURATION), .fallback = "15m", .max = DAY, .live = true,
	  .help = "a lane parked for its quota or key lets one call try this long after; doubles, up to a day; 0: never" },

	{ LIMIT("requests_per_minute", requests_per_minute, KEY_INHERIT), .fallback = "inherit", .max = UNITS_MAX, .live = true,
	  .help = "calls started in a minute; 0: no limit; inherit: the provider's, here and below" },
	{ LIMIT("tokens_per_minute", tokens_per_minute, KEY_INHERIT), .fallback = "inherit", .max = UNITS_MAX, .live = true,
	  .help = "tokens of prompts and answers in a minute, counted as the provider does" },
	{ LIMIT("input_tokens_per_minute", input_tokens_per_minute, KEY_INHERIT), .fallback = "inherit", .max = UNITS_MAX, .live = true,
	  .help = "tokens of prompts in a minute" },
	{ LIMIT("output_tokens_per_minute", output_tokens_per_minute, KEY_INHERIT), .fallback = "inherit", .max = UNITS_MAX, .live = true,
	  .help = "tokens of answers in a minute" },
	{ LIMIT("requests_per_day", requests_per_day, KEY_INHERIT), .fallback = "inherit", .max = UNITS_MAX, .live = true,
	  .help = "calls started in a calendar day (UTC)" },
	{ LIMIT("burst", burst, KEY_INHERIT), .fallback = "inherit", .max = UNITS_MAX, .live = true,
	  .help = "calls at once after a lull, of this section's requests_per_minute; 0 or inherit: what an even pace needs" },
	{ LIMIT("concurrency", concurrency, KEY_INHERIT), .fallback = "inherit", .max = 1000000, .live = true,
	  .help = "calls under way at once" },

	{ RETRY("max_tries", max_tries, KEY_INT), .fallback = "4", .min = 1, .max = 100, .live = true,
	  .help = "tries in all of a call that fails for a passing reason" },
	{ RETRY("base_delay", base_delay_ms, KEY_DURATION), .fallback = "1s", .max = HOUR, .live = true,
	  .help = "first delay of the back-off; doubles with each failure" },
	{ RETRY("max_delay", max_delay_ms, KEY_DURATION), .fallback = "1m", .max = DAY, .live = true,
	  .help = "longest delay of the back-off" },
	{ RETRY("rate_limit_patience", rate_limit_patience_ms, KEY_DURATION), .fallback = "6h", .max = 30 * DAY, .live = true,
	  .help = "how long a probe waits for a provider's rate limit before it fails" },

	{ METRICS("listen", listen, KEY_STRING), .fallback = "", .max = 60,
	  .help = "ADDRESS:PORT to serve /metrics, /healthz and /readyz at over HTTP, such as 127.0.0.1:9469; empty: not "
		  "at all" },
	{ METRICS("allow_remote", allow_remote, KEY_BOOL), .fallback = "no",
	  .help = "listen may be another address than a loopback one: whoever reaches it reads the metrics" },

	{ ALERT("url", url, KEY_URL), .fallback = "", .max = 2000, .live = true,
	  .help = "webhook that gets the alerts by POST; one with a secret in it belongs into url_env" },
	{ ALERT("url_env", url_env, KEY_STRING), .fallback = "", .max = 128, .live = true,
	  .help = "variable that holds the webhook's URL instead, in the environment or in key_file" },
	{ ALERT("format", format, KEY_ENUM), .fallback = "json", .words = alert_formats, .live = true,
	  .help = "what is posted: all that is known, or a text as Slack takes it" },
	{ ALERT("kinds", kinds, KEY_NAMES), .fallback = "", .max = 400, .words = alert_kind_names, .live = true,
	  .help = "which alerts it gets; empty: all" },
	{ ALERT("secret_env", secret_env, KEY_STRING), .fallback = "", .max = 128, .live = true,
	  .help = "variable that holds the secret that signs what is sent, in the environment or in key_file; empty: unsigned" },
	{ ALERT("min_interval", min_interval_ms, KEY_DURATION), .fallback = "0s", .max = DAY, .live = true,
	  .help = "from one message to the next; what comes in between waits" },
	{ ALERT("allow_insecure", allow_insecure, KEY_BOOL), .fallback = "no", .live = true,
	  .help = "the address may be plain http on another machine: whoever is between reads along" },
};
/* clang-format on */

const size_t key_table_len = ARRAY_LEN(key_table);

static const struct key_section_spec sections[KEY_SECTION_COUNT] = {
	[KEY_DAEMON] = { "daemon", NULL, "the daemon itself" },
	[KEY_DATABASE] = { "database", NULL, "where runs, transcripts and the queue are kept" },
	[KEY_SPOOL] = { "spool", NULL, "the local log of answers, written before the database has them" },
	[KEY_RETENTION] = { "retention", NULL,
			    "how long things are kept in the database; what was paid for is, unless told "
			    "otherwise" },
	[KEY_CONTROL] = { "control", NULL, "the socket that proctorctl speaks to" },
	[KEY_GROUP] = { "group", "NAME",
			"a group of the supervision tree; those below it start in the order of their "
			"sections" },
	[KEY_POOL] = { "pool", "NAME",
		       "workers that share a fate; without any, there is a pool named probe" },
	[KEY_SERVICE] = { "service", "NAME", "another program to keep running" },
	[KEY_PROVIDER] = { "provider", "NAME", "one provider: its key, address and limits" },
	[KEY_LIMIT] = { "limit", "PROVIDER/GLOB",
			"limits of some models (* is any text, ? any one character), instead of the "
			"provider's; for each key "
			"the first section that matches and sets it counts" },
	[KEY_RETRY] = { "retry", NULL, "what becomes of a call that failed" },
	[KEY_METRICS] = { "metrics", NULL,
			  "figures for Prometheus; `proctorctl metrics` prints them in any case" },
	[KEY_ALERT] = { "alert", "NAME", "a webhook that is told what an operator should know" },
};

const struct key_section_spec *key_section_spec(enum key_section section)
{
	assert((unsigned)section < KEY_SECTION_COUNT);
	return &sections[section];
}

const struct key_spec *key_find(enum key_section section, const char *name)
{
	for (size_t i = 0; i < key_table_len; i++) {
		if (key_table[i].section == section && !strcmp(key_table[i].name, name))
			return &key_table[i];
	}
	return NULL;
}
