#ifndef CTL_TEXT_H
#define CTL_TEXT_H

/* How proctorctl writes numbers, times and foreign text for people. What returns char * is fresh. */

#include <stddef.h>
#include <stdint.h>

struct buf;

/* 812 → "812ms", 3200 → "3.2s", 245000 → "4m05s", 7380000 → "2h03m". */
char *text_duration(int64_t ms) __attribute__((warn_unused_result));

/* The same in whole seconds, at least one: for what changes as one looks. */
char *text_seconds(int64_t ms) __attribute__((warn_unused_result));

/* 1234567 → "1,234,567". */
char *text_count(int64_t number) __attribute__((warn_unused_result));

/* 1234567 → "1.2M". */
char *text_short_count(int64_t number) __attribute__((warn_unused_result));

/* 1234567 → "1.2 MB". */
char *text_bytes(int64_t bytes) __attribute__((warn_unused_result));

/* "$1.24", and more digits the less it is. */
char *text_usd(double usd) __attribute__((warn_unused_result));

/* Milliseconds since 1970 of "2026-11-22T17:33:07.390Z"; -1 when it is no such text. */
int64_t text_parse_time(const char *iso);

/* "5m ago"; "in 5m" for what is to come. */
char *text_ago(int64_t at_wall_ms, int64_t now_wall_ms) __attribute__((warn_unused_result));

/* Text of others, safe on a terminal: control characters but newline and tab become '?', so that no answer of
 * a model can move the cursor or change a title. */
char *text_clean(const char *text, size_t len) __attribute__((warn_unused_result));

/* The same on one line: newlines and tabs become spaces. */
char *text_clean_line(const char *text) __attribute__((warn_unused_result));

/* Columns that UTF-8 text takes on a terminal, wide characters counted twice. Needs a locale of UTF-8. */
size_t text_width(const char *text);

/* Bytes of the longest beginning of `text` that takes at most `width` columns. */
size_t text_fit(const char *text, size_t width);

/* The same for text with sequences of colour ("ESC [ … m"), which take none. *ret_taken (may be NULL) is the
 * columns that those bytes take. */
size_t text_fit_colored(const char *text, size_t width, size_t *ret_taken);

/* A bar of `cells` columns, filled by `share`, 0 to 1. */
void text_put_bar(struct buf *out, double share, size_t cells);

#endif
