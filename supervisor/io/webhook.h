#ifndef IO_WEBHOOK_H
#define IO_WEBHOOK_H

/* What a webhook is sent: bodies, and the signature that shows who sent them. */

#include <stdint.h>

/* "X-Proctor-Signature: t=SECONDS,v1=HEX", where HEX is the HMAC-SHA256 of "SECONDS.BODY" by `secret`. Fresh;
 * NULL when libcrypto fails. */
char *webhook_signature(const char *secret, int64_t at_s, const char *body)
	__attribute__((warn_unused_result));

/* {"text": …} as Slack takes it: what would be markup there is escaped. Fresh. */
char *webhook_slack(const char *text) __attribute__((warn_unused_result));

#endif
