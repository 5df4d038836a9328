#include "policy/check.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

#define BEARER "Authorization: Bearer "

/* Base URLs as in workers/proctor/providers/. */
static const struct check_page pages[] = {
	{ "openai", "https://api.openai.com", "/v1/models", BEARER, NULL },
	{ "anthropic", "https://api.anthropic.com", "/v1/models?limit=1",
	  "x-api-key: ", "anthropic-version: 2023-06-01" },
	{ "google", "https://generativelanguage.googleapis.com", "/v1beta/models?pageSize=1",
	  "x-goog-api-key: ", NULL },
	{ "xai", "https://api.x.ai", "/v1/models", BEARER, NULL },
	{ "deepseek", "https://api.deepseek.com", "/user/balance", BEARER, NULL },
	{ "mistral", "https://api.mistral.ai", "/v1/models", BEARER, NULL },
};

/* Where the status alone would mislead. */
static const struct {
	const char *provider;
	int status;
	const char *words; /* in the body */
	enum check_verdict verdict;
} evidence[] = {
	{ "openai", 429, "insufficient_quota", CHECK_NO_CREDIT },
	{ "anthropic", 400, "reached your specified", CHECK_NO_CREDIT },
	{ "google", 400, "API_KEY_INVALID", CHECK_KEY_REFUSED },
	{ "xai", 400, "Incorrect API key", CHECK_KEY_REFUSED },
	{ "xai", 403, "used all available credits", CHECK_NO_CREDIT },
	{ "xai", 429, "used all available credits", CHECK_NO_CREDIT },
};

const char *check_word(enum check_verdict verdict)
{
	static const char *const words[] = {
		[CHECK_OK] = "ok",
		[CHECK_KEY_REFUSED] = "key refused",
		[CHECK_NO_CREDIT] = "no credit",
		[CHECK_FAILING] = "failing",
		[CHECK_UNCLEAR] = "unclear",
	};

	return words[verdict];
}

const struct check_page *check_page_of(const char *provider)
{
	for (size_t i = 0; i < ARRAY_LEN(pages); i++)
		if (strcmp(pages[i].provider, provider) == 0)
			return &pages[i];
	return NULL;
}

char *check_url(const struct check_page *page, const char *base_url)
{
	const char *base = *base_url ? base_url : page->base_url;
	size_t len = strlen(base);

	while (len > 0 && base[len - 1] == '/')
		len--;
	return mem_printf("%.*s%s", (int)len, base, page->path);
}

/* DeepSeek's {"is_available":false,…}. */
static bool says_unavailable(const char *body)
{
	static const char name[] = "\"is_available\"";
	const char *at = strstr(body, name);

	if (!at)
		return false;
	at += strlen(name);
	at += strspn(at, " \t\r\n:");
	return strncmp(at, "false", strlen("false")) == 0;
}

enum check_verdict check_judge(const struct check_page *page, int status, const char *body)
{
	for (size_t i = 0; i < ARRAY_LEN(evidence); i++)
		if (evidence[i].status == status && strcmp(evidence[i].provider, page->provider) == 0 &&
		    strstr(body, evidence[i].words))
			return evidence[i].verdict;
	if (status == 0 || status == 408 || status >= 500)
		return CHECK_FAILING;
	if (status == 401 || status == 403)
		return CHECK_KEY_REFUSED;
	if (status == 402)
		return CHECK_NO_CREDIT;
	if (status < 200 || status >= 300)
		return CHECK_UNCLEAR;
	return says_unavailable(body) ? CHECK_NO_CREDIT : CHECK_OK;
}
