#include "row.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "policy/hang.h"
#include "policy/health.h"

#define NOW INT64_C(10000000)

/* Two missed pings of five seconds make a suspect. */
#define SIGNS(letter, missed, suspects_, size, lag)                                                          \
	{                                                                                                    \
		.now_ms = NOW, .misses = (missed), .misses_wanted = 2, .proc_state = (letter),               \
		.loop_lag_ms = (lag), .timeout_ms = 5000, .suspects = (suspects_), .pool_size = (size)       \
	}
/* In a pool where the others are well. */
#define SICK(letter) SIGNS(letter, 2, 1, 4, 0)

static const struct {
	const char *what;
	struct hang hang;
	struct hang_signs signs;
	enum hang_verdict want;
	struct hang want_hang;
} rows[] = {
	{ "one miss is none", { 0 }, SIGNS('S', 1, 1, 4, 0), HANG_NONE, { 0 } },
	{ "one miss while stopped is none", { 0 }, SIGNS('T', 1, 1, 4, 0), HANG_NONE, { 0 } },
	{ "one miss on a starved machine is none", { 0 }, SIGNS('S', 1, 4, 4, 9000), HANG_NONE, { 0 } },
	{ "a deadlock sleeps", { 0 }, SICK('S'), HANG_DEAD, { 0 } },
	{ "an endless loop runs", { 0 }, SICK('R'), HANG_DEAD, { 0 } },
	{ "a main thread that has ended", { 0 }, SICK('Z'), HANG_DEAD, { 0 } },
	{ "what cannot be read convicts no less", { 0 }, SICK('?'), HANG_DEAD, { 0 } },
	{ "more misses than are wanted", { 0 }, SIGNS('S', 9, 1, 4, 0), HANG_DEAD, { 0 } },

	{ "stopped: one more chance", { 0 }, SICK('T'), HANG_STOPPED, { .continued = true } },
	{ "held by a debugger: one more chance", { 0 }, SICK('t'), HANG_STOPPED, { .continued = true } },
	{ "stopped again: no further chance",
	  { .continued = true },
	  SICK('T'),
	  HANG_DEAD,
	  { .continued = true } },
	{ "continued, and still no pong",
	  { .continued = true },
	  SICK('S'),
	  HANG_DEAD,
	  { .continued = true } },
	{ "stopped after a wait for a disk",
	  { .disk_rows = 2 },
	  SICK('T'),
	  HANG_STOPPED,
	  { .continued = true, .disk_rows = 2 } },
	{ "a whole pool stopped is continued, one by one",
	  { 0 },
	  SIGNS('T', 2, 4, 4, 0),
	  HANG_STOPPED,
	  { .continued = true } },
	{ "a whole pool stopped again is not killed",
	  { .continued = true },
	  SIGNS('T', 2, 4, 4, 0),
	  HANG_STARVED,
	  { .continued = true, .held_since_ms = NOW } },

	{ "in wait for a disk: first row", { 0 }, SICK('D'), HANG_DISK, { .disk_rows = 1 } },
	{ "in wait for a disk: last row",
	  { .disk_rows = HANG_DISK_ROWS - 1 },
	  SICK('D'),
	  HANG_DISK,
	  { .disk_rows = HANG_DISK_ROWS } },
	{ "in wait for a disk: patience is over",
	  { .disk_rows = HANG_DISK_ROWS },
	  SICK('D'),
	  HANG_DEAD,
	  { .disk_rows = HANG_DISK_ROWS } },
	{ "continued, then in wait for a disk",
	  { .continued = true },
	  SICK('D'),
	  HANG_DISK,
	  { .continued = true, .disk_rows = 1 } },
	{ "a sick disk under most of a pool holds all kills",
	  { .disk_rows = HANG_DISK_ROWS },
	  SIGNS('D', 2, 3, 4, 0),
	  HANG_STARVED,
	  { .disk_rows = HANG_DISK_ROWS, .held_since_ms = NOW } },

	{ "half of the pool is not most of it", { 0 }, SIGNS('S', 2, 2, 4, 0), HANG_DEAD, { 0 } },
	{ "most of the pool", { 0 }, SIGNS('S', 2, 3, 4, 0), HANG_STARVED, { .held_since_ms = NOW } },
	{ "both of two", { 0 }, SIGNS('R', 2, 2, 2, 0), HANG_STARVED, { .held_since_ms = NOW } },
	{ "most of the pool, held almost too long",
	  { .held_since_ms = NOW - HANG_HELD_MAX_MS + 1 },
	  SIGNS('S', 2, 4, 4, 0),
	  HANG_STARVED,
	  { .held_since_ms = NOW - HANG_HELD_MAX_MS + 1 } },
	{ "most of the pool, held too long on a machine that is well",
	  { .held_since_ms = NOW - HANG_HELD_MAX_MS },
	  SIGNS('S', 2, 4, 4, 0),
	  HANG_DEAD,
	  { .held_since_ms = NOW - HANG_HELD_MAX_MS } },
	{ "most of the pool, held too long, and we are late ourselves",
	  { .held_since_ms = NOW - HANG_HELD_MAX_MS },
	  SIGNS('S', 2, 4, 4, 5000),
	  HANG_STARVED,
	  { .held_since_ms = NOW - HANG_HELD_MAX_MS } },
	{ "one of two", { 0 }, SIGNS('R', 2, 1, 2, 0), HANG_DEAD, { 0 } },
	{ "the only one has nobody to compare with", { 0 }, SIGNS('S', 2, 1, 1, 0), HANG_DEAD, { 0 } },
	{ "the only one, but we were late ourselves", { 0 }, SIGNS('S', 2, 1, 1, 5000), HANG_STARVED, { 0 } },
	{ "a little late does not excuse it", { 0 }, SIGNS('S', 2, 1, 4, 4999), HANG_DEAD, { 0 } },
	{ "late and stopped: continued all the same",
	  { 0 },
	  SIGNS('T', 2, 1, 4, 9000),
	  HANG_STOPPED,
	  { .continued = true } },
	{ "late and in wait for a disk", { 0 }, SIGNS('D', 2, 1, 4, 9000), HANG_STARVED, { 0 } },
};

static void test_each_sickness_gets_its_verdict(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct hang hang = rows[i].hang;
		enum hang_verdict got = hang_judge(&hang, &rows[i].signs);

		expect(got == rows[i].want, "%s: %s", rows[i].what, hang_name(got));
		expect(hang.continued == rows[i].want_hang.continued &&
			       hang.disk_rows == rows[i].want_hang.disk_rows,
		       "%s: continued %d, disk rows %d", rows[i].what, (int)hang.continued, hang.disk_rows);
		expect(hang.held_since_ms == rows[i].want_hang.held_since_ms, "%s: held", rows[i].what);
	}
}

/* Whatever the signs, and be it the whole pool: a machine that is well kills within a bounded time. */
static void test_no_state_is_forgiven_for_ever(void **state)
{
	static const char letters[] = "RSDTtZXI?";

	(void)state;
	for (size_t i = 0; letters[i]; i++) {
		for (int suspects = 1; suspects <= 4; suspects++) {
			struct hang_signs signs = SIGNS(letters[i], 2, suspects, 4, 0);
			struct hang hang = { 0 };

			while (hang_judge(&hang, &signs) != HANG_DEAD) {
				signs.now_ms += 15000;
				expect(signs.now_ms <= NOW + 2 * HANG_HELD_MAX_MS, "%c, %d suspects",
				       letters[i], suspects);
			}
		}
	}
}

/* One row of two pings without a pong, and what of it the daemon came late to: `late_ms` at the first, second
 * … look at each ping, the last of them the one that takes it for missed. Each lateness but the last is
 * granted to the worker, so that it was given the whole timeout, and the lateness again, while the daemon was
 * in time. */
static const struct {
	const char *what;
	int64_t late_ms[2][2];
	enum hang_verdict want;
	int64_t want_wait_ms; /* from the last ping to the verdict */
} late_rows[] = {
	{ "in time", { { 0 }, { 0 } }, HANG_DEAD, 5000 },
	{ "late for the first pong", { { 9000, 0 }, { 0 } }, HANG_DEAD, 5000 },
	{ "late for the last, and in time when that was granted", { { 0 }, { 9000, 0 } }, HANG_DEAD, 23000 },
	{ "late for both, and in time when that was granted",
	  { { 9000, 0 }, { 9000, 0 } },
	  HANG_DEAD,
	  23000 },
	{ "late again when that was granted", { { 0 }, { 5000, 5000 } }, HANG_STARVED, 20000 },
	{ "a little late, then by a timeout", { { 0 }, { 1, 5000 } }, HANG_STARVED, 10002 },
	{ "late by a timeout, then a little", { { 0 }, { 9000, 1 } }, HANG_DEAD, 23001 },
	{ "a little late twice", { { 1, 1 }, { 4999, 4999 } }, HANG_DEAD, 19997 },
	{ "late again for the first only", { { 9000, 9000 }, { 0 } }, HANG_DEAD, 5000 },
};

static void test_own_lateness_is_granted_once_and_excuses_when_it_comes_again(void **state)
{
	static const struct health_params params = { .interval_ms = 10000, .timeout_ms = 5000, .misses = 2 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(late_rows); i++) {
		struct hang_signs signs = SIGNS('S', 2, 1, 1, 0);
		struct hang hang = { 0 };
		struct health health;
		int64_t next = 0, pinged = 0;
		enum health_do act = HEALTH_NOTHING;
		int ping = -1, look = 0;

		health_init(&health, &params, 0);
		for (int64_t now = next; act != HEALTH_SUSPECT; now = next) {
			int64_t late = 0;

			expect(ping < 2 && look < 4, "%s: no verdict", late_rows[i].what);
			if (health_is_overdue(&health, now))
				late = look < 2 ? late_rows[i].late_ms[ping][look++] : 0;
			now += late;
			act = health_tick(&health, &params, now, late, &next);
			if (act == HEALTH_PING) {
				pinged = now;
				ping++;
				look = 0;
			}
			signs.now_ms = now;
			signs.loop_lag_ms = late;
		}
		expect(hang_judge(&hang, &signs) == late_rows[i].want, "%s", late_rows[i].what);
		expect(signs.now_ms - pinged == late_rows[i].want_wait_ms, "%s: waited %" PRId64,
		       late_rows[i].what, signs.now_ms - pinged);
	}
}

static void test_every_verdict_has_a_name_and_a_line(void **state)
{
	static const char *const names[] = { "none", "stopped", "starved", "disk", "dead", "?" };
	static const char letters[] = "RSDTtZ?";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_string_equal(hang_name((enum hang_verdict)i), names[i]);
		for (size_t k = 0; letters[k]; k++) {
			const char *text = hang_text((enum hang_verdict)i, letters[k]);
			bool killed = strstr(text, "it is killed");

			expect(!strchr(text, '\n') && !strchr(text, '"'), "%s", text);
			expect(killed == (i == HANG_DEAD), "%s %c: %s", names[i], letters[k], text);
		}
	}
	assert_string_equal(hang_text(HANG_VERDICT_COUNT, 'S'), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_sickness_gets_its_verdict),
		cmocka_unit_test(test_no_state_is_forgiven_for_ever),
		cmocka_unit_test(test_own_lateness_is_granted_once_and_excuses_when_it_comes_again),
		cmocka_unit_test(test_every_verdict_has_a_name_and_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
