#ifndef APP_CONTROL_H
#define APP_CONTROL_H

/* The control socket: one JSON object a line each way.
 *
 *   {"id":1,"cmd":"run.start","args":{…}}
 *   {"id":1,"ok":true,"data":…}
 *   {"id":1,"ok":true,"more":true,"data":…}     streams: further lines with this id follow
 *   {"id":1,"ok":false,"error":{"code":"…","message":"…"}}
 *
 * No client disturbs the loop or its neighbours: lines, queued output, requests in flight and the number of
 * clients are bounded, and who does not read what it asked for is dropped.
 *
 * A call is one request under way. Its handler owns it until it answers it exactly once with call_ok_* or
 * call_error, then or later; a call whose client has gone is still valid, its answer goes nowhere. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/command_table.h"

struct call;
struct control;
struct handover;
struct loop;
struct unixsock_peer;

enum call_code {
	CALL_BAD_REQUEST,     /* not a request: framing, JSON, its shape */
	CALL_UNKNOWN_COMMAND, /* */
	CALL_BAD_ARGUMENT,    /* the message names the argument */
	CALL_NOT_FOUND,
	CALL_AMBIGUOUS,	  /* a shortened id stands for several; the message lists them */
	CALL_CONFLICT,	  /* not in the present state */
	CALL_FORBIDDEN,	  /* the peer's role does not suffice */
	CALL_UNAVAILABLE, /* later perhaps: the message says why and when */
	CALL_INTERNAL,
	CALL_TOO_LARGE,
};

struct control_options {
	const char *path;
	unsigned mode;
	const char *group; /* "" = the daemon's own */
	int max_clients;
	/* What a peer may; `fd` is its connection. */
	enum command_role (*role_of)(void *arg, const struct unixsock_peer *peer, int fd);
	/* A request that is known, allowed and of the right types. `args` is never NULL and valid during the
	 * call only. The handler owns `call`. */
	void (*handle)(void *arg, struct call *call, const json_t *args);
	/* A client has gone; its calls are still to be answered. NULL = not needed. */
	void (*client_gone)(void *arg, int64_t client_id);
	/* While the daemon's program is replaced: whether the call goes on, and then its own part. A call
	 * that does not is answered that its fate is not known. */
	bool (*goes_on)(void *arg, const struct command *command, bool stream);
	void (*pass)(void *arg, struct call *call, struct handover *h);
	void *arg;
};

/* Listens, or goes on with the socket of `h` (NULL = none). On an error *ret_error is one fresh line. */
int control_new(struct loop *loop, const struct control_options *options, struct handover *h,
		struct control **ret, char **ret_error) __attribute__((warn_unused_result));

/* Drops all clients and removes the socket. Calls under way stay valid until answered. */
void control_free(struct control **control);

void control_set_max_clients(struct control *control, int max_clients);

/* Asks anew what each client may; calls under way go on as what they began as. */
void control_review_roles(struct control *control);

size_t control_clients(const struct control *control);

/* ---- while the daemon's program is replaced ---- */

/* The socket, the clients, and what they wait for, either way. */
void control_pass(struct control *control, struct handover *h);

/* Takes no client and no request, for a moment. */
void control_hold_back(struct control *control, bool hold_back);

/* Whether any call but those that go on is under way. */
bool control_is_busy(const struct control *control);

/* The handle's `arg`. */
void *call_arg(const struct call *call);
const struct command *call_command(const struct call *call);
enum command_role call_role(const struct call *call);

/* What call_stream_begin() or call_on_gone() was given as its `arg`. */
void *call_gone_arg(const struct call *call);

/* Which client asked; ids are never used twice. */
int64_t call_client_id(const struct call *call);

/* Whether anybody still waits for the answer. */
bool call_is_wanted(const struct call *call);

/* Answers and ends the call. `data` is taken. */
void call_ok_json(struct call *call, json_t *data);

/* The same with JSON text on one line, pasted as it is: what Postgres made is not parsed here. */
void call_ok_raw(struct call *call, const char *bytes, size_t len);

void call_error(struct call *call, enum call_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Makes the call a stream, which ends when the client closes its side of the connection, even only that of
 * sending: `gone` is called then, once; the call must still be ended, by `gone` or later. -EPIPE when it has
 * done so already. */
int call_stream_begin(struct call *call, void (*gone)(void *arg), void *arg)
	__attribute__((warn_unused_result));

/* Sends one piece of a stream; the call goes on. -EPIPE when the client has gone or reads too slowly: then
 * the call is to be ended like any other. */
int call_stream_raw(struct call *call, const char *bytes, size_t len) __attribute__((warn_unused_result));

/* Calls `fn` once when the client goes before the call is answered; the call must still be ended, by `fn` or
 * later. One that has only ended its side of sending is still there and waits. */
void call_on_gone(struct call *call, void (*fn)(void *arg), void *arg);

/* "BAD_REQUEST" … */
const char *call_code_name(enum call_code code);

#endif
