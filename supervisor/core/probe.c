#include "core/probe.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/jsontext.h"
#include "io/probe_input.h"
#include "policy/blame.h"

static char *copy(const char *bytes, size_t len)
{
	char *fresh = mem_array(1, len + 1);

	memcpy(fresh, bytes, len);
	return fresh;
}

void probe_new(const struct store_job *job, struct lane *lane, int64_t now_ms, struct probe **ret)
{
	struct probe *probe = mem_alloc(sizeof(*probe));

	list_init(&probe->link);
	list_init(&probe->in_worker);
	probe->state = PROBE_QUEUED;
	probe->lane = lane;
	probe->id = job->id;
	probe->attempt = probe->lease = job->attempt;
	probe->run_id = mem_strdup(job->run_id);
	probe->model_id = mem_strdup(job->model_id);
	probe->input = copy(job->input, job->input_len);
	probe->input_len = job->input_len;
	probe->earlier = copy(job->turns, job->turns_len);
	probe->earlier_len = job->turns_len;
	probe->turns_done = job->turn_count;
	(void)strncpy(probe->digest, job->digest, sizeof(probe->digest) - 1);
	probe->input_tokens = job->input_tokens;
	probe->output_tokens = job->output_tokens;
	probe->reasoning_tokens = job->reasoning_tokens;
	probe->duration_ms = job->duration_ms;
	probe->cost_e10 = job->cost_e10;
	probe->fails = job->fails;
	probe->deaths = job->deaths;
	probe->solo_deaths = job->solo_deaths;
	probe->limited_since_ms = job->limited_for_ms > 0 ? now_ms - job->limited_for_ms : 0;
	probe->queued_ms = now_ms;
	*ret = probe;
}

void probe_free(struct probe **probe)
{
	struct probe *dead = *probe;

	if (!dead)
		return;
	list_remove(&dead->link);
	list_remove(&dead->in_worker);
	for (size_t i = 0; i < dead->turn_count; i++)
		free(dead->turns[i].body);
	free(dead->turns);
	free(dead->run_id);
	free(dead->model_id);
	free(dead->input);
	free(dead->earlier);
	if (dead->sizes)
		probe_input_clear(dead->sizes);
	mem_free(&dead->sizes);
	mem_free(probe);
}

void probe_add_turn(struct probe *probe, const char *body, size_t len, const char *digest)
{
	if (probe->turn_count == probe->turn_room) {
		probe->turn_room = probe->turn_room ? probe->turn_room * 2 : 1;
		probe->turns = mem_resize(probe->turns, probe->turn_room, sizeof(*probe->turns));
	}
	probe->turns[probe->turn_count++] = (struct probe_turn){ .body = copy(body, len), .len = len };
	probe->turns_done++;
	(void)strncpy(probe->digest, digest, sizeof(probe->digest) - 1);
}

void probe_put_turns(const struct probe *probe, struct buf *out)
{
	bool some = probe->turns_done > (int)probe->turn_count;

	if (some)
		buf_put(out, probe->earlier, probe->earlier_len - 1); /* without its closing bracket */
	else
		buf_puts(out, "[");
	for (size_t i = 0; i < probe->turn_count; i++) {
		if (some || i > 0)
			buf_puts(out, ",");
		buf_put(out, probe->turns[i].body, probe->turns[i].len);
	}
	buf_puts(out, "]");
}

bool probe_turns_are_json(const struct probe *probe)
{
	for (size_t i = 0; i < probe->turn_count; i++) {
		AUTO(jsontext_free) struct jsontext *json = NULL;

		if (jsontext_parse(probe->turns[i].body, probe->turns[i].len, &json) < 0)
			return false;
	}
	return true;
}

bool probe_runs_alone(const struct probe *probe)
{
	const struct blame_job job = { .deaths = probe->deaths, .solo_deaths = probe->solo_deaths };

	return blame_runs_alone(&job);
}
