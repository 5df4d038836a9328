#ifndef BASE_LOG_REPEAT_H
#define BASE_LOG_REPEAT_H

/* Lines that repeat: the first LOG_REPEAT_BURST of one text are written, and what follows within a minute is
 * counted and told once, when the minute is over.
 * Pure: time comes in as an argument. Bounded: of more texts at once than it can hold, all lines are
 * written. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_REPEAT_BURST = 10, LOG_REPEAT_SPAN_MS = 60000, LOG_REPEAT_TEXTS = 32, LOG_REPEAT_TEXT_MAX = 500 };

struct log_repeat_text {
	uint64_t digest; /* of the whole line; 0 = the place is free */
	int64_t since_ms;
	unsigned seen, folded; /* folded: not written */
	int level;
	char event[64];
	char pairs[LOG_REPEAT_TEXT_MAX]; /* cut */
};

struct log_repeat {
	struct log_repeat_text texts[LOG_REPEAT_TEXTS];
};

/* Whether the line is to be written now. */
bool log_repeat_take(struct log_repeat *repeat, int64_t now_ms, int level, const char *event,
		     const char *pairs);

/* A text whose minute is over (`all`: or not) and that has folded lines: it is given back, valid until the
 * next call, and forgotten. NULL when there is none. */
const struct log_repeat_text *log_repeat_due(struct log_repeat *repeat, int64_t now_ms, bool all);

/* Milliseconds until one is due; -1 = nothing is folded. */
int64_t log_repeat_wait_ms(const struct log_repeat *repeat, int64_t now_ms);

#endif
