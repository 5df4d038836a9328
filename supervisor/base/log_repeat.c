#include "base/log_repeat.h"

#include <stdio.h>
#include <string.h>

/* FNV-1a. */
static uint64_t add_text(uint64_t digest, const char *text)
{
	for (; *text; text++)
		digest = (digest ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return digest;
}

static uint64_t digest_of(int level, const char *event, const char *pairs)
{
	uint64_t digest = add_text(UINT64_C(14695981039346656037) ^ (unsigned)level, event);

	digest = add_text(add_text(digest, " "), pairs);
	return digest ? digest : 1;
}

static bool is_over(const struct log_repeat_text *text, int64_t now_ms)
{
	return now_ms - text->since_ms >= LOG_REPEAT_SPAN_MS;
}

/* The text's place, or the one that it may have: free, or else the oldest that owes no count. */
static struct log_repeat_text *find(struct log_repeat *repeat, uint64_t digest)
{
	struct log_repeat_text *place = NULL;

	for (size_t i = 0; i < LOG_REPEAT_TEXTS; i++) {
		struct log_repeat_text *at = &repeat->texts[i];

		if (at->digest == digest)
			return at;
		if ((!at->digest || at->folded == 0) &&
		    (!place || (place->digest && (!at->digest || at->since_ms < place->since_ms))))
			place = at;
	}
	return place;
}

bool log_repeat_take(struct log_repeat *repeat, int64_t now_ms, int level, const char *event,
		     const char *pairs)
{
	uint64_t digest = digest_of(level, event, pairs);
	struct log_repeat_text *text = find(repeat, digest);

	if (!text)
		return true;
	if (text->digest != digest || (text->folded == 0 && is_over(text, now_ms))) {
		*text = (struct log_repeat_text){ .digest = digest, .since_ms = now_ms, .level = level };
		(void)snprintf(text->event, sizeof(text->event), "%s", event);
		(void)snprintf(text->pairs, sizeof(text->pairs), "%s", pairs);
	}
	if (text->seen < LOG_REPEAT_BURST) {
		text->seen++;
		return true;
	}
	text->folded++;
	return false;
}

const struct log_repeat_text *log_repeat_due(struct log_repeat *repeat, int64_t now_ms, bool all)
{
	for (size_t i = 0; i < LOG_REPEAT_TEXTS; i++) {
		struct log_repeat_text *text = &repeat->texts[i];

		if (text->digest && text->folded > 0 && (all || is_over(text, now_ms))) {
			text->digest = 0;
			return text;
		}
	}
	return NULL;
}

int64_t log_repeat_wait_ms(const struct log_repeat *repeat, int64_t now_ms)
{
	int64_t least = -1;

	for (size_t i = 0; i < LOG_REPEAT_TEXTS; i++) {
		const struct log_repeat_text *text = &repeat->texts[i];
		int64_t left = text->since_ms + LOG_REPEAT_SPAN_MS - now_ms;

		if (!text->digest || text->folded == 0)
			continue;
		left = left < 0 ? 0 : left;
		least = least < 0 || left < least ? left : least;
	}
	return least;
}
