#include "config/models.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"
#include "config/ini.h"
#include "config/words.h"

#define MODEL "model:"
#define FROM  " from "

struct load {
	struct models *models;
	char *section;	   /* the [model:…] that is open; NULL = none is */
	char *glob;	   /* of it */
	int64_t first_day; /* 0 = it has no date */
	struct price price;
	bool has_input, has_output;
	bool has_prefixes; /* the section, be it empty */
};

static int refuse(const struct load *load, char **ret_error, const char *what)
{
	*ret_error = mem_printf("[%s]: %s", load->section, what);
	return -EINVAL;
}

static int check_model(const struct load *load, char **ret_error)
{
	if (load->has_input != load->has_output)
		return refuse(load, ret_error, "input_usd_per_mtok and output_usd_per_mtok go together");
	if (load->price.as_of_day && !load->has_input)
		return refuse(load, ret_error, "prices_as_of without prices");
	if (load->first_day && !load->has_input)
		return refuse(load, ret_error, "no prices; give both, or remove it");
	return 0;
}

/* The open section is over: its glob stands in the table with or without a price, because the first match
 * wins, and a model without a price must not get that of a broader glob below. */
static int close_model(struct load *load, char **ret_error)
{
	int r;

	if (!load->section)
		return 0;
	r = check_model(load, ret_error);
	if (r == 0) {
		load->price.known = load->has_input;
		if (load->first_day)
			load->price.as_of_day = load->first_day;
		price_table_add(load->models->prices, load->glob, load->first_day, &load->price);
	}
	mem_free(&load->section);
	mem_free(&load->glob);
	load->first_day = 0;
	load->price = (struct price){ 0 };
	load->has_input = load->has_output = false;
	return r;
}

static int open_model(struct load *load, const char *section, char **ret_error)
{
	const char *name = section + strlen(MODEL), *from = strstr(name, FROM);
	size_t len = from ? (size_t)(from - name) : strlen(name);

	load->section = mem_strdup(section);
	load->glob = mem_strndup(name, len);
	if (!from)
		return 0;
	if (price_parse_day(from + strlen(FROM), &load->first_day) < 0)
		return refuse(load, ret_error, "behind `from` stands no date, such as 2026-06-01");
	/* The order of models is that of their undated sections, which the workers read too. */
	if (!price_table_has(load->models->prices, load->glob))
		return refuse(load, ret_error, "there is none without a date for these models above it");
	return 0;
}

static int open_section(struct load *load, const char *section, char **ret_error)
{
	int r = close_model(load, ret_error);

	if (r < 0)
		return r;
	if (!strcmp(section, "prefixes")) {
		load->has_prefixes = true;
		return 0;
	}
	if (strncmp(section, MODEL, strlen(MODEL)) != 0 || !section[strlen(MODEL)]) {
		*ret_error = mem_printf("[%s]: unknown section; allowed are [prefixes], [" MODEL
					"GLOB] and [" MODEL "GLOB" FROM "YYYY-MM-DD]",
					section);
		return -EINVAL;
	}
	return open_model(load, section, ret_error);
}

static int add_prefixes(struct load *load, const struct ini_entry *entry, char **ret_error)
{
	struct config_list list;
	int r;

	if (!route_has_provider(load->models->route, entry->key)) {
		*ret_error = mem_printf("[prefixes] %s: unknown provider", entry->key);
		return -EINVAL;
	}
	r = words_split(entry->value, &list);
	if (r < 0) {
		*ret_error = mem_printf("[prefixes] %s: a quote is not closed", entry->key);
		return -EINVAL;
	}
	for (size_t i = 0; i < list.len && r == 0; i++) {
		r = route_add_prefix(load->models->route, entry->key, list.words[i]);
		if (r < 0)
			*ret_error = mem_printf("[prefixes] %s: '%s' %s", entry->key, list.words[i],
						r == -EEXIST ? "belongs to another provider already"
							     : "is no prefix");
	}
	words_free(&list);
	return r < 0 ? -EINVAL : 0;
}

static int set_price(const struct ini_entry *entry, int64_t *ret, bool *has, char **ret_error)
{
	int r = price_parse(entry->value, ret);

	if (r < 0)
		*ret_error = mem_printf(
			"[%s] %s: '%.40s' is no price; allowed are US dollars from 0 to 1000000 "
			"with up to four decimals, such as 2.50",
			entry->section, entry->key, entry->value);
	*has = r == 0;
	return r < 0 ? -EINVAL : 0;
}

static int set_day(const struct ini_entry *entry, int64_t *ret, char **ret_error)
{
	if (price_parse_day(entry->value, ret) == 0)
		return 0;
	*ret_error = mem_printf("[%s] %s: '%.40s' is no date, such as 2026-06-01", entry->section, entry->key,
				entry->value);
	return -EINVAL;
}

static int on_entry(void *arg, const struct ini_entry *entry, char **ret_error)
{
	struct load *load = arg;

	if (!entry->key)
		return open_section(load, entry->section, ret_error);
	if (!load->section)
		return add_prefixes(load, entry, ret_error);
	if (!strcmp(entry->key, "input_usd_per_mtok"))
		return set_price(entry, &load->price.input_e10_per_token, &load->has_input, ret_error);
	if (!strcmp(entry->key, "output_usd_per_mtok"))
		return set_price(entry, &load->price.output_e10_per_token, &load->has_output, ret_error);
	if (load->first_day) {
		*ret_error = mem_printf("[%s] %s: a section with a date has prices only: input_usd_per_mtok, "
					"output_usd_per_mtok",
					entry->section, entry->key);
		return -EINVAL;
	}
	if (!strcmp(entry->key, "prices_as_of"))
		return set_day(entry, &load->price.as_of_day, ret_error);
	return 0; /* the workers' */
}

static int models_new(struct models **ret)
{
	struct models *m = mem_alloc(sizeof(*m));
	int r = route_new(&m->route);

	if (r == 0)
		r = price_table_new(&m->prices);
	if (r < 0) {
		models_free(&m);
		return r;
	}
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++)
		route_add_provider(m->route, config_provider_names[i]);
	*ret = m;
	return 0;
}

/* The workers read the file too, and refuse one without prefixes: its author has cut it short. */
static int close_file(struct load *load, const char *path, char **ret_error)
{
	AUTO(mem_free_str) char *what = NULL;

	if (close_model(load, &what) < 0) {
		*ret_error = mem_printf("%s: %s", path, what);
		return -EINVAL;
	}
	if (load->has_prefixes)
		return 0;
	*ret_error = mem_printf("%s: no section [prefixes], which says whose models are whose; add one with "
				"lines such as `openai = gpt- o1`, or an empty one",
				path);
	return -EINVAL;
}

int models_load(const char *path, struct models **ret, char **ret_error)
{
	struct load load = { 0 };
	int r = models_new(&load.models);

	if (r < 0) {
		*ret_error = mem_printf("%s: %s", path, strerror(-r));
		return r;
	}
	r = ini_read_file(path, on_entry, &load, ret_error);
	if (r == 0)
		r = close_file(&load, path, ret_error);
	mem_free(&load.section);
	mem_free(&load.glob);
	if (r < 0) {
		models_free(&load.models);
		return r;
	}
	*ret = load.models;
	return 0;
}

void models_free(struct models **m)
{
	if (!*m)
		return;
	route_free(&(*m)->route);
	price_table_free(&(*m)->prices);
	mem_free(m);
}
