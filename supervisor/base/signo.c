#include "base/signo.h"

#include <signal.h>

enum signo_kind signo_kind(int signo)
{
	switch (signo) {
	case SIGILL:
	case SIGTRAP:
	case SIGABRT:
	case SIGBUS:
	case SIGFPE:
	case SIGSEGV:
	case SIGPIPE:
	case SIGALRM:
	case SIGXCPU:
	case SIGXFSZ:
	case SIGVTALRM:
	case SIGPROF:
	case SIGSYS:
		return SIGNO_OWN;
	case SIGKILL:
		return SIGNO_KILL;
	default:
		return SIGNO_SENT;
	}
}

int signo_of_status(int status)
{
	return status > 128 && status <= 128 + SIGRTMAX ? status - 128 : 0;
}
