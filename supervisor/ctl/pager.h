#ifndef CTL_PAGER_H
#define CTL_PAGER_H

/* Shows what is written to stdout by $PAGER, or `less -R`. No shell has a part in it: $PAGER is split into
 * words at spaces. "" and "cat" mean none. */

#include <sys/types.h>

struct pager {
	pid_t pid; /* 0 = none runs */
	int old_stdout;
};

/* From now on stdout goes to a pager; with none, or on an error, it stays as it is. */
void pager_start(struct pager *pager);

/* Ends the output, waits until its reader has left the pager, and gives stdout back. */
void pager_finish(struct pager *pager);

#endif
