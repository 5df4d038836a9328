#include "ctl/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "ctl/text.h"

enum { KEYS_MAX = 64, WAIT_MAX_MS = 60000, WIDTH_DEFAULT = 80, HEIGHT_DEFAULT = 24 };

/* Another page, without cursor and without wrapping; and back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l\033[2J"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

struct screen {
	int signals; /* a signalfd */
	sigset_t old_mask;
	size_t width, height;
	unsigned char keys[KEYS_MAX];
	size_t key_count;
	int end_signal;
	bool ended;
};

/* For what must be undone in a signal handler too. */
static struct termios before;
static volatile sig_atomic_t entered;

static const int watched[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT };
static const int fatal[] = { SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL };

/* ---- the terminal's mode ---- */

static void put(const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, bytes, len);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
}

/* Keys come one at a time and unseen; Ctrl-C and Ctrl-Z stay signals. */
static void enter(void)
{
	struct termios raw = before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_iflag &= ~(tcflag_t)(IXON | ICRNL);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
	put(ENTER, sizeof(ENTER) - 1);
	entered = 1;
}

/* Calls only what a signal handler may. */
static void leave(void)
{
	if (!entered)
		return;
	entered = 0;
	put(LEAVE, sizeof(LEAVE) - 1);
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

static void on_fatal(int number)
{
	leave();
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

static void measure(struct screen *screen)
{
	struct winsize size;
	bool told = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;

	screen->width = told ? size.ws_col : WIDTH_DEFAULT;
	screen->height = told ? size.ws_row : HEIGHT_DEFAULT;
}

/* ---- open and close ---- */

int screen_open(struct screen **ret)
{
	struct screen *screen;
	sigset_t mask;

	if (isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1 || tcgetattr(STDIN_FILENO, &before) < 0)
		return -ENOTTY;
	screen = mem_alloc(sizeof(*screen));
	(void)sigemptyset(&mask);
	for (size_t i = 0; i < ARRAY_LEN(watched); i++)
		(void)sigaddset(&mask, watched[i]);
	(void)sigprocmask(SIG_BLOCK, &mask, &screen->old_mask);
	screen->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (screen->signals < 0) {
		int error = errno;

		(void)sigprocmask(SIG_SETMASK, &screen->old_mask, NULL);
		mem_free(&screen);
		return -error;
	}
	for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
		(void)signal(fatal[i], on_fatal);
	measure(screen);
	enter();
	*ret = screen;
	return 0;
}

int screen_close(struct screen **screen)
{
	struct screen *dead = *screen;
	int end_signal;

	if (!dead)
		return 0;
	*screen = NULL;
	leave();
	end_signal = dead->end_signal;
	fd_close(&dead->signals);
	(void)sigprocmask(SIG_SETMASK, &dead->old_mask, NULL);
	for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
		(void)signal(fatal[i], SIG_DFL);
	mem_free(&dead);
	return end_signal;
}

size_t screen_width(const struct screen *screen)
{
	return screen->width;
}

size_t screen_height(const struct screen *screen)
{
	return screen->height;
}

/* ---- drawing ---- */

void screen_draw(struct screen *screen, const char *text)
{
	AUTO(buf_free) struct buf out = BUF_INIT(0);

	/* The first sequence lets terminals that know it show the picture whole or not at all. */
	buf_puts(&out, "\033[?2026h\033[H");
	for (size_t row = 0; row < screen->height; row++) {
		size_t len = strcspn(text, "\n");
		AUTO(mem_free_str) char *line = mem_strndup(text, len);

		buf_putf(&out, "%s\033[K%.*s\033[0m", row ? "\r\n" : "",
			 (int)text_fit_colored(line, screen->width, NULL), line);
		text += len + (text[len] == '\n');
	}
	buf_puts(&out, "\033[?2026l");
	put(buf_bytes(&out), buf_len(&out));
}

/* ---- waiting ---- */

/* Stops as Ctrl-Z asks, with the terminal given back meanwhile. */
static int suspend(struct screen *screen)
{
	leave();
	(void)raise(SIGSTOP);
	enter();
	measure(screen);
	return SCREEN_DRAW;
}

static int take_signal(struct screen *screen, int number)
{
	switch (number) {
	case SIGWINCH:
		measure(screen);
		return SCREEN_DRAW;
	case SIGTSTP:
		return suspend(screen);
	case SIGCONT:
		enter();
		measure(screen);
		return SCREEN_DRAW;
	default:
		screen->end_signal = number;
		screen->ended = true;
		return SCREEN_ENDED;
	}
}

static int take_signals(struct screen *screen)
{
	struct signalfd_siginfo info;
	int met = 0;

	while (read(screen->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		met |= take_signal(screen, (int)info.ssi_signo);
	return met;
}

static int take_keys(struct screen *screen)
{
	ssize_t n = read(STDIN_FILENO, screen->keys + screen->key_count, KEYS_MAX - screen->key_count);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		screen->ended = true;
		return SCREEN_ENDED;
	}
	screen->key_count += (size_t)n;
	return SCREEN_KEYS;
}

int screen_wait(struct screen *screen, int fd, int64_t timeout_ms)
{
	struct pollfd fds[] = { { .fd = screen->signals, .events = POLLIN },
				{ .fd = STDIN_FILENO, .events = POLLIN },
				{ .fd = fd, .events = POLLIN } };
	int met = 0;

	if (timeout_ms > WAIT_MAX_MS)
		timeout_ms = WAIT_MAX_MS;
	if (poll(fds, ARRAY_LEN(fds), timeout_ms > 0 ? (int)timeout_ms : 0) <= 0)
		return 0;
	if (fds[0].revents)
		met |= take_signals(screen);
	if (fds[1].revents && screen->key_count < KEYS_MAX)
		met |= take_keys(screen);
	if (fds[2].revents)
		met |= SCREEN_OTHER;
	return met;
}

/* ---- keys ---- */

static const struct {
	const char *bytes;
	int key;
} sequences[] = {
	{ "\033[A", KEY_UP },	{ "\033[B", KEY_DOWN },	    { "\033OA", KEY_UP },
	{ "\033OB", KEY_DOWN }, { "\033[5~", KEY_PAGE_UP }, { "\033[6~", KEY_PAGE_DOWN },
	{ "\033[H", KEY_HOME }, { "\033[F", KEY_END },	    { "\033[1~", KEY_HOME },
	{ "\033[4~", KEY_END },
};

static void drop_keys(struct screen *screen, size_t count)
{
	screen->key_count -= count;
	memmove(screen->keys, screen->keys + count, screen->key_count);
}

int screen_key(struct screen *screen)
{
	int key;

	if (screen->key_count == 0)
		return KEY_NONE;
	for (size_t i = 0; i < ARRAY_LEN(sequences); i++) {
		size_t len = strlen(sequences[i].bytes);

		if (screen->key_count >= len && memcmp(screen->keys, sequences[i].bytes, len) == 0) {
			drop_keys(screen, len);
			return sequences[i].key;
		}
	}
	key = screen->keys[0];
	/* A sequence that is not known means nothing, and none of its letters does. */
	drop_keys(screen, key == '\033' ? screen->key_count : 1);
	return key == '\033' ? KEY_NONE : key;
}
