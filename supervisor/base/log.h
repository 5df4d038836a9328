#ifndef BASE_LOG_H
#define BASE_LOG_H

/* One line, one event: `event key=value …` on stderr, with a `<N>` priority in front under journald.
 * Or, by log_set_json(), one JSON object a line (base/log_json.h). Once the thread runs, lines that repeat
 * are folded: the first ten of a minute are written, then one with `repeated=N` in front of its pairs.
 *
 * The event's first word, up to the dot, is its subsystem.
 *
 * Lines go to a bounded ring that a thread writes out: a reader that has stalled costs lines (counted and
 * said), never the loop. No secret and no prompt text is ever a value.
 *
 * error = an operator must act; warning = degraded, mending itself; info = transitions; debug = per message.
 */

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* "error" … "debug"; NULL for a number that is no level. */
const char *log_level_name(enum log_level level);
bool log_level_parse(const char *name, enum log_level *ret);

/* Starts the writing thread. Before it, and in programs that never call it, lines are written at once. */
int log_start(void) __attribute__((warn_unused_result));

/* Writes out what is held, waiting at most a second. */
void log_flush(void);

/* The same, and ends the thread. */
void log_stop(void);

void log_set_json(bool json);

/* Sets the level of all subsystems. */
void log_set_level(enum log_level level);
/* What that was; single subsystems may have another. */
enum log_level log_get_level(void);

/* Ends with NULL. */
extern const char *const log_subsystems[];

/* -ENOENT: there is no such subsystem. */
int log_set_subsystem_level(const char *subsystem, enum log_level level) __attribute__((warn_unused_result));
int log_get_subsystem_level(const char *subsystem, enum log_level *ret) __attribute__((warn_unused_result));

/* "store=debug". -ENOENT: no such subsystem; -EINVAL: no such level. */
int log_parse_subsystem_level(const char *text, const char **ret_subsystem, enum log_level *ret_level)
	__attribute__((warn_unused_result));

/* Whether a line of that event would be written. */
bool log_is_on(enum log_level level, const char *event);

/* `event` is constant text; `format` gives the pairs and may be "". Control bytes become '?'. */
void log_write(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...)	 log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(event, ...)                                                                                \
	do {                                                                                                 \
		if (log_is_on(LOG_LEVEL_DEBUG, event))                                                       \
			log_write(LOG_LEVEL_DEBUG, event, __VA_ARGS__);                                      \
	} while (0)

#endif
