#ifndef CTL_REFERENCE_H
#define CTL_REFERENCE_H

/* The reference of proctorctl in Markdown, from which its manual page is made. */

#include <stdio.h>

/* All commands, each under a heading of the second level, then options and exit status under their own of the
 * first. */
void reference_print(FILE *out);

#endif
