/* config_redact_url(): nothing that shows a URL may show its password. Where a malformed URL leaves it open
 * what the password is, more is hidden rather than less. */

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"

#define HIDDEN "***"

/* End of the user part of an authority that starts at `text`: its last '@', looked for in front of the query
 * first. NULL when there is none. */
static const char *find_at(const char *text, size_t len)
{
	size_t query = 0;
	const char *at;

	while (query < len && text[query] != '?')
		query++;
	at = memrchr(text, '@', query);
	return at ? at : memrchr(text, '@', len);
}

/* Copies "user:password@" at `text` with the password hidden, if there is one; returns what was read. */
static const char *redact_user(const char *text, struct buf *out)
{
	size_t len = strcspn(text, " \t\r\n");
	const char *at = find_at(text, len);
	const char *colon = at ? memchr(text, ':', (size_t)(at - text)) : NULL;

	if (!colon)
		return text;
	buf_put(out, text, (size_t)(colon + 1 - text));
	buf_puts(out, HIDDEN);
	return at;
}

/* Value of a conninfo or query parameter at `text`: its end. */
static const char *skip_value(const char *text)
{
	char quote = *text == '\'' ? *text++ : '\0';

	for (; *text; text++) {
		if (*text == '\\' && text[1])
			text++;
		else if (quote ? *text == quote : *text == '&' || isspace((unsigned char)*text))
			break;
	}
	return quote && *text ? text + 1 : text;
}

/* password = value, also sslpassword and PASSWORD: its value hidden; returns what was read. */
static const char *redact_parameter(const char *text, struct buf *out)
{
	static const char word[] = "password";
	size_t len = sizeof(word) - 1, blanks;

	if (strncasecmp(text, word, len) != 0)
		return text;
	blanks = strspn(text + len, " \t\r\n");
	if (text[len + blanks] != '=')
		return text;
	len += blanks + 1;
	len += strspn(text + len, " \t\r\n");
	buf_put(out, text, len);
	buf_puts(out, HIDDEN);
	return skip_value(text + len);
}

char *config_redact_url(const char *url)
{
	struct buf out = BUF_INIT(0);
	size_t len;

	while (*url) {
		const char *rest = redact_parameter(url, &out);

		if (rest == url && !strncmp(url, "://", 3)) {
			buf_puts(&out, "://");
			rest = redact_user(url + 3, &out);
		}
		if (rest == url)
			buf_put(&out, url++, 1);
		else
			url = rest;
	}
	return buf_take(&out, &len);
}
