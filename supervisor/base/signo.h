#ifndef BASE_SIGNO_H
#define BASE_SIGNO_H

/* What a signal that ended a process tells about who brought it about. */

enum signo_kind {
	SIGNO_OWN,  /* the process itself: a fault, a limit, a broken pipe, its own timer */
	SIGNO_KILL, /* KILL: somebody, or the kernel when memory ran out */
	SIGNO_SENT, /* somebody who sent it */
};

enum signo_kind signo_kind(int signo);

/* The signal that an exit status tells of, as shells write it: 128 + signal. 0 when it is none of those. */
int signo_of_status(int status);

#endif
