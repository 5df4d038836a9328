#ifndef IO_OFFLOAD_H
#define IO_OFFLOAD_H

/* A thread for what may block: syncs, reads, removals of files. Tasks run one after the other, in order; the
 * thread owns no state of the program. */

struct loop;
struct offload;

int offload_new(struct loop *loop, struct offload **ret) __attribute__((warn_unused_result));
/* Lets the thread do all that it was given and waits for that; `done` is called for none of it any more, so
 * every `arg` is its giver's again. Not from a `done`. NULL is fine. */
void offload_free(struct offload **offload);

/* Calls `work` in the thread, then `done` on the loop. `arg` belongs to the thread in between. */
void offload_run(struct offload *offload, void (*work)(void *arg), void (*done)(void *arg), void *arg);

#endif
