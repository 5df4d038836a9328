#include "row.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "policy/restart.h"

static struct config *load(const char *text)
{
	AUTO(mem_free_str) char *error = NULL;
	struct config *c = NULL;
	int r = config_load_text("t.ini", text, strlen(text), &c, &error);

	expect(r == 0 && c, "%s\n%d, %s", text, r, error ? error : "");
	return c;
}

static void test_no_file_gives_the_defaults(void **state)
{
	AUTO(config_free) struct config *c = load("");

	(void)state;
	assert_string_equal(c->daemon.state_dir, "/var/lib/proctor");
	assert_string_equal(c->daemon.run_dir, "/run/proctor");
	assert_string_equal(c->daemon.user, "proctor");
	assert_string_equal(c->daemon.key_file, "");
	assert_int_equal(c->daemon.log_level, LOG_LEVEL_INFO);
	assert_int_equal(c->daemon.drain_timeout_ms, 30000);
	assert_string_equal(c->database.url, "embedded");
	assert_false(c->database.shared);
	assert_string_equal(c->control.socket, "");
	assert_int_equal(c->control.mode, 0660);
	assert_int_equal(c->control.max_clients, 64);
	assert_int_equal(c->retention.events_ms, INT64_C(2592000000));
	assert_int_equal(c->daemon.stalled_after_ms, 900000);
	assert_int_equal(c->nlimits, 0);
	assert_int_equal(c->ngroups, 1);
	assert_string_equal(config_root(c)->name, "root");
	assert_string_equal(config_root(c)->group, "");
	assert_int_equal(config_root(c)->strategy, CONFIG_ONE_FOR_ONE);
	assert_int_equal(config_root(c)->intensity, 5);
	assert_int_equal(config_root(c)->period_ms, 60000);
	assert_int_equal(c->npools, 1);
	assert_string_equal(c->pools[0].name, "probe");
	assert_int_equal(c->pools[0].command.len, 0);
	assert_int_equal(c->pools[0].size, 2);
	assert_int_equal(c->pools[0].capacity, 500);
	assert_int_equal(c->pools[0].job_timeout_ms, 300000);
	assert_int_equal(c->pools[0].restart_delay_ms, 500);
	assert_string_equal(c->pools[0].group, "root");
	assert_int_equal(c->pools[0].providers.len, 0);
	assert_int_equal(c->pools[0].max_jobs, 0);
	assert_int_equal(c->pools[0].max_age_ms, 0);
	assert_int_equal(c->pools[0].max_rss_bytes, 0);
	assert_int_equal(c->pools[0].memory_limit_bytes, 0);
	assert_int_equal(c->pools[0].cpu_limit_ms, 0);
	assert_int_equal(c->nservices, 0);
	assert_int_equal(c->retry.max_tries, 4);
	assert_int_equal(c->retry.rate_limit_patience_ms, 21600000);
}

static void test_each_provider_has_its_own_defaults(void **state)
{
	static const struct {
		const char *name, *key_env;
		int64_t requests_per_minute, span_ms, tokens, input_tokens, output_tokens;
	} rows[CONFIG_PROVIDERS] = {
		{ "openai", "OPENAI_API_KEY", 500, 60000, 30000, 0, 0 },
		{ "anthropic", "ANTHROPIC_API_KEY", 50, 60000, 0, 40000, 8000 },
		{ "google", "GOOGLE_API_KEY", 15, 60000, 0, 0, 0 },
		{ "xai", "XAI_API_KEY", 480, 60000, 0, 0, 0 },
		{ "deepseek", "DEEPSEEK_API_KEY", 0, 60000, 0, 0, 0 },
		{ "mistral", "MISTRAL_API_KEY", 60, 1000, 0, 0, 0 },
		{ "simulated", "", 0, 60000, 0, 0, 0 },
	};
	AUTO(config_free) struct config *c = load("[provider:google]\nconcurrency = 3\n");

	(void)state;
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		const struct config_provider *p = config_find_provider(c, rows[i].name);

		expect(p == &c->providers[i], "%s", rows[i].name);
		expect(!strcmp(p->key_env, rows[i].key_env) &&
			       p->requests_per_minute == rows[i].requests_per_minute,
		       "%s: %s, %lld", p->name, p->key_env, (long long)p->requests_per_minute);
		expect(p->concurrency == (i == 2 ? 3 : 100), "%s: %d", p->name, p->concurrency);
		expect(p->requests_span_ms == rows[i].span_ms && p->tokens_per_minute == rows[i].tokens &&
			       p->input_tokens_per_minute == rows[i].input_tokens &&
			       p->output_tokens_per_minute == rows[i].output_tokens,
		       "%s: span or tokens", p->name);
		expect(p->requests_per_day == 0 && p->budget_day_e10 == 0 && p->ramp_ms == 10000 &&
			       p->health_interval_ms == 300000 && p->recheck_ms == 900000,
		       "%s: what all have", p->name);
	}
	assert_null(config_find_provider(c, "acme"));
	assert_null(config_provider_names[CONFIG_PROVIDERS]);
}

static void test_a_file_fills_the_structs(void **state)
{
	AUTO(config_free)
	struct config *c = load("[daemon]\nstate_dir = /s\nlog_level = debug\n"
				"[database]\nurl = postgresql://u:pw@h/db ; by hand\n"
				"[control]\nmode = 0600\n"
				"[group:root]\nstrategy = rest_for_one\nintensity = 1\n"
				"[pool:fast]\ncommand = python3 -u 'my worker.py'\n  --serve\nsize = 4\n"
				"environment = A=1 B='2 3'\nrequire_healthy = yes\n"
				"providers = openai google\nmax_jobs = 1000\nmax_age = 6h\nmax_rss = 256M\n"
				"memory_limit = 1G\ncpu_limit = 1h\n"
				"[pool:slow]\n"
				"[service:sim]\ncommand = /bin/sim\ntype = transient\nready = command\n"
				"ready_command = /bin/is 'sim up'\nready_interval = 50ms\nstop_signal = INT\n"
				"death_signal = QUIT\nmemory_limit = 64M\ncpu_limit = 90s\n"
				"[provider:xai]\nbase_url = http://127.0.0.1:9/xai\nrequests_per_minute = 0\n"
				"budget_usd_per_day = 2.5\nrequests_window = 1s\n"
				"[retry]\nmax_tries = 1\n");
	const struct config_pool *fast = config_find_pool(c, "fast");
	const struct config_service *sim = config_find_service(c, "sim");

	(void)state;
	assert_string_equal(c->path, "t.ini");
	assert_string_equal(c->daemon.state_dir, "/s");
	assert_int_equal(c->daemon.log_level, LOG_LEVEL_DEBUG);
	assert_string_equal(c->database.url, "postgresql://u:pw@h/db");
	assert_int_equal(c->control.mode, 0600);
	assert_int_equal(config_root(c)->strategy, CONFIG_REST_FOR_ONE);
	assert_int_equal(config_root(c)->intensity, 1);
	assert_int_equal(c->npools, 2);
	assert_non_null(config_find_pool(c, "slow"));
	assert_null(config_find_pool(c, "probe"));
	assert_int_equal(fast->command.len, 4);
	assert_string_equal(fast->command.words[2], "my worker.py");
	assert_string_equal(fast->command.words[3], "--serve");
	assert_null(fast->command.words[4]);
	assert_int_equal(fast->size, 4);
	assert_true(fast->require_healthy);
	assert_string_equal(fast->environment.words[1], "B=2 3");
	assert_int_equal(sim->type, RESTART_TRANSIENT);
	assert_string_equal(fast->providers.words[1], "google");
	assert_int_equal(fast->max_jobs, 1000);
	assert_int_equal(fast->max_age_ms, 21600000);
	assert_int_equal(fast->max_rss_bytes, 268435456);
	assert_int_equal(fast->memory_limit_bytes, 1073741824);
	assert_int_equal(fast->cpu_limit_ms, 3600000);
	assert_int_equal(sim->ready_ms, CONFIG_READY_COMMAND);
	assert_string_equal(sim->ready_command.words[1], "sim up");
	assert_int_equal(sim->ready_interval_ms, 50);
	assert_int_equal(sim->stop_signal, SIGINT);
	assert_int_equal(sim->memory_limit_bytes, 67108864);
	assert_int_equal(sim->cpu_limit_ms, 90000);
	assert_int_equal(sim->death_signal, SIGQUIT);
	assert_string_equal(config_find_provider(c, "xai")->base_url, "http://127.0.0.1:9/xai");
	assert_int_equal(config_find_provider(c, "xai")->requests_per_minute, 0);
	assert_int_equal(config_find_provider(c, "xai")->budget_day_e10, INT64_C(25000000000));
	assert_int_equal(config_find_provider(c, "xai")->requests_span_ms, 1000);
	assert_int_equal(c->retry.max_tries, 1);
	assert_null(config_find_service(c, "fast"));
}

#define SECTIONS                                                                                             \
	"[daemon], [database], [spool], [retention], [control], [group:NAME], [pool:NAME], [service:NAME], " \
	"[provider:NAME], [limit:PROVIDER/GLOB], [retry], [metrics], [alert:NAME]"

static const struct {
	const char *text;
	const char *want_error;
} bad[] = {
	{ "[deamon]\n", "t.ini:1: [deamon]: unknown section; allowed are " SECTIONS "; the nearest: daemon" },
	{ "[xyzzyx]\n", "t.ini:1: [xyzzyx]: unknown section; allowed are " SECTIONS },
	{ "[pool]\n",
	  "t.ini:1: [pool]: unknown section; allowed are " SECTIONS "; the nearest: pool, spool" },
	{ "[daemon:x]\n",
	  "t.ini:1: [daemon:x]: unknown section; allowed are " SECTIONS "; the nearest: daemon" },
	{ "[pool:]\n", "t.ini:1: [pool:]: a name has 1 to 32 of a-z 0-9 _ -, a letter first" },
	{ "[pool:A]\n", "t.ini:1: [pool:A]: a name has 1 to 32 of a-z 0-9 _ -, a letter first" },
	{ "[service:9]\n", "t.ini:1: [service:9]: a name has 1 to 32 of a-z 0-9 _ -, a letter first" },
	{ "[service:../x]\n", "t.ini:1: [service:../x]: a name has 1 to 32 of a-z 0-9 _ -, a letter first" },
	{ "[group:9]\n", "t.ini:1: [group:9]: a name has 1 to 32 of a-z 0-9 _ -, a letter first" },
	{ "[provider:opnai]\n",
	  "t.ini:1: [provider:opnai]: unknown provider; allowed are openai, anthropic, google, "
	  "xai, deepseek, mistral, simulated; the nearest: openai" },
	{ "\n[control]\nsoket = /x\n",
	  "t.ini:3: [control] soket: unknown key; allowed are socket, mode, group, read, operate, "
	  "admin, max_clients; the nearest: socket" },
	{ "[retry]\ndelay = 1s\n",
	  "t.ini:2: [retry] delay: unknown key; allowed are max_tries, base_delay, max_delay, "
	  "rate_limit_patience; the nearest: max_delay, base_delay" },
	{ "[retry]\nzzz = 1s\n",
	  "t.ini:2: [retry] zzz: unknown key; allowed are max_tries, base_delay, max_delay, "
	  "rate_limit_patience" },
	{ "[pool:probe]\nsize = 0\n",
	  "t.ini:2: [pool:probe] size: '0' is not a whole number from 1 to 1024" },
	{ "[pool:probe]\nsize = two\n",
	  "t.ini:2: [pool:probe] size: 'two' is not a whole number from 1 to 1024" },
	{ "[pool:probe]\nsize =\n",
	  "t.ini:2: [pool:probe] size: empty; allowed is a whole number from 1 to 1024" },
	{ "[database]\nurl = secret\n", "t.ini:2: [database] url: not usable; allowed is embedded, "
					"postgresql://…, or a libpq connection string" },
	{ "[database]\n\nshared = yes\n",
	  "t.ini:3: [database] shared: yes needs a server that all nodes reach, but url is embedded: name "
	  "one there" },
	{ "[service:sim]\ntype = temporary\n",
	  "t.ini:1: [service:sim] command: empty; a service must have a program to run" },
	{ "[service:sim]\ncommand =\n",
	  "t.ini:2: [service:sim] command: empty; a service must have a program to run" },
	{ "[service:sim]\ncommand = x\nready = command\n",
	  "t.ini:1: [service:sim] ready_command: empty; with ready = command it must have a program to run" },
	{ "[service:sim]\ncommand = x\nready = fd\nready_command = y\n",
	  "t.ini:4: [service:sim] ready_command: would never run; set ready = command, or remove it" },
	{ "[group:root]\nintensity = 0\n",
	  "t.ini:2: [group:root] intensity: '0' is not a whole number from 1 to 10000" },
	{ "[pool:probe]\nmax_rss = 256\n",
	  "t.ini:2: [pool:probe] max_rss: '256' is not 0, or a size from 1M to 1T, as 256M or 2G" },
	{ "[pool:p]\nrestart_delay = 2m\n",
	  "t.ini:2: [pool:p] restart_delay: restart_delay is 2m and restart_delay_max "
	  "is 1m; the first may not be above the second" },
	{ "[pool:p]\n\nrestart_delay_max = 100ms\n", "t.ini:3: [pool:p] restart_delay_max: restart_delay is "
						     "500ms and restart_delay_max is 100ms; the first may "
						     "not be above the second" },
	{ "[service:s]\ncommand = x\nrestart_delay = 61s\n",
	  "t.ini:3: [service:s] restart_delay: restart_delay is 61s and restart_delay_max is 1m; the first "
	  "may not be "
	  "above the second" },
	{ "[retry]\nbase_delay = 61s\n",
	  "t.ini:2: [retry] base_delay: base_delay is 61s and max_delay is 1m; the first "
	  "may not be above the second" },
	{ "[daemon]\nrun_dir = "
	  "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  "\n",
	  "t.ini:2: [daemon] run_dir: too long for a socket in it, whose path has at most 107 bytes; use a "
	  "shorter "
	  "one, or set socket in [control]" },
	{ "[metrics]\nlisten = 9469\n", "t.ini:2: [metrics] listen: \"9469\" is no ADDRESS:PORT; allowed is "
					"an IP address and a port, such as "
					"127.0.0.1:9469 or [::1]:9469" },
	{ "[metrics]\nlisten = localhost:9469\n", "t.ini:2: [metrics] listen: \"localhost:9469\" is no "
						  "ADDRESS:PORT; allowed is an IP address and a port, "
						  "such as 127.0.0.1:9469 or [::1]:9469" },
	{ "[metrics]\nallow_remote = no\nlisten = 0.0.0.0:9469\n",
	  "t.ini:3: [metrics] listen: 0.0.0.0:9469 can be reached from other machines, and whoever reaches "
	  "it "
	  "reads the metrics; use a loopback address, or set allow_remote = yes" },
	{ "[daemon]\nuser = a\nuser = b\n", "t.ini:3: [daemon] user: given already, in line 2" },
};

static void test_metrics_are_served_to_this_machine_unless_others_are_allowed(void **state)
{
	static const struct {
		const char *text, *listen;
	} rows[] = {
		{ "[metrics]\n", "" },
		{ "[metrics]\nlisten = 127.0.0.1:9469\n", "127.0.0.1:9469" },
		{ "[metrics]\nlisten = [::1]:9469\n", "[::1]:9469" },
		{ "[metrics]\nlisten = 0.0.0.0:9469\nallow_remote = yes\n", "0.0.0.0:9469" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *error = NULL;
		AUTO(config_free) struct config *c = NULL;
		int r = config_load_text("t.ini", rows[i].text, strlen(rows[i].text), &c, &error);

		expect(r == 0, "%s: %s", rows[i].text, error);
		expect(!strcmp(c->metrics.listen, rows[i].listen), "%s: %s", rows[i].text, c->metrics.listen);
	}
}

static void test_bad_content_is_one_line_that_says_how_to_mend_it(void **state)
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

static void test_a_missing_file_is_an_error_unless_it_is_the_default_one(void **state)
{
	AUTO(config_free) struct config *c = NULL;
	AUTO(mem_free_str) char *error = NULL;
	AUTO(mem_free_str) char *ignored = NULL;

	(void)state;
	assert_int_equal(config_load("/nonexistent/proctor.ini", &c, &error), -ENOENT);
	assert_null(c);
	assert_string_equal(error, "/nonexistent/proctor.ini: cannot be read: No such file or directory");
	if (access(CONFIG_DEFAULT_PATH, F_OK) == 0)
		return; /* a machine where it is installed: its content is not this test's */
	assert_int_equal(config_load(NULL, &c, &ignored), 0);
	assert_string_equal(c->path, "");
}

struct heard {
	struct buf text;
	const char *only; /* section */
};

static void hear_item(void *arg, const struct config_item *item)
{
	struct heard *h = arg;

	assert_true(item->help[0]);
	if (!strcmp(item->section, h->only))
		buf_putf(&h->text, "%s=%s@%d%s\n", item->key, item->value, item->line, item->live ? "!" : "");
}

static void test_walk_tells_value_source_and_live_but_no_secret(void **state)
{
	static const struct {
		const char *section, *want;
	} rows[] = {
		{ "database", "url=postgresql://u:***@h/db@2\nshared=no@0\n" },
		{ "retry", "max_tries=4@0!\nbase_delay=2s@4!\nmax_delay=1m@0!\nrate_limit_patience=6h@0!\n" },
		{ "control", "socket=@0\nmode=0660@0\ngroup=@0\nread=@0!\noperate=any@0!\nadmin=@0!\n"
			     "max_clients=64@0\n" },
	};
	AUTO(config_free)
	struct config *c = load(
		"[database]\nurl = postgresql://u:hunter2@h/db\n[retry]\nbase_delay = 2000ms\n");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct heard h = { .only = rows[i].section };

		config_walk(c, hear_item, &h);
		expect(!strcmp(buf_bytes(&h.text), rows[i].want), "%s:\n%s", rows[i].section,
		       buf_bytes(&h.text));
		buf_free(&h.text);
	}
}

static void hear_change(void *arg, const char *section, const char *key, bool live)
{
	buf_putf(arg, "[%s] %s%s\n", section, key, live ? "!" : "");
}

static void test_diff_names_what_changed(void **state)
{
	static const struct {
		const char *from, *to, *want;
	} rows[] = {
		{ "", "", "" },
		{ "", "[daemon]\nlog_level = info\n", "" },
		{ "", "[daemon]\nlog_level = debug\nuser = x\n", "[daemon] user\n[daemon] log_level!\n" },
		{ "[retry]\nbase_delay = 60s\n", "[retry]\nbase_delay = 1m\n", "" },
		{ "[database]\nurl = postgres://u:a@h/d\n", "[database]\nurl = postgres://u:b@h/d\n",
		  "[database] url\n" },
		{ "", "[pool:probe]\nsize = 3\n", "[pool:probe] size!\n" },
		{ "", "[pool:other]\n", "[pool:probe] !\n[pool:other] !\n" },
		{ "[service:s]\ncommand = x\n", "", "[service:s] !\n" },
		{ "", "[group:g]\n", "[group:g] !\n" },
		{ "[service:s]\ncommand = x\nready = fd\n", "[service:s]\ncommand = y\ngroup = root\n",
		  "[service:s] command!\n[service:s] ready!\n" },
		{ "[pool:a]\nproviders = xai\n[pool:b]\n", "[pool:b]\nsize = 9\n[pool:a]\nproviders = xai\n",
		  "[pool:b] size!\n" },
		{ "", "[provider:xai]\nrequests_per_minute = 5\nkey_env = K\n",
		  "[provider:xai] key_env!\n[provider:xai] requests_per_minute!\n" },
		{ "", "[provider:xai]\nbudget_usd_per_day = 0.00\ntokens_per_minute = 5\n",
		  "[provider:xai] tokens_per_minute!\n" },
		{ "", "[limit:xai/a*]\nconcurrency = 1\n", "[limit:xai/a*] !\n" },
		{ "[limit:xai/a*]\nconcurrency = 1\n", "[limit:xai/a*]\nrequests_per_day = 0\n",
		  "[limit:xai/a*] requests_per_day!\n[limit:xai/a*] concurrency!\n" },
		{ "[pool:probe]\nenvironment = A=1\n", "[pool:probe]\nenvironment = A=2\nmax_jobs = 3\n",
		  "[pool:probe] environment!\n[pool:probe] max_jobs!\n" },
		{ "[group:g]\n[pool:p]\n", "[group:g]\n[pool:p]\ngroup = g\n", "[pool:p] group\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(config_free) struct config *from = load(rows[i].from);
		AUTO(config_free) struct config *to = load(rows[i].to);
		AUTO(buf_free) struct buf heard = BUF_INIT(0);

		config_diff(from, to, hear_change, &heard);
		expect(!strcmp(buf_bytes(&heard), rows[i].want), "row %zu:\n%swanted\n%s", i,
		       buf_bytes(&heard), rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_file_gives_the_defaults),
		cmocka_unit_test(test_each_provider_has_its_own_defaults),
		cmocka_unit_test(test_a_file_fills_the_structs),
		cmocka_unit_test(test_metrics_are_served_to_this_machine_unless_others_are_allowed),
		cmocka_unit_test(test_bad_content_is_one_line_that_says_how_to_mend_it),
		cmocka_unit_test(test_a_missing_file_is_an_error_unless_it_is_the_default_one),
		cmocka_unit_test(test_walk_tells_value_source_and_live_but_no_secret),
		cmocka_unit_test(test_diff_names_what_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
