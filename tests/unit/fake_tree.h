#ifndef FAKE_TREE_H
#define FAKE_TREE_H

/* A supervision tree of leaves that run nothing: each notes what it is told in one trace, "+a" for a start
 * and "-a" for a stop ("!a" when hurried, "~a" when it starts again by itself), and answers as the test wants
 * it to. */

#include "row.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/suptree.h"
#include "io/loop.h"

enum { LEAVES = 16, TRACE = 4096, DEADLINE_MS = 5000 };

enum leaf_start { START_LATER, START_NOW, START_NEVER, START_FAILS, START_STUMBLES, START_BREAKS };
enum leaf_stop { STOP_LATER, STOP_NOW, STOP_WHEN_HURRIED };

struct fake_leaf {
	struct fake_tree *fake;
	char name[8];
	struct suptree_node *node;
	enum leaf_start start;
	enum leaf_stop stop;
	bool running, waiting; /* waiting: for its own restart */
	int forgotten;	       /* how often it was told to forget its failures */
};

struct fake_tree {
	struct loop *loop;
	struct suptree *tree;
	struct fake_leaf leaves[LEAVES];
	size_t count;
	char trace[TRACE];
	char told[TRACE]; /* "up", "down", and events as "kind:subject" */
	const char *wanted;
	int64_t give_up_ms;
	struct loop_timer *checker;
	size_t row; /* of a table, for the message */
};

static inline void fake_note(char *text, const char *mark, const char *what)
{
	size_t len = strlen(text);

	assert_true(len + strlen(what) + 4 < TRACE);
	(void)snprintf(text + len, TRACE - len, "%s%s%s", len ? " " : "", mark, what);
}

/* ---- a leaf ---- */

static inline void fake_restart(void *arg);

static inline void fake_came_up(void *arg)
{
	struct fake_leaf *leaf = arg;

	if (leaf->running)
		suptree_up(leaf->node);
}

/* Its life ends unasked; `counts` in the window of its group. */
static inline void fake_fail(struct fake_leaf *leaf, bool counts)
{
	assert_true(leaf->running);
	leaf->running = false;
	if (suptree_failed(leaf->node, counts, 1) == SUPTREE_YOURSELF) {
		leaf->waiting = true;
		loop_defer(leaf->fake->loop, fake_restart, leaf);
	}
}

static inline void fake_end(struct fake_leaf *leaf, bool parked)
{
	leaf->running = false;
	suptree_ended(leaf->node, parked);
}

static inline void fake_live(struct fake_leaf *leaf)
{
	assert_false(leaf->running);
	leaf->running = true;
	leaf->waiting = false;
	switch (leaf->start) {
	case START_LATER:
		loop_defer(leaf->fake->loop, fake_came_up, leaf);
		break;
	case START_NOW:
		suptree_up(leaf->node);
		break;
	case START_NEVER:
		break;
	case START_FAILS:
		fake_fail(leaf, true);
		break;
	case START_STUMBLES:
		suptree_stumbled(leaf->node, "it fell");
		break;
	case START_BREAKS:
		fake_end(leaf, true);
		break;
	}
}

static inline void fake_start(void *arg)
{
	struct fake_leaf *leaf = arg;

	fake_note(leaf->fake->trace, "+", leaf->name);
	fake_live(leaf);
}

static inline void fake_restart(void *arg)
{
	struct fake_leaf *leaf = arg;

	fake_note(leaf->fake->trace, "~", leaf->name);
	fake_live(leaf);
}

static inline void fake_went_down(void *arg)
{
	struct fake_leaf *leaf = arg;

	leaf->running = false;
	suptree_down(leaf->node);
}

static inline void fake_stop(void *arg, bool at_once)
{
	struct fake_leaf *leaf = arg;

	fake_note(leaf->fake->trace, at_once ? "!" : "-", leaf->name);
	loop_undefer(leaf->fake->loop, leaf);
	if (leaf->waiting || !leaf->running || leaf->stop == STOP_NOW) {
		leaf->waiting = false;
		fake_went_down(leaf);
	} else if (leaf->stop == STOP_LATER || at_once) {
		loop_defer(leaf->fake->loop, fake_went_down, leaf);
	}
}

static inline void fake_forget(void *arg)
{
	((struct fake_leaf *)arg)->forgotten++;
}

/* ---- the tree ---- */

static inline void fake_on_up(void *arg)
{
	fake_note(((struct fake_tree *)arg)->told, "", "up");
}

static inline void fake_on_down(void *arg)
{
	fake_note(((struct fake_tree *)arg)->told, "", "down");
}

static inline void fake_on_event(void *arg, const char *level, const char *kind, const char *subject,
				 const char *data)
{
	AUTO(mem_free_str) char *text = mem_printf("%s:%s", kind, subject ? subject : "");

	(void)level;
	(void)data;
	fake_note(((struct fake_tree *)arg)->told, "", text);
}

static inline bool fake_reached(const struct fake_tree *fake)
{
	return strcmp(fake->trace, fake->wanted) == 0;
}

static inline void fake_check(void *arg)
{
	struct fake_tree *fake = arg;

	if (fake_reached(fake) || clock_now_ms() > fake->give_up_ms)
		loop_stop(fake->loop);
	else
		loop_timer_start(fake->checker, 1);
}

static inline struct fake_tree *fake_new(enum strategy strategy, int intensity)
{
	const struct suptree_group root = {
		.name = "root", .strategy = strategy, .intensity = intensity, .period_ms = 60000
	};
	const struct suptree_pace pace = { .trial_ms = 20, .delay_ms = 1, .delay_max_ms = 2 };
	struct fake_tree *fake = mem_alloc(sizeof(*fake));
	const struct suptree_events events = {
		.up = fake_on_up, .down = fake_on_down, .event = fake_on_event, .arg = fake
	};

	assert_int_equal(loop_new(&fake->loop), 0);
	assert_int_equal(suptree_new(fake->loop, &root, &events, &fake->tree), 0);
	suptree_set_pace(fake->tree, &pace);
	loop_timer_new(fake->loop, fake_check, fake, &fake->checker);
	return fake;
}

static inline void fake_free(struct fake_tree *fake)
{
	suptree_free(&fake->tree);
	loop_timer_free(&fake->checker);
	loop_free(&fake->loop);
	mem_free(&fake);
}

/* `parent` NULL = the root. */
static inline struct suptree_node *fake_group(struct fake_tree *fake, struct suptree_node *parent,
					      const char *name, enum strategy strategy, int intensity)
{
	const struct suptree_group group = {
		.name = name, .strategy = strategy, .intensity = intensity, .period_ms = 60000
	};
	struct suptree_node *node;

	assert_int_equal(suptree_add_group(parent ? parent : suptree_root(fake->tree), &group, &node), 0);
	return node;
}

static inline struct fake_leaf *fake_leaf(struct fake_tree *fake, struct suptree_node *parent,
					  const char *name)
{
	struct fake_leaf *leaf = &fake->leaves[fake->count++];
	const struct suptree_leaf calls = {
		.start = fake_start, .stop = fake_stop, .forget = fake_forget, .leaf = leaf
	};

	assert_true(fake->count <= LEAVES);
	leaf->fake = fake;
	(void)snprintf(leaf->name, sizeof(leaf->name), "%s", name);
	suptree_add_leaf(parent ? parent : suptree_root(fake->tree), name, &calls, &leaf->node);
	return leaf;
}

/* Three leaves below `parent`, called a, b and c or by the letters from `first` on. */
static inline struct fake_leaf *fake_three(struct fake_tree *fake, struct suptree_node *parent, char first)
{
	struct fake_leaf *leaves = &fake->leaves[fake->count];

	for (char letter = first; letter < first + 3; letter++) {
		char name[2] = { letter, '\0' };

		(void)fake_leaf(fake, parent, name);
	}
	return leaves;
}

/* Runs until the trace is this, and forgets it: what comes after belongs to the next one. */
static inline void fake_expect(struct fake_tree *fake, const char *trace)
{
	fake->wanted = trace;
	fake->give_up_ms = clock_now_ms() + DEADLINE_MS;
	loop_timer_start(fake->checker, 0);
	loop_run(fake->loop);
	expect(strcmp(fake->trace, trace) == 0, "row %zu: \"%s\" in place of \"%s\"", fake->row, fake->trace,
	       trace);
	fake->trace[0] = '\0';
}

/* Turns of the loop in which whatever is deferred, or due at once, happens. */
static inline void fake_settle(struct fake_tree *fake)
{
	fake->wanted = "never to be seen";
	fake->give_up_ms = clock_now_ms() + 10;
	loop_timer_start(fake->checker, 0);
	loop_run(fake->loop);
}

static inline void fake_told(struct fake_tree *fake, const char *told)
{
	assert_string_equal(fake->told, told);
	fake->told[0] = '\0';
}

#endif
