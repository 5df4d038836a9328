#ifndef IO_HTTP_H
#define IO_HTTP_H

/* HTTP requests to others, on the loop, by libcurl: for what the daemon itself asks or tells, not for calls
 * to models. Nothing here blocks: names are looked up by libcurl's own threads.
 *
 * TLS certificates are verified, against the bundle that the workers use; proxies come from the usual
 * variables of the environment. A redirect is an answer like any other: it is not followed. Each request has
 * a connection of its own. Headers and bodies are neither logged nor put into an error's text: they may hold
 * keys. */

#include <stddef.h>
#include <stdint.h>

#define HTTP_BODY_MAX (64u * 1024) /* of an answer; what is beyond is cut off */

struct http;
struct http_request;
struct loop;

struct http_spec {
	const char *url;	    /* http:// or https:// */
	const char *const *headers; /* "Name: value", ends with NULL; NULL = none */
	const char *body;	    /* of a POST; NULL = GET */
	size_t body_len;
	int64_t timeout_ms; /* for all of it, above 0 */
};

struct http_answer {
	int status;	   /* 100..999; 0 = there was no whole answer: `error` says why */
	const char *error; /* one line; NULL with a status */
	const char *body;  /* NUL-terminated behind its last byte */
	size_t body_len;
	int64_t took_ms;
};

/* The answer is valid during the call. The request is gone once this is called: the caller forgets its
 * pointer. The client may be freed by it. */
typedef void http_fn(void *arg, const struct http_answer *answer);

/* -ENOMEM when libcurl cannot be set up. */
int http_new(struct loop *loop, struct http **ret) __attribute__((warn_unused_result));

/* Forgets the requests under way: their `fn` is not called. */
void http_free(struct http **http);

/* All of `spec` is copied. `fn` is called once, in a later turn of the loop, whatever becomes of it. */
void http_start(struct http *http, const struct http_spec *spec, http_fn *fn, void *arg,
		struct http_request **ret);

/* Forgets the request; its `fn` is not called any more. Safe on NULL. */
void http_cancel(struct http_request **request);

#endif
