#ifndef APP_CHECKS_H
#define APP_CHECKS_H

/* Looks at the providers (core/provider_check.h), joined to the daemon: keys from its program, verdicts to
 * the lanes. */

struct daemon;

/* Makes daemon->checks; its dispatcher must be there. -errno. */
int checks_make(struct daemon *daemon) __attribute__((warn_unused_result));

#endif
