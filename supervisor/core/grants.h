#ifndef CORE_GRANTS_H
#define CORE_GRANTS_H

/* The limits of lanes that hold over all nodes ([database] shared = yes): what a lane may spend comes in
 * grants from Postgres, a fraction of a second's worth at a time, and is spent locally (policy/limit.h). A
 * node asks while calls wait for a grant, and gives back what it has no use for. Nothing is asked for an idle
 * lane. When the database is silent, the last grant ends and no call is made. The dispatcher owns it. */

#include <stddef.h>
#include <stdint.h>

#include "policy/gate.h"

struct grants;
struct lane;
struct loop;
struct store;

/* For lanes of index 0..lane_count - 1. `on_granted`: calls may go now. */
void grants_new(struct loop *loop, struct store *store, size_t lane_count, void (*on_granted)(void *arg),
		void *arg, struct grants **ret);
void grants_free(struct grants **grants);

/* The lane's gate has been configured, has gone on from another, or has begun a day: from now on its limits
 * come from grants. The lane is borrowed. What calls under way hold is theirs. */
void grants_configure(struct grants *grants, struct lane *lane);

/* The lane has been pumped: looks at what still waits in it, and asks for that. */
void grants_look(struct grants *grants, const struct lane *lane);

/* The node stops and makes no call any more: what it has goes back to the others, who else would think it in
 * use until its lease ends. Nobody waits for the answer. */
void grants_leave(struct grants *grants);

/* Why a call waits for a grant of a unit, GATE_UNITS = for a slot of the concurrency. *ret_at_ms: when it is
 * asked for again, monotonic; 0 = not known. */
const char *grants_why(const struct grants *grants, const struct lane *lane, size_t family,
		       enum gate_unit unit, int64_t *ret_at_ms);

#endif
