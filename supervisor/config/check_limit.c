/* Whether each [limit:] section says something, and each of its keys can ever count. */

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "config/check_private.h"
#include "config/sections.h"

static int64_t value_of(const struct config_limit *limit, const struct key_spec *key)
{
	const char *field = (const char *)limit + key->offset;

	return key->width == sizeof(int) ? *(const int *)(const void *)field
					 : *(const int64_t *)(const void *)field;
}

static bool sets(const struct config_limit *limit, const struct key_spec *key)
{
	return key->section == KEY_LIMIT && value_of(limit, key) != CONFIG_INHERIT;
}

static int check_not_empty(const struct checker *ch, const struct config_limit *limit)
{
	for (size_t i = 0; i < key_table_len; i++) {
		if (sets(limit, &key_table[i]))
			return 0;
	}
	return check_refuse(ch, KEY_LIMIT, limit->name, NULL,
			    mem_strdup("it sets nothing; give one of its keys a number, or remove it"));
}

/* 0 paces as the provider's own would, so that nothing but a number is without effect. */
static int check_burst(const struct checker *ch, const struct config_limit *limit)
{
	if (limit->burst <= 0 || limit->requests_per_minute > 0)
		return 0;
	return check_refuse(ch, KEY_LIMIT, limit->name, "burst",
			    mem_strdup("it belongs to requests_per_minute of the same section, which sets no "
				       "limit; set one, or remove burst"));
}

/* Every model that `later` matches is matched by `earlier` too. Exact where the earlier has no wildcard but a
 * * at its end, which is how people write them; others are let pass. */
static bool covers(const char *earlier, const char *later)
{
	size_t len = strcspn(earlier, "*?");

	return !strcmp(earlier + len, "*") && !strncmp(earlier, later, len);
}

static int check_key_counts(const struct checker *ch, const struct config_limit *limit,
			    const struct key_spec *key)
{
	for (const struct config_limit *other = ch->config->limits; other != limit; other++) {
		if (!sets(other, key) || strcmp(other->provider, limit->provider) != 0 ||
		    !covers(other->glob, limit->glob))
			continue;
		return check_refuse(
			ch, KEY_LIMIT, limit->name, key->name,
			mem_printf("[limit:%s] above matches all these models and sets it, so that this "
				   "never counts; put the narrower section first",
				   other->name));
	}
	return 0;
}

static int check_limit(const struct checker *ch, const struct config_limit *limit)
{
	int r = check_not_empty(ch, limit);

	if (r == 0)
		r = check_burst(ch, limit);
	for (size_t i = 0; i < key_table_len && r == 0; i++) {
		if (sets(limit, &key_table[i]))
			r = check_key_counts(ch, limit, &key_table[i]);
	}
	return r;
}

int check_limits(const struct checker *ch)
{
	int r = 0;

	for (size_t i = 0; i < ch->config->nlimits && r == 0; i++)
		r = check_limit(ch, &ch->config->limits[i]);
	return r;
}
