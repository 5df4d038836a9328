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

/* 0 or -errno. On an error *ret_error is fresh text: what is wrong, and what may mend it. */
int conn_open(const char *path, struct conn **ret, char **ret_error) __attribute__((warn_unused_result));
void conn_free(struct conn **conn);

/* Sends one request; `args` is borrowed, NULL = none. */
int conn_send(struct conn *conn, const char *cmd, json_t *args, char **ret_error)
	__attribute__((warn_unused_result));

/* Waits for the next reply; timeout_ms -1 = for ever. -ETIMEDOUT, -EPIPE when the daemon has gone, -EPROTO.
 */
int conn_receive(struct conn *conn, int64_t timeout_ms, struct conn_reply *ret, char **ret_error)
	__attribute__((warn_unused_result));

void conn_reply_clear(struct conn_reply *reply);

#endif
