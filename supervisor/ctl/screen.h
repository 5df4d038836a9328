#ifndef CTL_SCREEN_H
#define CTL_SCREEN_H

/* The whole terminal: drawn line by line, keys one at a time. However the program ends, but by SIGKILL, the
 * terminal is as it was before. There is one screen at a time. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct screen;

/* Keys that are no character. */
enum {
	KEY_NONE = 0,
	KEY_TAB = '\t',
	KEY_UP = 0x110000, /* above all of Unicode */
	KEY_DOWN,
	KEY_PAGE_UP,
	KEY_PAGE_DOWN,
	KEY_HOME,
	KEY_END,
};

/* What screen_wait() met, as bits. */
enum {
	SCREEN_KEYS = 1,  /* screen_key() has some */
	SCREEN_DRAW = 2,  /* size or content was lost: draw anew */
	SCREEN_OTHER = 4, /* the caller's descriptor is readable */
	SCREEN_ENDED = 8, /* a signal, or the terminal, wants the end; screen_close() tells which */
};

/* Takes the terminal over. -ENOTTY when stdin or stdout is none. */
int screen_open(struct screen **ret) __attribute__((warn_unused_result));

/* Gives it back. The signal that wanted the end, 0 when none did. */
int screen_close(struct screen **screen);

size_t screen_width(const struct screen *screen);
size_t screen_height(const struct screen *screen);

/* Shows `text`, lines with sequences of colour; what does not fit is cut. */
void screen_draw(struct screen *screen, const char *text);

/* Waits for keys, signals and `fd` (-1 = none); at most timeout_ms. */
int screen_wait(struct screen *screen, int fd, int64_t timeout_ms);

/* The next key; KEY_NONE when there is none. */
int screen_key(struct screen *screen);

#endif
