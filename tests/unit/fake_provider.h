#ifndef FAKE_PROVIDER_H
#define FAKE_PROVIDER_H

/* Providers in virtual time that count as providers do, and refuse what is above their limit. The caller
 * frees `seen`. */

#include "row.h"

#include <stdint.h>
#include <stdlib.h>

enum kind { SLIDING, FIXED, BUCKET };

struct arrival {
	int64_t at_ms, cost;
};

struct provider {
	enum kind kind;
	int64_t limit, span_ms;
	struct arrival *seen; /* those counted, in order */
	size_t len, room, first;
	int64_t sum;	/* SLIDING: of the span; FIXED: of the window */
	int64_t window; /* FIXED: its number */
	double level;	/* BUCKET: full holds `limit` */
	int64_t stamp_ms;
};

static inline void provider_init(struct provider *p, enum kind kind, int64_t limit, int64_t span_ms)
{
	*p = (struct provider){ .kind = kind, .limit = limit, .span_ms = span_ms, .level = (double)limit };
}

static inline void provider_age(struct provider *p, int64_t now_ms)
{
	if (p->kind == BUCKET) {
		p->level += (double)(now_ms - p->stamp_ms) * (double)p->limit / (double)p->span_ms;
		if (p->level > (double)p->limit)
			p->level = (double)p->limit;
		p->stamp_ms = now_ms;
	} else if (p->kind == FIXED) {
		if (now_ms / p->span_ms != p->window)
			p->sum = 0;
		p->window = now_ms / p->span_ms;
	} else {
		while (p->first < p->len && p->seen[p->first].at_ms <= now_ms - p->span_ms)
			p->sum -= p->seen[p->first++].cost;
	}
}

/* 0 = counted; else how long until there is room. */
static inline int64_t provider_ask(struct provider *p, int64_t now_ms, int64_t cost)
{
	provider_age(p, now_ms);
	if (p->kind == BUCKET) {
		if (p->level < (double)cost)
			return (int64_t)(((double)cost - p->level) * (double)p->span_ms / (double)p->limit) +
			       1;
		p->level -= (double)cost;
		return 0;
	}
	if (p->sum + cost > p->limit) {
		if (p->kind == FIXED)
			return p->span_ms - now_ms % p->span_ms;
		return p->first < p->len ? p->seen[p->first].at_ms + p->span_ms - now_ms : 1;
	}
	p->sum += cost;
	if (p->kind == SLIDING) {
		if (p->len == p->room) {
			p->room = p->room ? p->room * 2 : 1024;
			p->seen = realloc(p->seen, p->room * sizeof(*p->seen));
			assert_non_null(p->seen);
		}
		p->seen[p->len++] = (struct arrival){ now_ms, cost };
	}
	return 0;
}

#endif
