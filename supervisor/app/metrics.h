#ifndef APP_METRICS_H
#define APP_METRICS_H

/* What the daemon measures (policy/metric.h), as Prometheus reads it: by `proctorctl metrics`, and over HTTP
 * where [metrics] listen says so: /metrics, /healthz (the loop turns), /readyz (as `status` says). Made from
 * memory alone, in about a millisecond. */

struct buf;
struct daemon;
struct handover;

/* All metrics, as text. */
void metrics_write(struct daemon *daemon, struct buf *out);

/* Listens where the configuration says, or goes on with the socket of `h` (NULL = none). On an error
 * *ret_error is one fresh line; behind an upgrade nothing is an error, for the work goes on without. */
int metrics_open(struct daemon *daemon, struct handover *h, char **ret_error)
	__attribute__((warn_unused_result));
void metrics_close(struct daemon *daemon);

/* The socket, to be written. */
void metrics_pass(struct daemon *daemon, struct handover *h);

#endif
