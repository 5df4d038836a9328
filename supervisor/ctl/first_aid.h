#ifndef CTL_FIRST_AID_H
#define CTL_FIRST_AID_H

/* What an error of connect() to the daemon's socket means, and the commands that find out more or mend it.
 * `error` is an errno. Fresh, lines without a newline at the end. */
char *first_aid(const char *path, int error) __attribute__((warn_unused_result));

#endif
