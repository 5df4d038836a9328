#ifndef IO_RESOLVE_H
#define IO_RESOLVE_H

/* Host names to addresses, off the loop: getaddrinfo may block for half a minute when a name server is away.
 * One thread does all look-ups in turn; it owns no state of the program. */

#include <stdbool.h>
#include <stddef.h>

struct loop;
struct resolve;

/* `addresses` are numeric, in the order of preference, valid during the call; none = `error` says why.
 * The request is gone once this is called: the caller forgets its pointer. */
typedef void resolve_fn(void *arg, const char *const *addresses, size_t count, const char *error);

/* False for what needs no look-up: a numeric address, or the folder of a Unix socket. */
bool resolve_is_needed(const char *host);

void resolve_start(struct loop *loop, const char *host, resolve_fn *fn, void *arg, struct resolve **ret);

/* Forgets the request; its `fn` is not called any more. Safe on NULL. */
void resolve_cancel(struct resolve **resolve);

#endif
