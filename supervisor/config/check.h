#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

/* The checks that span several keys, once all of them are read. */

struct config;

/* 0; or -EINVAL with *ret_error as config_load() gives it. `file` stands for the file in messages. */
int config_check(const struct config *c, const char *file, char **ret_error)
	__attribute__((warn_unused_result));

#endif
