#include "row.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "config/ini.h"

/* Writes what it hears as "[section]@line" and "key=value@line", one a line. */
static int record(void *arg, const struct ini_entry *entry, char **ret_error)
{
	struct buf *heard = arg;

	if (entry->value && !strcmp(entry->value, "refuse me")) {
		*ret_error = mem_strdup("as you wish");
		return -EPERM;
	}
	if (entry->key)
		buf_putf(heard, "%s=%s@%d\n", entry->key, entry->value, entry->line);
	else
		buf_putf(heard, "[%s]@%d\n", entry->section, entry->line);
	return 0;
}

static const struct {
	const char *text;
	const char *want;
} good[] = {
	{ "", "" },
	{ "\n\n  \n", "" },
	{ "; only\n# comments\n  ; also indented\n", "" },
	{ "[a]\n", "[a]@1\n" },
	{ "[a]", "[a]@1\n" },
	{ "[a]\nk = v", "[a]@1\nk=v@2\n" },
	{ "\xEF\xBB\xBF[a]\nk=v\n", "[a]@1\nk=v@2\n" },
	{ "[a]\r\nk = v\r\n", "[a]@1\nk=v@2\n" },
	{ "[ a ] ; said\n", "[a]@1\n" },
	{ "[a]\nk: v = w\n", "[a]@1\nk=v = w@2\n" },
	{ "[a]\nk =\nl =   \n", "[a]@1\nk=@2\nl=@3\n" },
	{ "[a]\nk = v ; said\nl = v;x\nm = ;\nn =;x\n", "[a]@1\nk=v@2\nl=v;x@3\nm=@4\nn=;x@5\n" },
	{ "[a]\nk = v # stays\n", "[a]@1\nk=v # stays@2\n" },
	{ "[a]\nk = one\n  two ; said\n\tthree;x\n\n; between\n four\nl = v\n",
	  "[a]@1\nk=one two three;x four@2\nl=v@8\n" },
	{ "[a]\nk =\n one\n", "[a]@1\nk=one@2\n" },
	{ "[a]\nk = v\n ==x\n X=y\n [z]\n", "[a]@1\nk=v ==x X=y [z]@2\n" },
	{ "[a]\n[b]\nk = 1\n[c:d]\nk = 2\n", "[a]@1\n[b]@2\nk=1@3\n[c:d]@4\nk=2@5\n" },
	{ "[a]\nk = \xC3\xA9\xE2\x82\xAC\n", "[a]@1\nk=\xC3\xA9\xE2\x82\xAC@2\n" },
};

static void test_sections_keys_and_lines_are_told_in_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		AUTO(buf_free) struct buf heard = BUF_INIT(0);
		AUTO(mem_free_str) char *error = NULL;
		int r = ini_read_text("t.ini", good[i].text, strlen(good[i].text), record, &heard, &error);

		expect(r == 0 && !error, "row %zu: %d, %s", i, r, error ? error : "");
		expect(!strcmp(buf_bytes(&heard), good[i].want), "row %zu:\n%s\nwanted\n%s", i,
		       buf_bytes(&heard), good[i].want);
	}
}

static const struct {
	const char *text;
	int want;
	const char *want_error;
} bad[] = {
	{ "k = v\n", -EINVAL, "t.ini:1: k stands before any [section]" },
	{ "[a]\nnonsense\n", -EINVAL, "t.ini:2: neither [section] nor key = value" },
	{ "[a]\n\n[b\n", -EINVAL, "t.ini:3: a section is written [name], with nothing behind it" },
	{ "[a] b\n", -EINVAL, "t.ini:1: a section is written [name], with nothing behind it" },
	{ "[a]b]\n", -EINVAL, "t.ini:1: a section is written [name], with nothing behind it" },
	{ "[]\n", -EINVAL, "t.ini:1: a section's name has 1 to 49 bytes, this one 0" },
	{ "[ ]\n", -EINVAL, "t.ini:1: a section's name has 1 to 49 bytes, this one 0" },
	{ "[a]\nk = 1\n[b]\n[a]\n", -EINVAL,
	  "t.ini:4: [a] is there already, in line 1; put its keys together" },
	{ "[a]\nk = 1\nl = 1\nk = 1\n", -EINVAL, "t.ini:4: [a] k: given already, in line 2" },
	{ "[a]\n= v\n", -EINVAL, "t.ini:2: a key has 1 to 49 bytes, this one 0" },
	{ "[a]\n k = v\n", -EINVAL,
	  "t.ini:2: an indented line continues a value, and there is none above; start it at the left" },
	{ "[a]\nk = v\n l = w\n", -EINVAL,
	  "t.ini:3: an indented line continues the value above it; start a key at the left" },
	{ "[a]\nk = v\n l=w\n", -EINVAL,
	  "t.ini:3: an indented line continues the value above it; start a key at the left" },
	{ "[a]\nk = refuse me\nl = v\nnonsense\n", -EPERM, "t.ini:2: as you wish" },
	{ "[a]\nk = refuse\n me\n", -EPERM, "t.ini:2: as you wish" },
};

static void expect_error(const char *text, size_t len, int want, const char *want_error)
{
	AUTO(buf_free) struct buf heard = BUF_INIT(0);
	AUTO(mem_free_str) char *error = NULL;
	int r = ini_read_text("t.ini", text, len, record, &heard, &error);

	expect(r == want && error && !strcmp(error, want_error), "%.40s: %d, %s\nwanted %s", text, r,
	       error ? error : "", want_error);
}

static void test_bad_text_is_refused_with_file_and_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect_error(bad[i].text, strlen(bad[i].text), bad[i].want, bad[i].want_error);
	expect_error("[a]\nk = \0v\n", 11, -EINVAL, "t.ini:2: a NUL byte; is this a text file?");
}

/* "[a]\nk = " and `len` bytes of `word` over and over, which is no blank at either end. */
static char *long_value(const char *word, size_t len)
{
	struct buf text = BUF_INIT(0);
	size_t word_len = strlen(word), whole = (len - 1) - (len - 1) % word_len, ret_len;

	for (size_t i = 0; i < len; i++)
		buf_put(&text, i < whole ? &word[i % word_len] : "z", 1);
	return buf_take(&text, &ret_len);
}

static void test_long_values_arrive_whole(void **state)
{
	static const char *const words[] = { "x",	"ab cd",	"a;b #c;;d",
					     "=:[]\"'", "\xE2\x82\xAC", "a         b" };
	static const size_t lens[] = { 190, 191, 192, 193, 194, 195,  196, 197,
				       198, 199, 200, 201, 400, 1001, 4091 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words) * ARRAY_LEN(lens); i++) {
		const char *word = words[i / ARRAY_LEN(lens)];
		AUTO(mem_free_str) char *value = long_value(word, lens[i % ARRAY_LEN(lens)]);
		AUTO(mem_free_str) char *text = NULL;
		AUTO(mem_free_str) char *want = NULL;
		AUTO(buf_free) struct buf heard = BUF_INIT(0);
		AUTO(mem_free_str) char *error = NULL;

		text = mem_printf("[a]\nk = %s\nl = %s\n", value, value);
		want = mem_printf("[a]@1\nk=%s@2\nl=%s@3\n", value, value);
		expect(ini_read_text("t.ini", text, strlen(text), record, &heard, &error) == 0, "%s %zu: %s",
		       word, strlen(value), error);
		expect(!strcmp(buf_bytes(&heard), want), "%s %zu: %s", word, strlen(value),
		       buf_bytes(&heard));
	}
}

static void test_what_is_not_utf8_is_refused_except_in_comments(void **state)
{
	static const char *const refused[] = { "[a]\nk = \xff\n", "[a]\nk\xe9 = 1\n", "[\xe9]\nk = 1\n",
					       "[a]\nk = 1\n  \xc0\x80\n" };
	static const char taken[] = "; caf\xe9\n[a]\nk = caf\xc3\xa9 ; caf\xe9\n";
	AUTO(buf_free) struct buf heard = BUF_INIT(0);
	AUTO(mem_free_str) char *unset = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		AUTO(mem_free_str) char *error = NULL;

		expect(ini_read_text("t.ini", refused[i], strlen(refused[i]), record, &heard, &error) ==
				       -EINVAL &&
			       strstr(error, "not UTF-8"),
		       "row %zu: %s", i, error ? error : "taken");
	}
	assert_int_equal(ini_read_text("t.ini", taken, strlen(taken), record, &heard, &unset), 0);
}

static void test_what_is_too_long_is_refused(void **state)
{
	AUTO(mem_free_str) char *value = long_value("x", 4093);
	AUTO(mem_free_str) char *line = mem_printf("[a]\nk = %s\n", value);
	AUTO(mem_free_str) char *blanks = mem_printf("[a]\nk = x%300sy\n", "");
	AUTO(mem_free_str) char *section = mem_printf("[%.50s]\n", value);
	AUTO(mem_free_str) char *key = mem_printf("[a]\n%.50s = v\n", value);
	AUTO(mem_free_str) char *fits = mem_printf("[%.49s]\n%.49s = v\n", value, value);
	AUTO(buf_free) struct buf heard = BUF_INIT(0);
	AUTO(mem_free_str) char *error = NULL;

	(void)state;
	expect_error(line, strlen(line), -EINVAL, "t.ini:2: a line has at most 4096 bytes, this one 4097");
	expect_error(blanks, strlen(blanks), -EINVAL, "t.ini:2: too many blanks, ; or # in a row");
	expect_error(section, strlen(section), -EINVAL,
		     "t.ini:1: a section's name has 1 to 49 bytes, this one 50");
	expect_error(key, strlen(key), -EINVAL, "t.ini:2: a key has 1 to 49 bytes, this one 50");
	assert_int_equal(ini_read_text("t.ini", fits, strlen(fits), record, &heard, &error), 0);
}

static void test_a_file_is_read_and_a_missing_one_named(void **state)
{
	AUTO(mem_free_str) char *path = mem_printf("/tmp/test_config_ini.%d", (int)getpid());
	AUTO(mem_free_str) char *want = mem_printf("%s: cannot be read: No such file or directory", path);
	AUTO(mem_free_str) char *error = NULL;
	AUTO(buf_free) struct buf heard = BUF_INIT(0);

	(void)state;
	assert_int_equal(fd_write_file(path, "[a]\nk = v\n", 10, 0600), 0);
	assert_int_equal(ini_read_file(path, record, &heard, &error), 0);
	assert_string_equal(buf_bytes(&heard), "[a]@1\nk=v@2\n");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ini_read_file(path, record, &heard, &error), -ENOENT);
	assert_string_equal(error, want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections_keys_and_lines_are_told_in_order),
		cmocka_unit_test(test_bad_text_is_refused_with_file_and_line),
		cmocka_unit_test(test_long_values_arrive_whole),
		cmocka_unit_test(test_what_is_not_utf8_is_refused_except_in_comments),
		cmocka_unit_test(test_what_is_too_long_is_refused),
		cmocka_unit_test(test_a_file_is_read_and_a_missing_one_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
