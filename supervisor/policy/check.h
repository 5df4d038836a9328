#ifndef POLICY_CHECK_H
#define POLICY_CHECK_H

/* A look at a provider that costs no tokens: which page is asked, and what its answer says of the provider
 * and of the key. A list of models proves the key, not the credit; only DeepSeek has a page for that. Pure.
 */

enum check_verdict {
	CHECK_OK,	   /* it is up and takes the key */
	CHECK_KEY_REFUSED, /* it is up and does not */
	CHECK_NO_CREDIT,   /* it is up, and there is nothing left to pay with */
	CHECK_FAILING,	   /* it cannot be reached, or says that it is broken */
	CHECK_UNCLEAR,	   /* it is up, but its answer says nothing of the key: 429, 404 of a gateway, … */
};

/* "ok", "key refused", "no credit", "failing", "unclear" */
const char *check_word(enum check_verdict verdict);

struct check_page {
	const char *provider;
	const char *base_url;	/* the provider's own */
	const char *path;	/* behind it, or behind another base URL */
	const char *key_header; /* what stands before the key, "Authorization: Bearer " */
	const char *header;	/* a further one; NULL = none */
};

/* NULL for a provider that has no such page. */
const struct check_page *check_page_of(const char *provider);

/* Its address below `base_url` ("" = the provider's own), joined as workers do it. Fresh memory. */
char *check_url(const struct check_page *page, const char *base_url) __attribute__((warn_unused_result));

/* What an answer says; status 0 = there was none. `body` is its beginning, "" when it had none. */
enum check_verdict check_judge(const struct check_page *page, int status, const char *body);

#endif
