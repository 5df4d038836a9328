#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

/* The daemon's configuration: plain structs filled from the key table (config/keys.h).
 * All strings are owned by the config and never NULL ("" = not set). Durations are milliseconds. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifndef PROCTOR_SYSCONFDIR
#define PROCTOR_SYSCONFDIR "/etc"
#endif

#define CONFIG_DEFAULT_PATH PROCTOR_SYSCONFDIR "/proctor/proctor.ini"
#define CONFIG_PROVIDERS    7 /* the six and `simulated`, in config_provider_names' order */

/* Words of a value, quotes already taken away. */
struct config_list {
	char *text;   /* as written */
	char **words; /* ends with NULL: fit for execv() and as environment */
	size_t len;
};

enum config_log_format { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };

struct config_daemon {
	char *state_dir;
	char *run_dir;
	char *user;		       /* dropped to when started as root */
	char *key_file;		       /* "" = keys come from the environment only */
	char *models;		       /* "" = the installed models.ini */
	int log_level;		       /* enum log_level of base/log.h */
	struct config_list log_levels; /* good for log_parse_subsystem_level() */
	int log_format;		       /* enum config_log_format */
	int64_t drain_timeout_ms;
	int64_t stalled_after_ms; /* without a success of the run; 0 = never */
};

struct config_database {
	char *url; /* "embedded", or any libpq URL or conninfo. Secret: show config_redact_url() */
	bool shared;
};

struct config_spool {
	int64_t max_bytes, keep_ms;
};

struct config_retention {
	int64_t events_ms, content_ms, outcomes_ms; /* 0 = for ever */
};

enum config_access { CONFIG_MAY_READ, CONFIG_MAY_OPERATE, CONFIG_MAY_ADMIN, CONFIG_ACCESS_COUNT };

struct config_control {
	char *socket;  /* "" = run_dir/proctor.sock */
	unsigned mode; /* of the socket: 0660 */
	char *group;   /* "" = the daemon's own */
	int max_clients;
	/* Words good for access_parse(), by enum config_access. */
	struct config_list access[CONFIG_ACCESS_COUNT];
};

enum config_strategy { CONFIG_ONE_FOR_ONE, CONFIG_ONE_FOR_ALL, CONFIG_REST_FOR_ONE };

struct config_group {
	char *name;  /* "root" */
	char *group; /* parent; "" for root alone */
	enum config_strategy strategy;
	int intensity; /* restarts borne within period_ms, >= 1 */
	int64_t period_ms;
};

struct config_pool {
	char *name;		      /* "probe" */
	char *group;		      /* parent */
	struct config_list providers; /* names; none = every provider that no other pool names */
	struct config_list command;   /* no words = the installed probe worker */
	int size;		      /* workers */
	int capacity;		      /* conversations at once in each */
	int64_t boot_timeout_ms;
	int64_t job_timeout_ms; /* the most that one call may take */
	bool require_healthy;
	int64_t health_interval_ms;
	int64_t ping_interval_ms;
	int64_t ping_timeout_ms;
	int64_t restart_delay_ms;
	int64_t restart_delay_max_ms;
	int64_t stable_after_ms;
	int64_t shutdown_timeout_ms;
	struct config_list environment; /* NAME=value */
	/* When a worker is recycled; 0 = never for this reason. */
	int max_jobs;
	int64_t max_age_ms;
	int64_t max_rss_bytes;
	/* Limits of each worker; 0 = none. */
	int64_t memory_limit_bytes;
	int64_t cpu_limit_ms; /* of processor time */
};

enum config_ready { CONFIG_READY_NONE = 0, CONFIG_READY_FD = -1, CONFIG_READY_COMMAND = -2 };

struct config_service {
	char *name;
	char *group;			  /* parent */
	struct config_list command;	  /* never empty */
	int type;			  /* enum restart_type of policy/restart.h */
	int64_t ready_ms;		  /* an enum config_ready, or ready after this long */
	struct config_list ready_command; /* never empty with CONFIG_READY_COMMAND: exit status 0 = ready */
	int64_t ready_interval_ms;	  /* between runs of ready_command */
	int64_t ready_timeout_ms;
	int64_t shutdown_timeout_ms;
	int stop_signal;  /* number, e.g. SIGTERM */
	int death_signal; /* number, e.g. SIGKILL: sent by the kernel when the daemon dies */
	int64_t restart_delay_ms;
	int64_t restart_delay_max_ms;
	int64_t stable_after_ms;
	struct config_list environment;
	int64_t memory_limit_bytes; /* 0 = none */
	int64_t cpu_limit_ms;	    /* of processor time; 0 = none */
};

struct config_provider {
	char *name;
	char *key_env;		     /* variable that holds the key; "" for `simulated` */
	char *base_url;		     /* "" = the provider's own */
	int64_t requests_per_minute; /* 0 = no limit, as of those below */
	int64_t tokens_per_minute;   /* input and output */
	int64_t input_tokens_per_minute;
	int64_t output_tokens_per_minute;
	int64_t requests_per_day;   /* of a calendar day, UTC */
	int64_t requests_span_ms;   /* over which the provider counts requests, 1000..60000 */
	int64_t burst;		    /* of requests; 0 = what an even pace needs */
	int64_t ramp_ms;	    /* from a start or a refusal to the full rate */
	int concurrency;	    /* 0 = no limit */
	int64_t budget_day_e10;	    /* 1e-10 USD of a calendar day, UTC; 0 = no limit */
	int64_t health_interval_ms; /* 0 = never */
	int64_t recheck_ms;	    /* 0 = never */
};

#define CONFIG_INHERIT (-1)

/* Limits of some models of a provider: [limit:PROVIDER/GLOB]. CONFIG_INHERIT is as if the section were not
 * there; 0 = no limit. For each key the first section counts whose glob matches a model and that sets the
 * key. */
struct config_limit {
	char *name;	/* "openai/gpt-4*" */
	char *provider; /* a known one */
	char *glob;	/* of model ids, with * and ? */
	int64_t requests_per_minute;
	int64_t tokens_per_minute;
	int64_t input_tokens_per_minute;
	int64_t output_tokens_per_minute;
	int64_t requests_per_day;
	int64_t burst; /* of requests_per_minute of the same section, never without it */
	int concurrency;
};

struct config_retry {
	int max_tries;
	int64_t base_delay_ms;
	int64_t max_delay_ms;
	int64_t rate_limit_patience_ms;
};

struct config_metrics {
	char *listen; /* "" = no HTTP; else good for address_parse() */
	bool allow_remote;
};

enum config_alert_format { CONFIG_ALERT_JSON, CONFIG_ALERT_SLACK };

struct config_alert {
	char *name;		  /* "ops" */
	char *url;		  /* "" with url_env */
	char *url_env;		  /* "" with url */
	char *secret_env;	  /* "" = unsigned */
	int format;		  /* enum config_alert_format */
	struct config_list kinds; /* of alert_kind_names; none = all */
	int64_t min_interval_ms;
	bool allow_insecure;
};

/* What stands in a group: one of config's groups, pools or services. */
enum config_child_kind { CHILD_GROUP, CHILD_POOL, CHILD_SERVICE };

struct config_child {
	enum config_child_kind kind;
	size_t index; /* into groups, pools or services */
};

struct map;

struct config {
	char *path; /* the file it came from; "" = all defaults */
	struct config_daemon daemon;
	struct config_database database;
	struct config_spool spool;
	struct config_retention retention;
	struct config_control control;
	struct config_group *groups; /* root first, the others in file order */
	size_t ngroups;
	struct config_pool *pools; /* file order; at least one: `probe` where the file has none */
	size_t npools;
	struct config_service *services; /* file order; may be NULL */
	size_t nservices;
	/* All but root, in the order of their sections: the start order within each group. A parent may stand
	 * behind its children. */
	struct config_child *children;
	size_t nchildren;
	struct config_provider providers[CONFIG_PROVIDERS];
	struct config_limit *limits; /* file order; may be NULL */
	size_t nlimits;
	struct config_retry retry;
	struct config_metrics metrics;
	struct config_alert *alerts; /* file order, at most ALERT_TARGETS_MAX; may be NULL */
	size_t nalerts;
	struct map *lines; /* of what the file gave; for config/sections.c only */
};

/* Ends with NULL. */
extern const char *const config_provider_names[CONFIG_PROVIDERS + 1];

/* path NULL: CONFIG_DEFAULT_PATH if it exists, else all defaults. 0; -EINVAL for bad content; -errno when
 * the file cannot be read. On an error *ret_error is one fresh line "file:line: [section] key: what is wrong;
 * what is allowed", and never holds a secret. */
int config_load(const char *path, struct config **ret, char **ret_error) __attribute__((warn_unused_result));

/* The same from text; `name` stands for the file in messages. */
int config_load_text(const char *name, const char *text, size_t len, struct config **ret, char **ret_error)
	__attribute__((warn_unused_result));

void config_free(struct config **c);

const struct config_group *config_root(const struct config *c);

/* Its name, and that of the group it stands in. */
const char *config_child_name(const struct config *c, const struct config_child *child);
const char *config_child_group(const struct config *c, const struct config_child *child);

/* The pool that runs the calls to a provider; every known provider has one, and only one. */
const struct config_pool *config_pool_of(const struct config *c, const char *provider);

/* The file gave the key of a section, as ("provider:openai", "burst"); else it is a default. */
bool config_is_given(const struct config *c, const char *section, const char *key);

/* NULL when there is none of that name. */
const struct config_group *config_find_group(const struct config *c, const char *name);
const struct config_pool *config_find_pool(const struct config *c, const char *name);
const struct config_service *config_find_service(const struct config *c, const char *name);
const struct config_provider *config_find_provider(const struct config *c, const char *name);
const struct config_alert *config_find_alert(const struct config *c, const char *name);

struct config_item {
	const char *section; /* "pool:probe" */
	const char *key;
	const char *value; /* as one would write it; secrets redacted */
	const char *help;  /* one line */
	int line;	   /* in the file; 0 = default */
	bool live;	   /* a reload applies it */
};

/* Every key in effect, section by section, for `config show`. Strings are valid during the call. */
void config_walk(const struct config *c, void (*each)(void *arg, const struct config_item *item), void *arg);

/* The same as ini text, redacted. */
void config_write(const struct config *c, FILE *out);

/* Keys whose values differ. A section that came or went is told once, with key "" and live = true.
 * Strings are valid during the call. */
void config_diff(const struct config *from, const struct config *to,
		 void (*each)(void *arg, const char *section, const char *key, bool live), void *arg);

/* A sample file: every key with its help, commented out at its default. Parsing it gives the defaults. */
void config_write_sample(FILE *out);

/* The reference page of all keys, in Markdown. */
void config_write_reference(FILE *out);

/* Fresh copy of a libpq URL or conninfo with its password as "***". */
char *config_redact_url(const char *url) __attribute__((warn_unused_result));

#endif
