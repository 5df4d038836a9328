#include "base/crashpoint.h"

#ifdef PROCTOR_CRASH_POINTS

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *wanted;	   /* NULL when none is */
static unsigned long left; /* passes until the end, under the lock */

static void read_environment(void)
{
	const char *text = getenv("PROCTOR_CRASH_AT");
	const char *colon = text ? strrchr(text, ':') : NULL;
	char *end = NULL;

	if (!text)
		return;
	if (colon)
		left = strtoul(colon + 1, &end, 10);
	if (!colon || *end || left == 0) {
		(void)fprintf(stderr, "PROCTOR_CRASH_AT: \"%s\" is not of the form name:n\n", text);
		exit(2);
	}
	wanted = mem_strndup(text, (size_t)(colon - text));
}

void crashpoint_pass(const char *name)
{
	(void)pthread_once(&once, read_environment);
	if (!wanted || strcmp(name, wanted) != 0)
		return;
	(void)pthread_mutex_lock(&lock);
	if (--left == 0)
		(void)raise(SIGKILL);
	(void)pthread_mutex_unlock(&lock);
}

#endif
