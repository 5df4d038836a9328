/* top: looks at the daemon again and again and draws what it sees.
 *
 * One question at a time is under way, and nothing but the screen is ever waited for, so that keys and
 * signals count at once even when the daemon hangs. A daemon that has gone is tried again at every interval.
 */

#include "ctl/top.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"
#include "ctl/screen.h"
#include "ctl/table.h"

enum {
	INTERVAL_MS = 1000,
	LOOKS = 30,	   /* kept, for rates */
	COST_FACTOR = 10,  /* at most a tenth of the daemon's time goes into our questions */
	ANSWER_MS = 10000, /* a daemon that is silent for so long is in trouble */
	CONNECT_MS = 1000,
	ONCE_APART_MS = 500,
};

#define ASK_ROW(id, name, cmd, args) [id] = { name, cmd, args },
static const struct {
	const char *name, *cmd, *args;
} asks[TOP_ASK_COUNT] = { TOP_ASKS(ASK_ROW) };
#undef ASK_ROW

struct top {
	struct ctl *ctl;
	struct screen *screen;
	struct conn *conn;
	int64_t interval_ms;
	struct top_look looks[LOOKS]; /* a ring; the newest whole one is at (count - 1) % LOOKS */
	size_t count;
	struct top_look coming;
	int asking; /* the question under way; -1 = none */
	int64_t asked_ms;
	int64_t next_ms; /* when to look again */
	char *trouble;
	struct top_picture picture;
	bool stale; /* what the screen shows is not the newest */
};

static void look_clear(struct top_look *look)
{
	for (size_t i = 0; i < TOP_ASK_COUNT; i++) {
		json_decref(look->data[i]);
		mem_free(&look->refused[i]);
	}
	*look = (struct top_look){ .at_ms = 0 };
}

static void forget(struct top *top)
{
	for (size_t i = 0; i < LOOKS; i++)
		look_clear(&top->looks[i]);
	top->count = 0;
}

/* ---- asking ---- */

/* `why` is taken: no connection is left. */
static void fail(struct top *top, char *why)
{
	conn_free(&top->conn);
	look_clear(&top->coming);
	mem_set_str(&top->trouble, why);
	top->asking = -1;
	top->next_ms = clock_now_ms() + top->interval_ms;
	top->stale = true;
}

static void ask(struct top *top, int number)
{
	json_t *args = json_loads(asks[number].args, 0, NULL);
	char *error = NULL;
	int r = conn_send(top->conn, asks[number].cmd, args, &error);

	json_decref(args);
	if (r < 0) {
		fail(top, error);
		return;
	}
	top->asking = number;
	top->asked_ms = clock_now_ms();
}

static void begin_look(struct top *top)
{
	char *error = NULL;

	if (!top->conn && conn_open(top->ctl->socket, CONNECT_MS, &top->conn, &error) < 0) {
		fail(top, error);
		return;
	}
	look_clear(&top->coming);
	top->coming.at_ms = clock_now_ms();
	top->coming.wall_ms = clock_wall_ms();
	ask(top, 0);
}

/* Counters of another process say nothing about rates. */
static bool is_another(const struct top_look *a, const struct top_look *b)
{
	return !json_equal(json_object_get(a->data[TOP_STATUS], "pid"),
			   json_object_get(b->data[TOP_STATUS], "pid"));
}

static void end_look(struct top *top)
{
	int64_t took_ms = clock_now_ms() - top->coming.at_ms;
	int64_t pause_ms = took_ms * COST_FACTOR > top->interval_ms ? took_ms * COST_FACTOR
								    : top->interval_ms;
	struct top_look *place;

	if (top->count > 0 && is_another(&top->coming, &top->looks[(top->count - 1) % LOOKS]))
		forget(top);
	place = &top->looks[top->count++ % LOOKS];
	look_clear(place);
	*place = top->coming;
	top->coming = (struct top_look){ .at_ms = 0 };
	top->asking = -1;
	top->next_ms = place->at_ms + pause_ms;
	mem_free(&top->trouble);
	top->stale = true;
}

static void take_answer(struct top *top)
{
	struct conn_reply reply;
	char *error = NULL;
	int r = conn_receive(top->conn, 0, &reply, &error);

	if (r == -ETIMEDOUT && clock_now_ms() - top->asked_ms < ANSWER_MS) {
		mem_free(&error);
		return;
	}
	if (r == -ETIMEDOUT)
		mem_set_str(&error, mem_printf("the daemon has not answered for %d s", ANSWER_MS / 1000));
	if (r < 0) {
		fail(top, error);
		return;
	}
	if (reply.ok)
		top->coming.data[top->asking] = json_incref(reply.data);
	else
		top->coming.refused[top->asking] = mem_strdup(reply.message);
	conn_reply_clear(&reply);
	if (top->asking + 1 < TOP_ASK_COUNT)
		ask(top, top->asking + 1);
	else
		end_look(top);
}

/* ---- drawing ---- */

static char *draw(struct top *top, const struct table_style *style, size_t height)
{
	size_t held = top->count < LOOKS ? top->count : LOOKS;

	top->picture.now = held ? &top->looks[(top->count - 1) % LOOKS] : NULL;
	top->picture.then = held > 1 ? &top->looks[(top->count - held) % LOOKS] : NULL;
	top->picture.trouble = top->trouble;
	return top_draw(style, height, &top->picture);
}

static void show(struct top *top)
{
	struct table_style style = { .color = top->ctl->color,
				     .width = screen_width(top->screen),
				     .now_wall_ms = clock_wall_ms() };
	AUTO(mem_free_str) char *text = draw(top, &style, screen_height(top->screen));

	screen_draw(top->screen, text);
	top->stale = false;
}

/* ---- keys ---- */

static void choose_view(struct top *top, enum top_view view)
{
	top->picture.view = view;
	top->picture.scroll = 0;
}

static void scroll(struct top *top, int64_t rows)
{
	int64_t to = (int64_t)top->picture.scroll + rows;

	top->picture.scroll = to > 0 ? (size_t)to : 0;
}

/* False when the user wants the end. */
static bool take_key(struct top *top, int key)
{
	struct top_order *order = &top->picture.orders[top->picture.view];
	int page = (int)screen_height(top->screen) / 2;

	if (key >= '1' && key < '1' + TOP_VIEW_COUNT) {
		choose_view(top, (enum top_view)(key - '1'));
		return true;
	}
	switch (key) {
	case 'q':
	case 'Q':
		return false;
	case KEY_TAB:
		choose_view(top, (enum top_view)((top->picture.view + 1) % TOP_VIEW_COUNT));
		break;
	case 's':
		order->column = (order->column + 1) % (top_column_count(top->picture.view) + 1);
		break;
	case 'r':
		order->reversed = !order->reversed;
		break;
	case ' ':
		top->next_ms = 0;
		break;
	case 'k':
	case KEY_UP:
		scroll(top, -1);
		break;
	case 'j':
	case KEY_DOWN:
		scroll(top, 1);
		break;
	case KEY_PAGE_UP:
		scroll(top, -page);
		break;
	case KEY_PAGE_DOWN:
		scroll(top, page);
		break;
	case KEY_HOME:
		top->picture.scroll = 0;
		break;
	default:
		break;
	}
	return true;
}

static bool take_keys(struct top *top)
{
	for (int key = screen_key(top->screen); key != KEY_NONE; key = screen_key(top->screen))
		if (!take_key(top, key))
			return false;
	return true;
}

/* ---- the loop ---- */

static int64_t wait_ms(const struct top *top)
{
	int64_t due_ms = top->asking >= 0 ? top->asked_ms + ANSWER_MS : top->next_ms;
	int64_t left_ms = due_ms - clock_now_ms();

	return left_ms > 0 ? left_ms : 0;
}

static void watch(struct top *top)
{
	bool going = true;

	while (going) {
		int met;

		if (top->asking < 0 && clock_now_ms() >= top->next_ms)
			begin_look(top);
		met = screen_wait(top->screen, top->conn ? conn_fd(top->conn) : -1, wait_ms(top));
		if (top->asking >= 0)
			take_answer(top);
		else if (met & SCREEN_OTHER)
			fail(top, mem_strdup("the daemon closed the connection"));
		if (met & SCREEN_KEYS)
			going = take_keys(top);
		going = going && !(met & SCREEN_ENDED);
		if (going && (top->stale || met & (SCREEN_KEYS | SCREEN_DRAW)))
			show(top);
	}
}

/* Ends as the signal would have ended us; Ctrl-C is as good as q. */
static int end_by(int signal_number)
{
	if (signal_number != 0 && signal_number != SIGINT) {
		(void)signal(signal_number, SIG_DFL);
		(void)raise(signal_number);
	}
	return CTL_OK;
}

static int watch_screen(struct top *top)
{
	int r = screen_open(&top->screen);

	if (r == -ENOTTY) {
		ctl_complain("`top` needs a terminal; `proctorctl top --once` prints one picture");
		return CTL_USAGE;
	}
	if (r < 0) {
		ctl_complain("cannot take the terminal over: %s", strerror(-r));
		return CTL_FAILED;
	}
	show(top);
	watch(top);
	return end_by(screen_close(&top->screen));
}

/* ---- one picture ---- */

/* A look that is waited for. */
static int look_once(struct top *top)
{
	look_clear(&top->coming);
	top->coming.at_ms = clock_now_ms();
	top->coming.wall_ms = clock_wall_ms();
	for (size_t i = 0; i < TOP_ASK_COUNT; i++) {
		json_t *args = json_loads(asks[i].args, 0, NULL);
		struct conn_reply reply;
		int code = ctl_ask(top->ctl, asks[i].cmd, args, &reply);

		json_decref(args);
		if (code != CTL_OK)
			return code;
		top->coming.data[i] = json_incref(reply.data);
		conn_reply_clear(&reply);
	}
	end_look(top);
	return CTL_OK;
}

static void print_look(const struct top *top)
{
	json_t *all = json_object();

	for (size_t i = 0; i < TOP_ASK_COUNT; i++)
		(void)json_object_set(all, asks[i].name, top->looks[0].data[i]);
	(void)json_dumpf(all, stdout,
			 (top->ctl->terminal ? JSON_INDENT(2) : JSON_COMPACT) | JSON_REAL_PRECISION(15));
	(void)putchar('\n');
	json_decref(all);
}

static int print_once(struct top *top)
{
	struct table_style style = table_style_of(top->ctl->color, top->ctl->terminal);
	AUTO(mem_free_str) char *text = NULL;
	int code = look_once(top);

	if (code == CTL_OK && top->ctl->json) {
		print_look(top);
		return CTL_OK;
	}
	/* Rates need two. */
	if (code == CTL_OK) {
		(void)usleep(ONCE_APART_MS * 1000);
		code = look_once(top);
	}
	if (code != CTL_OK)
		return code;
	text = draw(top, &style, 0);
	(void)fputs(text, stdout);
	return CTL_OK;
}

int action_top(struct ctl *ctl)
{
	const json_t *own = ctl->parsed->own;
	const char *view = json_string_value(json_object_get(own, "view"));
	int64_t interval_ms = json_integer_value(json_object_get(own, "interval"));
	struct top top = { .ctl = ctl, .asking = -1, .interval_ms = interval_ms ? interval_ms : INTERVAL_MS };
	int code;

	if (view)
		top.picture.view = top_find_view(view);
	code = ctl->json || json_is_true(json_object_get(own, "once")) ? print_once(&top)
								       : watch_screen(&top);
	conn_free(&top.conn);
	forget(&top);
	look_clear(&top.coming);
	mem_free(&top.trouble);
	return code;
}
