#ifndef BASE_UTF8_H
#define BASE_UTF8_H

/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the valid sequence that starts at `text`, which ends with a NUL; 0 if there is none. */
size_t utf8_sequence_len(const char *text);

bool utf8_is_valid(const char *text);

#endif
