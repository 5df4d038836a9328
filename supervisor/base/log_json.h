#ifndef BASE_LOG_JSON_H
#define BASE_LOG_JSON_H

/* A log line as one JSON object:
 *
 *   {"time":"2026-03-01T12:00:00.000Z","level":"info","event":"worker.ready",
 *    "data":{"worker":"probe/0","pid":"812"},"text":"what stands behind the pairs"}
 *
 * Values are strings; `data` and `text` are left out when there is none. The first of two pairs of one name
 * counts, so that text quoted at the end of a line cannot stand in for what the daemon says. */

#include <stddef.h>

enum { LOG_JSON_PAIRS_MAX = 32 }; /* of a line; further ones are text */

/* Writes the object, without a newline, and returns its length. `pairs` is the text of a line: `key=value
 * key="value" -- text`. Of what does not fit into `size` the end of the pairs is left out; `size` is at least
 * 512, time, level and event are short. */
size_t log_json_write(char *out, size_t size, const char *time, const char *level, const char *event,
		      const char *pairs);

#endif
