#include "base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_abort(void *ptr)
{
	if (!ptr) {
		static const char text[] = "proctor: out of memory\n";

		(void)!fwrite(text, 1, sizeof(text) - 1, stderr);
		abort();
	}
	return ptr;
}

void *mem_alloc(size_t size)
{
	return or_abort(calloc(1, size ? size : 1));
}

void *mem_array(size_t count, size_t size)
{
	return or_abort(calloc(count ? count : 1, size));
}

void *mem_resize(void *ptr, size_t count, size_t size)
{
	return or_abort(reallocarray(ptr, count ? count : 1, size));
}

char *mem_strdup(const char *s)
{
	return s ? or_abort(strdup(s)) : NULL;
}

char *mem_strndup(const char *s, size_t len)
{
	return s ? or_abort(strndup(s, len)) : NULL;
}

char *mem_printf(const char *format, ...)
{
	va_list args;
	char *text = NULL;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return or_abort(text);
}

void mem_free(void *ptr)
{
	void **slot = ptr;

	free(*slot);
	*slot = NULL;
}

void mem_free_str(char **s)
{
	mem_free(s);
}

char **mem_copy_words(const char *const *words)
{
	size_t count = 0;
	char **copy;

	while (words && words[count])
		count++;
	copy = mem_array(count + 1, sizeof(*copy));
	for (size_t i = 0; i < count; i++)
		copy[i] = mem_strdup(words[i]);
	return copy;
}

bool mem_same_words(const char *const *a, const char *const *b)
{
	static const char *const none[] = { NULL };

	for (a = a ? a : none, b = b ? b : none; *a && *b; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return !*a && !*b;
}

void mem_free_words(char ***words)
{
	for (char **at = *words; at && *at; at++) {
		explicit_bzero(*at, strlen(*at));
		free(*at);
	}
	mem_free(words);
}

void mem_set_str(char **slot, char *value)
{
	free(*slot);
	*slot = value;
}

void mem_return_early(void)
{
	/* glibc's own defaults; setting them keeps it from raising them. */
	(void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	(void)mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

size_t mem_in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}
