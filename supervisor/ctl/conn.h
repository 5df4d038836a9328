#ifndef CTL_CONN_H
#define CTL_CONN_H

/* A blocking connection to the daemon's control socket. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;

struct conn_reply {
	bool ok;
	bool more;    /* a stream: further replies follow */
	json_t *data; /* when ok; owned */
	char *raw;    /* the same as the daemon wrote it; owned */
	size_t raw_len;
	const char *code; /* when not ok; these two live in `error` */
	const char *message;
	json_t *error;
};

#define CONN_PATIENCE_MS 10000

/* Waits at most timeout_ms, for this and for each sending. 0 or -errno. On an error *ret_error is fresh text:
 * what is wrong, and what may mend it. */
int conn_open(const char *path, int64_t timeout_ms, struct conn **ret, char **ret_error)
	__attribute__((warn_unused_result));
void conn_free(struct conn **conn);

/* Sends one request; `args` is borrowed, NULL = none. */
int conn_send(struct conn *conn, const char *cmd, json_t *args, char **ret_error)
	__attribute__((warn_unused_result));

/* To wait on; readable when conn_receive() may have something new. */
int conn_fd(const struct conn *conn);

/* Waits for the next reply; timeout_ms -1 = for ever, 0 = what is there already. -ETIMEDOUT, -EPIPE when the
 * daemon has gone, -EPROTO.
 */
int conn_receive(struct conn *conn, int64_t timeout_ms, struct conn_reply *ret, char **ret_error)
	__attribute__((warn_unused_result));

void conn_reply_clear(struct conn_reply *reply);

#endif
