/* Whether the limits of a group can be exceeded by the groups within it. Those of a pool and of a service are
 * in test_config_tree.c. */

#include "row.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "policy/backoff.h"

/* Fresh; "" = the text is accepted. */
static char *error_of(const char *text)
{
	char *error = NULL;
	struct config *c = NULL;
	int r = config_load_text("t.ini", text, strlen(text), &c, &error);

	expect((r == 0 && c && !error) || (r == -EINVAL && !c && error), "%s\n%d", text, r);
	config_free(&c);
	return error ? error : mem_strdup("");
}

#define IN_B "[service:s]\ncommand = x\ngroup = b\n"

static const struct {
	const char *what, *text, *want;
} rows[] = {
	{ "by starts that fail, only the delays of the group count",
	  "[group:a]\nintensity = 10\n[group:b]\ngroup = a\n" IN_B "ready = fd\n",
	  "t.ini:2: [group:a] intensity: can never be exceeded by [group:b]: its restarts spread 11 failures "
	  "over "
	  "121750ms at least, and period is 1m; set period to 122s or more, or intensity to 7 or less" },
	{ "by what has come up, the crashes that it bears count too",
	  "[group:b]\ngroup = a\n[group:a]\nperiod = 30s\n" IN_B,
	  "t.ini:3: [group:a] intensity: can never be exceeded by [group:b]: its restarts spread 6 failures "
	  "over "
	  "46500ms at least, and period is 30s; set period to 47s or more, intensity to 3 or less, or a "
	  "lower "
	  "intensity in [group:b]" },
	{ "with nothing given, it is told of the one within",
	  "[group:a]\n[group:b]\ngroup = a\n[group:c]\ngroup = b\n[service:s]\ncommand = x\ngroup = c\n",
	  "t.ini:2: [group:b] intensity: the intensity of [group:a] can never be exceeded by [group:b]: its "
	  "restarts spread 6 failures over 279s at least, and period is 1m; set period to 279s or more, "
	  "intensity "
	  "to 1 or less, or a lower intensity in [group:b]" },
	{ "the fastest of several is told of",
	  "[group:a]\nperiod = 100ms\n[group:c]\ngroup = a\n[service:t]\ncommand = x\ngroup = "
	  "c\n[group:b]\ngroup = "
	  "a\n" IN_B "restart_delay = 1ms\n",
	  "t.ini:1: [group:a] intensity: can never be exceeded by [group:b]: its restarts spread 6 failures "
	  "over "
	  "7830ms at least, and period is 100ms; set period to 8s or more, or a lower intensity in "
	  "[group:b]" },
	{ "no single key would do",
	  "[group:a]\nintensity = 10000\nperiod = 100ms\n[group:b]\ngroup = a\n" IN_B "ready = 1s\n",
	  "t.ini:2: [group:a] intensity: can never be exceeded by [group:b]: its restarts spread 10001 "
	  "failures over "
	  "299821750ms at least, and period is 100ms; set a lower intensity and a longer period" },

	{ "a service beside it can exceed them",
	  "[group:a]\nintensity = 10\n[group:b]\ngroup = a\n" IN_B
	  "[service:t]\ncommand = x\ngroup = a\nrestart_delay = 0\n",
	  "" },
	{ "a pool beside it can exceed them",
	  "[group:a]\nintensity = 10\n[group:b]\ngroup = a\n" IN_B
	  "[pool:p]\ngroup = a\nrestart_delay = 0\n[group:root]\n",
	  "" },
	{ "a service that is never restarted cannot",
	  "[group:a]\nperiod = 30s\n[group:b]\ngroup = a\n" IN_B
	  "[service:t]\ncommand = x\ngroup = a\ntype = temporary\n",
	  "t.ini:1: [group:a] intensity: can never be exceeded by [group:b]: its restarts spread 6 failures "
	  "over "
	  "46500ms at least, and period is 30s; set period to 47s or more, intensity to 3 or less, or a "
	  "lower "
	  "intensity in [group:b]" },
	{ "a group of what is never restarted never fails",
	  "[group:a]\nperiod = 100ms\n[group:b]\ngroup = a\n" IN_B "type = temporary\nready = fd\n", "" },
	{ "a group of pools never fails",
	  "[group:a]\nperiod = 100ms\n[group:b]\ngroup = a\n[pool:p]\ngroup = b\n", "" },
	{ "an empty group never fails", "[group:a]\nperiod = 100ms\n[group:b]\ngroup = a\n", "" },
	{ "defaults two deep", "[group:a]\n[group:b]\ngroup = a\n" IN_B, "" },
	{ "defaults four deep, by starts that fail",
	  "[group:a]\n[group:c]\ngroup = a\n[group:d]\ngroup = c\n[group:b]\ngroup = d\n" IN_B
	  "ready = command\nready_command = y\n",
	  "" },
};

static void test_limits_that_no_group_within_can_exceed_are_refused_with_the_remedy(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *error = error_of(rows[i].text);

		expect(!strcmp(error, rows[i].want), "%s: %s\nwanted\n%s", rows[i].what, error, rows[i].want);
	}
}

/* ---- the same by living through it ---- */

enum { DEEPEST = 3 };

/* Groups 0 … depth, each in the one before, and a service in the last: it fails at once in each life, and
 * at_boot before it has come up. */
struct chain {
	int depth;
	int intensity[DEEPEST + 1];
	int64_t delay_ms, max_ms;
	bool at_boot;
};

/* From the first failure of group 1 to the one that exceeds the limit of group 0. */
static int64_t live_through(const struct chain *chain)
{
	unsigned lives = 0, delays[DEEPEST + 2] = { 0 };
	int borne[DEEPEST + 1] = { 0 };
	int64_t now_ms = 0, first_ms = -1;

	for (;;) {
		int level = chain->depth;
		bool fails = ++borne[level] > chain->intensity[level] || (chain->at_boot && level > 0);

		lives++;
		while (fails && level > 0) {
			/* The group fails; what is below it begins anew. */
			for (int below = level; below <= chain->depth; below++) {
				borne[below] = 0;
				delays[below + 1] = 0;
			}
			lives = 0;
			delays[level]++;
			level--;
			if (level == 0 && first_ms < 0)
				first_ms = now_ms;
			fails = ++borne[level] > chain->intensity[level] || (chain->at_boot && level > 0);
		}
		if (fails)
			return now_ms - first_ms;
		now_ms += level == chain->depth ? backoff_delay_ms(chain->delay_ms, chain->max_ms, lives, 0)
						: backoff_delay_ms(500, 60000, delays[level + 1], 0);
	}
}

static bool is_accepted(const struct chain *chain, int64_t period_ms)
{
	AUTO(buf_free) struct buf text = BUF_INIT(0);
	AUTO(mem_free_str) char *error = NULL;

	buf_putf(&text, "[group:g0]\nintensity = %d\nperiod = %" PRId64 "ms\n", chain->intensity[0],
		 period_ms);
	for (int level = 1; level <= chain->depth; level++)
		buf_putf(&text, "[group:g%d]\ngroup = g%d\nintensity = %d\nperiod = 1d\n", level, level - 1,
			 chain->intensity[level]);
	buf_putf(&text,
		 "[service:s]\ncommand = x\ngroup = g%d\nready = %s\nrestart_delay = %" PRId64
		 "ms\nrestart_delay_max = %" PRId64 "ms\n",
		 chain->depth, chain->at_boot ? "fd" : "none", chain->delay_ms, chain->max_ms);
	error = error_of(buf_bytes(&text));
	return !*error;
}

static void test_limits_are_refused_exactly_where_a_life_of_crashes_is_slower(void **state)
{
	static const struct chain chains[] = {
		{ 1, { 5, 5 }, 500, 60000, false },	 { 1, { 5, 5 }, 500, 60000, true },
		{ 1, { 1, 1 }, 500, 60000, false },	 { 1, { 1, 9 }, 10, 50, false },
		{ 1, { 20, 3 }, 777, 5000, false },	 { 1, { 12, 3 }, 777, 5000, true },
		{ 2, { 5, 5, 5 }, 500, 60000, false },	 { 2, { 5, 5, 5 }, 500, 60000, true },
		{ 2, { 3, 1, 2 }, 0, 0, false },	 { 2, { 2, 7, 1 }, 60000, 60000, false },
		{ 3, { 2, 3, 1, 2 }, 100, 1000, false }, { 3, { 9, 1, 1, 1 }, 500, 60000, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		int64_t least = live_through(&chains[i]);

		expect(least > 100, "row %zu: %" PRId64 " ms tell nothing", i, least);
		expect(is_accepted(&chains[i], least), "row %zu: refused at %" PRId64 " ms", i, least);
		expect(!is_accepted(&chains[i], least - 1), "row %zu: accepted under %" PRId64 " ms", i,
		       least);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits_that_no_group_within_can_exceed_are_refused_with_the_remedy),
		cmocka_unit_test(test_limits_are_refused_exactly_where_a_life_of_crashes_is_slower),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
