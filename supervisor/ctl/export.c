/* transcripts export: page after page, each asked for when the one before is written, so that neither side
 * holds more than a page. A FILE appears whole or not at all. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "ctl/actions.h"
#include "ctl/ctl.h"

struct export
{
	struct ctl *ctl;
	FILE *out;
	const char *path; /* NULL = stdout */
	char *part;	  /* where it is written first */
	bool csv;
	int64_t count;
};

/* One field of a line; `from` is the transcript or its turn. */
static const struct {
	const char *title, *key;
	bool of_turn;
} fields[] = {
	{ "transcript_id", "id", false },
	{ "run_id", "runId", false },
	{ "scenario_key", "scenarioKey", false },
	{ "scenario_name", "scenarioName", false },
	{ "model_id", "modelId", false },
	{ "model_version", "modelVersion", false },
	{ "sample_index", "sampleIndex", false },
	{ "turn_number", "turnNumber", true },
	{ "prompt_label", "promptLabel", true },
	{ "probe_prompt", "probePrompt", true },
	{ "target_response", "targetResponse", true },
	{ "input_tokens", "inputTokens", true },
	{ "output_tokens", "outputTokens", true },
	{ "duration_ms", "durationMs", true },
	{ "finish_reason", "finishReason", true },
	{ "created_at", "createdAt", false },
};

/* RFC 4180: quoted where needed, quotes doubled. */
static void put_csv_text(FILE *out, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		(void)fputs(text, out);
		return;
	}
	(void)fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			(void)fputc('"', out);
		(void)fputc(*text, out);
	}
	(void)fputc('"', out);
}

static void put_csv_value(FILE *out, const json_t *value)
{
	if (json_is_string(value))
		put_csv_text(out, json_string_value(value));
	else if (json_is_integer(value))
		(void)fprintf(out, "%" PRId64, (int64_t)json_integer_value(value));
	else if (json_is_real(value))
		(void)fprintf(out, "%.15g", json_real_value(value));
}

static void put_csv_header(FILE *out)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		(void)fprintf(out, "%s%s", i ? "," : "", fields[i].title);
	(void)fputs("\r\n", out);
}

static void put_csv(FILE *out, const json_t *transcript)
{
	const json_t *turns = json_object_get(json_object_get(transcript, "content"), "turns");

	for (size_t t = 0; t < json_array_size(turns); t++) {
		const json_t *turn = json_array_get(turns, t);

		for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
			if (i)
				(void)fputc(',', out);
			put_csv_value(out,
				      json_object_get(fields[i].of_turn ? turn : transcript, fields[i].key));
		}
		(void)fputs("\r\n", out);
	}
}

static void put_page(struct export *export, const json_t *items)
{
	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *transcript = json_array_get(items, i);

		export->count++;
		if (export->csv) {
			put_csv(export->out, transcript);
			continue;
		}
		(void)json_dumpf(transcript, export->out, JSON_COMPACT | JSON_REAL_PRECISION(15));
		(void)fputc('\n', export->out);
	}
}

static int write_pages(struct export *export)
{
	json_t *args = export->ctl->parsed->args;

	if (export->csv)
		put_csv_header(export->out);
	for (;;) {
		struct conn_reply reply;
		int code = ctl_ask(export->ctl, "transcripts.export", args, &reply);
		json_t *next;

		if (code != CTL_OK)
			return code;
		put_page(export, json_object_get(reply.data, "items"));
		next = json_incref(json_object_get(reply.data, "next"));
		conn_reply_clear(&reply);
		if (ferror(export->out)) {
			ctl_complain("cannot write %s: %s", export->path ? export->path : "standard output",
				     strerror(errno));
			json_decref(next);
			return CTL_FAILED;
		}
		if (!json_is_string(next)) {
			json_decref(next);
			return CTL_OK;
		}
		json_object_set_new(args, "after", next);
	}
}

static int open_part(struct export *export)
{
	int fd;

	export->part = mem_printf("%s.part", export->path);
	fd = open(export->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	export->out = fd < 0 ? NULL : fdopen(fd, "w");
	if (export->out)
		return CTL_OK;
	ctl_complain("cannot write %s: %s", export->part, strerror(errno));
	return CTL_FAILED;
}

/* The file gets its name only when all of it is on disk. */
static int close_part(struct export *export, int code)
{
	int fd = fileno(export->out);

	if (code == CTL_OK && (fflush(export->out) != 0 || fsync(fd) < 0)) {
		ctl_complain("cannot write %s: %s", export->part, strerror(errno));
		code = CTL_FAILED;
	}
	(void)fclose(export->out);
	if (code == CTL_OK && rename(export->part, export->path) < 0) {
		ctl_complain("cannot rename %s to %s: %s", export->part, export->path, strerror(errno));
		code = CTL_FAILED;
	}
	if (code != CTL_OK)
		(void)unlink(export->part);
	mem_free(&export->part);
	return code;
}

int action_transcripts_export(struct ctl *ctl)
{
	const char *format = json_string_value(json_object_get(ctl->parsed->own, "format"));
	struct export export = { .ctl = ctl,
				 .out = stdout,
				 .path = json_string_value(json_object_get(ctl->parsed->own, "output")),
				 .csv = format && strcmp(format, "csv") == 0 };
	int code = export.path ? open_part(&export) : CTL_OK;

	if (export.out)
		code = write_pages(&export);
	if (export.out && export.path)
		code = close_part(&export, code);
	mem_free(&export.part);
	if (code == CTL_OK && export.path)
		(void)fprintf(stderr, "%" PRId64 " transcripts in %s\n", export.count, export.path);
	return code;
}
