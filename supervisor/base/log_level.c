/* Which lines are written: one level for all, and others for single subsystems. Read by any thread. */

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

/* The first words of all events, in order. */
const char *const log_subsystems[] = {
	"alert",    "cgroup",	"child",    "claim",	"command",    "config",	 "control",
	"daemon",   "database", "db",	    "dispatch", "forkserver", "grants",	 "group",
	"guard",    "health",	"jsontext", "lane",	"log",	      "metrics", "pool",
	"postgres", "probe",	"provider", "run",	"sdnotify",   "service", "spool",
	"stderr",   "store",	"tree",	    "worker",	NULL,
};

enum { SUBSYSTEMS = ARRAY_LEN(log_subsystems) - 1 };

static struct {
	atomic_int general;
	atomic_int most; /* the most talkative of all */
	atomic_int own[SUBSYSTEMS];
} levels;

static void __attribute__((constructor)) begin(void)
{
	log_set_level(LOG_LEVEL_INFO);
}

const char *log_level_name(enum log_level level)
{
	return (size_t)level < ARRAY_LEN(level_names) ? level_names[level] : NULL;
}

bool log_level_parse(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
		if (strcmp(name, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return true;
		}
	return false;
}

/* SUBSYSTEMS when `name` is none. */
static size_t find(const char *name, size_t len)
{
	size_t i = 0;

	while (i < SUBSYSTEMS && (strncmp(log_subsystems[i], name, len) != 0 || log_subsystems[i][len]))
		i++;
	return i;
}

void log_set_level(enum log_level level)
{
	atomic_store(&levels.general, (int)level);
	for (size_t i = 0; i < SUBSYSTEMS; i++)
		atomic_store(&levels.own[i], (int)level);
	atomic_store(&levels.most, (int)level);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load(&levels.general);
}

static void set_own(size_t index, enum log_level level)
{
	int most = atomic_load(&levels.general);

	atomic_store(&levels.own[index], (int)level);
	for (size_t i = 0; i < SUBSYSTEMS; i++) {
		int own = atomic_load(&levels.own[i]);

		most = own > most ? own : most;
	}
	atomic_store(&levels.most, most);
}

int log_set_subsystem_level(const char *subsystem, enum log_level level)
{
	size_t index = find(subsystem, strlen(subsystem));

	if (index == SUBSYSTEMS)
		return -ENOENT;
	set_own(index, level);
	return 0;
}

int log_get_subsystem_level(const char *subsystem, enum log_level *ret)
{
	size_t index = find(subsystem, strlen(subsystem));

	if (index == SUBSYSTEMS)
		return -ENOENT;
	*ret = (enum log_level)atomic_load(&levels.own[index]);
	return 0;
}

int log_parse_subsystem_level(const char *text, const char **ret_subsystem, enum log_level *ret_level)
{
	size_t len = strcspn(text, "=");
	size_t index = find(text, len);

	if (index == SUBSYSTEMS)
		return -ENOENT;
	if (!text[len] || !log_level_parse(text + len + 1, ret_level))
		return -EINVAL;
	*ret_subsystem = log_subsystems[index];
	return 0;
}

bool log_is_on(enum log_level level, const char *event)
{
	size_t index;

	if ((int)level > atomic_load(&levels.most))
		return false;
	index = find(event, strcspn(event, "."));
	return (int)level <= atomic_load(index < SUBSYSTEMS ? &levels.own[index] : &levels.general);
}
