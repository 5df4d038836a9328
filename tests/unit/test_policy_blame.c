#include "row.h"

#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "policy/blame.h"

static const struct {
	const char *what;
	struct blame_death death;
	enum blame_whom want;
} deaths[] = {
	{ "it left with an error", { .exit_code = 1 }, BLAME_JOBS },
	{ "it left with 0, unasked", { .exit_code = 0 }, BLAME_JOBS },
	{ "126 is no broken install", { .exit_code = 126 }, BLAME_JOBS },
	{ "128 stands for no signal", { .exit_code = 128 }, BLAME_JOBS },
	{ "255 stands for no signal", { .exit_code = 255 }, BLAME_JOBS },
	{ "77", { .exit_code = 77 }, BLAME_INSTALL },
	{ "78", { .exit_code = 78 }, BLAME_INSTALL },
	{ "125", { .exit_code = 125 }, BLAME_INSTALL },

	{ "SEGV", { .signo = SIGSEGV }, BLAME_JOBS },
	{ "ABRT", { .signo = SIGABRT }, BLAME_JOBS },
	{ "BUS", { .signo = SIGBUS }, BLAME_JOBS },
	{ "FPE", { .signo = SIGFPE }, BLAME_JOBS },
	{ "ILL", { .signo = SIGILL }, BLAME_JOBS },
	{ "TRAP", { .signo = SIGTRAP }, BLAME_JOBS },
	{ "SYS", { .signo = SIGSYS }, BLAME_JOBS },
	{ "PIPE", { .signo = SIGPIPE }, BLAME_JOBS },
	{ "ALRM", { .signo = SIGALRM }, BLAME_JOBS },
	{ "VTALRM", { .signo = SIGVTALRM }, BLAME_JOBS },
	{ "PROF", { .signo = SIGPROF }, BLAME_JOBS },
	{ "its processor time is used up", { .signo = SIGXCPU }, BLAME_JOBS },
	{ "a file grew too large", { .signo = SIGXFSZ }, BLAME_JOBS },

	{ "KILL by a stranger", { .signo = SIGKILL }, BLAME_OUTSIDE },
	{ "TERM by a stranger", { .signo = SIGTERM }, BLAME_OUTSIDE },
	{ "INT by a stranger", { .signo = SIGINT }, BLAME_OUTSIDE },
	{ "HUP by a stranger", { .signo = SIGHUP }, BLAME_OUTSIDE },
	{ "QUIT by a stranger", { .signo = SIGQUIT }, BLAME_OUTSIDE },
	{ "USR1 by a stranger", { .signo = SIGUSR1 }, BLAME_OUTSIDE },
	{ "USR2 by a stranger", { .signo = SIGUSR2 }, BLAME_OUTSIDE },
	{ "a shell tells of a KILL", { .exit_code = 128 + SIGKILL }, BLAME_OUTSIDE },
	{ "a shell tells of a TERM", { .exit_code = 128 + SIGTERM }, BLAME_OUTSIDE },
	{ "a shell tells of a SEGV", { .exit_code = 128 + SIGSEGV }, BLAME_JOBS },
	{ "a shell tells of our TERM", { .exit_code = 128 + SIGTERM, .sent_by_us = true }, BLAME_US },

	{ "KILL by the kernel, for memory", { .signo = SIGKILL, .oom_evidence = true }, BLAME_JOBS },
	{ "a shell tells of a KILL for memory",
	  { .exit_code = 128 + SIGKILL, .oom_evidence = true },
	  BLAME_JOBS },
	{ "TERM is not how the kernel frees memory",
	  { .signo = SIGTERM, .oom_evidence = true },
	  BLAME_OUTSIDE },
	{ "our KILL, whatever the memory",
	  { .signo = SIGKILL, .sent_by_us = true, .oom_evidence = true },
	  BLAME_US },

	{ "our TERM", { .signo = SIGTERM, .sent_by_us = true }, BLAME_US },
	{ "our KILL", { .signo = SIGKILL, .sent_by_us = true }, BLAME_US },
	{ "it crashed after our TERM", { .signo = SIGSEGV, .sent_by_us = true }, BLAME_JOBS },

	{ "planned", { .planned = true }, BLAME_US },
	{ "planned, with an error at the end", { .planned = true, .exit_code = 1 }, BLAME_US },
	{ "planned, with a broken install", { .planned = true, .exit_code = 78 }, BLAME_US },
	{ "planned, and our KILL", { .planned = true, .signo = SIGKILL, .sent_by_us = true }, BLAME_US },
	{ "planned, and a stranger's KILL", { .planned = true, .signo = SIGKILL }, BLAME_US },
	{ "planned, but it crashed", { .planned = true, .signo = SIGABRT }, BLAME_JOBS },

	{ "a hang, and our KILL", { .faulty = true, .signo = SIGKILL, .sent_by_us = true }, BLAME_JOBS },
	{ "a hang while it was to go",
	  { .faulty = true, .planned = true, .signo = SIGKILL, .sent_by_us = true },
	  BLAME_JOBS },
	{ "a protocol fault, and an obedient end", { .faulty = true, .exit_code = 0 }, BLAME_JOBS },
	{ "a hang that a stranger ended", { .faulty = true, .signo = SIGKILL }, BLAME_JOBS },
};

static void test_each_death_has_somebody_to_blame(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(deaths); i++) {
		enum blame_whom got = blame_whom(&deaths[i].death);

		expect(got == deaths[i].want, "%s: %s", deaths[i].what, blame_whom_name(got));
	}
}

static const struct {
	const char *what;
	struct blame_job job;
	bool alone, blames;
	struct blame_job want;
	bool want_alone, want_poison;
} jobs[] = {
	{ "its first death among others", { 0, 0 }, false, true, { 1, 0 }, false, false },
	{ "its second", { 1, 0 }, false, true, { 2, 0 }, true, false },
	{ "its first death alone", { 2, 0 }, true, true, { 3, 1 }, true, false },
	{ "its second alone is poison", { 3, 1 }, true, true, { 4, 2 }, true, true },
	{ "one more among others convicts nobody", { 3, 1 }, false, true, { 4, 1 }, true, false },
	{ "alone by chance, before it was suspected", { 0, 0 }, true, true, { 1, 1 }, false, false },
	{ "a blameless death changes nothing", { 1, 0 }, false, false, { 1, 0 }, false, false },
	{ "a blameless death alone changes nothing", { 3, 1 }, true, false, { 3, 1 }, true, false },
	{ "what ran alone runs alone again", { 2, 0 }, false, false, { 2, 0 }, true, false },
	{ "poison stays poison", { 4, 2 }, false, false, { 4, 2 }, true, true },
};

static void test_a_job_is_convicted_by_what_happens_while_it_runs_alone(void **state)
{
	static const struct blame_death crash = { .signo = SIGSEGV };
	static const struct blame_death kill = { .signo = SIGKILL };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
		struct blame got = blame_decide(jobs[i].blames ? &crash : &kill, &jobs[i].job, jobs[i].alone);

		expect(got.blames == jobs[i].blames, "%s: blames %d", jobs[i].what, (int)got.blames);
		expect(got.job.deaths == jobs[i].want.deaths &&
			       got.job.solo_deaths == jobs[i].want.solo_deaths,
		       "%s: %d deaths, %d alone", jobs[i].what, got.job.deaths, got.job.solo_deaths);
		expect(got.runs_alone_next == jobs[i].want_alone && got.poison == jobs[i].want_poison,
		       "%s: alone %d, poison %d", jobs[i].what, (int)got.runs_alone_next, (int)got.poison);
		expect(blame_runs_alone(&got.job) == got.runs_alone_next, "%s", jobs[i].what);
	}
}

/* As the dispatcher uses it: alone is what the last verdict said. */
static void test_a_killer_is_poison_at_its_fourth_death_and_a_neighbour_never(void **state)
{
	static const struct blame_death crash = { .exit_code = 1 };
	struct blame killer = { 0 }, neighbour = { 0 };
	int died = 0;

	(void)state;
	while (!killer.poison) {
		if (!killer.runs_alone_next)
			neighbour = blame_decide(&crash, &neighbour.job, false);
		killer = blame_decide(&crash, &killer.job, killer.runs_alone_next);
		expect(++died <= 4, "%d deaths, %d alone", killer.job.deaths, killer.job.solo_deaths);
	}
	assert_int_equal(died, 4);
	assert_int_equal(neighbour.job.deaths, 2);
	assert_true(neighbour.runs_alone_next);
	assert_false(neighbour.poison);
}

static void test_whom_is_named(void **state)
{
	static const char *const names[] = { "us", "outside", "install", "jobs", "?" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_string_equal(blame_whom_name((enum blame_whom)i), names[i]);
}

static void test_a_cause_is_one_word(void **state)
{
	static const struct {
		struct blame_death death;
		const char *want;
	} rows[] = {
		{ { .planned = true }, "planned" },
		{ { .planned = true, .signo = SIGTERM, .sent_by_us = true }, "planned" },
		{ { .signo = SIGKILL, .sent_by_us = true }, "planned" },
		{ { .faulty = true, .signo = SIGKILL, .sent_by_us = true }, "fault" },
		{ { .signo = SIGSEGV }, "crash" },
		{ { .planned = true, .signo = SIGSEGV }, "crash" },
		{ { .exit_code = 128 + SIGSEGV }, "crash" },
		{ { .exit_code = 1 }, "exit" },
		{ { .exit_code = 0 }, "exit" },
		{ { .signo = SIGKILL, .oom_evidence = true }, "memory" },
		{ { .signo = SIGKILL }, "killed" },
		{ { .exit_code = 128 + SIGTERM }, "killed" },
		{ { .exit_code = 78 }, "install" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect(!strcmp(blame_cause_name(blame_cause(&rows[i].death)), rows[i].want), "row %zu: %s", i,
		       blame_cause_name(blame_cause(&rows[i].death)));
	assert_string_equal(blame_cause_name(BLAME_CAUSE_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_death_has_somebody_to_blame),
		cmocka_unit_test(test_a_job_is_convicted_by_what_happens_while_it_runs_alone),
		cmocka_unit_test(test_a_killer_is_poison_at_its_fourth_death_and_a_neighbour_never),
		cmocka_unit_test(test_whom_is_named),
		cmocka_unit_test(test_a_cause_is_one_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
