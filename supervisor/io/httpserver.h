#ifndef IO_HTTPSERVER_H
#define IO_HTTPSERVER_H

/* A small HTTP server on the loop, by libmicrohttpd without threads of its own: for a few pages that are made
 * in memory. GET and HEAD alone. Its budget is its own: a few connections, little memory for each, and those
 * that are silent are closed; who comes beyond that waits in the kernel's queue. */

#include <stddef.h>

struct address;
struct handover;
struct httpserver;
struct loop;

enum {
	HTTPSERVER_CONNECTIONS = 16,
	HTTPSERVER_SILENCE_S = 10,
	HTTPSERVER_MEMORY = 16 * 1024, /* of a connection: line and headers of a request */
};

struct httpserver_page {
	int status;
	const char *type; /* Content-Type; constant */
	char *body;	  /* fresh; freed by the server */
	size_t len;
};

/* The page at a path; 404 is the caller's to say, with words of its own. Makes all of it, at once. */
typedef struct httpserver_page httpserver_fn(void *arg, const char *path);

/* -errno with *ret_error, one fresh line, when it cannot listen there. */
int httpserver_new(struct loop *loop, const struct address *address, httpserver_fn *fn, void *arg,
		   struct httpserver **ret, char **ret_error) __attribute__((warn_unused_result));
/* Not from within `fn`. */
void httpserver_free(struct httpserver **server);

/* While the daemon's program is replaced: the socket, "fd", listens on, connections end. Written from a
 * server; read by this one, which makes it. -ENOENT when there is no socket (a rehearsal has none). */
void httpserver_pass(struct httpserver *server, struct handover *h);
int httpserver_take(struct loop *loop, struct handover *h, httpserver_fn *fn, void *arg,
		    struct httpserver **ret) __attribute__((warn_unused_result));

#endif
