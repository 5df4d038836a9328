#ifndef POLICY_STALL_H
#define POLICY_STALL_H

/* Which runs get nowhere: time since the last success of each, be it a turn here or a transcript that another
 * node or an earlier life of this one has recorded.
 *
 * A run that was there before us has a past that only the database knows: until that is told it is not
 * judged. One that appears later begins with its appearance, and so does one that goes on after a pause. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stall;

void stall_new(struct stall **ret);
void stall_free(struct stall **stall);

/* A round over all runs that could go on: begin, see each (as often as one likes), end. Those not seen are
 * forgotten. */
void stall_begin_round(struct stall *stall);
void stall_see(struct stall *stall, const char *run_id, int64_t now_ms);
void stall_end_round(struct stall *stall);

/* A success of the run. True when it was stalled until now. */
bool stall_succeeded(struct stall *stall, const char *run_id, int64_t now_ms);

/* The runs that need a look into the database: their past is not known, or they are about to be called
 * stalled, or are. A fresh array of borrowed ids, valid until the next round. */
size_t stall_ask(const struct stall *stall, int64_t now_ms, int64_t after_ms, const char ***ret);

enum stall_verdict {
	STALL_NONE,
	STALL_BEGINS, /* it is stalled from now on */
	STALL_ENDS,   /* somebody has got it on */
};

/* What the database knows: the last success was at `since_ms` at the earliest; `told`: an earlier life or
 * another node has called it stalled, and nobody anything else since. */
enum stall_verdict stall_learn(struct stall *stall, const char *run_id, int64_t since_ms, bool told,
			       int64_t now_ms, int64_t after_ms);

/* Whether it is stalled, and since when it has had no success. */
bool stall_is(const struct stall *stall, const char *run_id, int64_t *ret_since_ms);

/* How many are. */
int stall_count(const struct stall *stall);

#endif
