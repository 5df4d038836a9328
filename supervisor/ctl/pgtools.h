#ifndef CTL_PGTOOLS_H
#define CTL_PGTOOLS_H

/* Programs of Postgres on the daemon's database, each a child without a shell. How to connect stands in the
 * environment, never on a command line, where every user of the machine could read a password. */

#include <stdbool.h>
#include <stdint.h>

struct ctl;

struct pgtools {
	bool embedded;
	char *programs; /* folder of the server's own programs; NULL = not known */
	char *database; /* its name in the server */
	int64_t begun_ms;
	bool uninterrupted; /* interruptions wait: what is under way is better ended */
	bool interrupted;
};

/* Asks the daemon. From now on SIGINT, SIGTERM and SIGHUP are heard here only, until the end of the process.
 * An exit code of ctl.h, what is wrong being told. */
int pgtools_open(struct ctl *ctl, struct pgtools *ret) __attribute__((warn_unused_result));
void pgtools_close(struct pgtools *tools);

/* Puts what the daemon says of its database (config.database) into our environment. */
int pgtools_set_environment(struct ctl *ctl, struct pgtools *ret) __attribute__((warn_unused_result));

/* Replaces this process by the program; comes back with -errno. */
int pgtools_exec(const struct pgtools *tools, const char *name, char *const *argv);

struct pgtools_job {
	const char *const *argv; /* NULL-terminated; the first is the program's name */
	const char *database;	 /* NULL = the daemon's */
	int in_fd, out_fd;	 /* borrowed; -1 = nothing */
	/* Every now and then while it runs; NULL = not needed. */
	void (*tick)(void *arg);
	void *arg;
};

/* Runs it to its end. True when it succeeded; else what it said, or the interruption, is told. */
bool pgtools_run(struct pgtools *tools, const struct pgtools_job *job);

/* Runs one command of SQL, or several in one transaction; the first row as psql prints it, its columns
 * between
 * '|', goes into *ret (fresh), unless `ret` is NULL. As pgtools_run. */
bool pgtools_ask(struct pgtools *tools, const char *database, const char *sql, char **ret);

/* True once somebody wants this to end; told when it is seen first. */
bool pgtools_is_interrupted(struct pgtools *tools);

/* Milliseconds since pgtools_open(). */
int64_t pgtools_elapsed_ms(const struct pgtools *tools);

#endif
