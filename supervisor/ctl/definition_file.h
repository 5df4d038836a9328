#ifndef CTL_DEFINITION_FILE_H
#define CTL_DEFINITION_FILE_H

/* A definition file, YAML or JSON:
 *
 *   name: dilemmas
 *   preamble: text                        system message of every conversation
 *   followups:                            a list of {label, prompt}, of texts, or label: prompt
 *     - {label: why, prompt: Why?}
 *   scenarios:                            a list, or id: scenario; a scenario may be just its prompt
 *     - {id: a, name: Title, prompt: Text}
 *
 * `prompt` may be called `body`, `name` `subject`, `id` `key`. Other keys are metadata. In YAML every scalar
 * there is text; in a .json file numbers, true, false and null are what they are. */

#include <jansson.h>
#include <stddef.h>

#define DEFINITION_FILE_MAX   (64u * 1024 * 1024)
#define DEFINITION_PROMPT_MAX (4u * 1024 * 1024)

struct definition_file {
	json_t *head;	   /* {name?, preamble?, followups, metadata} */
	json_t *scenarios; /* of {key, name, prompt, metadata} */
};

/* `path` "-" reads standard input. 0; -EINVAL for bad content; -errno when unreadable. On an error *ret_error
 * is one fresh line, "FILE:LINE: what is wrong". */
int definition_file_read(const char *path, struct definition_file **ret, char **ret_error)
	__attribute__((warn_unused_result));

/* The same from memory; `name` stands for the file in messages and tells .json. */
int definition_file_parse(const char *name, const char *text, size_t len, struct definition_file **ret,
			  char **ret_error) __attribute__((warn_unused_result));

void definition_file_free(struct definition_file **file);

#endif
