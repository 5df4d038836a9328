#include "core/provider_check.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "io/http.h"
#include "io/jsontext.h"
#include "io/loop.h"
#include "policy/jitter.h"

enum {
	TIMEOUT_MS = 10000,
	FIRST_MS = 2000,    /* at the most from a start or a reload to the first look */
	FAILING_MS = 15000, /* between looks at what fails, unless health_interval is shorter */
	AGAIN_MS = 1000,    /* when it is due and still under way */
};

/* Of one provider. */
struct check {
	struct provider_checks *all;
	const struct check_page *page; /* NULL: it has none, and the rest is unused */
	const struct config_provider *config;
	struct loop_timer *timer;
	struct http_request *request; /* NULL = none under way */
	bool known;
	enum check_verdict verdict;
	char *detail;
	int64_t checked_ms, took_ms;
};

struct waiter {
	const struct check *of; /* NULL = all */
	void (*done)(void *arg);
	void *arg;
};

struct provider_checks {
	struct loop *loop;
	struct http *http;
	struct provider_checks_options options;
	struct check checks[CONFIG_PROVIDERS];
	struct waiter *waiters;
	size_t waiter_count;
};

/* ---- when ---- */

static int64_t interval_ms(const struct check *check)
{
	int64_t interval = check->config->health_interval_ms;

	return check->known && check->verdict == CHECK_FAILING && interval > FAILING_MS ? FAILING_MS
											: interval;
}

/* Within a tenth of the interval, so that six providers and many daemons do not ask at once. */
static void schedule(struct check *check)
{
	int64_t interval = interval_ms(check);

	if (interval > 0)
		loop_timer_start(check->timer,
				 interval - interval / 10 + jitter_share(interval / 5, clock_random()));
}

static void schedule_first(struct check *check)
{
	int64_t interval = check->config->health_interval_ms;

	loop_timer_stop(check->timer);
	if (interval > 0)
		loop_timer_start(check->timer,
				 jitter_share(interval < FIRST_MS ? interval : FIRST_MS, clock_random()));
}

/* ---- who waits ---- */

static bool is_under_way(const struct provider_checks *checks, const struct check *of)
{
	if (of)
		return of->request != NULL;
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++)
		if (checks->checks[i].request)
			return true;
	return false;
}

static void tell_waiters(struct provider_checks *checks)
{
	size_t i = 0;

	while (i < checks->waiter_count) {
		struct waiter waiter = checks->waiters[i];

		if (is_under_way(checks, waiter.of)) {
			i++;
			continue;
		}
		checks->waiters[i] = checks->waiters[--checks->waiter_count];
		waiter.done(waiter.arg);
		i = 0; /* it may have changed the list */
	}
}

/* ---- a verdict ---- */

static const char *level_of(enum check_verdict verdict)
{
	switch (verdict) {
	case CHECK_KEY_REFUSED:
	case CHECK_NO_CREDIT:
		return "error"; /* an operator must act */
	case CHECK_FAILING:
		return "warning";
	case CHECK_OK:
	case CHECK_UNCLEAR:
		break;
	}
	return "info";
}

static void log_change(const struct check *check, const char *before)
{
	static const char form[] = "provider=%s verdict=\"%s\" before=\"%s\" detail=\"%s\" took_ms=%lld";
	const char *provider = check->page->provider, *word = check_word(check->verdict);
	long long took_ms = (long long)check->took_ms;

	switch (check->verdict) {
	case CHECK_KEY_REFUSED:
	case CHECK_NO_CREDIT:
		log_error("provider.health", form, provider, word, before, check->detail, took_ms);
		break;
	case CHECK_FAILING:
		log_warning("provider.health", form, provider, word, before, check->detail, took_ms);
		break;
	case CHECK_OK:
	case CHECK_UNCLEAR:
		log_info("provider.health", form, provider, word, before, check->detail, took_ms);
		break;
	}
}

static void settle(struct check *check, enum check_verdict verdict, char *detail, int64_t took_ms)
{
	struct provider_checks *checks = check->all;
	const char *before = check->known ? check_word(check->verdict) : "";
	bool changed = !check->known || check->verdict != verdict;
	bool worth_it = check->known || verdict != CHECK_OK; /* that all is well at a start is no event */

	check->known = true;
	check->verdict = verdict;
	mem_set_str(&check->detail, detail);
	check->checked_ms = loop_now_ms(checks->loop);
	check->took_ms = took_ms;
	if (changed)
		log_change(check, before);
	if (changed && worth_it) {
		AUTO(mem_free_str)
		char *data = jsontext_pack("{s:s, s:s, s:s}", "verdict", check_word(verdict), "before",
					   before, "detail", check->detail);

		checks->options.event(checks->options.arg, level_of(verdict), "provider.health",
				      check->page->provider, data);
	}
	schedule(check);
	checks->options.checked(checks->options.arg, check->page->provider, verdict, changed);
}

static void on_answer(void *arg, const struct http_answer *answer)
{
	struct check *check = arg;
	enum check_verdict verdict = check_judge(check->page, answer->status, answer->body);
	char *detail;

	check->request = NULL;
	if (answer->status == 0)
		detail = jsontext_clean(mem_strdup(answer->error));
	else if (verdict == CHECK_OK)
		detail = mem_strdup("");
	else
		detail = mem_printf("answered %d", answer->status);
	settle(check, verdict, detail, answer->took_ms);
	tell_waiters(check->all);
}

/* ---- a look ---- */

/* The key without the blanks around it, fresh; NULL when it is not set. */
static char *take_key(const struct check *check)
{
	const char *key = check->all->options.key(check->all->options.arg, check->config->key_env);
	size_t len;

	if (!key)
		return NULL;
	key += strspn(key, " \t\r\n\v\f");
	len = strlen(key);
	while (len > 0 && strchr(" \t\r\n\v\f", key[len - 1]))
		len--;
	return len > 0 ? mem_strndup(key, len) : NULL;
}

static bool is_printable(const char *key)
{
	for (; *key; key++)
		if (*key < '!' || *key > '~')
			return false;
	return true;
}

static void wipe(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	mem_free(secret);
}

static void ask(struct check *check, const char *key)
{
	AUTO(wipe) char *key_header = mem_printf("%s%s", check->page->key_header, key);
	AUTO(mem_free_str) char *url = check_url(check->page, check->config->base_url);
	const char *const headers[] = { key_header, "Accept: application/json", check->page->header, NULL };
	const struct http_spec spec = { .url = url, .headers = headers, .timeout_ms = TIMEOUT_MS };

	http_start(check->all->http, &spec, on_answer, check, &check->request);
}

static void begin(struct check *check)
{
	AUTO(wipe) char *key = take_key(check);

	if (check->request)
		return;
	if (!key) {
		check->known = false;
		schedule(check);
	} else if (!is_printable(key)) {
		settle(check, CHECK_KEY_REFUSED,
		       mem_printf("%s holds characters that no API key has", check->config->key_env), 0);
	} else {
		ask(check, key);
	}
}

static void on_timer(void *arg)
{
	struct check *check = arg;

	if (check->request)
		loop_timer_start(check->timer, AGAIN_MS);
	else if (check->all->options.is_paused(check->all->options.arg, check->page->provider))
		schedule(check);
	else
		begin(check);
}

static struct check *find(struct provider_checks *checks, const char *provider)
{
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++)
		if (strcmp(checks->checks[i].config->name, provider) == 0)
			return &checks->checks[i];
	return NULL;
}

void provider_checks_begin(struct provider_checks *checks, const char *provider)
{
	const struct check *named = provider ? find(checks, provider) : NULL;

	for (size_t i = 0; i < CONFIG_PROVIDERS; i++)
		if (checks->checks[i].page && (!provider || named == &checks->checks[i]))
			begin(&checks->checks[i]);
}

void provider_checks_wait(struct provider_checks *checks, const char *provider, void (*done)(void *arg),
			  void *arg)
{
	checks->waiters = mem_resize(checks->waiters, checks->waiter_count + 1, sizeof(*checks->waiters));
	checks->waiters[checks->waiter_count++] = (struct waiter){
		.of = provider ? find(checks, provider) : NULL,
		.done = done,
		.arg = arg,
	};
	tell_waiters(checks);
}

void provider_checks_forget(struct provider_checks *checks, const void *arg)
{
	size_t kept = 0;

	for (size_t i = 0; i < checks->waiter_count; i++)
		if (checks->waiters[i].arg != arg)
			checks->waiters[kept++] = checks->waiters[i];
	checks->waiter_count = kept;
}

void provider_checks_view(struct provider_checks *checks, const char *provider,
			  struct provider_checks_view *ret)
{
	const struct check *check = find(checks, provider);

	*ret = (struct provider_checks_view){ .known = false, .detail = "" };
	if (!check || !check->known)
		return;
	ret->known = true;
	ret->verdict = check->verdict;
	ret->detail = check->detail;
	ret->checked_ms = check->checked_ms;
	ret->took_ms = check->took_ms;
}

/* ---- making and ending ---- */

void provider_checks_configure(struct provider_checks *checks, const struct config *config)
{
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		struct check *check = &checks->checks[i];

		check->config = &config->providers[i];
		check->known = false; /* it may have been of another key */
		if (check->page)
			schedule_first(check);
	}
}

int provider_checks_new(struct loop *loop, const struct provider_checks_options *options,
			struct provider_checks **ret)
{
	struct provider_checks *checks = mem_alloc(sizeof(*checks));
	int r = http_new(loop, &checks->http);

	if (r < 0) {
		mem_free(&checks);
		return r;
	}
	checks->loop = loop;
	checks->options = *options;
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		struct check *check = &checks->checks[i];

		check->all = checks;
		check->page = check_page_of(options->config->providers[i].name);
		if (check->page)
			loop_timer_new(loop, on_timer, check, &check->timer);
	}
	provider_checks_configure(checks, options->config);
	*ret = checks;
	return 0;
}

void provider_checks_free(struct provider_checks **checks)
{
	struct provider_checks *dead = *checks;

	if (!dead)
		return;
	http_free(&dead->http);
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		loop_timer_free(&dead->checks[i].timer);
		free(dead->checks[i].detail);
	}
	free(dead->waiters);
	mem_free(checks);
}
