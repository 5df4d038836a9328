#ifndef BASE_MEM_H
#define BASE_MEM_H

/* Allocation and ownership.
 * Small, bounded allocations abort when memory is gone: nothing sensible is left to do, and the service
 * manager restarts us. What is sized by input goes through buf.h, which has a cap and an error path. */

#include <stdbool.h>
#include <stddef.h>

/* `AUTO(fd_close) int fd = ...;` runs `fd_close(&fd)` when fd leaves scope. */
#define AUTO(fn) __attribute__((cleanup(fn)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Zeroed memory; never NULL. */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_array(size_t count, size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));

/* Grows or shrinks an array; new room is not zeroed; never NULL for count > 0. */
void *mem_resize(void *ptr, size_t count, size_t size) __attribute__((warn_unused_result));

/* Copies; NULL gives NULL. */
char *mem_strdup(const char *s) __attribute__((warn_unused_result));
char *mem_strndup(const char *s, size_t len) __attribute__((warn_unused_result));

/* printf into fresh memory; never NULL. */
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2), warn_unused_result));

/* Frees *ptr and sets it to NULL; `ptr` is the address of any pointer. Safe on NULL. */
void mem_free(void *ptr);

/* Cleanup for `AUTO(mem_free_str) char *s`. */
void mem_free_str(char **s);

/* A NULL-terminated list of texts, copied; NULL gives an empty list. */
char **mem_copy_words(const char *const *words) __attribute__((warn_unused_result));

/* Whether two such lists (NULL = empty) hold the same texts in the same order. */
bool mem_same_words(const char *const *a, const char *const *b);

/* Frees such a list and its texts, overwriting them first: an environment holds keys. Safe on NULL. */
void mem_free_words(char ***words);

/* Lets freed memory go back to the system at once, for the life of the process. Without it the first large
 * block that is freed makes glibc keep ever more of them, and a daemon holds for months what one busy minute
 * took. */
void mem_return_early(void);

/* Bytes that are allocated now: what a leak would let grow. */
size_t mem_in_use(void);

/* Puts `value` (taken) into *slot, freeing what was there. */
void mem_set_str(char **slot, char *value);

#endif
