#ifndef APP_DAEMON_H
#define APP_DAEMON_H

/* The daemon: owns every part. What runs is started and stopped by the supervision tree (app/tree.h). The
 * socket serves before the database is there: `status` says what is being waited for. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct alerting;
struct call;
struct commands;
struct config;
struct dispatch;
struct embedded;
struct healthcheck;
struct hold;
struct httpserver;
struct loop;
struct loop_timer;
struct manager;
struct models;
struct program;
struct provider_checks;
struct store;
struct suptree_node;
struct tree;
struct upgrade;

enum daemon_phase { DAEMON_STARTING, DAEMON_RUNNING, DAEMON_STOPPING };

/* Where the installed parts are found. */
struct paths {
	char *home;   /* holds workers/ sql/ conf/ */
	char *config; /* NULL = CONFIG_DEFAULT_PATH */
	char *models; /* models.ini in effect */
	char *socket; /* control socket */
};

/* How this program came to run the daemon that another had started. */
struct upgraded {
	int count;  /* 0 = it has started it */
	char *from; /* version of the one before; NULL = none */
	int64_t wall_ms;
	int64_t settle_ms; /* monotonic: since when clients were not listened to */
	struct call *call; /* who waits for it; NULL once answered */
	bool had_database;
	struct loop_timer *deaf_timer; /* NULL = clients are listened to */
};

struct daemon {
	struct loop *loop;
	struct config *config;
	struct models *models;
	struct paths paths;
	bool rehearsal; /* another daemon wants to know whether we could take its place: nothing is touched */
	struct tree *tree;
	struct suptree_node *postgres_node, *store_node;
	struct store *store;
	struct dispatch *dispatch;
	struct healthcheck *health;
	struct provider_checks *checks;
	struct alerting *alerting; /* NULL in a rehearsal */
	struct manager *manager;
	struct embedded *embedded; /* NULL with a database URL of the user's own */
	struct commands *commands;
	struct httpserver *metrics; /* NULL = none listens */
	struct program *program;    /* commands and environments of the children */
	char *database_url;	    /* in effect; may hold a password: never shown unredacted */
	char *const *argv;	    /* our command line, NULL-terminated; borrowed */
	char *state_id;
	struct hold *hold;	 /* NULL unless work is held for a backup to be put in place */
	struct upgrade *upgrade; /* NULL while none is under way */
	struct upgraded upgraded;
	enum daemon_phase phase;
	bool hurried;	  /* told to stop a second time */
	bool was_healthy; /* at the last check */
	int exit_code;
	int64_t started_ms; /* monotonic */
	int64_t started_wall_ms;
};

/* Format and levels of the log as the configuration has them. */
void daemon_configure_log(const struct config *config);

/* A reload: reads the file again, applies what is live. On a refusal nothing changes, *ret_text is one fresh
 * line that says why, and -EINVAL is returned; else it is a fresh JSON object
 * {"applied":["[section] key",…],"needsRestart":[…],"workersRestarted":true|false}. */
int daemon_reload(struct daemon *daemon, char **ret_text) __attribute__((warn_unused_result));

/* Starts the drain; again: no more patience. The process ends when all is stopped. */
void daemon_shutdown(struct daemon *daemon);

const char *daemon_phase_name(const struct daemon *daemon);

/* Whether `variable` is set in the workers' environment (from ours or the key file). */
bool daemon_has_variable(const struct daemon *daemon, const char *variable);

#endif
