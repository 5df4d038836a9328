/* Lines of workers: io/msg.h reads them, and what it has read it can write so that it reads the same again.
 */

#include "fuzz.h"

#include <jansson.h>

#include "base/mem.h"
#include "io/msg.h"

static void check_error(const struct msg *msg)
{
	AUTO(mem_free_str) char *error = NULL;
	json_t *json;

	if (msg->type != MSG_RESULT || msg->success)
		return;
	error = msg_outcome_error(msg);
	json = json_loads(error, 0, NULL);
	claim(json_is_object(json), "the error that an outcome keeps is a JSON object");
	claim(json_is_string(json_object_get(json, "code")), "it has a code");
	json_decref(json);
}

static void check_again(const struct msg *msg)
{
	AUTO(mem_free_str) char *text = msg_text(msg);
	char error[200];
	struct msg again;

	claim(msg_parse(text, strlen(text), &again, error, sizeof(error)) == 0, "its text can be read");
	claim(again.type == msg->type && again.id == msg->id && again.attempt == msg->attempt &&
		      again.number == msg->number && again.body_bytes == msg->body_bytes &&
		      again.success == msg->success && again.retry_after_ms == msg->retry_after_ms &&
		      again.seq == msg->seq && again.rss_kb == msg->rss_kb,
	      "its text says the same");
	msg_free(&again);
}

static void check_line(const char *line, size_t len)
{
	char error[200] = "";
	struct msg msg;

	if (msg_parse(line, len, &msg, error, sizeof(error)) < 0) {
		claim_one_line(error);
		return;
	}
	check_error(&msg);
	check_again(&msg);
	msg_free(&msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* As lineconn gives it: NUL-terminated, in memory that ends there. */
	char *line = mem_array(size + 1, 1);

	if (size > 0)
		memcpy(line, data, size);
	check_line(line, size);
	mem_free(&line);
	return 0;
}
