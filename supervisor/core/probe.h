#ifndef CORE_PROBE_H
#define CORE_PROBE_H

/* One probe while this node holds it: a conversation, the turns got so far, and where it waits.
 * The dispatcher owns it from claim to store_finish. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "core/store.h"
#include "policy/gate.h"

struct buf;
struct lane;
struct probe_input;
struct worker;

/* One answer, as it came. */
struct probe_turn {
	char *body; /* one line of JSON */
	size_t len;
};

enum probe_state {
	PROBE_QUEUED,  /* in its family's queue, with no worker */
	PROBE_CALLING, /* a call of it is permitted: in its worker's `calling` list, holds a slot of its lane
			*/
	PROBE_BETWEEN, /* a turn came; waits in its lane for the next call's turn, its worker keeps it */
};

struct probe {
	struct list link; /* in its family's queue or between, by state; in worker->calling while CALLING */
	struct list in_worker; /* in worker->held while it has a worker */
	enum probe_state state;
	struct lane *lane;
	size_t family;	       /* of the lane's gate */
	struct worker *worker; /* NULL while QUEUED */

	int64_t id;
	int attempt; /* as its worker was told */
	int lease;   /* attempt of the lease that we hold: a newer one when that was lost and claimed again */
	char *run_id, *model_id;
	char *input;
	size_t input_len;

	/* Paid for in earlier attempts, kept as checkpoints: a JSON array of bodies. */
	char *earlier;
	size_t earlier_len;
	/* Got since the claim, in order. */
	struct probe_turn *turns;
	size_t turn_count, turn_room;
	int turns_done;	 /* earlier and new */
	char digest[33]; /* of the last turn; "" before the first */
	bool last_seen;	 /* its last turn came: only the result is missing */

	int64_t input_tokens, output_tokens, reasoning_tokens, duration_ms; /* over all turns */
	int64_t cost_e10; /* of all turns; -1 = not known of all of them */

	/* What calls take from the limits. */
	struct gate_ticket ticket; /* of the call under way */
	struct gate_cost cost;	   /* that the next call is expected to have */
	int costed_turn;	   /* the turn that `cost` is of; 0 = of none yet */
	int64_t context_tokens;	   /* sent again with the next call: what the last one had in and out */
	struct probe_input *sizes; /* NULL until they are asked for */

	int fails, deaths, solo_deaths;
	int trials; /* failed, made for a lane whose provider had failed: they count for no fails */
	int64_t limited_since_ms; /* monotonic; 0 = not waiting out a rate limit */
	int64_t call_ms;	  /* when the present call was permitted */
	int64_t queued_ms;	  /* since when its next call has waited */
	bool cancelling;	  /* its run is being cancelled; a result that is paid for still wins */
	bool lost; /* another node holds its lease: the answer under way still counts, no other is asked for
		    */
};

/* Copies what the claim gave. */
void probe_new(const struct store_job *job, struct lane *lane, int64_t now_ms, struct probe **ret);
void probe_free(struct probe **probe);

/* Keeps a turn's body (copied) and its digest: what a worker is given that goes on from there. */
void probe_add_turn(struct probe *probe, const char *body, size_t len, const char *digest);

/* Appends all turns, earlier and new, as one JSON array. */
void probe_put_turns(const struct probe *probe, struct buf *out);

/* Whether every turn got since the claim is a JSON object: workers are believed that until another one is to
 * go on from there. */
bool probe_turns_are_json(const struct probe *probe);

/* A job held at this many deaths of workers runs alone next: only what happens then is its own doing. */
bool probe_runs_alone(const struct probe *probe);

#endif
