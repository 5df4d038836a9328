/* Fills the spool of a stopped daemon with answers, as an outage of the database would.
 *
 *   spool_feed FOLDER FIRST_JOB COUNT BYTES     one-turn answers of BYTES bytes, for jobs FIRST_JOB,
 * FIRST_JOB + 1, …
 *
 * Prints the records and bytes that wait in the spool, and its limit, in percent, as one JSON object. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/loop.h"
#include "io/spool.h"

enum { AT_A_TIME = 500 }; /* jobs in one turn of the loop */

static const char digest[] = "0123456789abcdef0123456789abcdef";

struct feed {
	struct loop *loop;
	struct loop_timer *timer;
	struct spool *spool;
	int64_t next_job, end_job;
	char *body;
};

static void append(struct feed *feed, enum spool_kind kind, const char *meta, const char *body)
{
	struct spool_record record = {
		.kind = kind,
		.job_id = feed->next_job,
		.attempt = 1,
		.meta = meta,
		.meta_len = strlen(meta),
		.body = body,
		.body_len = strlen(body),
	};

	spool_append(feed->spool, &record);
}

static void feed_one(struct feed *feed)
{
	char meta[400];

	(void)snprintf(meta, sizeof(meta), "{\"number\":1,\"prev\":\"\",\"digest\":\"%s\"}", digest);
	append(feed, SPOOL_TURN, meta, feed->body);
	(void)snprintf(
		meta, sizeof(meta),
		"{\"fate\":0,\"turns\":1,\"digest\":\"%s\",\"modelVersion\":\"gpt-4-0613\",\"inputTokens\":"
		"150,"
		"\"outputTokens\":500,\"reasoningTokens\":0,\"durationMs\":2100,\"costE10\":345000000,"
		"\"error\":null,\"delayMs\":0,\"fails\":0,\"deaths\":0,\"soloDeaths\":0,\"limitedForMs\":0}",
		digest);
	append(feed, SPOOL_END, meta, "");
	feed->next_job++;
}

static void feed_some(void *arg)
{
	struct feed *feed = arg;

	for (int i = 0; i < AT_A_TIME && feed->next_job < feed->end_job; i++)
		feed_one(feed);
	if (feed->next_job < feed->end_job)
		loop_timer_start(feed->timer, 1);
	else
		loop_stop(feed->loop);
}

static char *make_body(size_t bytes)
{
	static const char head[] =
		"{\"turnNumber\":1,\"promptLabel\":\"scenario_prompt\",\"probePrompt\":\"?\","
		"\"inputTokens\":150,\"outputTokens\":500,\"durationMs\":2100,\"targetResponse\":\"";
	char *body = mem_array(1, bytes + sizeof(head) + 2);
	size_t len = sizeof(head) - 1;

	memcpy(body, head, len);
	for (; len + 2 < bytes; len++)
		body[len] = "an answer of some words, "[len % 25];
	memcpy(body + len, "\"}", 3);
	return body;
}

int main(int argc, char **argv)
{
	struct feed feed = { 0 };
	struct spool_options options = { .max_bytes = INT64_C(4) << 30, .keep_ms = INT64_C(86400000) };
	struct spool_stat stat;
	char *error = NULL;

	if (argc != 5) {
		fputs("usage: spool_feed FOLDER FIRST_JOB COUNT BYTES\n", stderr);
		return 2;
	}
	options.dir = argv[1];
	feed.next_job = atoll(argv[2]);
	feed.end_job = feed.next_job + atoll(argv[3]);
	feed.body = make_body((size_t)atoll(argv[4]));
	if (loop_new(&feed.loop) < 0 || spool_open(feed.loop, &options, &feed.spool, &error) < 0) {
		fprintf(stderr, "spool_feed: %s\n", error ? error : "no loop");
		return 1;
	}
	loop_timer_new(feed.loop, feed_some, &feed, &feed.timer);
	loop_timer_start(feed.timer, 0);
	loop_run(feed.loop);
	spool_stat(feed.spool, &stat);
	printf("{\"records\":%" PRIu64 ",\"bytes\":%" PRId64 ",\"percent\":%.1f,\"unwritten\":%" PRIu64 "}\n",
	       stat.depth, stat.depth_bytes, 100.0 * (double)stat.depth_bytes / (double)options.max_bytes,
	       stat.unwritten);
	loop_timer_free(&feed.timer);
	spool_close(&feed.spool);
	loop_free(&feed.loop);
	free(feed.body);
	return 0;
}
