#ifndef IO_PROBE_INPUT_H
#define IO_PROBE_INPUT_H

/* How much a conversation will send, read from a job's INPUT (workers/PROTOCOL.md). */

#include <stddef.h>
#include <stdint.h>

struct probe_input {
	int64_t first_bytes;	 /* preamble and prompt: what the first call sends */
	int64_t *followup_bytes; /* what each further call adds */
	int followups;
	int max_turns;	    /* calls at the most, as the run wants it; 0 = not told */
	int64_t max_tokens; /* of an answer; 0 = not told */
};

/* -EPROTO when it is no INPUT. */
int probe_input_parse(const char *text, size_t len, struct probe_input *ret)
	__attribute__((warn_unused_result));
void probe_input_clear(struct probe_input *input);

#endif
