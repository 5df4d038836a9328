#ifndef IO_MSG_H
#define IO_MSG_H

/* Lines of the worker protocol, version 1: workers/PROTOCOL.md is the reference.
 * Headers are parsed here; the body line behind a turn is never parsed, only checked for its length. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

#define MSG_PROTOCOL   1
#define MSG_DIGEST_LEN 32		   /* hex digits */
#define MSG_MAX_LINE   (64u * 1024 * 1024) /* without the newline */

/* clang-format off */
#define MSG_TYPES(X)                                                                                         \
	X(MSG_HELLO,  "hello")  /* first line of a worker */                                                 \
	X(MSG_READY,  "ready")  /* may get jobs */                                                           \
	X(MSG_TURN,   "turn")   /* one answer; its body is the next line */                                  \
	X(MSG_RESULT, "result") /* the end of a job */                                                       \
	X(MSG_PONG,   "pong")
/* clang-format on */

enum msg_type {
#define X(type, name) type,
	MSG_TYPES(X)
#undef X
};

/* What a provider's headers said of one of its limits; each -1 when not told. */
struct msg_limit {
	int64_t limit;	   /* units in the span of the limit, which no provider names */
	int64_t remaining; /* of it, when the answer was sent */
	int64_t reset_ms;  /* from then on, until all of it is there again */
};

/* Of requests some providers tell the limit of a day under the name of the others' minute: a reset_ms above
 * 120,000 is no minute's. Told apart by the reader. */
struct msg_limits {
	struct msg_limit requests, tokens, input_tokens, output_tokens;
	int64_t retry_after_ms; /* -1 when not told */
};

/* Strings are valid until msg_free(). */
struct msg {
	enum msg_type type;
	/* hello */
	int protocol;
	int capacity;
	const char *kind, *version, *python;
	/* turn, result */
	int64_t id;
	int attempt;
	/* turn */
	int number;
	bool last;
	const char *prev, *digest;
	size_t body_bytes;
	int64_t latency_ms, input_tokens, output_tokens, reasoning_tokens;
	/* turn, result of a failure */
	bool has_limits;
	struct msg_limits limits; /* when has_limits */
	/* result */
	bool success;
	const char *model_version; /* NULL when not told */
	const char *error_code;	   /* NULL when success */
	const char *error_message;
	bool retryable; /* the same call may succeed later, by the code or by the provider's own word */
	int64_t retry_after_ms; /* -1 when not told */
	int status_code;	/* 0 when none */
	bool given_back;	/* a drain's give-back: nobody failed */
	/* pong */
	uint64_t seq;
	int64_t inflight, rss_kb;
	/* of us */
	void *root;
};

/* 0; or -EPROTO with what is wrong in `ret_error` (cut to its size). */
int msg_parse(const char *line, size_t len, struct msg *ret, char *ret_error, size_t error_size)
	__attribute__((warn_unused_result));
void msg_free(struct msg *msg);

/* The line that it was, or one that says the same; fresh. */
char *msg_text(const struct msg *msg) __attribute__((warn_unused_result));

/* The error of a result as the JSON object that an outcome keeps: {"code","message","statusCode","details"}.
 * Fresh memory. */
char *msg_outcome_error(const struct msg *msg) __attribute__((warn_unused_result));

/* The same for an error of our own; `detail` goes into details under `detail_key`. */
char *msg_own_error(const char *code, const char *message) __attribute__((warn_unused_result));
char *msg_own_error_with(const char *code, const char *message, const char *detail_key, const char *detail)
	__attribute__((warn_unused_result));

/* Lines to the worker, appended to `out`, newline included. `input` and `turns` are JSON, put in as they are.
 */
void msg_put_job(struct buf *out, int64_t id, int attempt, int64_t deadline_ms, const char *input,
		 size_t input_len, const char *turns, size_t turns_len, const char *digest);
void msg_put_go(struct buf *out, int64_t id);
void msg_put_cancel(struct buf *out, int64_t id);
void msg_put_ping(struct buf *out, uint64_t seq);
void msg_put_shutdown(struct buf *out, int64_t grace_ms);

#endif
