#ifndef APP_CONTROL_PRIVATE_H
#define APP_CONTROL_PRIVATE_H

/* Shared by control.c (the server and its clients), control_request.c (what clients ask) and call.c (what
 * they are answered). */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/control.h"
#include "base/list.h"
#include "io/unixsock.h"

struct buf;
struct lineconn;
struct loop;
struct loop_fd;
struct loop_timer;

enum {
	CONTROL_LINE_MAX = 8 * 1024 * 1024,
	CONTROL_QUEUE_MAX = 64 * 1024 * 1024,
	CONTROL_QUEUE_PAUSE = 1024 *
			      1024, /* above it, no more requests are read and streams count as too slow */
	CONTROL_IN_FLIGHT_MAX = 32,
};

struct control {
	struct loop *loop;
	struct control_options options;
	struct unixsock *sock;
	struct loop_fd *accept_watch;
	struct loop_timer *accept_timer; /* armed while accepting is suspended */
	struct loop_timer *stall_timer;	 /* armed while any client has output queued */
	struct list clients;		 /* of struct client */
	struct list dead;		 /* dropped, freed at the end of the turn */
	size_t count;
	int64_t last_client_id;
	bool full_told; /* since it was last not full */
	bool held_back; /* no client and no request is taken */
};

struct client {
	struct list node;
	struct control *control;
	struct lineconn *conn; /* NULL once dropped */
	struct list calls;     /* of struct call: under way */
	int in_flight;
	int64_t id;
	struct unixsock_peer peer;
	enum command_role role;
	bool ended;		/* sends no more requests */
	size_t stall_bytes;	/* least queued since stall_since_ms */
	int64_t stall_since_ms; /* 0 = nothing is queued */
};

struct call {
	struct list node;
	struct client *client; /* NULL once it has gone */
	void *arg;
	const struct command *command;
	json_t *id;
	int64_t client_id;
	enum command_role role;
	void (*gone)(void *arg);
	void *gone_arg;
	bool stream; /* ends with the client's side of sending */
};

static inline struct client *client_of(struct list *node)
{
	return list_entry(node, struct client, node);
}

static inline struct call *call_of(struct list *node)
{
	return list_entry(node, struct call, node);
}

/* control.c: one more, with descriptors that are taken and without an id. 0 or -errno. */
int client_new(struct control *control, int read_fd, int write_fd, const struct unixsock_peer *peer,
	       struct client **ret) __attribute__((warn_unused_result));

/* control.c: looks from now on whether clients read what is queued for them. */
void control_expect_stalls(struct control *control);

/* control.c: ends a client; its calls find nobody from now on. Freed at the end of the turn. */
void client_drop(struct client *client, const char *why);

/* control.c: queues head + bytes + "}\n". False when the client had to be dropped. */
bool client_send(struct client *client, const struct buf *head, const char *bytes, size_t len);

/* control.c: lets reading go on, and closes what is done, at the end of the turn: never inside the conn's own
 * callback. Not merged with one that is due already: it has to come after the write of what was just queued,
 * which may find the peer gone without anybody being told. */
void control_review(struct control *control);

/* call.c */
void call_new(struct client *client, json_t *id, const struct command *command, struct call **ret);
void call_send_error(struct client *client, const json_t *id, enum call_code code, const char *message);

/* call.c: the client goes: its calls find nobody from now on, and their handlers are told. */
void call_tell_gone(struct client *client);

/* call.c: the client sends no more: the handlers of streams are told. */
void call_tell_ended(struct client *client);

/* control_request.c: one line of a client. */
void control_on_line(void *client, char *line, size_t len);

#endif
