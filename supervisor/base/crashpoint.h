#ifndef BASE_CRASHPOINT_H
#define BASE_CRASHPOINT_H

/* Named places where a test can end the daemon as SIGKILL would.
 *
 * In a build with -DPROCTOR_CRASH_POINTS the environment's PROCTOR_CRASH_AT=name:n ends the process at the
 * n-th time (from 1) that it passes the point of that name, from whichever thread. In any other build a point
 * is nothing. Names are literals in the source, so that a test finds all of them by a search for the macro.
 */

#ifdef PROCTOR_CRASH_POINTS

enum { CRASH_POINTS = 1 };

/* One that is not of the form name:n ends the program with a line that says so. */
void crashpoint_pass(const char *name);

#define CRASH_POINT(name) crashpoint_pass(name)

#else

enum { CRASH_POINTS = 0 };

#define CRASH_POINT(name) ((void)0)

#endif

#endif
