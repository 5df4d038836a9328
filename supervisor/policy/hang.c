#include "policy/hang.h"

#include "base/mem.h"
#include "policy/health.h"

static bool is_stopped(char proc_state)
{
	return proc_state == 'T' || proc_state == 't';
}

static bool most_are_suspect(struct hang *hang, const struct hang_signs *signs)
{
	if (!health_hold_kills(signs->suspects, signs->pool_size))
		return false;
	if (!hang->held_since_ms)
		hang->held_since_ms = signs->now_ms;
	return signs->now_ms - hang->held_since_ms < HANG_HELD_MAX_MS;
}

/* When our own loop was late by a whole timeout, the pongs may lie unread, or the workers got no more of the
 * machine than we did. A pool of one has no others to compare with: this is all that tells it. */
static bool is_starved(struct hang *hang, const struct hang_signs *signs)
{
	return signs->loop_lag_ms >= signs->timeout_ms || most_are_suspect(hang, signs);
}

enum hang_verdict hang_judge(struct hang *hang, const struct hang_signs *signs)
{
	if (signs->misses < signs->misses_wanted)
		return HANG_NONE;
	/* First, because it is certain and its remedy does no harm, be the whole pool stopped. */
	if (is_stopped(signs->proc_state) && !hang->continued) {
		hang->continued = true;
		return HANG_STOPPED;
	}
	if (is_starved(hang, signs))
		return HANG_STARVED;
	if (signs->proc_state == 'D' && hang->disk_rows < HANG_DISK_ROWS) {
		hang->disk_rows++;
		return HANG_DISK;
	}
	return HANG_DEAD;
}

const char *hang_name(enum hang_verdict verdict)
{
	static const char *const names[] = {
#define X(id, text) [id] = text,
		HANG_VERDICTS(X)
#undef X
	};

	return (unsigned)verdict < HANG_VERDICT_COUNT ? names[verdict] : "?";
}

static const char *dead_text(char proc_state)
{
	switch (proc_state) {
	case 'R':
		return "its main thread is busy and does not come back to its loop (state R); it is killed";
	case 'S':
		return "its main thread waits for something that does not come (state S); it is killed";
	case 'D':
		return "a device has not answered for too long (state D); it is killed";
	case 'T':
	case 't':
		return "it was stopped again, or is held by a debugger (state T); it is killed";
	case 'Z':
		return "its main thread has ended but others live on (state Z); it is killed";
	default:
		return "it does not answer; it is killed";
	}
}

const char *hang_text(enum hang_verdict verdict, char proc_state)
{
	switch (verdict) {
	case HANG_NONE:
		return "it answers";
	case HANG_STOPPED:
		return "it was stopped by a signal or a debugger (state T); it is continued";
	case HANG_STARVED:
		return "so are most of its pool, or the daemon itself is late: the machine is starved; none "
		       "is "
		       "killed";
	case HANG_DISK:
		return "it waits for a device or a child and no signal reaches it (state D); it is given "
		       "time";
	case HANG_DEAD:
		return dead_text(proc_state);
	case HANG_VERDICT_COUNT:
		break;
	}
	return "?";
}
