#include "row.h"

#include <signal.h>

#include "base/mem.h"
#include "base/signo.h"

static void test_a_signal_tells_who_brought_it_about(void **state)
{
	static const int own[] = { SIGILL,  SIGTRAP, SIGABRT, SIGBUS,  SIGFPE,	  SIGSEGV, SIGPIPE,
				   SIGALRM, SIGXCPU, SIGXFSZ, SIGPROF, SIGVTALRM, SIGSYS };
	static const int sent[] = {
		SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGIO, SIGPWR, 34, 64
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		expect(signo_kind(own[i]) == SIGNO_OWN, "signal %d", own[i]);
	for (size_t i = 0; i < ARRAY_LEN(sent); i++)
		expect(signo_kind(sent[i]) == SIGNO_SENT, "signal %d", sent[i]);
	assert_int_equal(signo_kind(SIGKILL), SIGNO_KILL);
}

static void test_a_shells_status_is_read_back_as_the_signal(void **state)
{
	static const struct {
		int status, want;
	} rows[] = { { 0, 0 },	       { 1, 0 },    { 127, 0 }, { 128, 0 }, { 129, 1 },
		     { 137, SIGKILL }, { 192, 64 }, { 193, 0 }, { 255, 0 }, { -1, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect(signo_of_status(rows[i].status) == rows[i].want, "status %d: %d", rows[i].status,
		       signo_of_status(rows[i].status));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_signal_tells_who_brought_it_about),
		cmocka_unit_test(test_a_shells_status_is_read_back_as_the_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
