/* Everything that tells of a config or of the key table: walk, text, difference, sample, reference. */

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"
#include "config/sections.h"

static void walk_section(const struct config *c, const struct section *s,
			 void (*each)(void *arg, const struct config_item *item), void *arg)
{
	AUTO(mem_free_str) char *title = sections_title(s->kind, s->name);

	for (size_t i = 0; i < key_table_len; i++) {
		const struct key_spec *key = &key_table[i];
		AUTO(mem_free_str) char *value = NULL;
		struct config_item item = { .section = title, .key = key->name };

		if (key->section != s->kind)
			continue;
		value = key_text(key, s->base, true);
		item.value = value;
		item.help = key->help;
		item.line = sections_line(c, s->kind, s->name, key->name);
		item.live = key->live;
		each(arg, &item);
	}
}

void config_walk(const struct config *c, void (*each)(void *arg, const struct config_item *item), void *arg)
{
	struct section *list;
	size_t len = sections_list(c, &list);

	for (size_t i = 0; i < len; i++)
		walk_section(c, &list[i], each, arg);
	mem_free(&list);
}

struct writer {
	FILE *out;
	char *section; /* last one written */
};

static void write_item(void *arg, const struct config_item *item)
{
	struct writer *w = arg;

	if (!w->section || strcmp(w->section, item->section) != 0) {
		fprintf(w->out, "%s[%s]\n", w->section ? "\n" : "", item->section);
		mem_set_str(&w->section, mem_strdup(item->section));
	}
	fprintf(w->out, "%s =%s%s", item->key, *item->value ? " " : "", item->value);
	if (item->line)
		fprintf(w->out, " ; line %d\n", item->line);
	else
		fprintf(w->out, " ; default\n");
}

void config_write(const struct config *c, FILE *out)
{
	struct writer w = { .out = out };

	config_walk(c, write_item, &w);
	mem_free(&w.section);
}

static bool is_same_section(const struct section *a, const struct section *b)
{
	return a->kind == b->kind && (!a->name || !strcmp(a->name, b->name));
}

static const struct section *find_section(const struct section *list, size_t len, const struct section *like)
{
	for (size_t i = 0; i < len; i++) {
		if (is_same_section(&list[i], like))
			return &list[i];
	}
	return NULL;
}

static void diff_section(const struct section *from, const struct section *to,
			 void (*each)(void *arg, const char *section, const char *key, bool live), void *arg)
{
	AUTO(mem_free_str) char *title = sections_title(to->kind, to->name);

	for (size_t i = 0; i < key_table_len; i++) {
		const struct key_spec *key = &key_table[i];
		AUTO(mem_free_str) char *before = NULL;
		AUTO(mem_free_str) char *after = NULL;

		if (key->section != to->kind)
			continue;
		before = key_text(key, from->base, false);
		after = key_text(key, to->base, false);
		if (strcmp(before, after) != 0)
			each(arg, title, key->name, key->live);
	}
}

/* Tells of the sections of `list` that `other` has not. */
static void diff_presence(const struct section *list, size_t len, const struct section *other,
			  size_t other_len,
			  void (*each)(void *arg, const char *section, const char *key, bool live), void *arg)
{
	for (size_t i = 0; i < len; i++) {
		AUTO(mem_free_str) char *title = sections_title(list[i].kind, list[i].name);

		if (!find_section(other, other_len, &list[i]))
			each(arg, title, "", true);
	}
}

void config_diff(const struct config *from, const struct config *to,
		 void (*each)(void *arg, const char *section, const char *key, bool live), void *arg)
{
	struct section *old_list, *new_list;
	size_t old_len = sections_list(from, &old_list), new_len = sections_list(to, &new_list);

	diff_presence(old_list, old_len, new_list, new_len, each, arg);
	diff_presence(new_list, new_len, old_list, old_len, each, arg);
	for (size_t i = 0; i < new_len; i++) {
		const struct section *before = find_section(old_list, old_len, &new_list[i]);

		if (before)
			diff_section(before, &new_list[i], each, arg);
	}
	mem_free(&old_list);
	mem_free(&new_list);
}

static void sample_key(FILE *out, const struct key_spec *key, const char *value)
{
	AUTO(mem_free_str) char *allowed = key_allowed(key);
	bool listed = key->type == KEY_ENUM || key->type == KEY_SIGNAL;

	fprintf(out, "; %s%s%s%s\n;%s =%s%s\n", key->help, listed ? ": " : "", listed ? allowed : "",
		key->live ? " [live]" : "", key->name, *value ? " " : "", value);
}

static bool is_root(enum key_section kind, const char *name)
{
	return kind == KEY_GROUP && name && !strcmp(name, "root");
}

static void sample_keys(FILE *out, enum key_section kind, const char *name)
{
	for (size_t i = 0; i < key_table_len; i++) {
		const char *value = sections_default(&key_table[i], name);

		/* What root has not is told with the groups that have it. */
		if (key_table[i].section == kind && !(is_root(kind, name) && !*value))
			sample_key(out, &key_table[i], value);
	}
}

/* A section whose head is a comment as well (`off`) stands for one that the user may add. */
static void sample_section(FILE *out, enum key_section kind, const char *name, bool off)
{
	AUTO(mem_free_str) char *title = sections_title(kind, name);

	fprintf(out, "\n; %s\n%s[%s]\n\n", key_section_spec(kind)->help, off ? ";" : "", title);
	sample_keys(out, kind, name);
}

/* What another group has that root has not; the rest is told with root. */
static void sample_group(FILE *out)
{
	const struct key_spec *key = key_find(KEY_GROUP, "group");

	fputs("\n;[group:NAME]\n", out);
	sample_key(out, key, key->fallback);
}

/* The default differs from that of the first provider, or from what most have. */
static bool is_own_default(const struct key_spec *key, const char *provider)
{
	const char *value = sections_default(key, provider);

	return strcmp(value, sections_default(key, config_provider_names[0])) != 0 ||
	       strcmp(value, key->fallback) != 0;
}

/* What differs from provider to provider; the rest is told once, with the first of them. */
static void sample_provider(FILE *out, const char *name)
{
	fprintf(out, "\n[provider:%s]\n", name);
	for (size_t i = 0; i < key_table_len; i++) {
		const struct key_spec *key = &key_table[i];
		const char *value = sections_default(key, name);

		if (key->section == KEY_PROVIDER && is_own_default(key, name))
			fprintf(out, ";%s =%s%s\n", key->name, *value ? " " : "", value);
	}
}

void config_write_sample(FILE *out)
{
	fputs("; Configuration of proctord. Every key has a default, shown behind the `;`: remove it to "
	      "change one.\n"
	      "; A comment starts with ; or # at the left, or with a blank and ; behind a value. An indented "
	      "line\n"
	      "; continues the value above it. Durations: 500ms 30s 5m 6h 2d. Sizes: 256M 2G.\n"
	      "; A change of a [live] key takes effect on a reload, of another at the next start.\n"
	      "; `proctord --check-config FILE` checks this file, `proctorctl config show` tells what is in "
	      "effect.\n"
	      "; API keys do not belong here, but into the environment or the key_file.\n",
	      out);
	sample_section(out, KEY_DAEMON, NULL, false);
	sample_section(out, KEY_DATABASE, NULL, false);
	sample_section(out, KEY_SPOOL, NULL, false);
	sample_section(out, KEY_RETENTION, NULL, false);
	sample_section(out, KEY_CONTROL, NULL, false);
	sample_section(out, KEY_GROUP, "root", false);
	sample_group(out);
	sample_section(out, KEY_POOL, "probe", false);
	sample_section(out, KEY_SERVICE, "NAME", true);
	sample_section(out, KEY_PROVIDER, config_provider_names[0], false);
	for (size_t i = 1; i < CONFIG_PROVIDERS; i++)
		sample_provider(out, config_provider_names[i]);
	sample_section(out, KEY_LIMIT, "PROVIDER/GLOB", true);
	sample_section(out, KEY_RETRY, NULL, false);
	sample_section(out, KEY_METRICS, NULL, false);
	sample_section(out, KEY_ALERT, "NAME", true);
}

static bool varies_by_provider(const struct key_spec *key)
{
	for (size_t i = 0; i < CONFIG_PROVIDERS && key->section == KEY_PROVIDER; i++) {
		if (is_own_default(key, config_provider_names[i]))
			return true;
	}
	return false;
}

static void reference_default(FILE *out, const struct key_spec *key)
{
	if (varies_by_provider(key))
		fputs("  The default differs from provider to provider.", out);
	else if (*key->fallback)
		fprintf(out, "  The default is `%s`.", key->fallback);
	else
		fputs("  Empty by default.", out);
}

/* A definition list: a term, and behind a colon what it means. */
static void reference_key(FILE *out, const struct key_spec *key)
{
	AUTO(mem_free_str) char *allowed = key_allowed(key);

	fprintf(out, "`%s`\n\n: %s.\n\n", key->name, key->help);
	reference_default(out, key);
	fprintf(out, " Takes %s.%s\n\n", allowed, key->live ? "" : " Needs a restart.");
}

void config_write_reference(FILE *out)
{
	for (int kind = 0; kind < KEY_SECTION_COUNT; kind++) {
		const struct key_section_spec *spec = key_section_spec((enum key_section)kind);

		fprintf(out, "## [%s%s%s]\n\nHere stands %s.\n\n", spec->name, spec->form ? ":" : "",
			spec->form ? spec->form : "", spec->help);
		for (size_t i = 0; i < key_table_len; i++) {
			if (key_table[i].section == (enum key_section)kind)
				reference_key(out, &key_table[i]);
		}
	}
}
