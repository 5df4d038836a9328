#include "row.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "config/keyfile.h"

static char path[64];

static void record(void *arg, const char *variable, const char *value, int line)
{
	buf_putf(arg, "%s=%s@%d\n", variable, value, line);
}

static int read_text(const char *text, size_t len, unsigned mode, struct buf *heard, char **ret_error)
{
	assert_int_equal(fd_write_file(path, text, len, mode), 0);
	assert_int_equal(chmod(path, mode), 0);
	return keyfile_read(path, false, record, heard, ret_error);
}

static const struct {
	const char *text;
	const char *want;
} good[] = {
	{ "", "" },
	{ "\n  \n# only a comment\n", "" },
	{ "A=1\n", "A=1@1\n" },
	{ "A=1", "A=1@1\n" },
	{ "A=1\r\nB=2\r\n", "A=1@1\nB=2@2\n" },
	{ "  A = 1  \n", "A=1@1\n" },
	{ "export A=1\nexport\tB=2\nexported=3\nexport=4\n", "A=1@1\nB=2@2\nexported=3@3\nexport=4@4\n" },
	{ "A=sk-...  # or another\n", "A=sk-...@1\n" },
	{ "A=a#b #c\n", "A=a#b@1\n" },
	{ "A=\nB=   # empty\nC=''\nD=\"\"\n", "A=@1\nB=@2\nC=@3\nD=@4\n" },
	{ "A=two words\n", "A=two words@1\n" },
	{ "A='it # is \\n \"so\"' # said\n", "A=it # is \\n \"so\"@1\n" },
	{ "A=\"a \\\"b\\\" \\\\ \\$x \\t\\q\"\n", "A=a \"b\" \\ $x \t\\q@1\n" },
	{ "A=$HOME `x` $(y)\n", "A=$HOME `x` $(y)@1\n" },
	{ "DATABASE_URL=postgresql://u:p@h:5432/db?a=b\n",
	  "DATABASE_URL=postgresql://u:p@h:5432/db?a=b@1\n" },
	{ "A=1\nA=2\n", "A=1@1\nA=2@2\n" },
};

static void test_env_syntax_is_understood(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		AUTO(buf_free) struct buf heard = BUF_INIT(0);
		AUTO(mem_free_str) char *error = NULL;
		int r = read_text(good[i].text, strlen(good[i].text), 0600, &heard, &error);

		expect(r == 0, "row %zu: %s", i, error ? error : "");
		expect(!strcmp(buf_bytes(&heard), good[i].want), "row %zu: %s", i, buf_bytes(&heard));
	}
}

static const struct {
	const char *text;
	const char *want; /* behind the file's name */
} bad[] = {
	{ "A=1\nhunter2\n", ":2: not NAME=value" },
	{ "=hunter2\n", ":1: not NAME=value" },
	{ "1A=hunter2\n", ":1: not NAME=value" },
	{ "A-B=hunter2\n", ":1: not NAME=value" },
	{ "export\n", ":1: not NAME=value" },
	{ "A='hunter2\n", ":1: A: the quote is not closed" },
	{ "\nA=\"hunter2\n\"\n", ":2: A: the quote is not closed" },
	{ "A=\"hunter2\\\"\n", ":1: A: the quote is not closed" },
	{ "A='hunter2'x\n", ":1: A: text behind the closing quote" },
	{ "A='hunter2'#x\n", ":1: A: text behind the closing quote" },
};

static void test_errors_name_the_line_and_tell_no_value(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO(buf_free) struct buf heard = BUF_INIT(0);
		AUTO(mem_free_str) char *error = NULL;
		int r = read_text(bad[i].text, strlen(bad[i].text), 0600, &heard, &error);

		expect(r == -EINVAL && buf_len(&heard) == 0, "row %zu: %d, %s", i, r, buf_bytes(&heard));
		expect(!strncmp(error, path, strlen(path)) && !strcmp(error + strlen(path), bad[i].want),
		       "row %zu: %s", i, error);
		expect(!strstr(error, "hunter2"), "row %zu: %s", i, error);
	}
}

static void test_a_file_that_others_may_read_is_refused_with_the_remedy(void **state)
{
	static const struct {
		unsigned mode;
		bool want;
	} rows[] = { { 0600, true },  { 0400, true },  { 0700, true },	{ 0640, false },
		     { 0604, false }, { 0620, false }, { 0601, false }, { 0644, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str)
		char *want = mem_printf("%s: others may read the keys in it (mode %04o); run: chmod 600 %s",
					path, rows[i].mode, path);
		AUTO(buf_free) struct buf heard = BUF_INIT(0);
		AUTO(mem_free_str) char *error = NULL;
		int r = read_text("A=1\n", 4, rows[i].mode, &heard, &error);

		expect(r == (rows[i].want ? 0 : -EACCES), "%04o: %d", rows[i].mode, r);
		if (r < 0)
			expect(!strcmp(error, want) && buf_len(&heard) == 0, "%04o: %s", rows[i].mode, error);
	}
}

static void test_what_is_no_file_of_text_is_refused(void **state)
{
	AUTO(buf_free) struct buf heard = BUF_INIT(0);
	AUTO(mem_free_str) char *nul = NULL;
	AUTO(mem_free_str) char *folder = NULL;
	AUTO(mem_free_str) char *missing = NULL;
	AUTO(mem_free_str) char *pipe = NULL;

	(void)state;
	assert_int_equal(read_text("A=\0b\n", 5, 0600, &heard, &nul), -EINVAL);
	assert_non_null(strstr(nul, "a NUL byte"));
	assert_int_equal(keyfile_read("/", false, record, &heard, &folder), -EINVAL);
	assert_string_equal(folder, "/: not a regular file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(keyfile_read(path, false, record, &heard, &missing), -ENOENT);
	assert_non_null(strstr(missing, "cannot be read: No such file"));
	/* A pipe without a writer must not block us. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(keyfile_read(path, false, record, &heard, &pipe), -EINVAL);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(buf_len(&heard), 0);
}

static void test_a_line_and_a_file_have_their_caps(void **state)
{
	AUTO(buf_free) struct buf text = BUF_INIT(0);
	AUTO(buf_free) struct buf heard = BUF_INIT(0);
	AUTO(mem_free_str) char *line = NULL;
	AUTO(mem_free_str) char *file = NULL;

	(void)state;
	buf_puts(&text, "A=");
	while (buf_len(&text) < KEYFILE_LINE_MAX)
		buf_puts(&text, "x");
	assert_int_equal(read_text(buf_bytes(&text), buf_len(&text), 0600, &heard, &line), 0);
	buf_puts(&text, "x");
	assert_int_equal(read_text(buf_bytes(&text), buf_len(&text), 0600, &heard, &line), -EINVAL);
	assert_non_null(strstr(line, ":1: a line has at most 8192 bytes"));
	while (buf_len(&text) < KEYFILE_MAX + 1)
		buf_puts(&text, "\n# filler filler filler filler filler filler filler");
	assert_int_equal(read_text(buf_bytes(&text), buf_len(&text), 0600, &heard, &file), -EFBIG);
	assert_non_null(strstr(file, "File too large"));
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(path, sizeof(path), "/tmp/test_config_keyfile.%d", (int)getpid());
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_env_syntax_is_understood),
		cmocka_unit_test(test_errors_name_the_line_and_tell_no_value),
		cmocka_unit_test(test_a_file_that_others_may_read_is_refused_with_the_remedy),
		cmocka_unit_test(test_what_is_no_file_of_text_is_refused),
		cmocka_unit_test(test_a_line_and_a_file_have_their_caps),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
