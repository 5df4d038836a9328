/* restore: a backup is read into a database of its own beside the daemon's, and looked at there. Then the
 * daemon rests (`database.hold`), the two change their names in one transaction, and the daemon goes on with
 * what it finds under the old name. Up to that moment nothing has changed; what was there before is dropped
 * at the very end.
 *
 * Names are of this process and moment, so that two who restore at once are in nobody's way: one of them
 * finds the daemon held. What another one was killed at is cleared away. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"
#include "ctl/pgtools.h"
#include "ctl/table.h"
#include "ctl/text.h"

/* While the two databases change their names nobody may be connected to either. */
#define MEANWHILE "template1"

enum {
	SCHEMA_MIN = 11, /* the first that can begin another history */
	HOLD_LOOK_MS = 250,
	READY_WAIT_MS = 120000,
	READY_LOOK_US = 100000,
};

/* What a database holds. */
struct contents {
	char *database; /* its id */
	int schema;
	long long definitions, runs, transcripts;
};

struct restore {
	struct ctl *ctl;
	struct pgtools tools;
	const char *path;
	int fd;
	int64_t bytes;
	char *fresh, *former; /* names of the databases, beside the daemon's */
	bool made;	      /* `fresh` is there */
	struct contents contents;
	struct conn *hold; /* the daemon rests for as long as it is open */
};

/* ---- the file ---- */

static int open_file(struct restore *restore)
{
	char magic[5];
	struct stat stat;

	restore->fd = open(restore->path, O_RDONLY | O_CLOEXEC);
	if (restore->fd < 0 || fstat(restore->fd, &stat) < 0) {
		ctl_complain("cannot read %s: %s", restore->path, strerror(errno));
		return CTL_FAILED;
	}
	if (!S_ISREG(stat.st_mode) || pread(restore->fd, magic, sizeof(magic), 0) != sizeof(magic) ||
	    memcmp(magic, "PGDMP", sizeof(magic)) != 0) {
		ctl_complain("%s is no backup: `proctorctl backup FILE` writes one (pg_dump's custom format)",
			     restore->path);
		return CTL_FAILED;
	}
	restore->bytes = stat.st_size;
	return CTL_OK;
}

/* ---- what is there ---- */

static bool look_into(struct restore *restore, const char *database, struct contents *ret)
{
	AUTO(mem_free_str) char *answer = NULL;
	char id[64];

	if (!pgtools_ask(
		    &restore->tools, database,
		    "SELECT (SELECT id FROM installation), (SELECT max(version) FROM schema_migrations), "
		    "(SELECT count(*) FROM definitions), (SELECT count(*) FROM runs), "
		    "(SELECT count(*) FROM transcripts)",
		    &answer))
		return false;
	if (sscanf(answer, "%63[^|]|%d|%lld|%lld|%lld", id, &ret->schema, &ret->definitions, &ret->runs,
		   &ret->transcripts) != 5) {
		ctl_complain("it is no database of Proctor's: %s", answer);
		return false;
	}
	mem_set_str(&ret->database, mem_strdup(id));
	return true;
}

static bool is_agreed(const struct restore *restore, const struct contents *present)
{
	char line[16];

	if (json_is_true(json_object_get(restore->ctl->parsed->own, "yes")))
		return true;
	if (isatty(STDIN_FILENO) != 1) {
		ctl_complain(
			"nobody is there to ask whether the present database may be dropped: --yes says so");
		return false;
	}
	(void)fprintf(stderr,
		      "Drop %lld definitions, %lld runs and %lld transcripts, for what is in %s? (yes/no) ",
		      present->definitions, present->runs, present->transcripts, restore->path);
	return fgets(line, sizeof(line), stdin) && strcmp(line, "yes\n") == 0;
}

static int check_present(struct restore *restore)
{
	struct contents present = { 0 };
	int code = CTL_OK;

	if (!restore->tools.embedded) {
		ctl_complain(
			"the daemon's database is a server of your own: with the daemon stopped, put the "
			"backup into an empty database by pg_restore --no-owner --exit-on-error, and run "
			"SELECT begin_history() in it");
		return CTL_FAILED;
	}
	if (!look_into(restore, NULL, &present))
		return CTL_FAILED;
	if (present.definitions + present.runs > 0) {
		if (!json_is_true(json_object_get(restore->ctl->parsed->own, "replace"))) {
			ctl_complain("the database is not empty: it has %lld definitions, %lld runs and %lld "
				     "transcripts; --replace drops them for what is in the backup",
				     present.definitions, present.runs, present.transcripts);
			code = CTL_FAILED;
		} else if (!is_agreed(restore, &present)) {
			code = CTL_FAILED;
		}
	}
	mem_free(&present.database);
	return code;
}

/* ---- beside it ---- */

static void show_progress(void *arg)
{
	const struct restore *restore = arg;
	AUTO(mem_free_str) char *size = text_bytes(restore->bytes);
	AUTO(mem_free_str) char *time = text_seconds(pgtools_elapsed_ms(&restore->tools));
	/* Of the open file, which the child shares. */
	int64_t at = lseek(restore->fd, 0, SEEK_CUR);

	(void)fprintf(stderr, "\r\033[K%lld %% of %s read, %s",
		      (long long)(restore->bytes > 0 ? at * 100 / restore->bytes : 100), size, time);
}

static bool is_shown(const struct restore *restore)
{
	return isatty(STDERR_FILENO) == 1 && !restore->ctl->json;
}

static bool fill(struct restore *restore)
{
	AUTO(mem_free_str) char *name = mem_printf("--dbname=%s", restore->fresh);
	const char *const argv[] = { "pg_restore",
				     "--exit-on-error",
				     "--single-transaction",
				     "--no-owner",
				     "--no-privileges",
				     "--no-password",
				     name,
				     NULL };
	const struct pgtools_job job = {
		.argv = argv,
		.in_fd = restore->fd,
		.out_fd = -1,
		.tick = is_shown(restore) ? show_progress : NULL,
		.arg = restore,
	};
	bool done = pgtools_run(&restore->tools, &job);

	if (is_shown(restore))
		(void)fputs("\r\033[K", stderr);
	return done;
}

/* Databases that a restore was killed at. One that is in use stays, and so does what a restore has put aside.
 */
static void clear_leftovers(struct restore *restore)
{
	AUTO(mem_free_str) char *name = NULL;
	AUTO(mem_free_str) char *sql = NULL;

	if (!pgtools_ask(&restore->tools, NULL,
			 "SELECT d.datname FROM pg_database d WHERE starts_with(d.datname, "
			 "'proctor_restoring_') AND "
			 "NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid) LIMIT 1",
			 &name) ||
	    *name == '\0')
		return;
	sql = mem_printf("DROP DATABASE IF EXISTS \"%s\"", name);
	(void)pgtools_ask(&restore->tools, NULL, sql, NULL);
}

static int fill_beside(struct restore *restore)
{
	AUTO(mem_free_str)
	char *sql = mem_printf("CREATE DATABASE \"%s\" TEMPLATE template0", restore->fresh);

	clear_leftovers(restore);
	restore->made = pgtools_ask(&restore->tools, NULL, sql, NULL);
	if (!restore->made || !fill(restore))
		return CTL_FAILED;
	if (!look_into(restore, restore->fresh, &restore->contents))
		return CTL_FAILED;
	if (restore->contents.schema < SCHEMA_MIN) {
		ctl_complain("the backup has schema version %d; only those from %d on can be put back",
			     restore->contents.schema, SCHEMA_MIN);
		return CTL_FAILED;
	}
	return pgtools_ask(&restore->tools, restore->fresh, "ANALYZE", NULL) &&
			       pgtools_ask(&restore->tools, restore->fresh, "SELECT begin_history()", NULL)
		       ? CTL_OK
		       : CTL_FAILED;
}

/* ---- in its place ---- */

static void say_waiting(const struct restore *restore, const json_t *data)
{
	int64_t under_way = json_integer_value(json_object_get(data, "underWay"));

	if (is_shown(restore) && under_way > 0)
		(void)fprintf(stderr, "\r\033[Kwaiting for %lld conversations to finish their calls",
			      (long long)under_way);
}

/* True once the daemon rests; `error` is set (fresh) when something is wrong. */
static bool hear_hold(struct restore *restore, char **error)
{
	struct conn_reply reply;
	bool held;
	int r = conn_receive(restore->hold, HOLD_LOOK_MS, &reply, error);

	if (r == -ETIMEDOUT)
		mem_free(error);
	if (r < 0)
		return false;
	if (!reply.ok)
		*error = mem_strdup(reply.message);
	else
		say_waiting(restore, reply.data);
	held = reply.ok && json_is_true(json_object_get(reply.data, "held"));
	conn_reply_clear(&reply);
	return held;
}

static int hold(struct restore *restore)
{
	json_t *args = json_pack("{s:s, s:i}", "database", restore->contents.database, "schemaVersion",
				 restore->contents.schema);
	AUTO(mem_free_str) char *error = NULL;
	bool held = false;

	if (conn_open(restore->ctl->socket, CONN_PATIENCE_MS, &restore->hold, &error) == 0 &&
	    conn_send(restore->hold, "database.hold", args, &error) == 0)
		while (!held && !error && !pgtools_is_interrupted(&restore->tools))
			held = hear_hold(restore, &error);
	json_decref(args);
	if (is_shown(restore))
		(void)fputs("\r\033[K", stderr);
	if (error)
		ctl_complain("%s", error);
	return held ? CTL_OK : CTL_FAILED;
}

static int change_places(struct restore *restore)
{
	AUTO(mem_free_str)
	char *sql = mem_printf(
		"ALTER DATABASE \"%s\" RENAME TO \"%s\"; ALTER DATABASE \"%s\" RENAME TO \"%s\"",
		restore->tools.database, restore->former, restore->fresh, restore->tools.database);

	restore->tools.uninterrupted = true;
	if (!pgtools_ask(&restore->tools, MEANWHILE, sql, NULL))
		return CTL_FAILED;
	restore->made = false;
	return CTL_OK;
}

static bool is_ready(struct ctl *ctl)
{
	struct conn_reply reply;
	bool ready;

	if (ctl_ask(ctl, "status", NULL, &reply) != CTL_OK)
		return false;
	ready = json_is_true(table_lookup(reply.data, "database.ready"));
	conn_reply_clear(&reply);
	return ready;
}

/* Work goes on with the backup; only then the former database goes. */
static int go_on(struct restore *restore)
{
	AUTO(mem_free_str) char *sql = mem_printf("DROP DATABASE \"%s\"", restore->former);
	int64_t begun_ms = clock_now_ms();

	conn_free(&restore->hold);
	while (!is_ready(restore->ctl)) {
		if (clock_now_ms() - begun_ms > READY_WAIT_MS) {
			ctl_complain("the backup is in place, but the daemon is not ready with it: see "
				     "`proctorctl "
				     "status`; the former database is kept as \"%s\"",
				     restore->former);
			return CTL_FAILED;
		}
		(void)usleep(READY_LOOK_US);
	}
	if (!pgtools_ask(&restore->tools, NULL, sql, NULL))
		ctl_complain("the former database is still there, as \"%s\"", restore->former);
	return CTL_OK;
}

/* ---- the whole ---- */

static void tell(const struct restore *restore)
{
	const struct contents *contents = &restore->contents;
	int64_t elapsed_ms = pgtools_elapsed_ms(&restore->tools);
	AUTO(mem_free_str) char *time = text_duration(elapsed_ms);
	json_t *json;

	if (!restore->ctl->json) {
		(void)printf("%s is in place: %lld definitions, %lld runs, %lld transcripts, in %s\n",
			     restore->path, contents->definitions, contents->runs, contents->transcripts,
			     time);
		return;
	}
	json = json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "file", restore->path, "databaseId",
			 contents->database, "schemaVersion", contents->schema, "definitions",
			 (json_int_t)contents->definitions, "runs", (json_int_t)contents->runs, "transcripts",
			 (json_int_t)contents->transcripts, "bytes", (json_int_t)restore->bytes, "elapsedMs",
			 (json_int_t)elapsed_ms);
	(void)json_dumpf(json, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(json);
}

/* What was made for nothing goes. */
static void clean_up(struct restore *restore)
{
	AUTO(mem_free_str) char *sql = NULL;

	conn_free(&restore->hold);
	if (restore->made) {
		restore->tools.uninterrupted = true;
		sql = mem_printf("DROP DATABASE \"%s\"", restore->fresh);
		(void)pgtools_ask(&restore->tools, NULL, sql, NULL);
	}
	fd_close(&restore->fd);
	mem_free(&restore->fresh);
	mem_free(&restore->former);
	mem_free(&restore->contents.database);
	pgtools_close(&restore->tools);
}

int action_restore(struct ctl *ctl)
{
	struct restore restore = { .ctl = ctl,
				   .path = json_string_value(json_object_get(ctl->parsed->own, "file")),
				   .fd = -1 };
	static int (*const steps[])(struct restore * restore) = { check_present, fill_beside, hold,
								  change_places, go_on };
	int code = open_file(&restore);

	restore.fresh = mem_printf("proctor_restoring_%lld_%d", (long long)clock_wall_ms(), (int)getpid());
	restore.former = mem_printf("proctor_replaced_%lld_%d", (long long)clock_wall_ms(), (int)getpid());
	if (code == CTL_OK)
		code = pgtools_open(ctl, &restore.tools);
	for (size_t i = 0; code == CTL_OK && i < ARRAY_LEN(steps); i++)
		code = steps[i](&restore);
	if (code == CTL_OK)
		tell(&restore);
	clean_up(&restore);
	return code;
}
