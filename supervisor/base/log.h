#ifndef BASE_LOG_H
#define BASE_LOG_H

/* One line, one event: `event key=value …` on stderr, with a `<N>` priority in front under journald.
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

void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* `event` is constant text; `format` gives the pairs and may be "". Control bytes become '?'. */
void log_write(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...)	 log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                                       \
	do {                                                                                                 \
		if (log_get_level() >= LOG_LEVEL_DEBUG)                                                      \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                             \
	} while (0)

#endif
