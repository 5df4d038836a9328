/* What a config says about the tree as a whole: groups, the order of children, names, bulkheads, and whether
 * the intensity can be used up. */

#include "row.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "policy/backoff.h"

static struct config *load(const char *text)
{
	AUTO(mem_free_str) char *error = NULL;
	struct config *c = NULL;
	int r = config_load_text("t.ini", text, strlen(text), &c, &error);

	expect(r == 0 && c, "%s\n%d, %s", text, r, error ? error : "");
	return c;
}

static void test_children_come_in_the_order_of_their_sections(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "probe:root " },
		{ "[service:s]\ncommand = x\n", "s:root probe:root " },
		{ "[group:root]\n[pool:a]\n", "a:root " },
		{ "[service:b]\ncommand = x\ngroup = g\n[pool:a]\n[group:g]\ngroup = "
		  "h\n[group:root]\n[service:c]\n"
		  "command = x\n[group:h]\n",
		  "b:g a:root g:h c:root h:root " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(config_free) struct config *c = load(rows[i].text);
		AUTO(buf_free) struct buf got = BUF_INIT(0);

		for (size_t k = 0; k < c->nchildren; k++)
			buf_putf(&got, "%s:%s ", config_child_name(c, &c->children[k]),
				 config_child_group(c, &c->children[k]));
		expect(!strcmp(buf_bytes(&got), rows[i].want), "row %zu: %s", i, buf_bytes(&got));
		expect(c->nchildren == c->ngroups - 1 + c->npools + c->nservices, "row %zu: %zu", i,
		       c->nchildren);
	}
}

static void test_children_point_at_what_they_are(void **state)
{
	AUTO(config_free)
	struct config *c = load("[pool:a]\n[group:g]\nstrategy = one_for_all\nintensity = 3\nperiod = 10s\n"
				"[service:s]\ncommand = x\n[service:t]\ncommand = y\n");

	(void)state;
	assert_int_equal(c->nchildren, 4);
	assert_int_equal(c->children[0].kind, CHILD_POOL);
	assert_int_equal(c->children[0].index, 0);
	assert_int_equal(c->children[1].kind, CHILD_GROUP);
	assert_int_equal(c->children[1].index, 1);
	assert_int_equal(c->children[3].kind, CHILD_SERVICE);
	assert_int_equal(c->children[3].index, 1);
	assert_ptr_equal(config_find_group(c, "g"), &c->groups[1]);
	assert_ptr_equal(config_find_group(c, "root"), config_root(c));
	assert_null(config_find_group(c, "a"));
	assert_int_equal(c->groups[1].strategy, CONFIG_ONE_FOR_ALL);
	assert_int_equal(c->groups[1].intensity, 3);
	assert_int_equal(c->groups[1].period_ms, 10000);
	assert_string_equal(c->groups[1].group, "root");
}

static void test_each_provider_has_the_pool_that_names_it_or_the_one_for_the_rest(void **state)
{
	static const struct {
		const char *text;
		const char *want[CONFIG_PROVIDERS]; /* in the order of config_provider_names */
	} rows[] = {
		{ "", { "probe", "probe", "probe", "probe", "probe", "probe", "probe" } },
		{ "[pool:a]\nproviders = openai simulated\n[pool:b]\n",
		  { "a", "b", "b", "b", "b", "b", "a" } },
		{ "[pool:a]\n[pool:b]\nproviders = xai\n[pool:c]\nproviders = google deepseek\n",
		  { "a", "a", "c", "b", "c", "a", "a" } },
		{ "[pool:a]\nproviders = openai anthropic google\n[pool:b]\nproviders = xai deepseek mistral "
		  "simulated\n",
		  { "a", "a", "a", "b", "b", "b", "b" } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(config_free) struct config *c = load(rows[i].text);

		for (size_t k = 0; k < CONFIG_PROVIDERS; k++) {
			const struct config_pool *pool = config_pool_of(c, config_provider_names[k]);

			expect(pool && !strcmp(pool->name, rows[i].want[k]), "row %zu: %s is run by %s", i,
			       config_provider_names[k], pool ? pool->name : "none");
		}
	}
}

static const struct {
	const char *text;
	const char *want_error;
} bad[] = {
	/* names */
	{ "[pool:postgres]\n",
	  "t.ini:1: [pool:postgres]: the name postgres is the daemon's own; choose another" },
	{ "\n[service:store]\ncommand = x\n",
	  "t.ini:2: [service:store]: the name store is the daemon's own; choose another" },
	{ "[pool:root]\n", "t.ini:1: [pool:root]: the name root is the daemon's own; choose another" },
	{ "[group:store]\n", "t.ini:1: [group:store]: the name store is the daemon's own; choose another" },
	{ "[pool:x]\n[service:x]\ncommand = x\n", "t.ini:2: [service:x]: the name is taken by [pool:x]; "
						  "groups, pools and services must have different "
						  "names" },
	{ "[service:x]\ncommand = x\n[group:x]\n[pool:x]\n",
	  "t.ini:3: [group:x]: the name is taken by [service:x]; groups, pools and services must have "
	  "different names" },
	{ "[service:probe]\ncommand = x\n",
	  "t.ini: [pool:probe]: the name is taken by [service:probe]; groups, pools and services must have "
	  "different names" },
	{ "[group:x]\n[group:x]\n", "t.ini:2: [group:x] is there already, in line 1; put its keys together" },
	/* groups */
	{ "[group:root]\ngroup = x\n",
	  "t.ini:2: [group:root] group: root is the top of the tree and stands in no group; remove it" },
	{ "[group:front]\n[pool:p]\ngroup = fornt\n",
	  "t.ini:3: [pool:p] group: there is no [group:fornt]; add it, or name another; the nearest: front" },
	{ "[service:s]\ncommand = x\n\ngroup = zzzzzz\n",
	  "t.ini:4: [service:s] group: there is no [group:zzzzzz]; add it, or name another" },
	{ "[pool:p]\ngroup = p\n",
	  "t.ini:2: [pool:p] group: there is no [group:p]; add it, or name another" },
	{ "[group:g]\ngroup =\n", "t.ini:2: [group:g] group: empty; allowed is root, or another group" },
	{ "[group:a]\ngroup = a\n", "t.ini:2: [group:a] group: a cycle: a in a; put one of them in root" },
	{ "[group:a]\ngroup = b\n[group:b]\ngroup = c\n[group:c]\ngroup = a\n",
	  "t.ini:2: [group:a] group: a cycle: a in b in c in a; put one of them in root" },
	{ "[group:a]\ngroup = b\n[group:b]\ngroup = c\n[group:c]\ngroup = b\n",
	  "t.ini:4: [group:b] group: a cycle: b in c in b; put one of them in root" },
	/* bulkheads */
	{ "[pool:a]\nproviders = openai opnai\n",
	  "t.ini:2: [pool:a] providers: 'openai opnai' is not empty, or any of openai, anthropic, google, "
	  "xai, deepseek, mistral, simulated" },
	{ "[pool:a]\nproviders = xai openai xai\n",
	  "t.ini:2: [pool:a] providers: xai stands in it twice; remove one" },
	{ "[pool:a]\nproviders = openai xai\n[pool:b]\n[pool:c]\nproviders = xai\n",
	  "t.ini:5: [pool:c] providers: xai is named by [pool:a] too; a provider has one pool" },
	{ "[pool:a]\n[pool:b]\nproviders = xai\n[pool:c]\n",
	  "t.ini:4: [pool:c] providers: empty, as in [pool:a]; only one pool may leave it empty and so run "
	  "what "
	  "no other names" },
	{ "[pool:a]\nproviders = openai xai\n[pool:b]\nproviders = google anthropic deepseek\n",
	  "t.ini:4: [pool:b] providers: no pool runs mistral, simulated; add what is missing, or leave "
	  "providers empty in one pool" },
	{ "[pool:a]\nproviders = openai anthropic google xai deepseek mistral simulated\n[pool:b]\n",
	  "t.ini:3: [pool:b] providers: empty, but other pools name every provider, so it would have nothing "
	  "to "
	  "do; name some here, or remove the pool" },
	/* intensities that a crash loop cannot use up */
	{ "[group:root]\nintensity = 10\n[service:s]\ncommand = x\n",
	  "t.ini:2: [group:root] intensity: can never be exceeded by [service:s]: its restart_delay spreads "
	  "11 "
	  "failures over 121750ms at least, and period is 1m; set period to 122s or more, intensity to 7 or "
	  "less, or a shorter restart_delay" },
	{ "[group:root]\nperiod = 500ms\n[pool:p]\nsize = 1\n",
	  "t.ini:1: [group:root] intensity: can never be exceeded by [pool:p]: its restart_delay spreads 6 "
	  "failures over 7750ms at least, and period is 500ms; set period to 8s or more, intensity to 1 or "
	  "less, "
	  "or a shorter restart_delay" },
	{ "[pool:p]\nrestart_delay = 1m\nsize = 1\n", "t.ini:2: [pool:p] restart_delay: the intensity of "
						      "[group:root] can never be exceeded by [pool:p]: its "
						      "restart_delay spreads 6 failures over 150s at least, "
						      "and period is 1m; set period to 150s or more, "
						      "intensity to 2 or less, or a shorter restart_delay" },
	{ "[group:g]\nintensity = 1\nperiod = 29s\n[service:s]\ncommand = x\ngroup = g\nrestart_delay = 1m\n",
	  "t.ini:2: [group:g] intensity: can never be exceeded by [service:s]: its restart_delay spreads 2 "
	  "failures over 30s at least, and period is 29s; set period to 30s or more, or a shorter "
	  "restart_delay" },
};

static void test_what_could_never_work_is_refused_with_its_remedy(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO(mem_free_str) char *error = NULL;
		struct config *c = NULL;
		int r = config_load_text("t.ini", bad[i].text, strlen(bad[i].text), &c, &error);

		expect(r == -EINVAL && !c, "%s: %d", bad[i].text, r);
		expect(!strcmp(error, bad[i].want_error), "%s\n%s\nwanted\n%s", bad[i].text, error,
		       bad[i].want_error);
	}
}

/* The time from the first failure to the one that exceeds the intensity, by the back-off itself with the
 * least of its jitter, and all slots failing side by side. */
static int64_t least_ms(int slots, int intensity, int64_t delay_ms, int64_t max_ms)
{
	int limit = intensity > slots / 2 ? intensity : slots / 2;
	int64_t now_ms = 0;
	int failures = 0;

	for (unsigned round = 1;; round++) {
		failures += slots;
		if (failures > limit)
			return now_ms;
		now_ms += backoff_delay_ms(delay_ms, max_ms, round, 0);
	}
}

/* One ini, once with the pool as a pool, once (a single slot) as a service. */
static bool is_accepted(bool service, int slots, int intensity, int64_t delay_ms, int64_t max_ms,
			int64_t period_ms)
{
	AUTO(mem_free_str) char *size = service ? mem_strdup("command = x") : mem_printf("size = %d", slots);
	AUTO(mem_free_str)
	char *text = mem_printf(
		"[group:root]\nintensity = 10000\nperiod = 1d\n[pool:probe]\nrestart_delay = 0\n"
		"[group:g]\nintensity = %d\nperiod = %" PRId64 "ms\n[%s]\n%s\ngroup = g\n%s"
		"restart_delay = %" PRId64 "ms\nrestart_delay_max = %" PRId64 "ms\n",
		intensity, period_ms, service ? "service:s" : "pool:s", size,
		service ? "" : "providers = xai\n", delay_ms, max_ms);
	AUTO(mem_free_str) char *error = NULL;
	AUTO(config_free) struct config *c = NULL;

	return config_load_text("t.ini", text, strlen(text), &c, &error) == 0;
}

static void test_an_intensity_is_refused_exactly_where_the_back_off_is_slower(void **state)
{
	static const struct {
		int slots, intensity;
		int64_t delay_ms, max_ms;
	} rows[] = {
		{ 1, 5, 500, 60000 },  { 2, 5, 500, 60000 },   { 1, 10, 500, 60000 }, { 3, 20, 500, 2000 },
		{ 1, 1, 1001, 1001 },  { 50, 5, 500, 60000 },  { 50, 80, 333, 5000 }, { 7, 7, 60000, 60000 },
		{ 1, 300, 400, 1000 }, { 4, 1000, 999, 1500 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t least = least_ms(rows[i].slots, rows[i].intensity, rows[i].delay_ms, rows[i].max_ms);
		int64_t period = least < 100 ? 100 : least;

		for (int service = 0; service <= (rows[i].slots == 1); service++) {
			expect(is_accepted(service, rows[i].slots, rows[i].intensity, rows[i].delay_ms,
					   rows[i].max_ms, period),
			       "row %zu: refused at %" PRId64 " ms", i, period);
			expect(least <= 100 || !is_accepted(service, rows[i].slots, rows[i].intensity,
							    rows[i].delay_ms, rows[i].max_ms, least - 1),
			       "row %zu: accepted under %" PRId64 " ms", i, least);
		}
	}
}

static void test_the_defaults_can_be_reached_by_a_crash_loop(void **state)
{
	static const char *const texts[] = {
		"[pool:p]\nsize = 1\n",
		"[pool:p]\nsize = 2\n",
		"[pool:p]\nsize = 1024\n",
		"[service:s]\ncommand = x\n",
		"[service:s]\ncommand = x\ntype = transient\ngroup = g\n[group:g]\n",
		/* What is never restarted has no crash loop. */
		"[service:s]\ncommand = x\ntype = temporary\nrestart_delay = 1h\nrestart_delay_max = 1h\n",
		"[pool:p]\nrestart_delay = 0\n[group:root]\nintensity = 10000\nperiod = 100ms\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		AUTO(config_free) struct config *c = load(texts[i]);

		assert_non_null(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_children_come_in_the_order_of_their_sections),
		cmocka_unit_test(test_children_point_at_what_they_are),
		cmocka_unit_test(test_each_provider_has_the_pool_that_names_it_or_the_one_for_the_rest),
		cmocka_unit_test(test_what_could_never_work_is_refused_with_its_remedy),
		cmocka_unit_test(test_an_intensity_is_refused_exactly_where_the_back_off_is_slower),
		cmocka_unit_test(test_the_defaults_can_be_reached_by_a_crash_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
