#include "row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

enum { CAUGHT_MAX = 1 << 16 };

static int caught = -1; /* a file that stands in for stderr between catch() and release() */
static int stderr_kept = -1;

static void catch (void)
{
	assert_int_equal(ftruncate(caught, 0), 0);
	assert_int_equal(lseek(caught, 0, SEEK_SET), 0);
	assert_true(dup2(caught, STDERR_FILENO) >= 0);
}

/* What was logged since catch(); freed by the caller. */
static char *release(void)
{
	char *text = mem_alloc(CAUGHT_MAX + 1);

	assert_true(dup2(stderr_kept, STDERR_FILENO) >= 0);
	assert_true(pread(caught, text, CAUGHT_MAX, 0) >= 0);
	return text;
}

/* The text behind the time: "info    event key=value\n". */
static const char *behind_time(const char *line)
{
	int year, month, day, hour, minute, second, ms, len = 0;

	expect(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour, &minute, &second,
		      &ms, &len) == 7 &&
		       len == 25,
	       "no time in front: %s", line);
	return line + len;
}

static void test_a_line_is_level_event_and_pairs(void **state)
{
	AUTO(mem_free_str) char *first = NULL;
	AUTO(mem_free_str) char *second = NULL;

	(void)state;
	catch ();
	log_info("worker.exit", "worker=%s pid=%d", "probe/3", 812);
	first = release();
	assert_string_equal(behind_time(first), "info    worker.exit worker=probe/3 pid=812\n");
	catch ();
	log_warning("reload", "%s", "now");
	second = release();
	assert_string_equal(behind_time(second), "warning reload now\n");
}

static void test_lines_below_the_level_are_not_written(void **state)
{
	static const struct {
		enum log_level level;
		size_t want_lines;
	} rows[] = { { LOG_LEVEL_ERROR, 1 },
		     { LOG_LEVEL_WARNING, 2 },
		     { LOG_LEVEL_INFO, 3 },
		     { LOG_LEVEL_DEBUG, 4 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(mem_free_str) char *text = NULL;
		size_t lines = 0;

		catch ();
		log_set_level(rows[i].level);
		log_error("e", "n=%d", 1);
		log_warning("w", "n=%d", 1);
		log_info("i", "n=%d", 1);
		log_debug("d", "n=%d", 1);
		text = release();
		for (const char *at = text; (at = strchr(at, '\n')); at++)
			lines++;
		expect(lines == rows[i].want_lines, "%s: %zu lines", log_level_name(rows[i].level), lines);
	}
	log_set_level(LOG_LEVEL_INFO);
}

static void test_control_bytes_cannot_forge_a_line(void **state)
{
	AUTO(mem_free_str) char *text = NULL;

	(void)state;
	catch ();
	log_info("x", "v=%s", "a\nb\rc\x1b[31m\x7f\t\xC3\xA9");
	text = release();
	assert_string_equal(behind_time(text), "info    x v=a?b?c?[31m??\xC3\xA9\n");
}

static void test_a_line_too_long_is_cut_and_still_ends(void **state)
{
	AUTO(mem_free_str) char *text = NULL;

	(void)state;
	catch ();
	log_info("long", "v=%20000d|", 1);
	text = release();
	expect(strlen(text) <= 8192, "%zu bytes", strlen(text));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void test_level_names_go_both_ways(void **state)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };

	(void)state;
	for (int i = 0; i < 4; i++) {
		enum log_level level = LOG_LEVEL_ERROR;

		expect(!strcmp(log_level_name((enum log_level)i), names[i]), "%d", i);
		expect(log_level_parse(names[i], &level) && (int)level == i, "%s", names[i]);
	}
	for (size_t i = 0; i < 3; i++) {
		enum log_level level = LOG_LEVEL_DEBUG;

		expect(!log_level_parse((const char *const[]){ "", "INFO", "notice" }[i], &level) &&
			       level == LOG_LEVEL_DEBUG,
		       "row %zu", i);
	}
	assert_null(log_level_name((enum log_level)4));
}

static void test_the_thread_writes_all_in_order(void **state)
{
	AUTO(mem_free_str) char *text = NULL;
	const char *at;

	(void)state;
	catch ();
	assert_int_equal(log_start(), 0);
	for (int i = 0; i < 500; i++)
		log_info("n", "i=%d", i);
	log_stop();
	at = text = release();
	for (int i = 0; i < 500; i++) {
		AUTO(mem_free_str) char *want = mem_printf("info    n i=%d\n", i);

		at = behind_time(at);
		expect(!strncmp(at, want, strlen(want)), "line %d: %.60s", i, at);
		at += strlen(want);
	}
	assert_int_equal(*at, '\0');
}

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
	caught = memfd_create("stderr", MFD_CLOEXEC);
	stderr_kept = dup(STDERR_FILENO);
	return caught >= 0 && stderr_kept >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	fd_close(&caught);
	fd_close(&stderr_kept);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_is_level_event_and_pairs),
		cmocka_unit_test(test_lines_below_the_level_are_not_written),
		cmocka_unit_test(test_control_bytes_cannot_forge_a_line),
		cmocka_unit_test(test_a_line_too_long_is_cut_and_still_ends),
		cmocka_unit_test(test_level_names_go_both_ways),
		cmocka_unit_test(test_the_thread_writes_all_in_order),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
