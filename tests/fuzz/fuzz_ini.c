/* The configuration: a file is refused in one line, or all that it says can be shown, written as a file that
 * is read again, and found to be no change. */

#include "fuzz.h"

#include "base/mem.h"
#include "config/config.h"

static void show(void *arg, const struct config_item *item)
{
	(void)arg;
	claim(item->section && item->key && item->value && item->help, "an item is whole");
}

static void on_change(void *arg, const char *section, const char *key, bool live)
{
	(void)arg;
	(void)live;
	(void)fprintf(stderr, "[%s] %s\n", section, key);
	claim(false, "a file does not differ from itself");
}

static void check(const struct config *config, const char *text, size_t size)
{
	AUTO(config_free) struct config *again = NULL;
	AUTO(mem_free_str) char *error = NULL;
	char *written = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&written, &len);

	claim(config_load_text("fuzz.ini", text, size, &again, &error) == 0, "it is read a second time");
	config_walk(config, show, NULL);
	config_diff(config, again, on_change, NULL);
	config_write(config, out);
	(void)fclose(out);
	free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(config_free) struct config *config = NULL;
	AUTO(mem_free_str) char *error = NULL;
	const char *text = (const char *)data;

	if (config_load_text("fuzz.ini", text, size, &config, &error) < 0)
		claim_one_line(error);
	else
		check(config, text, size);
	return 0;
}
