#ifndef CTL_CTL_H
#define CTL_CTL_H

/* What all parts of proctorctl share. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/args.h"
#include "ctl/conn.h"

/* Told in --help, for scripts. */
enum ctl_exit {
	CTL_OK = 0,
	CTL_FAILED = 1,	     /* what was asked for failed */
	CTL_USAGE = 2,	     /* the command line is wrong */
	CTL_UNREACHABLE = 3, /* no daemon answers */
	CTL_CANCELLED = 4,   /* the run watched was cancelled */
	CTL_REFUSED = 5,     /* the daemon refused: bad argument, not found, conflict, … */
};

struct ctl {
	const struct parsed_args *parsed;
	char *socket;
	struct conn *conn; /* NULL until needed */
	bool json;
	bool color;
	bool terminal;	    /* stdout is one */
	int64_t timeout_ms; /* of one answer */
};

/* Asks the daemon, connecting first if need be. CTL_OK with *ret to be cleared by conn_reply_clear(), or
 * another code after telling why on stderr. `args` is borrowed; NULL = none. */
int ctl_ask(struct ctl *ctl, const char *cmd, json_t *args, struct conn_reply *ret)
	__attribute__((warn_unused_result));

/* Prints the data of an answer as the daemon gave it: as it is, or indented on a terminal. */
void ctl_print_json(const struct ctl *ctl, const struct conn_reply *reply);

/* "proctorctl: …" on stderr. */
void ctl_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
