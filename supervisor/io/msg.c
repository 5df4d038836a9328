#include "io/msg.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

static const char *const type_names[] = {
#define X(type, name) [type] = (name),
	MSG_TYPES(X)
#undef X
};

/* Reading of one object's members: the first that is missing or of a wrong type is remembered. */
struct reader {
	json_t *object;
	const char *wrong; /* name of that member; NULL while all is well */
};

static int64_t get_int(struct reader *r, const char *name, int64_t min, int64_t max)
{
	json_t *value = json_object_get(r->object, name);
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < min || n > max) {
		r->wrong = r->wrong ? r->wrong : name;
		return min;
	}
	return n;
}

static bool get_bool(struct reader *r, const char *name)
{
	json_t *value = json_object_get(r->object, name);

	if (!json_is_boolean(value))
		r->wrong = r->wrong ? r->wrong : name;
	return json_is_true(value);
}

static const char *get_text(struct reader *r, const char *name)
{
	const char *text = json_string_value(json_object_get(r->object, name));

	if (!text) {
		r->wrong = r->wrong ? r->wrong : name;
		return "";
	}
	return text;
}

/* A member that may be absent or null. */
static const char *maybe_text(struct reader *r, const char *name)
{
	json_t *value = json_object_get(r->object, name);

	return !value || json_is_null(value) ? NULL : get_text(r, name);
}

static int64_t maybe_int(struct reader *r, const char *name, int64_t max, int64_t fallback)
{
	json_t *value = json_object_get(r->object, name);

	return !value || json_is_null(value) ? fallback : get_int(r, name, 0, max);
}

static const char *get_digest(struct reader *r, const char *name, bool may_be_empty)
{
	const char *text = get_text(r, name);
	size_t len = strlen(text);

	if (strspn(text, "0123456789abcdef") != len || (len != MSG_DIGEST_LEN && !(may_be_empty && len == 0)))
		r->wrong = r->wrong ? r->wrong : name;
	return text;
}

/* A member that may be absent or null, but is no other thing than an object: NULL then. */
static json_t *maybe_object(struct reader *r, const char *name)
{
	json_t *value = json_object_get(r->object, name);

	if (value && !json_is_null(value) && !json_is_object(value))
		r->wrong = r->wrong ? r->wrong : name;
	return json_is_object(value) ? value : NULL;
}

static void read_limit(struct reader *limits, const char *name, struct msg_limit *ret)
{
	struct reader r = { .object = maybe_object(limits, name) };

	ret->limit = maybe_int(&r, "limit", INT64_MAX, -1);
	ret->remaining = maybe_int(&r, "remaining", INT64_MAX, -1);
	ret->reset_ms = maybe_int(&r, "reset_ms", INT64_MAX / 4, -1);
	if (r.wrong)
		limits->wrong = limits->wrong ? limits->wrong : name;
}

static void read_limits(struct reader *r, struct msg *msg)
{
	struct reader limits = { .object = maybe_object(r, "limits") };

	msg->has_limits = limits.object;
	read_limit(&limits, "requests", &msg->limits.requests);
	read_limit(&limits, "tokens", &msg->limits.tokens);
	read_limit(&limits, "input_tokens", &msg->limits.input_tokens);
	read_limit(&limits, "output_tokens", &msg->limits.output_tokens);
	msg->limits.retry_after_ms = maybe_int(&limits, "retry_after_ms", INT64_MAX / 4, -1);
	if (limits.wrong)
		r->wrong = r->wrong ? r->wrong : "limits";
}

static void read_hello(struct reader *r, struct msg *msg)
{
	msg->protocol = (int)get_int(r, "protocol", 0, INT32_MAX);
	msg->capacity = (int)get_int(r, "capacity", 1, 100000);
	msg->kind = get_text(r, "kind");
	msg->version = get_text(r, "version");
	msg->python = get_text(r, "python");
}

static void read_turn(struct reader *r, struct msg *msg)
{
	struct reader usage = { .object = json_object_get(r->object, "usage") };

	msg->id = get_int(r, "id", 1, INT64_MAX);
	msg->attempt = (int)get_int(r, "attempt", 1, INT32_MAX);
	msg->number = (int)get_int(r, "number", 1, INT32_MAX);
	msg->last = get_bool(r, "last");
	msg->prev = get_digest(r, "prev", true);
	msg->digest = get_digest(r, "digest", false);
	msg->body_bytes = (size_t)get_int(r, "bytes", 2, MSG_MAX_LINE);
	msg->latency_ms = get_int(r, "latency_ms", 0, INT64_MAX);
	msg->input_tokens = get_int(&usage, "input", 0, INT32_MAX);
	msg->output_tokens = get_int(&usage, "output", 0, INT32_MAX);
	msg->reasoning_tokens = get_int(&usage, "reasoning", 0, INT32_MAX);
	r->wrong = r->wrong ? r->wrong : usage.wrong;
	read_limits(r, msg);
}

static void read_error(struct reader *r, struct msg *msg)
{
	struct reader error = { .object = json_object_get(r->object, "error") };

	msg->error_code = get_text(&error, "code");
	msg->error_message = get_text(&error, "message");
	msg->retryable = get_bool(&error, "retryable");
	msg->retry_after_ms = maybe_int(&error, "retryAfterMs", INT64_MAX / 4, -1);
	msg->status_code = (int)maybe_int(&error, "statusCode", 999, 0);
	read_limits(&error, msg);
	msg->given_back = json_is_true(
		json_object_get(json_object_get(error.object, "details"), "givenBack"));
	r->wrong = r->wrong ? r->wrong : error.wrong;
}

static void read_result(struct reader *r, struct msg *msg)
{
	msg->id = get_int(r, "id", 1, INT64_MAX);
	msg->attempt = (int)get_int(r, "attempt", 1, INT32_MAX);
	msg->success = get_bool(r, "success");
	msg->retry_after_ms = -1;
	if (msg->success)
		msg->model_version = maybe_text(r, "modelVersion");
	else
		read_error(r, msg);
}

static void read_pong(struct reader *r, struct msg *msg)
{
	msg->seq = (uint64_t)get_int(r, "seq", 0, INT64_MAX);
	msg->inflight = get_int(r, "inflight", 0, INT32_MAX);
	msg->rss_kb = get_int(r, "rss_kb", 0, INT64_MAX / 1024);
}

static bool find_type(const char *name, enum msg_type *ret)
{
	for (size_t i = 0; name && i < ARRAY_LEN(type_names); i++)
		if (strcmp(name, type_names[i]) == 0) {
			*ret = (enum msg_type)i;
			return true;
		}
	return false;
}

int msg_parse(const char *line, size_t len, struct msg *ret, char *ret_error, size_t error_size)
{
	struct msg msg = { .attempt = 0 };
	struct reader r = { 0 };
	json_error_t why;

	r.object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(r.object)) {
		(void)snprintf(ret_error, error_size, "not a JSON object: %s",
			       r.object ? "another kind of value" : why.text);
		json_decref(r.object);
		return -EPROTO;
	}
	if (!find_type(json_string_value(json_object_get(r.object, "type")), &msg.type)) {
		(void)snprintf(ret_error, error_size, "no known \"type\"");
		json_decref(r.object);
		return -EPROTO;
	}
	msg.root = r.object;
	switch (msg.type) {
	case MSG_HELLO:
		read_hello(&r, &msg);
		break;
	case MSG_READY:
		break;
	case MSG_TURN:
		read_turn(&r, &msg);
		break;
	case MSG_RESULT:
		read_result(&r, &msg);
		break;
	case MSG_PONG:
		read_pong(&r, &msg);
		break;
	}
	if (r.wrong) {
		(void)snprintf(ret_error, error_size,
			       "%s: \"%s\" is missing, of a wrong type or out of range", type_names[msg.type],
			       r.wrong);
		json_decref(r.object);
		return -EPROTO;
	}
	*ret = msg;
	return 0;
}

void msg_free(struct msg *msg)
{
	json_decref(msg->root);
	msg->root = NULL;
}

char *msg_text(const struct msg *msg)
{
	char *text = json_dumps(msg->root, JSON_COMPACT);

	return text ? text : mem_strdup("");
}

static char *dump(json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);

	json_decref(object);
	return text ? text
		    : mem_strdup("{\"code\":\"UNKNOWN\",\"message\":\"the error could not be written as "
				 "JSON\"}");
}

char *msg_outcome_error(const struct msg *msg)
{
	json_t *error = json_object_get(msg->root, "error");
	json_t *kept = json_object();
	static const char *const names[] = { "code", "message", "statusCode", "details" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		json_t *value = json_object_get(error, names[i]);

		if (value && !json_is_null(value))
			(void)json_object_set(kept, names[i], value);
	}
	return dump(kept);
}

char *msg_own_error(const char *code, const char *message)
{
	return msg_own_error_with(code, message, NULL, NULL);
}

char *msg_own_error_with(const char *code, const char *message, const char *detail_key, const char *detail)
{
	json_t *error = json_object();

	(void)json_object_set_new(error, "code", json_string(code));
	(void)json_object_set_new(error, "message", json_string(message));
	if (detail_key) {
		json_t *details = json_object();
		json_t *text = json_string(detail);

		/* What a process wrote may be no UTF-8. */
		if (!text)
			text = json_string("(not UTF-8)");
		(void)json_object_set_new(details, detail_key, text);
		(void)json_object_set_new(error, "details", details);
	}
	return dump(error);
}

void msg_put_job(struct buf *out, int64_t id, int attempt, int64_t deadline_ms, const char *input,
		 size_t input_len, const char *turns, size_t turns_len, const char *digest)
{
	buf_putf(out,
		 "{\"type\":\"job\",\"id\":%" PRId64 ",\"attempt\":%d,\"deadline_ms\":%" PRId64 ",\"input\":",
		 id, attempt, deadline_ms);
	buf_put(out, input, input_len);
	buf_puts(out, ",\"turns\":");
	buf_put(out, turns, turns_len);
	buf_putf(out, ",\"digest\":\"%s\"}\n", digest);
}

void msg_put_go(struct buf *out, int64_t id)
{
	buf_putf(out, "{\"type\":\"go\",\"id\":%" PRId64 "}\n", id);
}

void msg_put_cancel(struct buf *out, int64_t id)
{
	buf_putf(out, "{\"type\":\"cancel\",\"id\":%" PRId64 "}\n", id);
}

void msg_put_ping(struct buf *out, uint64_t seq)
{
	buf_putf(out, "{\"type\":\"ping\",\"seq\":%" PRIu64 "}\n", seq);
}

void msg_put_shutdown(struct buf *out, int64_t grace_ms)
{
	buf_putf(out, "{\"type\":\"shutdown\",\"grace_ms\":%" PRId64 "}\n", grace_ms);
}
